"""What a round of local steps gives away of table rows: steps, examples a step, labels known or not.

    python benchmarks/local_steps_inversion.py [--seeds 3] [--budget 20] [--hidden 32] [--out FOLDER]

Two tables, on the data sets that come with sealround; updates as float32 training leaves them.

1. Breast-cancer records (30 numbers), perceptron, SGD at 0.1: all steps on one batch ("same"), or each on another batch
   of one pass ("pass"). Cells recovered (within a twentieth of a standard deviation), PSNR over each column's range,
   records that the attack itself certifies, seconds (which depend on what else the machine does).
2. Heart-disease records (mixed types, Cleveland), one step: TabLeak as published, with Levenberg-Marquardt, and with a
   start from the first layer; beside what is guessed without any update.

Every figure is a mean over seeds, each another batch and another model; PSNR is the worst-off patient's median.
With ``--out``, the figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from sealround.audit.inversion import local_steps, tabular
from sealround.audit.inversion.baselines import Auxiliary, table_baselines
from sealround.audit.inversion.objectives import Binary
from sealround.audit.inversion.observation import Domain, LocalPlan, Observation, Victims
from sealround.audit.inversion.scoring import judge
from sealround.audit.inversion.unrolled import batches_of
from sealround.clinical import Places, load_cohorts
from sealround.clinical.encoding import Encoder
from sealround.learning.device import prepare
from sealround.learning.models import build_model, initialised
from sealround.study import load_study
from sealround.study.sections import Mlp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.audit.inversion.observation import Reconstruction

EXAMPLES = Path(__file__).parent.parent / "examples"
RATE = 0.1
STEPS, SIZES = (1, 2, 5, 10), (1, 2, 4, 8)


@dataclass(frozen=True)
class Cohort:
    """All encoded records of one site."""

    inputs: torch.Tensor
    labels: torch.Tensor
    domain: Domain


def cohort_of(study_file: str, site: str | None = None) -> Cohort:
    """Encode a study's site, standardised by its own statistics, and say what the encoding makes of each column."""
    study = load_study(EXAMPLES / study_file)
    cohorts = load_cohorts(study, Places(EXAMPLES, EXAMPLES))
    chosen = [cohort for party, cohort in sorted(cohorts.items()) if site is None or site in str(party)]
    encoder = Encoder(study.cohort, chosen[0].inputs)
    found = encoder.local_statistics(chosen[0], encoder.layout)
    encoded = [encoder.encode(cohort, found) for cohort in chosen]
    inputs = torch.tensor(np.concatenate([one.inputs for one in encoded])).double()
    labels = torch.tensor(np.concatenate([cohort.outcome.event for cohort in chosen])).double()
    names, numeric = encoded[0].feature_names, len(encoder.layout.numeric)
    groups, implicit = [], []
    for column, name in enumerate(names[numeric:], numeric):
        if name.endswith("is missing"):
            groups.append((column,))
            implicit.append(True)
    for name, levels in encoder.layout.categories:
        columns = tuple(column for column, each in enumerate(names) if each.startswith(f"{name}="))
        groups.append(columns)
        implicit.append(len(columns) < len(levels))
    mean, scale = torch.zeros(len(names)).double(), torch.ones(len(names)).double()
    mean[:numeric], scale[:numeric] = torch.tensor(found.mean), torch.tensor(found.scale)
    written = inputs[:, :numeric] * scale[:numeric] + mean[:numeric]
    whole = (written - written.round()).abs().amax(0) < 1e-3
    integer = tuple(torch.nonzero(whole).flatten().tolist())
    bounds = inputs.amin(0), inputs.amax(0)
    return Cohort(inputs, labels, Domain(*bounds, tuple(groups), tuple(implicit), integer, mean, scale))


def observed(
    cohort: Cohort, records: int, plan: LocalPlan, hidden: Sequence[int], seed: int
) -> tuple[Observation, Victims, Auxiliary]:
    """Draw a batch, and train on it in float32 as a site would."""
    rows = torch.randperm(len(cohort.inputs), generator=torch.Generator().manual_seed(seed))
    victims = Victims(cohort.inputs[rows[:records]], cohort.labels[rows[:records]])
    others = Auxiliary(cohort.inputs[rows[records:]], cohort.labels[rows[records:]])
    width = cohort.inputs.shape[1]
    network = initialised(build_model(Mlp(kind="mlp", hidden=tuple(hidden)), (width,)), seed, linear=False)
    start = torch.cat([parameter.detach().reshape(-1).clone() for parameter in network.parameters()])
    optimizer = torch.optim.SGD(network.parameters(), plan.learning_rate)
    for step in batches_of(plan, records):
        optimizer.zero_grad()
        Binary()(network(victims.inputs[step].float()), victims.labels[step].float()).backward()
        optimizer.step()
    end = torch.cat([parameter.detach().reshape(-1).clone() for parameter in network.parameters()])
    update = (end - start).double()
    seen = Observation(
        network.double(), Binary(), start.double(), update, plan, records, (width,), cohort.domain, victims.labels
    )
    return seen, victims, others


def measured(found: Reconstruction, victims: Victims, domain: Domain) -> dict[str, float]:
    judged = judge(found, victims, domain, "table")
    figures = {name: float(np.nanmean(values)) for name, values in judged.figures.items()}
    figures["psnr_db"] = float(np.nanmin(judged.figures["psnr_db"]))
    return figures | {"certified": float(judged.certified.mean()), "seconds": found.seconds}


def steps_table(options: argparse.Namespace) -> list[dict[str, Any]]:
    cohort, found = cohort_of("breast-cancer-private.toml"), []
    print(f"breast cancer, hidden {options.hidden}, {options.seeds} seeds, at most {options.budget:g} s each")
    print("steps  a step  records  order  labels      cells   psnr dB  labels right  certified  seconds")
    for same in (True, False):
        for steps in STEPS[1:] if not same else STEPS:
            for size in SIZES:
                records = size if same else size * steps
                if records > options.largest:
                    continue
                for known in (True, False):
                    plan = LocalPlan(RATE, size, steps)
                    runs = [
                        one_run(cohort, records, plan, options, seed=seed, known=known) for seed in range(options.seeds)
                    ]
                    mean = {name: statistics.fmean(run[name] for run in runs) for name in runs[0]}
                    mean["psnr_db"] = statistics.median(run["psnr_db"] for run in runs)
                    word, label = "same" if same else "pass", "known" if known else "recovered"
                    print(
                        f"{steps:5d}  {size:6d}  {records:7d}  {word}   {label:10s}{mean['exact_cells']:7.1%}"
                        f"{mean['psnr_db']:10.1f}{mean['labels_right']:14.0%}{mean['certified']:11.0%}"
                        f"{mean['seconds']:9.2f}",
                        flush=True,
                    )
                    found.append({"steps": steps, "a step": size, "same": same, "labels": label} | mean)
    return found


def one_run(
    cohort: Cohort, records: int, plan: LocalPlan, options: argparse.Namespace, *, seed: int, known: bool
) -> dict[str, float]:
    seen, victims, _ = observed(cohort, records, plan, options.hidden, seed)
    seen = replace(seen, labels=victims.labels if known else None)
    draw, deadline = torch.Generator().manual_seed(seed), time.perf_counter() + options.budget
    found = local_steps.attack(seen, draw, local_steps.LocalSteps(), time.perf_counter, deadline)
    return measured(found, victims, cohort.domain)


def tables(options: argparse.Namespace) -> list[dict[str, Any]]:
    cohort, found = cohort_of("heart-disease.toml", "Cleveland"), []
    print(f"\nheart disease, Cleveland, one step, hidden {options.hidden}, {options.seeds} seeds, labels known")
    print("records  who                                            cells   psnr dB   confidence's AUC  seconds")
    for records in (1, 2, 4, 8, 16):
        runs: dict[str, list[dict[str, float]]] = {}
        for seed in range(options.seeds):
            seen, victims, others = observed(cohort, records, LocalPlan(RATE, records), options.hidden, seed)
            for name, figures in of_one_table(seen, victims, seed, options):
                runs.setdefault(name, []).append(figures)
            for baseline in table_baselines(victims, others, cohort.domain, np.random.default_rng(seed)):
                guesses = [tabular.Reconstruction(baseline.name, guess, baseline.labels) for guess in baseline.guesses]
                each = [measured(guess, victims, cohort.domain) for guess in guesses if baseline.blind]
                for figures in each:
                    runs.setdefault(f"no update: {baseline.name}", []).append(figures)
        for name, each in runs.items():
            mean = {key: statistics.fmean(run[key] for run in each) for key in ("exact_cells", "seconds")}
            mean["psnr_db"] = statistics.median(run["psnr_db"] for run in each)
            areas = [run["auc"] for run in each if math.isfinite(run.get("auc", math.nan))]
            area = statistics.fmean(areas) if areas else math.nan
            print(
                f"{records:7d}  {name:44s}{mean['exact_cells']:8.1%}{mean['psnr_db']:10.1f}{area:18.2f}"
                f"{mean['seconds']:9.2f}",
                flush=True,
            )
            found.append({"records": records, "who": name, "auc": area if areas else None} | mean)
    return found


def of_one_table(
    seen: Observation, victims: Victims, seed: int, options: argparse.Namespace
) -> list[tuple[str, dict[str, float]]]:
    def draw() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    clock, found = time.perf_counter, []
    first = local_steps.attack(seen, draw(), local_steps.LocalSteps(), clock, clock() + options.budget / 2)
    found.append(("first layer and Levenberg-Marquardt", measured(first, victims, seen.domain)))
    ways = {
        "TabLeak as published": tabular.TabLeak(refined=0),
        "TabLeak and Levenberg-Marquardt": tabular.TabLeak(),
        "TabLeak started from the first layer": tabular.TabLeak(ensemble=8, start=first.inputs),
    }
    for name, settings in ways.items():
        table = tabular.attack(seen, draw(), settings, clock, clock() + options.budget)
        figures = measured(table.reconstruction, victims, seen.domain)
        judged = judge(table.reconstruction, victims, seen.domain, "table")
        figures["auc"] = area(table.confidence.numpy()[judged.rebuilt], np.asarray(judged.hits))
        found.append((name, figures))
    return found


def area(confidence: np.ndarray, hits: np.ndarray) -> float:
    """Return how often a right cell has more confidence than a wrong one."""
    right, wrong = confidence[hits], confidence[~hits]
    if not right.size or not wrong.size:
        return math.nan
    above = (right[:, None] > wrong[None]).mean() + 0.5 * (right[:, None] == wrong[None]).mean()
    return float(above)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=float, default=20.0, help="seconds for one attack")
    parser.add_argument("--hidden", type=int, nargs="+", default=[32])
    parser.add_argument("--largest", type=int, default=20, help="most records behind an update")
    parser.add_argument("--only", choices=("steps", "tables"))
    parser.add_argument("--out", type=Path, help="folder for figures as JSON")
    options = parser.parse_args()
    prepare()
    torch.set_num_threads(1)
    found = {}
    if options.only != "tables":
        found["steps"] = steps_table(options)
    if options.only != "steps":
        found["tables"] = tables(options)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        name = "local_steps_inversion_" + "_".join(map(str, options.hidden)) + ".json"
        (options.out / name).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
