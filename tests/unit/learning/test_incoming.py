"""A site's look at what it is sent, on a real training."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from sealround.errors import ProtocolViolationError
from sealround.federation.interfaces import InputShape
from sealround.learning import TorchWork, initial_model
from sealround.learning.incoming import measured_use, reach_of
from sealround.monitoring import Reach
from sealround.testing import small_study
from sealround.vocabulary import COORDINATOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.clinical.cohort import SiteCohort

    Make = Callable[..., Any]

MLP: dict[str, Any] = {"kind": "mlp", "hidden": [32]}


def planted(model: np.ndarray, far: float = 1.0) -> np.ndarray:
    """Draw another model of the same size."""
    moved: np.ndarray = model + far * np.random.default_rng(5).normal(size=model.size)
    return moved.astype(np.float32)


def test_the_first_round_begins_with_the_studys_model(vectors: Make, ready: Make) -> None:
    site = ready(small_study(model=MLP), vectors())
    assert site.work.train(site.train_order(1)).update.any()
    with pytest.raises(ProtocolViolationError, match="other-start in head") as error:
        site.work.train(site.train_order(1, model=planted(site.model, 0.001)))
    assert error.value.party == COORDINATOR
    assert "do not train on it" in error.value.hint


def test_rounds_trained_anew_begin_with_it_too(vectors: Make, ready: Make) -> None:
    site = ready(small_study(model=MLP), vectors())
    site.work.train(site.train_order(4))
    with pytest.raises(ProtocolViolationError, match="other-start"):
        site.work.train(site.train_order(7, model=planted(site.model, 0.001)))


def test_a_model_that_moved_as_training_does_is_trained_on(vectors: Make, ready: Make) -> None:
    site = ready(small_study(model=MLP, study={"rounds": 6}), vectors())
    model = site.model
    for round_ in range(1, 7):
        model = model + site.work.train(site.train_order(round_, model=model)).update
    assert not np.array_equal(model, site.model)


def test_another_model_in_a_later_round_is_refused(vectors: Make, ready: Make) -> None:
    site = ready(small_study(model=MLP), vectors())
    update = site.work.train(site.train_order(1)).update
    with pytest.raises(ProtocolViolationError, match="far-change"):
        site.work.train(site.train_order(2, model=planted(site.model)))
    # Nothing has changed: the honest model is still trained on.
    site.work.train(site.train_order(2, model=site.model + update))


@pytest.mark.parametrize(
    "optimizer", [{"kind": "sgd", "learning_rate": 0.05}, {"kind": "adam", "learning_rate": 0.001}]
)
@pytest.mark.parametrize("job", ["federated", "alone-a", "anything"])
def test_who_was_not_there_before_compares_with_the_initial_model(
    vectors: Make, ready: Make, job: str, optimizer: dict[str, Any]
) -> None:
    """Else a coordinator would begin with a round that is not the first, in a training that it names anew."""
    site = ready(small_study(model=MLP, training={"optimizer": optimizer}), vectors())
    site.work.train(site.train_order(2, job=job, model=planted(site.model, 0.002)))
    fresh = ready(small_study(model=MLP, training={"optimizer": optimizer}), vectors())
    with pytest.raises(ProtocolViolationError, match="far-change"):
        fresh.work.train(fresh.train_order(2, job=job, model=planted(site.model)))


def test_what_was_written_to_afterwards_is_not_what_was_accepted(vectors: Make, ready: Make) -> None:
    site = ready(small_study(model=MLP), vectors())
    model = site.model.copy()
    update = site.work.train(site.train_order(1, model=model)).update
    model[:] = 100.0
    site.work.train(site.train_order(2, model=site.model + update))


def test_a_control_variate_begins_at_nothing_and_stays_near(vectors: Make, ready: Make) -> None:
    study = small_study(model=MLP, training={"algorithm": {"kind": "scaffold"}})
    site = ready(study, vectors())
    control = np.full_like(site.model, 0.01)
    with pytest.raises(ProtocolViolationError, match="far-control"):
        site.work.train(site.train_order(1, control=control))
    first = site.work.train(site.train_order(1, control=np.zeros_like(control)))
    model = site.model + first.update
    site.work.train(site.train_order(2, model=model, control=first.control, memory=first.memory))
    with pytest.raises(ProtocolViolationError, match="far-control"):
        site.work.train(site.train_order(3, model=model, control=control * 1e4, memory=first.memory))


def test_a_site_without_training_patients_has_nothing_to_refuse_for(vectors: Make, ready: Make) -> None:
    cohort: SiteCohort = vectors(rows=30)
    empty = dataclasses.replace(cohort, split=np.ones_like(cohort.split))
    study = small_study(model=MLP)
    site = ready(study, cohort)
    work = TorchWork(study, empty)
    outcome = work.train(site.train_order(1, model=planted(site.model)))
    assert not outcome.update.any()


def test_in_a_private_study_no_record_decides(vectors: Make, ready: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is seen by the coordinator, and would be an answer without noise."""
    site = ready(small_study(model=MLP), vectors())
    site.work._incoming._private = True
    monkeypatch.setattr("sealround.learning.incoming.measured_use", lambda *_, **__: pytest.fail("looked at records"))
    monkeypatch.setattr("sealround.learning.incoming._gradient", lambda *_: pytest.fail("looked at records"))
    site.work.train(site.train_order(2, model=planted(site.model, 0.3)))
    with pytest.raises(ProtocolViolationError, match="other-start"):
        site.work.train(site.train_order(1, model=planted(site.model)))
    broken = planted(site.model)
    broken[3] = np.nan
    with pytest.raises(ProtocolViolationError, match="not-finite"):
        site.work.train(site.train_order(3, model=broken))


# --- measurements -----------------------------------------------------------------------------------------------------


def loaded(site: Any, model: np.ndarray) -> Any:
    encoding = site.work._encodings.under(site.statistics)
    encoding.predictor.flat.load(model)
    return encoding


def test_neurons_that_fire_for_few_are_counted(vectors: Make, ready: Make) -> None:
    site = ready(small_study(model=MLP), vectors(rows=200))
    measured = measured_use(loaded(site, site.model), linear=False)
    assert measured["lone-rows"]["features.0"] == 0.0
    assert measured["silent-rows"]["features.0"] == 0.0
    assert 0.3 < measured["misfit"][""] < 3.0
    dead = site.model.copy()
    dead[32 * 5 : 32 * 6] = -100.0
    measured = measured_use(loaded(site, dead), linear=False)
    assert measured["silent-rows"]["features.0"] == 1.0
    inputs = site.work._encodings.under(site.statistics).parts
    x = next(iter(inputs.values())).inputs.matrix.numpy()
    lone = site.model.copy()
    along = x @ lone[: 32 * 5].reshape(32, 5).T
    lone[32 * 5 : 32 * 6] = -np.sort(along, axis=0)[-3]  # All but the two largest are below.
    measured = measured_use(loaded(site, lone), linear=False)
    assert measured["lone-rows"]["features.0"] == 1.0


def test_shares_of_few_records_are_not_measured(vectors: Make, ready: Make) -> None:
    site = ready(small_study(model=MLP), vectors(rows=40))
    assert set(measured_use(loaded(site, site.model), linear=False)) == {"one-record"}


def test_the_share_of_one_record_is_that_of_its_gradient(vectors: Make, ready: Make) -> None:
    site = ready(small_study(model=MLP), vectors(rows=20))
    encoding = loaded(site, site.model)
    module = encoding.predictor.flat.module
    x = next(iter(encoding.parts.values())).inputs.matrix
    squares = []
    for row in x:
        grads = torch.autograd.grad(module(row[None]).sum(), list(module.parameters()))
        squares.append(sum(float(g.square().sum()) for g in grads))
    measured = measured_use(encoding, linear=False)["one-record"][""]
    assert measured == pytest.approx(max(squares) / sum(squares), rel=1e-5)


def test_a_neuron_magnified_for_one_record_is_disparity(vectors: Make, ready: Make) -> None:
    site = ready(small_study(model=MLP), vectors(rows=120))
    model = site.model.copy()
    encoding = loaded(site, model)
    x = next(iter(encoding.parts.values())).inputs.matrix.numpy()
    row = model[:5]
    along = np.sort(x @ row)
    model[32 * 5] = -(along[-1] + along[-2]) / 2
    model[32 * 6] = 1e4  # The neuron's outgoing weight.
    with pytest.raises(ProtocolViolationError, match="one-record"):
        site.work.train(site.train_order(2, model=model))


def test_linear_models_and_times_are_measured_as_far_as_they_can_be(vectors: Make, ready: Make) -> None:
    site = ready(small_study(), vectors(rows=200))
    assert set(measured_use(loaded(site, site.model), linear=True)) == {"misfit", "lone-rows", "silent-rows"}
    survival = ready(small_study(model={"kind": "cox", "hidden": [8]}), vectors(rows=200, survival=True))
    measured = measured_use(loaded(survival, survival.model), linear=False)
    assert set(measured) == {"one-record", "lone-rows", "silent-rows"}


def test_images_are_tried_on_a_few(images: Make, ready: Make) -> None:
    site = ready(small_study(model={"kind": "cnn", "channels": [4]}), images())
    measured = measured_use(loaded(site, site.model), linear=False)
    assert 1 / 16 <= measured["one-record"][""] < 0.5


def test_reach_is_the_servers() -> None:
    def of(server: dict[str, Any]) -> Reach:
        return reach_of(small_study(training={"server": server}))

    assert of({"kind": "fedavg"}) == Reach()
    assert of({"kind": "fedavg", "learning_rate": 0.5, "momentum": 0.9}).gain == pytest.approx(5.0)
    assert of({"kind": "fedadam", "learning_rate": 0.03}) == Reach(gain=0.0, step=0.03)
    assert of({"kind": "fedyogi", "learning_rate": 0.01}) == Reach(gain=0.0, step=0.01)


def test_the_initial_model_is_the_same_for_coordinator_and_site(vectors: Make, ready: Make) -> None:
    study = small_study(model=MLP)
    site = ready(study, vectors())
    again = initial_model(study)(InputShape("vector", (5,)), site.statistics)
    assert again.tobytes() == site.model.tobytes()
