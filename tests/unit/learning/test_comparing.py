"""The model that a site trains for the gate is the one that it would have alone, and never leaves it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround.clinical import Places, load_cohorts
from sealround.engines.host import Host
from sealround.engines.simulation import job_of_site
from sealround.errors import UsageError
from sealround.fairness.cells import COMPARED, COMPARED_NEGATIVES, PATIENTS
from sealround.federation import Coordinator, Plan
from sealround.federation.interfaces import CompareOrder, Contender, TrainOrder
from sealround.learning import TorchWork, initial_model
from sealround.study import Study, study_digest
from sealround.vocabulary import RoundId

if TYPE_CHECKING:
    from pathlib import Path

    from sealround.clinical.cohort import SiteCohort
    from sealround.federation import TrainedModel

OFF = "public data in a test"


def study_of(**sections: Any) -> Study:
    tree: dict[str, Any] = {
        "study": {"name": "alone", "rounds": 4, "seed": 3},
        "cohort": {
            "source": {"kind": "builtin", "name": "breast-cancer"},
            "columns": {"mean texture": {"role": "feature", "kind": "numeric", "sensitive": True, "bands": [18.8]}},
            "sites": {"kind": "iid", "number": 4},
            "split": {"kind": "random", "validation": 0.3, "test": 0.2},
        },
        "model": {"kind": "mlp", "hidden": [4]},
        "training": {"optimizer": {"kind": "sgd", "learning_rate": 0.1}, "local_epochs": 2},
        "fairness": {"gate": {}},
        "protection": {
            "secure_aggregation": {"mode": "none", "reason": OFF},
            "robustness": {"rule": "mean", "reason": OFF},
            "privacy": {"unit": "none", "reason": OFF},
        },
    }
    for name, section in sections.items():
        tree[name] = section if name == "model" else {**tree.get(name, {}), **section}
    return Study.model_validate(tree, strict=False)


def cohort_of(study: Study, folder: Path) -> SiteCohort:
    return next(iter(load_cohorts(study, Places(folder, folder)).values()))


def alone(study: Study, cohort: SiteCohort) -> TrainedModel:
    """The comparison of one site alone: a federation of one, as the engine runs it."""
    site = cohort.site
    host = Host(study, study_digest(study), {site: cohort}, {})
    machine = Coordinator(Plan(study, job_of_site(site), (site,), (site,)), initial_model(study))
    queue = list(machine.begin())
    while queue:
        send = queue.pop(0)
        reply, _ = host.handle(machine.plan.job, send.to, send.payload)
        queue.extend(machine.receive(send.to, reply))
    return machine.released


def compare(study: Study, cohort: SiteCohort, candidate: Contender, *references: Contender, own: bool) -> np.ndarray:
    assert candidate.statistics is not None
    order = CompareOrder("federated", candidate, references, own=own, statistics=candidate.statistics)
    return TorchWork(study, cohort, min_cell_count=1).compare(order).reshape(-1, 3, COMPARED)


@pytest.mark.parametrize(
    "sections",
    [
        pytest.param({}, id="perceptron"),
        pytest.param({"model": {"kind": "logistic"}}, id="logistic"),
        pytest.param({"training": {"server": {"kind": "fedadam", "learning_rate": 0.05}}}, id="server optimiser"),
        pytest.param({"training": {"ema": 0.5}}, id="running mean"),
        pytest.param({"training": {"algorithm": {"kind": "scaffold"}}}, id="scaffold"),
        pytest.param({"training": {"schedule": "cosine"}}, id="schedule"),
        pytest.param({"evaluation": {"recalibration": "platt"}}, id="recalibrated"),
        pytest.param({"standardisation": {"kind": "local"}}, id="local scales"),
    ],
)
def test_a_sites_own_model_is_the_one_of_the_comparison_alone(tmp_path: Path, sections: dict[str, Any]) -> None:
    study = study_of(**sections)
    cohort = cohort_of(study, tmp_path)
    released = alone(study, cohort)
    candidate = Contender(released.vector, released.threshold, *released.calibration, released.statistics)
    (counts,) = compare(study, cohort, candidate, own=True)
    assert counts[0, PATIENTS] > 0
    assert counts[:, [3, 4, 7, 8]].sum() == 0.0, "the two models disagree about a patient"
    np.testing.assert_allclose(counts[:, 10:12], counts[:, 12:14], atol=2.0**-9)


def test_the_own_model_comes_first_then_the_references_in_order(tmp_path: Path) -> None:
    study = study_of()
    cohort = cohort_of(study, tmp_path)
    released = alone(study, cohort)
    candidate = Contender(released.vector, 0.5, statistics=released.statistics)
    everybody_sick = dataclasses.replace(candidate, threshold=0.0)
    own, same, other = compare(study, cohort, candidate, candidate, everybody_sick, own=True)
    assert own.tolist() == same.tolist()
    healthy = other[0, COMPARED_NEGATIVES]
    assert healthy[[0, 1]].sum() == 0, "who calls everybody sick is wrong about all of the healthy"
    assert healthy.sum() > 0


def test_a_study_without_a_gate_compares_nothing(tmp_path: Path) -> None:
    study = study_of(fairness={"gate": None})
    cohort = cohort_of(study, tmp_path)
    released = alone(study, cohort)
    candidate = Contender(released.vector, 0.5, statistics=released.statistics)
    with pytest.raises(UsageError, match="the study has no gate"):
        compare(study, cohort, candidate, own=True)


def test_what_is_remembered_of_rounds_is_not_remembered_of_rounds_trained_anew(tmp_path: Path) -> None:
    study = study_of(training={"algorithm": {"kind": "scaffold"}})
    cohort = cohort_of(study, tmp_path)
    released = alone(study, cohort)
    work, zeros = TorchWork(study, cohort), np.zeros_like(released.vector)

    def train(round_: int, memory: Any) -> Any:
        first = (round_ - 1) % study.study.rounds == 0
        model = initial_model(study)(work.inputs, released.statistics) if first else released.vector
        order = TrainOrder("federated", RoundId(round_), model, released.statistics, None, zeros, memory)
        return work.train(order)

    first = train(4, {"control": np.ones_like(zeros)})
    again = train(5, first.memory)
    fresh = train(5, {})
    assert again.update.tobytes() == fresh.update.tobytes()
    assert train(6, again.memory).update.tobytes() != train(6, {}).update.tobytes()
