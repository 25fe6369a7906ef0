"""What weighing patients by group and outcome does to those served worst, and what it costs the others.

    python benchmarks/group_training.py [--splits 10] [--rounds N] [STUDY]

Trains the study plain, reweighted and minimax on several random splits, and tests each released model on the test
patients of all sites: AUROC of everybody; of the groups (levels of sensitive columns, combined) with enough sick and
healthy test patients, the largest share of sick missed, the largest share of healthy called sick, and the largest mean
cross-entropy of a group with an outcome. Mean over the splits, and how often minimax or reweighted beats plain.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sealround.clinical import Places, load_cohorts
from sealround.clinical.cohort import SplitName
from sealround.clinical.groups import combinations_of
from sealround.federation import Coordinator, Plan, Site
from sealround.federation.interfaces import EvaluateOrder
from sealround.learning import TorchWork, initial_model
from sealround.learning.device import prepare
from sealround.study import Study, load_study, study_digest
from sealround.testing import Network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.clinical.cohort import SiteCohort
    from sealround.vocabulary import PartyId

EXAMPLE = Path(__file__).parent.parent / "examples/heart-disease.toml"
TRAININGS = ("plain", "reweighted", "minimax")
LEAST = 8
"""Fewest test patients of a group with an outcome that a share is made of."""
COLUMNS = ("AUROC", "missed", "called sick", "loss", "missed, all", "called sick, all")


def variant(study: Study, training: str, seed: int, rounds: int) -> Study:
    tree = study.model_dump(mode="json", exclude_none=True)
    tree["study"] |= {"seed": seed, "rounds": rounds}
    tree["cohort"]["split"] = {"kind": "random", "validation": 0.0, "test": 0.35}
    tree["fairness"] = {"training": training}
    tree["evaluation"] |= {"compare": [], "bootstrap": 100}
    return Study.model_validate(tree, strict=False)


def tested(study: Study, cohorts: Mapping[PartyId, SiteCohort]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Train, and return logit, outcome and group of every test patient."""
    works = {site: TorchWork(study, cohort) for site, cohort in cohorts.items()}
    roster = tuple(sorted(cohorts))
    coordinator = Coordinator(Plan(study, "federated", roster, roster), initial_model(study))
    sites = {site: Site(site, study_digest(study), work, 5) for site, work in works.items()}
    Network(coordinator, sites).run()
    released = coordinator.released
    rows = []
    for site, cohort in cohorts.items():
        order = EvaluateOrder("federated", released.vector, released.statistics, 0.5, memory=sites[site]._memory)  # noqa: SLF001
        here = cohort.where(SplitName.TEST)
        group = combinations_of(study, cohort, here)
        rows.append((works[site].outputs(order).astype(float), cohort.outcome.event[here], group))
    logits, event, group = (np.concatenate(part) for part in zip(*rows, strict=True))
    return logits, event, group


def figures(logits: np.ndarray, event: np.ndarray, group: np.ndarray) -> list[float]:
    """Return the numbers of `COLUMNS`."""
    sick, called = event > 0, logits >= 0
    order = np.argsort(np.argsort(logits)) + 1.0
    n = sick.sum()
    auroc = (order[sick].sum() - n * (n + 1) / 2) / (n * (~sick).sum())
    loss = np.logaddexp(0.0, np.where(sick, -logits, logits))
    cells = [(group == number) & (sick == outcome) for number in np.unique(group[group >= 0]) for outcome in (0, 1)]
    cells = [cell for cell in cells if cell.sum() >= LEAST]
    missed = max((~called[cell]).mean() for cell in cells if sick[cell].all())
    wrong = max(called[cell].mean() for cell in cells if not sick[cell].any())
    worst = max(loss[cell].mean() for cell in cells)
    return [auroc, missed, wrong, worst, (~called[sick]).mean(), called[~sick].mean()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEALROUND_DATA", "../shared/data")))
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=None)
    options = parser.parse_args()
    prepare()
    base = load_study(options.study)
    rounds = options.rounds or base.study.rounds
    found: dict[str, list[list[float]]] = {training: [] for training in TRAININGS}
    for seed in range(1, options.splits + 1):
        cohorts = load_cohorts(variant(base, "plain", seed, rounds), Places.of_study(options.study, options.data))
        for training in TRAININGS:
            found[training].append(figures(*tested(variant(base, training, seed, rounds), cohorts)))
    print(f"{options.study.stem}, {options.splits} splits, {rounds} rounds; worst group, and everybody")
    print(f"{'':12}" + "".join(f"{name:>18}" for name in COLUMNS))
    plain = np.array(found["plain"])
    for training, rows in found.items():
        table = np.array(rows)
        print(f"{training:12}" + "".join(f"{value:18.3f}" for value in table.mean(axis=0)))
        if training != "plain":
            change = table - plain
            error = change.std(axis=0, ddof=1) / np.sqrt(len(rows))
            cells = [f"{mean:+.3f} ± {spread:.3f}" for mean, spread in zip(change.mean(axis=0), error, strict=True)]
            print(f"{'  change':12}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
