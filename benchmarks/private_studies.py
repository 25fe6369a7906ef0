"""What differential privacy costs in whole studies: exact test results at several budgets, sealed and local.

    python benchmarks/private_studies.py [--epsilon 8 3 1] [--trust sealed local] [--seeds 42 43 44 45 46] [STUDY ...]

Each training runs the whole protocol, secure aggregation included. What it releases of results is noised; here the
benchmark looks at every site's test patients, as nobody could outside a simulation: AUROC of all of them together, and
accuracy, mean over sites. Mean and standard deviation over seeds, which draw split (where it is random), division into
sites, sampling and noise anew. `inf` trains with next to no noise: what clipping and the recipe cost without it.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from sealround.clinical import Places, load_cohorts
from sealround.clinical.cohort import SplitName
from sealround.clinical.roles import declared_ranges
from sealround.engines.noise import SimulatedNoise
from sealround.federation import Coordinator, Plan, Site
from sealround.federation.interfaces import EvaluateOrder
from sealround.federation.plan import FEDERATED
from sealround.learning import initial_model
from sealround.learning.device import prepare
from sealround.learning.private_steps import PrivateTorchWork
from sealround.study import Study, load_study, study_digest
from sealround.testing import Network, sealed_training

EXAMPLES = Path(__file__).parent.parent / "examples"
STUDIES = ("chest-xray-private.toml", "heart-disease-private.toml", "breast-cancer-private.toml")


def variant(study: Study, epsilon: float, trust: str, seed: int, local: dict[str, Any]) -> Study:
    tree = study.model_dump(mode="json", exclude_none=True)
    tree["study"]["seed"] = seed
    privacy = tree["protection"]["privacy"]
    privacy |= {"trust": trust, "metrics": "kept"}
    privacy.pop("epsilon", None)
    privacy |= {"noise_multiplier": 1e-3} if epsilon == np.inf else {"epsilon": epsilon}
    tree["evaluation"] |= {"threshold": {"kind": "fixed"}, "recalibration": "none", "compare": []}
    if trust == "local":
        steps = int(local["steps"])
        tree["protection"]["secure_aggregation"] = {"mode": "none", "reason": "each message is private by itself"}
        tree["study"]["rounds"] = max(1, study.study.rounds // steps)
        tree["training"].pop("local_epochs", None)
        tree["training"] |= {
            "local_steps": steps,
            "optimizer": {"kind": "sgd", "learning_rate": local["rate"]},
            "server": {"kind": "fedavg"},
        }
    return Study.model_validate(tree, strict=False)


def trained(study: Study, places: Places) -> tuple[float, float, float]:
    """Return AUROC of everybody, accuracy as a mean over sites, and the epsilon that the training spent."""
    cohorts = load_cohorts(study, places)
    roster = tuple(sorted(cohorts))
    noise = SimulatedNoise.of(study, len(roster))
    assert noise is not None  # noqa: S101  (the study is private)
    works = {site: PrivateTorchWork(study, cohorts[site]) for site in roster}
    leaving = {site: noise.wrap(site, work) for site, work in works.items()}
    if study.protection.sealed:
        coordinator, network = sealed_training(study, leaving, initial_model(study), declared_ranges(study))
    else:
        plan = Plan(study, FEDERATED, roster, roster, ranges=declared_ranges(study))
        coordinator = Coordinator(plan, initial_model(study))
        sites = {site: Site(site, study_digest(study), work, 5) for site, work in leaving.items()}
        network = Network(coordinator, sites)
    network.run()
    released = coordinator.released
    logits, event, accuracy = [], [], []
    for site, work in works.items():
        found = work.outputs(EvaluateOrder(FEDERATED, released.vector, released.statistics, 0.5)).astype(float)
        outcome = cohorts[site].outcome.event[cohorts[site].where(SplitName.TEST)] > 0
        logits.append(found)
        event.append(outcome)
        if outcome.size:
            accuracy.append(float(((found >= 0) == outcome).mean()))
    return auroc(np.concatenate(logits), np.concatenate(event)), float(np.mean(accuracy)), noise.terms.epsilon


def auroc(logits: np.ndarray, event: np.ndarray) -> float:
    _, rank, sizes = np.unique(logits, return_inverse=True, return_counts=True)
    middle = (np.cumsum(sizes) - (sizes - 1) / 2)[rank]
    n = int(event.sum())
    return float((middle[event].sum() - n * (n + 1) / 2) / (n * (event.size - n)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", type=Path, default=[EXAMPLES / name for name in STUDIES])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SEALROUND_DATA", "../shared/data")))
    parser.add_argument("--epsilon", type=float, nargs="+", default=[8.0, 3.0, 1.0])
    parser.add_argument("--trust", nargs="+", choices=("sealed", "local"), default=["sealed", "local"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44, 45, 46])
    parser.add_argument("--local-steps", type=int, default=5)
    parser.add_argument("--local-rate", type=float, default=0.5)
    options = parser.parse_args()
    prepare()
    for path in options.studies:
        base, places = load_study(path), Places.of_study(path, options.data)
        print(f"{path.stem}, {len(options.seeds)} seeds")
        for trust in options.trust:
            for epsilon in options.epsilon:
                start = time.perf_counter()
                local = {"steps": options.local_steps, "rate": options.local_rate}
                rows = np.array([trained(variant(base, epsilon, trust, seed, local), places) for seed in options.seeds])
                mean, spread = rows.mean(axis=0), rows[:, :2].std(axis=0, ddof=min(1, len(rows) - 1))
                print(
                    f"  {trust:7} epsilon {epsilon:<5g} AUROC {mean[0]:.4f} ± {spread[0]:.4f}"
                    f"  least {rows[:, 0].min():.4f}  accuracy {mean[1]:.4f} ± {spread[1]:.4f}  spent {mean[2]:.3f}"
                    f"  {(time.perf_counter() - start) / len(rows):.1f} s a training",
                    flush=True,
                )


if __name__ == "__main__":
    main()
