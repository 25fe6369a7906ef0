"""Made-up patients, and the update of a site that trained on them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from sealround.audit.inversion.objectives import Binary, Objective
from sealround.audit.inversion.observation import Domain, LocalPlan, Observation, Victims


@dataclass(frozen=True)
class Round:
    """How a made-up site trains."""

    hidden: tuple[int, ...] = (64, 32)
    width: int = 12
    batch: int = 4
    seed: int = 0
    steps: int = 1
    single_precision: bool = False
    objective: Objective = Binary()  # noqa: RUF009  (frozen)
    learning_rate: float = 0.1
    module: nn.Module | None = None
    shape: tuple[int, ...] | None = None
    bias: bool = True


class _Perceptron(nn.Module):
    def __init__(self, width: int, hidden: tuple[int, ...], outputs: int, bias: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for out in hidden:
            layers += [nn.Linear(width, out, bias=bias), nn.ReLU()]
            width = out
        self.features = nn.Sequential(*layers) if layers else nn.Identity()
        self.head = nn.Linear(width, outputs, bias=bias)
        self.one = outputs == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.head(self.features(x))
        return output.squeeze(1) if self.one else output


def perceptron(seed: int, width: int, hidden: tuple[int, ...], *, outputs: int = 1, bias: bool = True) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _Perceptron(width, hidden, outputs, bias).double()


def played(
    round_: Round, inputs: torch.Tensor | None = None, labels: torch.Tensor | None = None
) -> tuple[Observation, Victims]:
    """Train as the round says; inputs and labels are made up where not given."""
    generator = torch.Generator().manual_seed(1000 + round_.seed)
    shape = round_.shape or (round_.width,)
    number = round_.batch * round_.steps
    if inputs is None:
        inputs = torch.randn((number, *shape), dtype=torch.float64, generator=generator)
    if labels is None:
        labels = torch.randint(2, (number,), generator=generator).double()
    module = round_.module or perceptron(round_.seed, round_.width, round_.hidden, bias=round_.bias)
    start = nn.utils.parameters_to_vector(module.parameters()).detach().float().double()
    nn.utils.vector_to_parameters(start, module.parameters())
    kind = torch.float32 if round_.single_precision else torch.float64
    local = copy.deepcopy(module).to(kind)
    for step in range(round_.steps):
        rows = slice(step * round_.batch, (step + 1) * round_.batch)
        loss = round_.objective(local(inputs[rows].to(kind)), labels[rows].to(kind))
        slopes = torch.autograd.grad(loss, list(local.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(local.parameters(), slopes, strict=True):
                parameter.sub_(slope, alpha=round_.learning_rate)
    end = nn.utils.parameters_to_vector(local.parameters()).detach()
    domain = Domain(torch.full(shape, -10.0, dtype=torch.float64), torch.full(shape, 10.0, dtype=torch.float64))
    plan = LocalPlan(round_.learning_rate, round_.batch, round_.steps)
    update = (end - start.to(kind)).double()
    seen = Observation(module, round_.objective, start, update, plan, len(inputs), shape, domain)
    return seen, Victims(inputs, labels)


Play = Callable[..., tuple[Observation, Victims]]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def make_round() -> type[Round]:
    return Round


@pytest.fixture
def make_module() -> Callable[..., nn.Module]:
    return perceptron


@pytest.fixture
def play() -> Play:
    return played
