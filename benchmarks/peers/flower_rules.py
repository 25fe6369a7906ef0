"""A peer of `aggregation_rules.py`: the rules of flwr 1.41.0, in an environment that has it.

Reads a request a line (``{"rule", "sites", "parameters", "num_byzantine", "repeats", "budget"}``), writes a line:
seconds of each repeat (one, and more within the budget), and the result at some parameters. The functions behind flwr's
strategies are called with one layer a site.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from flwr.server.strategy import aggregate as flower

if TYPE_CHECKING:
    from collections.abc import Callable

PROBES = 64


def rules(n: int, f: int) -> dict[str, Callable[[list[Any]], Any]]:
    return {
        "multi-krum": lambda results: flower.aggregate_krum(results, f, n - f),
        "median": flower.aggregate_median,
        "trimmed-mean": lambda results: flower.aggregate_trimmed_avg(results, f / n),
        "bulyan": lambda results: flower.aggregate_bulyan(results, f, flower.aggregate_krum, to_keep=0),
    }


def updates(n: int, d: int, f: int) -> np.ndarray:
    x = np.random.default_rng(n).standard_normal((n, d), dtype=np.float32)
    x[:f] += 3
    return x


def run(request: dict[str, Any], x: np.ndarray) -> dict[str, Any]:
    n, d = x.shape
    rule = rules(n, request["num_byzantine"])[request["rule"]]
    probes = np.linspace(0, d - 1, PROBES).astype(np.int64)
    seconds: list[float] = []
    result = None
    while len(seconds) < request["repeats"] and sum(seconds) < request["budget"]:
        given = [([row], 1) for row in x]
        start = time.perf_counter()
        result = rule(given)
        seconds.append(time.perf_counter() - start)
    assert result is not None  # noqa: S101  (there are repeats)
    return {"seconds": seconds, "form": "arrays", "probes": np.asarray(result[0])[probes].tolist()}


def main() -> None:
    print(json.dumps({"flwr": version("flwr"), "numpy": np.__version__}), flush=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for line in sys.stdin:
        request = json.loads(line)
        n, d, f = request["sites"], request["parameters"], request["num_byzantine"]
        if request["rule"] not in rules(1, 0) or (request["rule"] == "bulyan" and n < 4 * f + 3):
            answer: dict[str, Any] = {}
        elif (bytes_ := 4.0 * n * d * 5) > 0.6 * memory:
            answer = {"needs": bytes_}
        else:
            answer = run(request, updates(n, d, f))
            gc.collect()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
