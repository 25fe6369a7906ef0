"""A peer of `private_gradients.py`: Opacus 1.6's sums of clipped gradients, in an environment that has it.

Reads one request (``{"model", "mode", "chunk", "batch", "clip", "threads"}``), makes model and data from the same
numbers as the other side, and answers with the memory of a first sum and some of its coordinates; then with seconds,
one sum for each line that comes. Modes: ``hooks``, which is what its privacy engine does unless told otherwise;
``fast`` and ``ghost``, its two ways of clipping with a second backward pass.

Networks are written down again, layer by layer, as sealround's are; in-place activations, which Opacus's hooks do not
take, are not in place.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

PROBES = 64


class MeanPool(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


class Residual(nn.Module):
    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*convolution(channels, out, 3, stride), nn.ReLU(), *convolution(out, out, 3, 1))
        same = stride == 1 and channels == out
        self.shortcut = nn.Identity() if same else nn.Sequential(*convolution(channels, out, 1, stride))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def convolution(channels: int, out: int, size: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, size, stride=stride, padding=size // 2, bias=False), nn.GroupNorm(8, out)]


def cnn(*channels: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before, out in zip((1, *channels), channels, strict=False):
        layers += [nn.MaxPool2d(2)] if layers else []
        layers += [*convolution(before, out, 3, 1), nn.ReLU()]
    return nn.Sequential(*layers, MeanPool(), nn.Linear(channels[-1], 1))


def resnet(width: int) -> nn.Module:
    layers: list[nn.Module] = [*convolution(1, width, 3, 1), nn.ReLU(), Residual(width, width, 1)]
    layers += [Residual(width * 2**stage, width * 2 ** (stage + 1), 2) for stage in range(3)]
    return nn.Sequential(*layers, MeanPool(), nn.Linear(width * 8, 1))


def perceptron(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for before, out in pairwise(widths):
        layers += [nn.Linear(before, out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "logistic": (lambda: nn.Sequential(nn.Linear(100, 1)), (100,)),
    "mlp": (lambda: perceptron(64, 256, 256), (64,)),
    "cnn": (lambda: cnn(16, 32, 64), (1, 28, 28)),
    "resnet": (lambda: resnet(32), (1, 28, 28)),
}


def fill(module: nn.Module) -> None:
    """The same values on both sides: normal matrices, norms 1, biases 0."""
    draw = np.random.default_rng(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                values = draw.standard_normal(tuple(parameter.shape)) * (2.0 / parameter[0].numel()) ** 0.5
                parameter.copy_(torch.tensor(values, dtype=torch.float32))
            else:
                parameter.fill_(float(name.endswith("weight")))


def data(batch: int, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    draw = np.random.default_rng(1)
    inputs = torch.tensor(draw.standard_normal((batch, *shape)), dtype=torch.float32)
    return inputs, torch.tensor(draw.random(batch) < 0.4, dtype=torch.float32)


def memory(key: str) -> int:
    """Bytes: VmRSS now, or VmHWM since `forget_peak`."""
    found = (line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if key in line)
    return 1024 * int(next(found).split()[1])


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def sums(request: dict[str, Any], module: nn.Module) -> Callable[[torch.Tensor, torch.Tensor], list[torch.Tensor]]:
    """Return the sum of clipped gradients as a function of inputs and targets."""
    common = {"noise_multiplier": 0.0, "max_grad_norm": request["clip"], "expected_batch_size": request["batch"]}
    sgd = torch.optim.SGD(module.parameters(), lr=0.0)
    if request["mode"] == "hooks":
        watched: Any = GradSampleModule(module, loss_reduction="sum")
        optimizer: Any = DPOptimizer(sgd, loss_reduction="sum", **common)
        criterion: Any = nn.BCEWithLogitsLoss(reduction="sum")
    else:
        watched = GradSampleModuleFastGradientClipping(
            module,
            max_grad_norm=request["clip"],
            use_ghost_clipping=request["mode"] == "ghost",
            loss_reduction="sum",
        )
        optimizer = DPOptimizerFastGradientClipping(sgd, loss_reduction="sum", **common)
        criterion = DPLossFastGradientClipping(
            watched, optimizer, nn.BCEWithLogitsLoss(reduction="sum"), loss_reduction="sum"
        )

    def run(inputs: torch.Tensor, event: torch.Tensor) -> list[torch.Tensor]:
        totals: list[torch.Tensor] | None = None
        for x, y in zip(inputs.split(request["chunk"]), event.split(request["chunk"]), strict=True):
            criterion(watched(x).squeeze(1), y).backward()
            if request["mode"] == "hooks":
                optimizer.clip_and_accumulate()
            else:
                optimizer.accumulate()
            found = [parameter.summed_grad for parameter in optimizer.params]
            totals = found if totals is None else [a.add_(b) for a, b in zip(totals, found, strict=True)]
            optimizer.zero_grad(set_to_none=True)
        assert totals is not None  # noqa: S101  (there are examples)
        return totals

    return run


def main() -> None:
    warnings.filterwarnings("ignore")
    print(json.dumps({"opacus": version("opacus"), "torch": version("torch")}), flush=True)
    request = json.loads(sys.stdin.readline())
    torch.set_num_threads(request["threads"])
    make, shape = MODELS[request["model"]]
    module = make().train()
    fill(module)
    inputs, event = data(request["batch"], shape)
    run = sums(request, module)
    run(inputs[:2], event[:2])
    forget_peak()
    before = memory("VmRSS")
    total = torch.cat([part.reshape(-1) for part in run(inputs, event)])
    peak = memory("VmHWM") - before
    probes = total[torch.linspace(0, len(total) - 1, PROBES).long()]
    print(json.dumps({"memory": peak, "probes": probes.tolist(), "norm": float(total.norm())}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run(inputs, event)
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


if __name__ == "__main__":
    main()
