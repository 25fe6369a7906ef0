"""What makes records of a table harder to rebuild: PSNR against batch, local steps, noise, and sites in the sum.

    OMP_NUM_THREADS=1 python benchmarks/inversion_protection.py [--seeds N] [--figure FILE]

Breast-cancer records, a perceptron 300-300, updates in float32 (the difference of two models). Two attacks that solve:
SPEAR, and unrolled local steps, with the labels recovered. PSNR is over each column's range, of the patient of whom
most was rebuilt; its mean over seeds with the lowest and the highest. *Noise* is normal, of so many parts of the root
mean square of the update; *sites* send a batch of 4 each, and the attacker sees their mean.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from exact_inversion import cohorts, observed
from inversion_figure import draw
from sealround.audit.inversion import spear
from sealround.audit.inversion.local_steps import LocalSteps
from sealround.audit.inversion.local_steps import attack as unroll
from sealround.audit.inversion.observation import LocalPlan, Reconstruction, Victims
from sealround.audit.inversion.scoring import judge

if TYPE_CHECKING:
    from sealround.audit.inversion.observation import Observation

HIDDEN, RATE, BUDGET_S = (300, 300), 0.1, 3.0
NETWORK = "perceptron 300-300"


def seen_at(across: str, at: str, seed: int) -> tuple[Observation, torch.Tensor]:
    """Return what is seen at one place of an axis, and the records behind it."""
    cohort, number = cohorts()["breast cancer"], float(at)
    match across:
        case "records a batch":
            return observed(cohort, HIDDEN, seed, torch.float32, LocalPlan(RATE, int(number)))
        case "local steps of 2 records each":
            return observed(cohort, HIDDEN, seed, torch.float32, LocalPlan(0.01, 2, int(number)))
        case "noise":
            seen, records = observed(cohort, HIDDEN, seed, torch.float32, LocalPlan(RATE, 8))
            size = float(seen.update.square().mean().sqrt())
            draw_noise = torch.Generator().manual_seed(seed)
            noise = torch.randn(seen.update.shape, generator=draw_noise, dtype=torch.float64) * number * size
            return dataclasses.replace(seen, update=seen.update + noise, blur=number * size), records
        case _:
            sites = int(number)
            seen, records = observed(cohort, HIDDEN, seed, torch.float32, LocalPlan(RATE, 4 * sites))
            # One step of each site from one model: their mean is the step of all records together.
            return dataclasses.replace(seen, sites=sites), records


def rebuilt(attack: str, seen: Observation, seed: int) -> Reconstruction | None:
    """Return what an attack makes of it."""
    generator = torch.Generator().manual_seed(seed)
    if attack == "SPEAR":
        return None if spear.why_not(seen) else spear.attack(seen, generator, starts=2000)
    return unroll(seen, generator, LocalSteps(restarts=4), time.monotonic, time.monotonic() + BUDGET_S)


def psnr(found: Reconstruction | None, seen: Observation, records: torch.Tensor) -> float:
    """Return the PSNR of the patient of whom most was rebuilt; 0 where nothing was."""
    if found is None or not len(found.inputs):
        return 0.0
    judged = judge(found, Victims(records, torch.zeros(len(records))), seen.domain, "vector")
    return max(0.0, float(np.nanmax(judged.figures["psnr_db"])))


AXES = {
    "records a batch": ("4", "8", "12", "16", "20", "24", "28"),
    "local steps of 2 records each": ("1", "2", "4", "6", "8"),
    "noise": ("0", "1e-06", "1e-05", "0.0001", "0.001", "0.01", "0.1"),
    "sites in the sum": ("1", "2", "3", "4", "5", "6", "7"),
}


def main() -> None:
    """Measure every axis, print a table, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--figure", type=Path, help="SVG to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    panels: dict[str, dict[str, list[Any]]] = {}
    for across, places in AXES.items():
        lines = panels.setdefault(across, {})
        for at in places:
            for attack in ("SPEAR", "unrolled local steps"):
                values = [
                    psnr(rebuilt(attack, seen, seed), seen, records)
                    for seed in range(options.seeds)
                    for seen, records in (seen_at(across, at, seed),)
                ]
                lines.setdefault(f"{NETWORK}, {attack}", []).append((at, np.mean(values), min(values), max(values)))
                ends = f"{min(values):.1f} to {max(values):.1f}"
                print(f"{across:<32} {at:>7}  {attack:<22} {np.mean(values):6.1f} dB ({ends})", flush=True)
    if options.figure is not None:
        options.figure.write_text(draw(panels))


if __name__ == "__main__":
    main()
