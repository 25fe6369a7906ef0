"""From the ``[model]`` section to a network with one output: the logit of the risk, or the log hazard ratio.

The output's weights, then its bias, are the last parameters of every model, so a flat vector ends with the intercept.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, assert_never

import torch
from torch import nn

from sealround.clinical.encoding import Encoder
from sealround.errors import UnsupportedError
from sealround.federation.randomness import stream
from sealround.learning import vision
from sealround.learning.layers import Dropout, with_memory
from sealround.learning.vector import named_parameters
from sealround.study.sections import Cnn, Cox, FrozenBackbone, Logistic, Mlp, Resnet, Vgg16

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from sealround.federation.interfaces import InputShape, ModelFactory
    from sealround.federation.statistics import Statistics
    from sealround.study.sections import Model, Study
    from sealround.vocabulary import Update

__all__ = [
    "Network",
    "build_model",
    "describe_model",
    "encoded_shape",
    "initial_model",
    "is_linear",
    "model_card_description",
    "model_tensors",
    "parameter_count",
]


class Network(nn.Module):
    """Features, then one linear output.

    Attributes:
        features: From inputs to ``(n, width)``; the identity for linear models.
        head: Linear, one output; without bias for Cox, whose likelihood does not see it.
    """

    def __init__(self, features: nn.Module, width: int, *, bias: bool) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(width, 1, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return one number for each example, ``(n,)``."""
        output: torch.Tensor = self.head(self.features(x))
        return output.squeeze(1)


def is_linear(model: Model) -> bool:
    """Whether a model is linear in its (encoded) inputs, in training too."""
    match model:
        case Logistic():
            return True
        case Cox(hidden=hidden):
            return not hidden
        case FrozenBackbone(hidden=hidden, dropout=dropout):
            return not hidden and dropout == 0.0
        case Mlp() | Cnn() | Resnet() | Vgg16():
            return False
        case _:
            assert_never(model)


def build_model(model: Model, shape: tuple[int, ...]) -> Network:
    """Build a network without values, on torch's meta device.

    Args:
        model: The study's section.
        shape: Of one encoded example: ``(p,)`` features or ``(channels, height, width)``.

    Returns:
        The network; `initialised` gives it values.

    Raises:
        UnsupportedError: If the model does not take such inputs.
    """
    with torch.device("meta"):
        match model:
            case Cnn():
                features, width = vision.cnn(model, _image(model, shape))
            case Resnet():
                features, width = vision.resnet(model, _image(model, shape))
            case Vgg16():
                features, width = vision.vgg16(model, _image(model, shape))
            case Logistic():
                features, width = nn.Identity(), _features(model, shape)
            case Mlp(hidden=hidden, dropout=dropout) | Cox(hidden=hidden, dropout=dropout):
                features, width = _perceptron(_features(model, shape), hidden, dropout)
            case FrozenBackbone(hidden=hidden, dropout=dropout):
                features, width = _perceptron(_features(model, shape), hidden, dropout)
                features = nn.Sequential(Dropout(dropout), features)
            case _:
                assert_never(model)
        return Network(features, width, bias=not isinstance(model, Cox))


def initialised(network: Network, seed: int, *, linear: bool) -> Network:
    """Give a network its first values on the CPU, the same for the same seed.

    Hidden weights: normal with variance 2 / fan-in (He et al. 2015, section 2.2), biases 0. Output: uniform within
    1 / sqrt(width), or 0 for linear models: their loss is convex, and 0 is the fair first guess.

    Args:
        network: From `build_model`.
        seed: The study's.
        linear: Whether it is a linear model.

    Returns:
        The same network.
    """
    with_memory(network, torch.device("cpu"))
    generator = torch.Generator().manual_seed(int(stream(seed, "initial model").integers(2**63)))
    with torch.no_grad():
        for layer in network.features.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                layer.weight.normal_(0.0, math.sqrt(2.0 / layer.weight[0].numel()), generator=generator)
                if layer.bias is not None:
                    layer.bias.zero_()
            elif isinstance(layer, nn.GroupNorm):
                layer.weight.fill_(1.0)
                layer.bias.zero_()
        bound = 0.0 if linear else 1.0 / math.sqrt(network.head.in_features)
        network.head.weight.uniform_(-bound, bound, generator=generator)
        if network.head.bias is not None:
            network.head.bias.zero_()
    return network


def as_torch_starts(layer: nn.Linear, seed: int) -> None:
    """Give a linear layer the values that ``torch.manual_seed(seed); torch.nn.Linear(...)`` has.

    Published protocols that state a seed start there, and a short training ends close to where it starts.
    """
    with_memory(layer, torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    bound = 1.0 / math.sqrt(layer.in_features)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)


def encoded_shape(study: Study, inputs: InputShape, statistics: Statistics) -> tuple[int, ...]:
    """Return the shape of one example after encoding."""
    if inputs.kind == "image":
        return inputs.shape
    return (len(feature_names(study, inputs, statistics)),)


def feature_names(study: Study, inputs: InputShape, statistics: Statistics) -> tuple[str, ...]:
    """Return the names of the encoded columns, in order."""
    return Encoder(study.cohort, inputs).feature_names(statistics.layout)


def initial_model(study: Study) -> ModelFactory:
    """Return the factory of a study's first global model.

    Args:
        study: The study.

    Returns:
        A function from inputs and statistics to the initial parameters, float32 ``(d,)``.
    """

    def make(inputs: InputShape, statistics: Statistics) -> Update:
        network = _network(study, inputs, statistics)
        if isinstance(study.model, Logistic) and study.model.init == "uniform":
            as_torch_starts(network.head, study.study.seed)
        else:
            initialised(network, study.study.seed, linear=is_linear(study.model))
        vector: Update = torch.cat([p.detach().reshape(-1) for p in network.parameters()]).numpy()
        return vector

    return make


def parameter_count(study: Study, inputs: InputShape, statistics: Statistics) -> int:
    """Return the number of trained parameters."""
    return sum(parameter.numel() for parameter in _network(study, inputs, statistics).parameters())


def describe_model(study: Study, inputs: InputShape, statistics: Statistics) -> str:  # noqa: PLR0911  (one a kind)
    """Describe a study's model in one line, for reports."""
    shape = encoded_shape(study, inputs, statistics)
    size = f"{shape[0]} features" if len(shape) == 1 else f"{shape[1]}x{shape[2]} pixels"
    match study.model:
        case Logistic():
            return f"logistic regression on {size}"
        case Mlp(hidden=hidden):
            return f"perceptron ({_dashes(hidden)}) on {size}"
        case Cox(hidden=()):
            return f"Cox proportional hazards, linear, on {size}"
        case Cox(hidden=hidden):
            return f"Cox proportional hazards, perceptron ({_dashes(hidden)}), on {size}"
        case Cnn(channels=channels):
            return f"convolutional network ({_dashes(channels)}, GroupNorm) on {size}"
        case Resnet(depth=depth, width=width):
            return f"ResNet-{depth} (width {width}, GroupNorm) on {size}"
        case Vgg16(width=width, group_norm=norm):
            return f"VGG-16 (width {width}{', GroupNorm' if norm else ''}) on {size}"
        case FrozenBackbone(backbone=backbone, hidden=hidden):
            head = f"perceptron ({_dashes(hidden)})" if hidden else "linear"
            return f"{head} head on {size} of a frozen {backbone}"
        case _:
            assert_never(study.model)


def model_tensors(study: Study, inputs: InputShape, statistics: Statistics, vector: Update) -> dict[str, np.ndarray]:
    """Cut a model into named tensors, float32, for ``model.safetensors``.

    Raises:
        UsageError: If the vector does not fit the study's model.
    """
    return named_parameters(_network(study, inputs, statistics), vector)


def model_card_description(study: Study, inputs: InputShape, statistics: Statistics) -> dict[str, str]:
    """Describe a model so that it can be rebuilt: one line, its parameters' names and shapes, and its inputs.

    Returns:
        Text by key, as the metadata of a safetensors file wants it.
    """
    network = _network(study, inputs, statistics)
    shapes = [f"{name} {_dashes(tuple(parameter.shape), 'x')}" for name, parameter in network.named_parameters()]
    description = {
        "format": "sealround-model/1",
        "model": describe_model(study, inputs, statistics),
        "output": "log hazard ratio" if study.task == "survival" else "logit of the risk",
        "parameters": "\n".join(shapes),
        "inputs": f"{inputs.kind} {_dashes(encoded_shape(study, inputs, statistics), 'x')}",
    }
    if inputs.kind != "image":
        description["features"] = "\n".join(feature_names(study, inputs, statistics))
    return description


def _network(study: Study, inputs: InputShape, statistics: Statistics) -> Network:
    return build_model(study.model, encoded_shape(study, inputs, statistics))


def _perceptron(width: int, hidden: Sequence[int], dropout: float) -> tuple[nn.Module, int]:
    layers: list[nn.Module] = []
    for out in hidden:
        layers += [nn.Linear(width, out), nn.ReLU(), Dropout(dropout)]
        width = out
    return nn.Sequential(*layers), width


def _image(model: Model, shape: tuple[int, ...]) -> tuple[int, int, int]:
    match shape:
        case (channels, height, width):
            return channels, height, width
        case _:
            msg = f'model kind "{model.kind}" takes images, this cohort has features'
            raise UnsupportedError(msg, hint='use kind "logistic" or "mlp"')


def _features(model: Model, shape: tuple[int, ...]) -> int:
    match shape:
        case (width,):
            return width
        case _:
            msg = f'model kind "{model.kind}" takes features, this cohort has images'
            raise UnsupportedError(msg, hint='use kind "cnn", "resnet", "vgg16" or "frozen-backbone"')


def _dashes(numbers: Sequence[int], by: str = "-") -> str:
    return by.join(map(str, numbers))
