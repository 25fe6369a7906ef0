"""What a threshold for each group of patients does to who is missed and who is alarmed for nothing.

    python benchmarks/group_thresholds.py [--splits 40] [--column age] [--rounds N] [STUDY]

Trains the study on random splits (30 % of the patients to choose thresholds, 30 % to test) and permits the column's
groups a threshold of their own (`fairness.group_thresholds`). One model, decided twice: at everybody's threshold and at
the groups'. By group, over the test patients of all splits: the share of sick missed and of healthy called sick.
Behind a change stands its standard error over the splits.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sealround.clinical import Places, load_cohorts
from sealround.clinical.cohort import SplitName
from sealround.clinical.groups import groups_of, memberships
from sealround.federation import Coordinator, Plan, Site
from sealround.federation.group_thresholds import levels_with_threshold
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


def variant(study: Study, column: str, seed: int, rounds: int) -> Study:
    tree = study.model_dump(mode="json", exclude_none=True)
    tree["study"] |= {"seed": seed, "rounds": rounds}
    tree["cohort"]["split"] = {"kind": "random", "validation": 0.3, "test": 0.3}
    tree["fairness"] = {"group_thresholds": column}
    tree["evaluation"] |= {"compare": [], "bootstrap": 100}
    return Study.model_validate(tree, strict=False)


def counted(study: Study, cohorts: Mapping[PartyId, SiteCohort]) -> np.ndarray:
    """Train once; return patients and wrong ones, ``(outcome, common or own, group, 2)``; last, everybody."""
    roster = tuple(sorted(cohorts))
    works = {site: TorchWork(study, cohort) for site, cohort in cohorts.items()}
    coordinator = Coordinator(Plan(study, "federated", roster, roster), initial_model(study))
    sites = {site: Site(site, study_digest(study), work, 5) for site, work in works.items()}
    Network(coordinator, sites).run()
    released, groups = coordinator.released, groups_of(study)
    levels = levels_with_threshold(study, groups)
    found = np.zeros((2, 2, len(levels) + 1, 2))
    for site, cohort in cohorts.items():
        order = EvaluateOrder("federated", released.vector, released.statistics, 0.5, memory=sites[site]._memory)  # noqa: SLF001
        rows = cohort.where(SplitName.TEST)
        slope, intercept = released.calibration
        risk = 1.0 / (1.0 + np.exp(-(slope * works[site].outputs(order).astype(float) + intercept)))
        sick = cohort.outcome.event[rows] > 0
        member = memberships(study, cohort, rows)[:, [groups.index(level) for level in levels]]
        own = np.full(len(rows), released.threshold)
        for number, threshold in enumerate(released.group_thresholds):
            own[member[:, number]] = threshold
        member = np.column_stack([member, np.ones(len(rows), dtype=bool)])
        for way, threshold in enumerate((released.threshold, own)):
            wrong = (risk >= threshold) != sick
            for outcome in (0, 1):
                chosen = member[sick == bool(outcome)]
                found[outcome, way, :, 0] += chosen.sum(axis=0)
                found[outcome, way, :, 1] += chosen[wrong[sick == bool(outcome)]].sum(axis=0)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEALROUND_DATA", "../shared/data")))
    parser.add_argument("--column", default="age")
    parser.add_argument("--splits", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=None)
    options = parser.parse_args()
    prepare()
    base = load_study(options.study)
    rounds = options.rounds or base.study.rounds
    tables = []
    for seed in range(1, options.splits + 1):
        study = variant(base, options.column, seed, rounds)
        tables.append(counted(study, load_cohorts(study, Places.of_study(options.study, options.data))))
    table = np.stack(tables)
    total = table.sum(axis=0)
    names = [*(group.name for group in levels_with_threshold(study, groups_of(study))), "everybody"]
    print(f"{options.study.stem}, {options.splits} splits, {rounds} rounds; one threshold, one for each group, change")
    for outcome, what in ((1, "sick who are missed"), (0, "healthy who are called sick")):
        print(what)
        share = total[outcome, :, :, 1] / total[outcome, :, :, 0]
        # Standard error of a ratio of sums, by the splits (delta method).
        moved = table[:, outcome, 1, :, 1] - table[:, outcome, 0, :, 1]
        residual = moved - (share[1] - share[0]) * table[:, outcome, 0, :, 0]
        error = residual.std(axis=0, ddof=1) * np.sqrt(len(table)) / total[outcome, 0, :, 0]
        for number, name in enumerate(names):
            before, after = share[:, number]
            print(f"  {name:24}{before:8.3f}{after:8.3f}{after - before:+8.3f} ± {error[number]:.3f}")
        print(f"  {'between groups':24}{np.ptp(share[0, :-1]):8.3f}{np.ptp(share[1, :-1]):8.3f}")


if __name__ == "__main__":
    main()
