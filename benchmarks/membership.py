"""Who was in the training? LiRA, RMIA and the loss threshold by number of reference models; and from one update.

    python benchmarks/membership.py [--data FOLDER] [--models 1 2 4 16] [--targets 10] [--seed 42]

Records are chest X-rays of children (Kermany 2018), one a patient, as 1280 features of a public network; without the
data folder, patients of the built-in heart-disease data with all products of two measurements. The model is a linear
head, trained by full-batch gradient descent with momentum for so many steps. Half of the patients are in each training,
drawn anew; every target is attacked with reference models trained on other random halves.

Scores of all targets are pooled, so that low false-positive rates can be seen. The same patients are in all targets;
intervals take them for independent.

The second table asks who is in one gradient of a batch, at the initial model and at one that strangers trained, with
other patients' gradients for reference.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sealround.audit.membership import (
    MembershipAttack,
    MembershipResult,
    ShownGradient,
    Signals,
    fitted_offline_a,
    gradient_cosine,
    gradient_difference,
    judge,
    log_odds,
    membership_scores,
    update_likelihood_ratio,
)
from sealround.audit.membership.rmia import OFFLINE_A

ATTACKS: tuple[MembershipAttack, ...] = ("loss", "calibrated", "lira-offline", "lira", "rmia-offline", "rmia")
STEPS = (30, 1000)


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Patients asked about come first, `pool` of them; strangers follow."""

    name: str
    x: np.ndarray
    y: np.ndarray
    pool: int


def xrays(folder: Path, draw: np.random.Generator) -> Records:
    labels = np.genfromtxt(folder / "labels.csv", delimiter=",", dtype=str, skip_header=1)
    training = np.flatnonzero(labels[:, 1] == "train")
    _, first = np.unique(labels[training, 4], return_index=True)
    rows = draw.permutation(training[first])
    with np.load(folder / "cxr_effnetlite0_features.npz") as stored:
        x = stored["features"].astype(np.float64)
    rows = rows[:2000]
    return Records("chest X-rays, features of a public network", x[rows], labels[rows, 2] == "PNEUMONIA", 1000)


def heart_disease(draw: np.random.Generator) -> Records:
    from sealround.clinical import Places, load_cohorts
    from sealround.study import load_study

    path = Path(__file__).parent.parent / "examples" / "heart-disease.toml"
    cohorts = load_cohorts(load_study(path), Places.of_study(path, None)).values()
    columns = ["age", "sex", "cp", "trestbps", "thalach", "exang", "oldpeak", "fbs"]
    table = np.concatenate([c.table.select(columns).cast(float).to_numpy() for c in cohorts])
    z = np.nan_to_num((table - np.nanmean(table, 0)) / np.nanstd(table, 0))
    products = (z[:, :, None] * z[:, None])[:, *np.triu_indices(z.shape[1])]
    rows = draw.permutation(len(z))
    event = np.concatenate([c.outcome.event for c in cohorts]) > 0
    return Records("heart disease, products of measurements", np.concatenate([z, products], 1)[rows], event[rows], 480)


def standardised(records: Records) -> tuple[np.ndarray, np.ndarray]:
    x = (records.x - records.x.mean(0)) / (records.x.std(0) + 1e-9)
    return np.concatenate([x, np.ones((len(x), 1))], 1), records.y.astype(np.float64)


def gradients(x: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.asarray((1 / (1 + np.exp(-x @ w)) - y)[:, None] * x)


def trained(x: np.ndarray, y: np.ndarray, inside: np.ndarray, steps: int) -> np.ndarray:
    """Return one head a row of `inside`, ``(k, d)``."""
    share = inside / inside.sum(1, keepdims=True)
    rate = 2.0 / np.square(x).sum(1).mean()
    w = np.zeros((len(inside), x.shape[1]))
    velocity = np.zeros_like(w)
    for _ in range(steps):
        slope = ((1 / (1 + np.exp(-np.clip(w @ x.T, -500, 500))) - y) * share) @ x
        velocity = 0.9 * velocity - rate * slope
        w += velocity
    return w


def pooled(scores: list[np.ndarray], members: list[np.ndarray], draw: np.random.Generator) -> MembershipResult:
    """Judge all targets together."""
    return judge(np.concatenate(scores), np.concatenate(members), draw)


def line(name: str, found: MembershipResult) -> str:
    tpr = {rate: f"{100 * r.value:5.1f} ({100 * r.low:.1f}-{100 * r.high:.1f})" for rate, r in found.tpr.items()}
    return (
        f"  {name:24} AUC {found.auc.value:.3f} ({found.auc.low:.3f}-{found.auc.high:.3f})"
        f"  TPR % at FPR 1 % {tpr[0.01]:18}  at 0.1 % {tpr[0.001]:18}"
        f"  balanced {found.balanced_accuracy.value:.3f}  worst {found.worst:.2f} (chance {found.worst_by_chance:.2f})"
    )


def by_model(records: Records, options: argparse.Namespace, steps: int) -> None:
    x, y = standardised(records)
    n, most = records.pool, max(options.models)
    draw = np.random.default_rng(options.seed)
    inside = np.zeros((options.targets + most, len(x)), dtype=bool)
    for row in inside:
        row[draw.permutation(n)[: n // 2]] = True
    heads = trained(x, y, inside, steps)
    odds = log_odds(heads @ x.T, y)
    right = [
        float((odds[k, :n][inside[k, :n] == which] > 0).mean()) for k in range(len(odds)) for which in (True, False)
    ]
    print(f"{steps} steps: accuracy {np.mean(right[::2]):.3f} on members, {np.mean(right[1::2]):.3f} on others")
    for models in options.models:
        scores: dict[str, list[np.ndarray]] = {attack: [] for attack in ATTACKS}
        members: dict[str, list[np.ndarray]] = {attack: [] for attack in ATTACKS}
        for target in range(options.targets):
            references = options.targets + draw.permutation(most)[:models]
            saw = inside[references, :n]
            for attack in ATTACKS:
                # Each attack is asked about patients for whom it has the reference models that it needs.
                kept = np.ones(n, dtype=bool)
                if attack in ("calibrated", "lira-offline", "rmia-offline", "rmia"):
                    kept &= ~saw.all(0)
                if attack == "rmia":
                    kept &= saw.any(0)
                if kept.sum() < n // 10:
                    continue
                signals = Signals(
                    odds[target, :n][kept], odds[references, :n][:, kept], saw[:, kept],
                    odds[target, n:], odds[references, n:],
                )  # fmt: skip
                a = fitted_offline_a(signals) if attack == "rmia-offline" else OFFLINE_A
                scores[attack].append(membership_scores(signals, attack, a))
                members[attack].append(inside[target, :n][kept])
        for attack in ATTACKS:
            if scores[attack]:
                print(line(f"{models:3} models {attack}", pooled(scores[attack], members[attack], draw)), flush=True)


def by_update(records: Records, seed: int, steps: int) -> None:
    x, y = standardised(records)
    draw = np.random.default_rng(seed)
    inside = np.zeros((1, len(x)), dtype=bool)
    inside[0, records.pool :] = True
    w = trained(x, y, inside, steps)[0]
    g = gradients(x[: records.pool], y[: records.pool], w)
    print(f"one gradient of a batch, at a model after {steps} steps on strangers")
    for batch in (4, 16, 64, 128):
        scores: dict[str, list[np.ndarray]] = {"cosine": [], "difference": [], "likelihood ratio": []}
        members = []
        for _ in range(10):
            rows = draw.permutation(len(g))
            shown = ShownGradient(g[rows[:batch]].mean(0), batch)
            asked, references = g[rows[: batch + 100]], g[rows[batch + 100 :][:300]]
            scores["cosine"].append(gradient_cosine(asked, shown))
            scores["difference"].append(gradient_difference(asked, shown))
            scores["likelihood ratio"].append(update_likelihood_ratio(asked, shown, references))
            members.append(np.arange(len(asked)) < batch)
        for name, found in scores.items():
            print(line(f"B = {batch:3} {name}", pooled(found, members, draw)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEALROUND_DATA", "../shared/data")))
    parser.add_argument("--models", type=int, nargs="+", default=[1, 2, 4, 16])
    parser.add_argument("--targets", type=int, default=10)
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    start = time.perf_counter()
    folder = options.data / "cxr_pneumonia_kermany"
    draw = np.random.default_rng(options.seed)
    records = xrays(folder, draw) if folder.is_dir() else heart_disease(draw)
    print(
        f"{records.name}: {records.pool} patients, {len(records.x) - records.pool} strangers, {options.targets} targets"
    )
    for steps in STEPS:
        by_model(records, options, steps)
    for steps in (0, STEPS[0]):
        by_update(records, options.seed, steps)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
