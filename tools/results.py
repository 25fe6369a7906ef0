"""Run the example studies over their seeds and print what they reach: the numbers of docs/results.md.

    SEALROUND_DATA=DATA python tools/results.py [--only NAME ...] [--seeds 42,43] [--resplit] [--out RESULTS.json]

Each run is a real run of the example, without the comparisons; the seed is the only line that is changed. Studies whose
data are absent are named and passed over. With ``--resplit`` each seed also draws a random split (34 % test) instead of
the study's own: how much a result owes to one split.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sealround.engines.runs import start_run
from sealround.errors import CohortError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
STUDIES = {
    "heart-disease-flamby": "accuracy",
    "heart-disease": "accuracy",
    "tcga-brca": "c_index",
    "pneumoniamnist-iid": "auroc",
    "pneumoniamnist-dirichlet": "auroc",
    "chest-xray-5": "auroc",
    "chest-xray-120": "auroc",
}


def run(name: str, seed: int, *, resplit: bool) -> tuple[Mapping[str, Any], float]:
    """Run an example with another seed, and return its evidence and the seconds it took."""
    text = (EXAMPLES / f"{name}.toml").read_text()
    text = re.sub(r"(?m)^seed = \d+$", f"seed = {seed}", text)
    text = re.sub(r"(?m)^compare = .*\n", "", text).replace("[evaluation]\n", "[evaluation]\ncompare = []\n")
    if resplit:
        text = re.sub(r"(?m)^split = .*$", 'split = { kind = "random", validation = 0, test = 0.34 }', text)
    text = text.replace('path = "data/', f'path = "{EXAMPLES}/data/')
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study.toml"
        study.write_text(text)
        start = time.monotonic()
        evidence = start_run(
            study,
            out=Path(folder) / "run",
            data_folder=None,
            workers=None,
            observe=lambda _: None,
            folder_known=lambda _: None,
        )
        return evidence, time.monotonic() - start


def largest_drop(evidence: Mapping[str, Any]) -> float | None:
    """Largest fall of the validation accuracy from one round to the next, in the second half of the rounds."""
    accuracy = [entry["accuracy"] for entry in evidence["rounds"]]
    late = accuracy[len(accuracy) // 2 :]
    if len(late) < 2 or None in late:  # noqa: PLR2004
        return None
    return float(max(0.0, -np.diff(late).min()))


def main() -> None:
    """Run, print a line for each seed and a mean for each study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--seeds", default="42,43,44,45,46")
    parser.add_argument("--resplit", action="store_true", help="draw a random split with each seed")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": platform.platform(), "python": sys.version.split()[0]}
    for name in options.only:
        metric = STUDIES[name]
        rows = []
        for seed in map(int, options.seeds.split(",")):
            try:
                evidence, seconds = run(name, seed, resplit=options.resplit)
            except (CohortError, ServiceError) as error:
                print(f"{name}: {error.message}")
                break
            model = evidence["models"]["federated"]
            row = {
                "seed": seed,
                "mean_of_sites": model["mean"][metric]["value"],
                "worst_site": model["worst"][metric]["value"],
                "all_patients": model["all"][metric]["value"],
                "sites": {site: result["metrics"][metric]["value"] for site, result in model["sites"].items()},
                "largest_accuracy_drop": largest_drop(evidence),
                "seconds": seconds,
                "peak_rss_bytes": evidence["cost"]["peak_rss_bytes"],
            }
            rows.append(row)
            shown = {key: round(value, 4) for key, value in row.items() if isinstance(value, float)}
            print(name, f"seed {seed}", metric, shown, flush=True)
        if rows:
            means = {
                key: float(np.mean([row[key] for row in rows]))
                for key in ("mean_of_sites", "worst_site", "all_patients")
            }
            print(f"{name}: {metric} over {len(rows)} seeds", {key: round(value, 4) for key, value in means.items()})
            results[name] = {"metric": metric, "means": means, "runs": rows}
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
