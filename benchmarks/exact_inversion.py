"""How many patients' records one update shows exactly, and how long it takes to read them off.

    OMP_NUM_THREADS=1 SEALROUND_DATA=... python benchmarks/exact_inversion.py [--quick] [--seeds N]

Breast-cancer records (30 features) and, where the clinical data folder is, heart-disease records (13 numbers with
missing ones filled by their mean, categories one-hot), standardised. One step of SGD at 0.1 from a fresh model in
float64, and in float32 as sites train: the difference of two float32 models is attacked. Then several steps.

A record counts as recovered if its error is below a thousandth of its length. Proven: what the attack itself certifies;
wrong: proven, and not a record. One thread; the time is the median over seeds.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer
from torch import nn

from sealround.audit.inversion import spear
from sealround.audit.inversion.objectives import Binary
from sealround.audit.inversion.observation import Domain, LocalPlan, Observation

BATCHES = (1, 2, 4, 8, 12, 16, 20, 24)
HIDDEN = ((300, 300), (100, 100), (32, 32), (32,))
STEPS = ((4, 2, 0.01), (4, 4, 0.01), (8, 1, 0.1), (2, 8, 0.1))  # steps, batch, learning rate
NEAR = 1e-3
CATEGORIES = (2, 6, 10, 11, 12)


def standardised(columns: np.ndarray) -> torch.Tensor:
    table = torch.from_numpy(columns.astype(np.float64))
    deviation = table.std(0)
    return ((table - table.mean(0)) / deviation)[:, deviation > 0]


def cohorts() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    data = load_breast_cancer()
    found = {"breast cancer": (standardised(data.data), torch.from_numpy(1.0 - data.target))}
    folder = os.environ.get("SEALROUND_DATA")
    if folder:
        path = Path(folder) / "heart_disease_uci" / "processed.cleveland.data"
        raw = np.genfromtxt(path, delimiter=",", missing_values="?", filling_values=np.nan)
        features, outcome = raw[:, :13], raw[:, 13] > 0
        features = np.where(np.isnan(features), np.nanmean(features, axis=0), features)
        columns = []
        for index in range(13):
            column = features[:, index]
            if index in CATEGORIES:
                levels, of = np.unique(column.round(), return_inverse=True)
                columns.append(np.eye(len(levels))[of])
            else:
                columns.append(column[:, None])
        found["heart disease"] = (
            standardised(np.concatenate(columns, 1)),
            torch.from_numpy(outcome.astype(np.float64)),
        )
    return found


class Perceptron(nn.Module):
    def __init__(self, width: int, hidden: tuple[int, ...], seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        layers: list[nn.Module] = []
        for out in hidden:
            layers += [nn.Linear(width, out), nn.ReLU()]
            nn.init.normal_(layers[-2].weight, 0.0, (2.0 / width) ** 0.5, generator=generator)
            nn.init.zeros_(layers[-2].bias)
            width = out
        self.features, self.head = nn.Sequential(*layers), nn.Linear(width, 1)
        nn.init.uniform_(self.head.weight, -(width**-0.5), width**-0.5, generator=generator)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x)).squeeze(1)


def observed(
    cohort: tuple[torch.Tensor, torch.Tensor],
    hidden: tuple[int, ...],
    seed: int,
    kind: torch.dtype,
    plan: LocalPlan,
) -> tuple[Observation, torch.Tensor]:
    inputs, labels = cohort
    generator = torch.Generator().manual_seed(seed + 100)
    rows = torch.randperm(len(inputs), generator=generator)[: plan.batch_size * plan.steps]
    module = Perceptron(inputs.shape[1], hidden, seed)  # made in float32, as studies make it
    local = copy.deepcopy(module).to(kind)
    before = nn.utils.parameters_to_vector(local.parameters()).detach().clone()
    for batch in torch.split(rows, plan.batch_size):
        loss = Binary()(local(inputs[batch].to(kind)), labels[batch].to(kind))
        slopes = torch.autograd.grad(loss, list(local.parameters()))
        with torch.no_grad():
            for parameter, slope in zip(local.parameters(), slopes, strict=True):
                parameter.sub_(slope, alpha=plan.learning_rate)
    update = (nn.utils.parameters_to_vector(local.parameters()).detach() - before).double()
    ends = torch.full((2, inputs.shape[1]), 20.0, dtype=torch.float64) * torch.tensor([[-1.0], [1.0]])
    domain = Domain(ends[0], ends[1])
    seen = Observation(
        module.double(), Binary(), before.double(), update, plan, len(rows), tuple(inputs.shape[1:]), domain
    )
    return seen, inputs[rows]


def measured(
    cohort: tuple[torch.Tensor, torch.Tensor], hidden: tuple[int, ...], kind: torch.dtype, plan: LocalPlan, seeds: int
) -> str:
    recovered = proven = wrong = total = 0
    whole, worst, seconds = 0, [], []
    for seed in range(seeds):
        seen, records = observed(cohort, hidden, seed, kind, plan)
        start = time.perf_counter()
        found = spear.attack(seen, torch.Generator().manual_seed(0))
        seconds.append(time.perf_counter() - start)
        total += len(records)
        if not len(found.inputs):
            continue
        apart = torch.cdist(records, found.inputs, compute_mode="donot_use_mm_for_euclid_dist")
        error = apart.amin(1) / records.norm(dim=1)
        right = int((error < NEAR).sum())
        recovered, whole = recovered + right, whole + (right == len(records))
        if right == len(records):
            worst.append(float(error.max()))
        proven += int(found.certified.sum())
        wrong += int(((apart.amin(0) / found.inputs.norm(dim=1))[found.certified] > NEAR).sum())
    most = f"{max(worst):8.1e}" if worst else "       -"
    return (
        f"{whole:3d} of {seeds} batches  {recovered:4d} of {total:4d} records  error {most}  proven {proven:4d}"
        f"  wrong {wrong}  {statistics.median(seconds):7.3f} s (most {max(seconds):.3f})"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="breast cancer, batches 8 and 16, two widths")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, one thread, {options.seeds} seeds")
    found = cohorts()
    observed_once = observed(found["breast cancer"], (32,), 0, torch.float64, LocalPlan(0.1, 2))[0]
    spear.attack(observed_once, torch.Generator().manual_seed(0))  # what torch loads on its first use is not counted
    for name, cohort in found.items():
        if options.quick and name != "breast cancer":
            continue
        print(f"\n{name}, {cohort[0].shape[1]} columns: one step")
        for hidden in HIDDEN[::3] if options.quick else HIDDEN:
            for kind in (torch.float64, torch.float32):
                for batch in (8, 16) if options.quick else BATCHES:
                    if batch > cohort[0].shape[1] + 1:
                        continue
                    row = measured(cohort, hidden, kind, LocalPlan(0.1, batch), options.seeds)
                    print(f"  {hidden!s:11s} {str(kind)[6:]:8s} batch {batch:2d}  {row}", flush=True)
        print(f"\n{name}: several steps, (300, 300)")
        for steps, batch, rate in STEPS:
            for kind in (torch.float64, torch.float32):
                row = measured(cohort, (300, 300), kind, LocalPlan(rate, batch, steps), options.seeds)
                print(f"  {steps} steps of {batch} at {rate:4}  {str(kind)[6:]:8s} {row}", flush=True)


if __name__ == "__main__":
    main()
