"""What a rule costs when nobody lies, and what it saves when one hospital does, in a whole study.

    python benchmarks/rules_in_studies.py [--data FOLDER] [--liar NAME] [--times -10] [STUDY]
    python benchmarks/rules_in_studies.py --weights [--seeds 5] [STUDY]

For each rule: the primary metric, mean over the honest sites, and AUROC of their test patients together; first with
everybody honest, then with one site that sends its update times a number in every round.

With ``--weights``: the rules that average with weights, weighted by examples (capped) and not, while everybody's update
is honest and the smallest site claims 10 and 1000 times its examples; and both ways with the liar of above. Means over
seeds.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sealround.clinical import Places, load_cohorts
from sealround.engines.host import Host
from sealround.engines.in_process import Job
from sealround.federation import Plan
from sealround.federation.plan import FEDERATED
from sealround.learning import TorchWork, initial_model, summarise
from sealround.learning.device import prepare
from sealround.storage import Journal
from sealround.study import Study, load_study, study_digest
from sealround.study.robust_rules import rule_unfit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.clinical.cohort import SiteCohort
    from sealround.federation import TrainOrder, TrainOutcome
    from sealround.vocabulary import PartyId

EXAMPLE = Path(__file__).parent.parent / "examples/heart-disease.toml"
MEAN = {"rule": "mean", "reason": "to compare with"}
RULES: tuple[dict[str, Any], ...] = (
    MEAN,
    {"rule": "adaptive", "num_byzantine": 1},
    *({"rule": name, "num_byzantine": 1} for name in ("median", "trimmed-mean", "meamed", "geometric-median", "dnc")),
    {"rule": "geometric-median", "num_byzantine": 1, "mixing": True},
    {"rule": "flame", "num_byzantine": 1},
    {"rule": "norm-clipping", "num_byzantine": 0},
    {"rule": "centered-clipping", "num_byzantine": 1, "clip_norm": 0.1},
    {"rule": "multi-krum", "num_byzantine": 1},
    {"rule": "bulyan", "num_byzantine": 1},
    {"rule": "foolsgold", "num_byzantine": 0},
)
WEIGHTED = ("mean", "norm-clipping", "geometric-median", "dnc")
"""Those of four sites that average with weights; the others count every site alike."""


class Lying(TorchWork):
    """Trains as it should, and sends something else."""

    times = 1.0
    claims = 1.0

    def train(self, order: TrainOrder) -> TrainOutcome:
        outcome = super().train(order)
        update = (self.times * outcome.update).astype("float32")
        return dataclasses.replace(outcome, update=update, weight=self.claims * outcome.weight)


class Claiming(Lying):
    """Lies about how many examples it has, and about nothing else."""


def run(
    study: Study, cohorts: Mapping[PartyId, SiteCohort], liar: PartyId | None, kind: type[Lying] = Lying
) -> tuple[float, float]:
    roster = tuple(sorted(cohorts))
    host = Host(study, study_digest(study), cohorts, {})
    if liar is not None:
        host._works[liar] = kind(study, cohorts[liar])  # noqa: SLF001  (a site that lies is nobody's feature)
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Plan(study, FEDERATED, roster, roster), initial_model(study), Journal(Path(folder)))
        queue = list(job.coordinator.begin())
        while queue:
            send = queue.pop(0)
            reply, _ = host.handle(FEDERATED, send.to, send.payload)
            queue.extend(job.coordinator.receive(send.to, reply))
    # Who lies about its examples alone has patients like anybody.
    out = liar if kind is Lying else None
    evaluations = {site: found for site, found in job.coordinator.evaluations.items() if site != out}
    found: Any = summarise(evaluations, 0.95)
    return found["mean"][study.primary_metric]["value"], found["all"]["auroc"]["value"]


def change(study: Study, *, robustness: dict[str, Any], weighting: str = "examples", seed: int | None = None) -> Study:
    tree = study.model_dump(mode="json", exclude_none=True)
    tree["evaluation"]["compare"] = []
    tree["protection"]["robustness"] = robustness
    tree["training"]["weighting"] = weighting
    tree["study"]["seed"] = study.study.seed if seed is None else seed
    return Study.model_validate(tree, strict=False)


def weigh_both_ways(
    study: Study, cohorts: Mapping[PartyId, SiteCohort], liar: PartyId, options: argparse.Namespace
) -> None:
    greedy = min(cohorts, key=lambda site: cohorts[site].rows)
    seeds = range(study.study.seed, study.study.seed + options.seeds)
    uncapped = {"max_share": 1.0}
    columns: tuple[tuple[str, str, dict[str, Any], PartyId | None, type[Lying], float], ...] = (
        ("by examples", "examples", {}, None, Lying, 1.0),
        ("all alike", "uniform", {}, None, Lying, 1.0),
        ("claims x10", "examples", {}, greedy, Claiming, 10.0),
        ("claims x1000", "examples", {}, greedy, Claiming, 1000.0),
        ("x1000, no cap", "examples", uncapped, greedy, Claiming, 1000.0),
        ("lies, by ex.", "examples", {}, liar, Lying, options.times),
        ("lies, alike", "uniform", {}, liar, Lying, options.times),
    )
    print(f"{study.primary_metric}, mean over sites, and AUROC of all test patients; means over {options.seeds} seeds")
    print(f"{greedy} claims more examples than it has; {liar} lies: sends {options.times:g} times its update")
    print(f"{'rule':30}" + "".join(f"{title:>16}" for title, *_ in columns))
    for rule in RULES:
        if rule["rule"] not in WEIGHTED or rule.get("mixing"):
            continue
        cells = []
        for _, weighting, more, who, kind, times in columns:
            kind.times, kind.claims = (times, 1.0) if kind is Lying else (1.0, times)
            robust = rule if rule is MEAN else rule | more
            found = [
                run(change(study, robustness=robust, weighting=weighting, seed=seed), cohorts, who, kind)
                for seed in seeds
            ]
            cells.append("{:.3f} {:.3f}".format(*map(statistics.fmean, zip(*found, strict=True))))
        print(f"{rule['rule']:30}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "study", nargs="?", type=Path, default=Path(__file__).parent.parent / "examples/heart-disease.toml"
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEALROUND_DATA", "../shared/data")))
    parser.add_argument("--liar", help="the site that lies; else the largest")
    parser.add_argument("--times", type=float, default=-10.0)
    parser.add_argument("--weights", action="store_true", help="weighted by examples and not, with a false claim")
    parser.add_argument("--seeds", type=int, default=5, help="of --weights")
    options = parser.parse_args()
    prepare()
    study = load_study(options.study)
    cohorts = load_cohorts(study, Places.of_study(options.study, options.data))
    liar = options.liar or max(cohorts, key=lambda site: cohorts[site].rows)
    if options.weights:
        weigh_both_ways(study, cohorts, liar, options)
        return
    Lying.times = options.times
    print(f"{options.study.stem}: {study.primary_metric}, mean over sites, and AUROC of all their test patients")
    print(f"{'rule':30} {'nobody lies':>16}   {liar} sends {options.times:g} times its update")
    trusted = [{"rule": "fltrust", "num_byzantine": 0, "root": site} for site in sorted(cohorts) if site != liar]
    for rule in (*RULES, *trusted):
        changed = change(study, robustness=rule)
        name = rule["rule"] + (" after mixing" if rule.get("mixing") else "")
        name += f", root {rule['root']}" if "root" in rule else ""
        if why := rule_unfit(changed.protection.robustness, len(cohorts)):
            print(f"{name:30} {why.split(';')[0]}")
            continue
        cells = ["{:.3f} {:.3f}".format(*run(changed, cohorts, who)) for who in (None, liar)]
        print(f"{name:30} {cells[0]:>16}   {cells[1]}", flush=True)


if __name__ == "__main__":
    main()
