"""One batch forward and backward, with every patient's gradient kept apart.

Two ways with the same result. *Taped*: hooks note what each layer saw and what the loss wants of its output; no
gradient of a parameter is computed on the way. For models of layers that are known to see one example at a time.
*Alone*: `torch.func.vmap` over patients, each one's rows a batch of their own; for all other models, slower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sealround.errors import UnsupportedError
from sealround.learning.clipped.layers import has_rule, parts_of_layer
from sealround.learning.clipped.parts import Batch, Part, Written
from sealround.learning.losses import Targets
from sealround.learning.predictors import LinearPredictor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sealround.learning.losses import BinaryLoss
    from sealround.learning.predictors import Predictor

__all__ = ["PatientGradients", "check_separable"]

_OURS = "sealround.learning."  # Layers of this package see one example at a time: a property test of all models.
_STATELESS = {nn.Sequential, nn.Identity, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d, nn.Flatten}
_MIXING = (nn.modules.batchnorm._BatchNorm, nn.SyncBatchNorm)  # noqa: SLF001  (their only common base)
_WRITTEN = 1 << 26  # Numbers of gradients that are written down at a time on the slow way.


def check_separable(module: nn.Module) -> None:
    """Check that no layer mixes patients.

    Raises:
        UnsupportedError: If one does; it names the layer.
    """
    for name, layer in module.named_modules():
        tracking = isinstance(layer, nn.modules.instancenorm._InstanceNorm) and layer.track_running_stats  # noqa: SLF001
        if isinstance(layer, _MIXING) or tracking:
            msg = f"layer {name or 'of the model'} ({type(layer).__name__}) computes with other patients of the batch"
            raise UnsupportedError(msg, hint="use GroupNorm, which sees one image at a time")


def is_taped(module: nn.Module) -> bool:
    """Whether every layer is known to see one example at a time, and to be used once."""
    layers = [layer for _, layer in module.named_modules(remove_duplicate=False)]
    parameters = [parameter for _, parameter in module.named_parameters(remove_duplicate=False)]
    return (
        len(layers) == len(set(layers))
        and len(parameters) == len({id(parameter) for parameter in parameters})
        and all(has_rule(layer) or _is_plain(layer) for layer in layers)
    )


def _is_plain(layer: nn.Module) -> bool:
    known = type(layer) in _STATELESS or type(layer).__module__.startswith(_OURS)
    return known and not any(True for _ in layer.parameters(recurse=False))


class PatientGradients:
    """A model's gradients, by patient.

    Args:
        predictor: The model; its layers must stay as they are.
    """

    def __init__(self, predictor: Predictor) -> None:
        module = predictor.flat.module
        self._predictor = predictor
        self._places = _places(module)
        self._linear = isinstance(predictor, LinearPredictor)
        self._taped = self._linear or is_taped(module)

    def at_a_time(self, rows: int, chunk: int) -> int:
        """Return how many patients with so many rows are taken at a time, where ``chunk`` examples may be."""
        patients = max(1, chunk // rows)
        if self._taped:
            return patients
        return max(1, min(patients, _WRITTEN // self._predictor.flat.values.numel()))

    def of(self, inputs: torch.Tensor, targets: Targets, loss: BinaryLoss, batch: Batch) -> list[Part]:
        """Return the gradients of one batch: for each patient that of the mean of the loss over his rows.

        Args:
            inputs: float32 ``(n, ...)``.
            targets: Of the same examples.
            loss: A sum of one term for each example.
            batch: How the examples belong to patients.

        Raises:
            UnsupportedError: If torch cannot take the model apart.
        """
        if self._linear:
            residual = _residual(loss, self._predictor.outputs(inputs), targets, batch)
            ((head, where),) = self._places.items()
            return parts_of_layer(head, where, batch, inputs, residual.unsqueeze(1))
        if self._taped:
            return _parts_taped(
                self._predictor, self._places, inputs, lambda y: _residual(loss, y, targets, batch), batch
            )
        return _parts_alone(self._predictor.flat.module, inputs, targets, loss, batch)


def _residual(loss: BinaryLoss, outputs: torch.Tensor, targets: Targets, batch: Batch) -> torch.Tensor:
    """Return the derivative by each output of the sum over patients of their mean losses."""
    # The loss divides by all examples of the batch; a patient's part must not depend on how many others there are.
    return loss.derivative(outputs, targets).mul_(batch.patients)


class _Root(torch.autograd.Function):
    """Make a tensor part of a graph, without a copy, where nothing before it needs a gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, root: torch.Tensor) -> torch.Tensor:  # noqa: ANN401, ARG004  (torch's)
        ctx.mark_dirty(tensor)
        return tensor

    @staticmethod
    def backward(ctx: Any, *derivatives: torch.Tensor) -> tuple[None, None]:  # noqa: ANN401, ARG004  (torch's)
        return None, None


def _parts_taped(
    predictor: Predictor,
    places: Mapping[nn.Module, Mapping[str, slice]],
    inputs: torch.Tensor,
    slopes: Callable[[torch.Tensor], torch.Tensor],
    batch: Batch,
) -> list[Part]:
    root = torch.zeros((), requires_grad=True)
    parts: list[Part] = []

    def tape(where: Mapping[str, slice]) -> Callable[..., torch.Tensor]:
        def seen(layer: nn.Module, given: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
            # Only what comes before the first layer with parameters needs no gradient.
            output = output if output.requires_grad else _Root.apply(output, root)  # type: ignore[no-untyped-call]
            x = given[0].detach()
            output.register_hook(lambda g: parts.extend(parts_of_layer(layer, where, batch, x, g)))
            return output

        return seen

    parameters = list(predictor.flat.module.parameters())
    needed = [parameter.requires_grad for parameter in parameters]
    hooks = [layer.register_forward_hook(tape(where)) for layer, where in places.items()]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)  # noqa: FBT003  (torch's)
        outputs = predictor.outputs(inputs)
        torch.autograd.backward(outputs, slopes(outputs.detach()))
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, before in zip(parameters, needed, strict=True):
            parameter.requires_grad_(before)
    return parts


def _places(module: nn.Module) -> dict[nn.Module, dict[str, slice]]:
    """Return where in the flat vector the parameters of each layer are that has some of its own."""
    start, places = 0, dict[int, slice]()
    for parameter in module.parameters():
        places[id(parameter)] = slice(start, start + parameter.numel())
        start += parameter.numel()
    found = {
        layer: {name: places[id(parameter)] for name, parameter in layer.named_parameters(recurse=False)}
        for layer in module.modules()
    }
    return {layer: where for layer, where in found.items() if where}


def _parts_alone(
    module: nn.Module, inputs: torch.Tensor, targets: Targets, loss: BinaryLoss, batch: Batch
) -> list[Part]:
    module.train()
    values = {name: parameter.detach() for name, parameter in module.named_parameters()}

    def slopes(*given: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs, pull, *_ = torch.func.vjp(
            lambda values: torch.func.functional_call(module, values, (given[0],)), values
        )
        slope: tuple[dict[str, torch.Tensor]] = pull(
            loss.derivative(outputs.detach(), Targets(given[1], None, *given[2:]))
        )
        return slope[0]

    wanted = [inputs, targets.event] + ([] if targets.weight is None else [targets.weight])
    by_patient = (tensor.view(batch.patients, batch.rows, *tensor.shape[1:]) for tensor in wanted)
    try:
        found = torch.func.vmap(slopes, randomness="different")(*by_patient)
    except RuntimeError as error:
        msg = f"torch cannot take the gradients of single patients of this {type(module).__name__}"
        raise UnsupportedError(msg, hint='use a model of this package, such as kind "cnn"') from error
    return list(_written(found))


def _written(gradients: dict[str, torch.Tensor]) -> Iterator[Part]:
    start = 0
    for gradient in gradients.values():
        size = gradient[0].numel()
        yield Written(slice(start, start + size), gradient.detach().contiguous().unsqueeze(0))
        start += size
