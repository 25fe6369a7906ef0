"""What the gate does when hospitals call everybody of one group healthy, and when nobody does.

    python benchmarks/subgroup_gate.py [--seeds 20] [--liars 3] [--reference model|alone]

Breast cancer (569 patients) at twelve hospitals; the group is a band of `mean texture`. Liars relabel the group's
training and validation patients; results are of all hospitals' test patients with their true labels. In the skewed
setting one honest hospital serves mainly that group. The reference `model` was released by the same hospitals before
anybody lied. For each setting, means over the seeds:

- accuracy, and in the group the share of the sick who are missed and of the healthy who are alarmed, of four models:
  nobody lies; plain mean without a gate; aggregated again without those traced, from the updates that were sent; and
  what a gate with `on_failure = "exclude"` releases, which trains again;
- how often the gate stops the model, in honest runs and in harmed ones, and whom it traces harm to.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer

from sealround.audit.poisoning import relabel_group
from sealround.clinical import Places, load_cohorts
from sealround.clinical.cohort import SplitName
from sealround.engines.host import Host
from sealround.federation import Coordinator, EvaluateOrder, Plan
from sealround.federation.interfaces import Contender
from sealround.federation.plan import FEDERATED
from sealround.federation.randomness import stream
from sealround.federation.replay import replay
from sealround.learning import TorchWork, initial_model
from sealround.study import Study, study_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.clinical.cohort import SiteCohort
    from sealround.federation import TrainedModel
    from sealround.vocabulary import PartyId

HOSPITALS, ROUNDS, TEXTURE = 12, 20, 18.8
OPEN = "a benchmark on public data"


def table(path: Path, seed: int, *, skewed: bool) -> None:
    """Write the patients with a hospital each; skewed, the last one swaps most of its others for the group's."""
    data = load_breast_cancer()
    draw = stream(seed, "hospitals")
    texture = data.data[:, list(data.feature_names).index("mean texture")]
    hospital = draw.permutation(np.arange(texture.size) % HOSPITALS)
    if skewed:
        mine = np.flatnonzero((hospital == HOSPITALS - 1) & (texture < TEXTURE))
        theirs = draw.permutation(np.flatnonzero((hospital != HOSPITALS - 1) & (texture >= TEXTURE)))
        for gives, takes in zip(mine[: int(0.9 * mine.size)], theirs, strict=False):
            hospital[gives], hospital[takes] = hospital[takes], HOSPITALS - 1
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["hospital", *data.feature_names, "malignant"])
        for place, row, benign in zip(hospital, data.data, data.target, strict=True):
            writer.writerow([f"hospital-{place + 1:02d}", *row, 1 - benign])


def study_of(seed: int, path: Path, gate: dict[str, Any] | None) -> Study:
    names = load_breast_cancer().feature_names
    columns: dict[str, Any] = {name: {"role": "feature", "kind": "numeric"} for name in names}
    columns["mean texture"] |= {"sensitive": True, "bands": [TEXTURE]}
    columns |= {"hospital": {"role": "site"}, "malignant": {"role": "label", "positive": [1]}}
    return Study.model_validate(
        {
            "study": {"name": "gate", "rounds": ROUNDS, "seed": seed},
            "cohort": {
                "source": {"kind": "csv", "path": str(path)},
                "columns": columns,
                "sites": {"kind": "column"},
                "split": {"kind": "random", "validation": 0.4, "test": 0.2},
            },
            "model": {"kind": "logistic"},
            "training": {"optimizer": {"kind": "sgd", "learning_rate": 0.5}, "local_epochs": 2, "batch_size": 8},
            "standardisation": {"min_cell_count": 1},
            "evaluation": {"bootstrap": 100},
            "fairness": {"gate": gate},
            "protection": {
                "secure_aggregation": {"mode": "none", "reason": OPEN},
                "robustness": {"rule": "mean", "reason": OPEN},
                "privacy": {"unit": "none", "reason": OPEN},
            },
        },
        strict=False,
    )


def in_group(cohort: SiteCohort) -> np.ndarray:
    return np.asarray(cohort.table["mean texture"].cast(float).to_numpy() >= TEXTURE)


def relabelled(cohort: SiteCohort, seed: int) -> SiteCohort:
    event, seen = cohort.outcome.event, cohort.split != SplitName.TEST
    lies = relabel_group(event, in_group(cohort) & seen, stream(seed, "lies", cohort.site))
    return dataclasses.replace(cohort, outcome=dataclasses.replace(cohort.outcome, event=lies))


def train(
    study: Study,
    cohorts: Mapping[PartyId, SiteCohort],
    reference: Contender | None = None,
    observe: Callable[[Coordinator], None] = lambda _: None,
) -> Coordinator:
    roster = tuple(sorted(cohorts))
    host = Host(study, study_digest(study), cohorts, {})
    coordinator = Coordinator(Plan(study, FEDERATED, roster, roster, reference), initial_model(study))
    queue = list(coordinator.begin())
    while queue:
        send = queue.pop(0)
        reply, _ = host.handle(FEDERATED, send.to, send.payload)
        queue.extend(coordinator.receive(send.to, reply))
        observe(coordinator)
    return coordinator


def score(study: Study, truth: Mapping[PartyId, SiteCohort], model: TrainedModel) -> tuple[float, float, float]:
    """Accuracy of everybody; missed and false alarms in the group: of all test patients with their true labels."""
    right, missed, alarmed = [], [], []
    for cohort in truth.values():
        order = EvaluateOrder(
            "scored", model.vector, model.statistics, threshold=model.threshold, calibration=model.calibration
        )
        rows = cohort.where(SplitName.TEST)
        positive = TorchWork(study, cohort).risks(order) >= model.threshold
        sick, group = cohort.outcome.event[rows] > 0, in_group(cohort)[rows]
        right += (positive == sick).tolist()
        missed += (~positive)[sick & group].tolist()
        alarmed += positive[~sick & group].tolist()
    return float(np.mean(right)), float(np.mean(missed)), float(np.mean(alarmed))


@dataclass
class Tried:
    """One seed: four models' scores, whether the gate stopped the honest and the harmed one, and whom it traced."""

    scores: dict[str, tuple[float, float, float]]
    false_alarm: bool
    stopped: bool
    released: bool
    traced: frozenset[PartyId]


def tried(seed: int, folder: Path, options: argparse.Namespace, *, skewed: bool) -> Tried:
    path = folder / "patients.csv"
    table(path, seed, skewed=skewed)
    places = Places(folder, folder)
    gate = {"reference": {"kind": "alone"}, "on_failure": "exclude"}
    study, earlier = study_of(seed, path, gate), study_of(seed + 10_000, path, None)
    truth = load_cohorts(study, places)
    liars = sorted(truth)[: options.liars]
    lies = {**truth, **{site: relabelled(truth[site], seed) for site in liars}}
    reference = None
    if options.reference == "model":
        old = train(earlier, truth).released
        reference = Contender(old.vector, old.threshold, *old.calibration, old.statistics)
    honest = train(study, truth, reference)
    first: dict[str, TrainedModel] = {}

    def observe(coordinator: Coordinator) -> None:
        gate = coordinator.gate
        if gate is not None and gate.candidate is not None:
            first.setdefault("harmed", gate.candidate)

    harmed = train(study, lies, reference, observe)
    if honest.gate is None or harmed.gate is None:
        raise RuntimeError("the study has a gate, and it was not asked")
    traced = frozenset(harmed.gate.looks[0].traced)
    training = harmed._training  # noqa: SLF001  (what a study never releases)
    again = dataclasses.replace(training, learned=dataclasses.replace(training.learned, began=0))
    candidate = first["harmed"]
    replayed = dataclasses.replace(candidate, vector=replay(again, candidate.round, traced))
    models = {
        "nobody lies": honest.trained,
        "no gate": candidate,
        "aggregated again": replayed,
        "gate, trained again": harmed.trained,
    }
    return Tried(
        scores={name: score(study, truth, model) for name, model in models.items()},
        false_alarm=len(honest.gate.looks) > 1 or honest.gate.outcome != "released",
        stopped=len(harmed.gate.looks) > 1 or harmed.gate.outcome != "released",
        released=harmed.gate.outcome == "released",
        traced=frozenset(harmed.gate.without or traced),
    )


def report(found: list[Tried], liars: frozenset[str]) -> None:
    print(f"  {'':22s} accuracy   group: missed   false alarms")
    for name in found[0].scores:
        mean = np.mean([entry.scores[name] for entry in found], axis=0)
        print(f"  {name:22s} {mean[0]:8.3f} {mean[1]:15.3f} {mean[2]:14.3f}")
    stopped = [entry for entry in found if entry.stopped]
    named = sum(len(entry.traced) for entry in stopped)
    right = sum(len(entry.traced & liars) for entry in stopped)
    print(f"  honest runs that the gate stopped: {sum(entry.false_alarm for entry in found)} of {len(found)}")
    print(f"  harmed runs that the gate stopped: {len(stopped)} of {len(found)}")
    print(f"  of these, released after training again: {sum(entry.released for entry in stopped)}")
    if stopped and liars:
        precision = right / named if named else float("nan")
        print(f"  traced: precision {precision:.2f}, recall {right / (len(stopped) * len(liars)):.2f}")
        mended = [entry.scores["gate, trained again"][1] - entry.scores["no gate"][1] for entry in stopped]
        print(f"  missed in the group after the gate, in the runs that it stopped: {np.mean(mended):+.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--liars", type=int, default=3)
    parser.add_argument("--reference", choices=("model", "alone"), default="model")
    options = parser.parse_args()
    torch.set_num_threads(1)
    liars = frozenset(f"hospital-{number + 1:02d}" for number in range(options.liars))
    for skewed in (False, True):
        print(
            f"{'one hospital serves mainly the group' if skewed else 'alike hospitals'}, reference {options.reference}"
        )
        with tempfile.TemporaryDirectory() as folder:
            found = [tried(seed, Path(folder), options, skewed=skewed) for seed in range(options.seeds)]
        report(found, liars)


if __name__ == "__main__":
    main()
