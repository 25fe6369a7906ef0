"""Whole batches from one gradient, what is proven of them, and what is not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

from sealround.audit.inversion import spear
from sealround.audit.inversion.exact import exact_attacks
from sealround.audit.inversion.objectives import Binary, Categorical, Cox
from sealround.audit.inversion.observation import Domain, LocalPlan, Observation, Reconstruction, Victims


def attacked(seen: Observation, starts: int = 2000) -> Reconstruction:
    assert spear.why_not(seen) is None
    return spear.attack(seen, torch.Generator().manual_seed(1), starts=starts)


def errors(found: Reconstruction, victims: Victims) -> torch.Tensor:
    """How far the nearest rebuilt record is from each real one, as a share of its length."""
    if not len(found.inputs):
        return torch.full((len(victims.inputs),), torch.inf)
    apart = torch.cdist(victims.inputs.flatten(1), found.inputs.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    return apart.amin(1) / victims.inputs.flatten(1).norm(dim=1)


def labels_fit(found: Reconstruction, victims: Victims) -> bool:
    nearest = torch.cdist(victims.inputs.flatten(1), found.inputs.flatten(1)).argmin(1)
    assert found.labels is not None
    return bool((found.labels[nearest] == victims.labels).all())


@pytest.mark.parametrize("hidden", [(120, 40), (24,)])
@pytest.mark.parametrize("batch", [1, 2, 5, 8])
def test_double_precision_is_exact(play: Any, make_round: Any, hidden: tuple[int, ...], batch: int) -> None:
    seen, victims = play(make_round(hidden=hidden, batch=batch, seed=batch))
    found = attacked(seen)
    assert errors(found, victims).max() < 1e-10
    assert labels_fit(found, victims)
    assert found.certified.all()
    assert len(found.certified) == batch
    assert found.mismatch < 1e-10


@pytest.mark.parametrize("hidden", [(120, 40), (24,)])
def test_single_precision_training_is_enough(play: Any, make_round: Any, hidden: tuple[int, ...]) -> None:
    seen, victims = play(make_round(hidden=hidden, batch=8, single_precision=True, seed=3))
    found = attacked(seen)
    assert errors(found, victims).max() < 1e-4
    assert labels_fit(found, victims)
    assert found.certified.all()


def test_certificates_are_never_wrong(play: Any, make_round: Any) -> None:
    """Forty rounds, half of them beyond reach (too narrow, or blurred): whatever is proven is right."""
    proven = wrong = 0
    for seed in range(40):
        narrow = seed % 4 == 0
        seen, victims = play(make_round(hidden=(14, 8) if narrow else (80, 30), batch=6, seed=seed))
        if seed % 4 == 1:
            blur = 10.0 ** -(seed % 5 + 3) * seen.update.abs().max()
            noise = torch.randn(seen.update.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
            seen = dataclasses.replace(seen, update=seen.update + blur * noise)
        found = attacked(seen, starts=128)
        for record in found.inputs[found.certified]:
            proven += 1
            wrong += bool((record - victims.inputs).norm(dim=1).min() > 1e-2 * record.norm())
    assert wrong == 0
    assert proven >= 60


def test_noise_is_not_certified(play: Any, make_round: Any) -> None:
    seen, _ = play(make_round(batch=4))
    noise = torch.randn(seen.update.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    blur = 0.05 * float(seen.update.std())
    blurred = dataclasses.replace(seen, update=seen.update + blur * noise, blur=blur)
    assert not attacked(blurred, starts=256).certified.any()


def test_another_rounds_update_is_not_certified(play: Any, make_round: Any) -> None:
    """The model is not the one the update was made from: inputs come out of the span, and the replay disagrees."""
    seen, _ = play(make_round(batch=3, seed=1))
    other, _ = play(make_round(batch=3, seed=2))
    mixed = dataclasses.replace(seen, update=other.update)
    assert not attacked(mixed, starts=128).certified.any()


def test_order_of_the_batch_does_not_matter(play: Any, make_round: Any) -> None:
    seen, victims = play(make_round(batch=5, seed=4))
    order = torch.tensor([3, 1, 4, 0, 2])
    again, _ = play(make_round(batch=5, seed=4), victims.inputs[order], victims.labels[order])
    first, second = attacked(seen), attacked(again)
    assert first.certified.all()
    apart = torch.cdist(first.inputs, second.inputs, compute_mode="donot_use_mm_for_euclid_dist")
    assert apart.amin(1).max() < 1e-9


def test_the_same_seed_gives_the_same_result(play: Any, make_round: Any) -> None:
    seen, _ = play(make_round(batch=6, seed=5))
    assert torch.equal(attacked(seen).inputs, attacked(seen).inputs)


def test_copies_are_counted(play: Any, make_round: Any) -> None:
    seen, victims = play(make_round(batch=4, seed=6))
    inputs, labels = victims.inputs.clone(), victims.labels.clone()
    inputs[3], labels[3] = inputs[0], labels[0]
    seen, _ = play(make_round(batch=4, seed=6), inputs, labels)
    found = attacked(seen)
    assert len(found.inputs) == 4
    assert found.certified.all()
    assert int((found.inputs - inputs[0]).norm(dim=1).lt(1e-9).sum()) == 2


def test_an_example_that_turns_no_neuron_on_is_missed_and_said_to_be(
    play: Any, make_round: Any, make_module: Any
) -> None:
    module = make_module(0, 12, (30, 20))
    with torch.no_grad():
        module.features[0].weight[:, 0] = 0.3  # a very negative first feature turns everything off
    seen, victims = play(make_round(batch=3, module=module, hidden=(30, 20)))
    inputs = victims.inputs.clone()
    inputs[:, 0] = torch.tensor([0.0, 0.0, -1000.0])
    seen, _ = play(make_round(batch=3, module=module, hidden=(30, 20)), inputs, victims.labels)
    found = attacked(seen)
    assert len(found.inputs) == 2
    assert found.certified.all()
    assert found.mismatch != found.mismatch
    assert found.note.startswith("1 examples turn no neuron on")


def test_weights_smoothing_and_offset(play: Any, make_round: Any) -> None:
    objective = Binary(weights=(0.7, 1.9), smoothing=0.1, offset=0.4)
    seen, victims = play(make_round(batch=5, objective=objective, seed=7))
    found = attacked(seen)
    assert found.certified.all()
    assert labels_fit(found, victims)


def test_several_classes(play: Any, make_round: Any, make_module: Any) -> None:
    module = make_module(3, 12, (80, 30), outputs=4)
    labels = nn.functional.one_hot(torch.tensor([0, 3, 1, 1, 2]), 4).double()
    seen, victims = play(make_round(batch=5, module=module, objective=Categorical()), None, labels)
    found = attacked(seen)
    assert errors(found, victims).max() < 1e-9
    nearest = torch.cdist(victims.inputs, found.inputs).argmin(1)
    assert found.labels is not None
    assert torch.equal(found.labels[nearest], labels)
    assert found.certified.all()


def test_survival(play: Any, make_round: Any) -> None:
    event, rank = torch.tensor([0.0, 0, 1, 1, 0, 1]), torch.tensor([0.0, 1, 2, 2, 3, 4])
    labels = torch.stack([event, rank], 1).double()
    seen, victims = play(make_round(batch=6, objective=Cox(), seed=8), None, labels)
    found = attacked(seen)
    assert errors(found, victims).max() < 1e-8
    assert found.labels is not None
    nearest = torch.cdist(victims.inputs, found.inputs).argmin(1)
    assert torch.equal(found.labels[nearest, 0], labels[:, 0])
    assert found.certified.all()


def test_several_steps_of_training(play: Any, make_round: Any) -> None:
    seen, victims = play(make_round(hidden=(120, 40), batch=2, steps=4, learning_rate=0.01, seed=9))
    found = attacked(seen)
    assert errors(found, victims).max() < 1e-6
    assert int(found.certified.sum()) >= 4


def test_dropout_makes_columns_sparser_and_hides_nothing(play: Any, make_round: Any, make_module: Any) -> None:
    module = make_module(5, 12, (160, 40))
    module.features.insert(2, nn.Dropout(0.3))
    torch.manual_seed(0)
    seen, victims = play(make_round(module=module.train(), batch=4, seed=5))
    found = attacked(seen)
    assert errors(found, victims).max() < 1e-9
    assert found.certified.all()


def test_why_not(play: Any, make_round: Any) -> None:
    seen, _ = play(make_round(hidden=()))
    assert spear.why_not(seen) == "no ReLU follows the first layer: it is the only one"
    seen, _ = play(make_round(bias=False))
    assert "no bias" in str(spear.why_not(seen))
    adam = dataclasses.replace(seen, plan=LocalPlan(0.1, 4, adaptive=True))
    assert "Adam" in str(spear.why_not(adam))
    convolution = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 1), nn.Flatten(0)).double()
    start = nn.utils.parameters_to_vector(convolution.parameters()).detach()
    domain = Domain(torch.zeros(()), torch.ones(()))
    seen = Observation(convolution, Binary(), start, start, LocalPlan(0.1, 1), 1, (1, 4, 4), domain)
    assert spear.why_not(seen) == "the first layer is Conv2d, not linear"


def test_more_examples_than_the_rank_can_hold(play: Any, make_round: Any) -> None:
    seen, _ = play(make_round(hidden=(64, 32), width=6, batch=10))
    found = attacked(seen, starts=64)
    assert not found.certified.any()


def test_images_after_a_flatten(play: Any, make_round: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        module = nn.Sequential(nn.Flatten(), nn.Linear(48, 90), nn.ReLU(), nn.Linear(90, 1), nn.Flatten(0)).double()
    seen, victims = play(make_round(module=module, batch=6, shape=(3, 4, 4)))
    found = attacked(seen)
    assert found.inputs.shape == (6, 3, 4, 4)
    assert errors(found, victims).max() < 1e-9


def test_the_cheapest_attack_that_proves_everything_wins(play: Any, make_round: Any) -> None:
    one, _ = play(make_round(batch=1))
    best, reasons = exact_attacks(one, torch.Generator().manual_seed(0))
    assert best is not None
    assert best.attack == "closed form"
    assert reasons == {}
    four, victims = play(make_round(batch=8, seed=2))
    best, reasons = exact_attacks(four, torch.Generator().manual_seed(0))
    assert best is not None
    assert best.attack == "SPEAR"
    assert errors(best, victims).max() < 1e-9
