"""A peer of `aggregation_rules.py`: byzfl 0.0.11's rules, in an environment that has it.

Reads a request a line (``{"rule", "sites", "parameters", "num_byzantine", "repeats", "budget"}``), writes a line:
seconds of each repeat (one, and more within the budget), and the result at some parameters. Each rule runs on tensors
and on arrays; the quicker counts.

Only byzfl's aggregators are imported: the package itself would import torchvision and a plotting library.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import sys
import time
import types
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

PROBES = 64


def byzfl(module: str) -> Any:
    if "byzfl" not in sys.modules:
        found = importlib.util.find_spec("byzfl")
        assert found is not None  # noqa: S101  (or there is nothing to measure)
        sys.modules["byzfl"] = types.ModuleType("byzfl")
        sys.modules["byzfl"].__path__ = list(found.submodule_search_locations or [])
    return importlib.import_module(f"byzfl.aggregators.{module}")


def rules(f: int, d: int) -> dict[str, Callable[[], Callable[[Any], Any]]]:
    """Makers of the rules, each anew for every repeat: centred clipping keeps what it returned."""
    plain, before = byzfl("aggregators"), byzfl("preaggregators")

    def mixed(rule: Callable[[Any], Any]) -> Callable[[Any], Any]:
        mixing = before.NNM(f)
        return lambda x: rule(mixing(x))

    return {
        "multi-krum": lambda: plain.MultiKrum(f),
        "median": plain.Median,
        "trimmed-mean": lambda: plain.TrMean(f),
        "meamed": lambda: plain.Meamed(f),
        "geometric-median": plain.GeometricMedian,
        "centered-clipping": lambda: plain.CenteredClipping(L=5, tau=float(d) ** 0.5),
        "NNM, trimmed-mean": lambda: mixed(plain.TrMean(f)),
        "NNM, geometric-median": lambda: mixed(plain.GeometricMedian()),
    }


def updates(n: int, d: int, f: int) -> np.ndarray:
    x = np.random.default_rng(n).standard_normal((n, d), dtype=np.float32)
    x[:f] += 3
    return x


def needed(rule: str, n: int, d: int, f: int) -> float:
    """Bytes: neighbours are gathered, order is kept in int64."""
    if rule.startswith("NNM"):
        return 4.0 * d * (n * (n - f) + 3 * n)
    return 4.0 * d * n * (8 if rule in {"meamed", "trimmed-mean", "median"} else 4)


def run(request: dict[str, Any], x: np.ndarray) -> dict[str, Any]:
    import torch

    d = request["parameters"]
    make = rules(request["num_byzantine"], d)[request["rule"]]
    probes = np.linspace(0, d - 1, PROBES).astype(np.int64)
    found: dict[str, list[float]] = {}
    result = None
    for form, given in (("tensors", torch.from_numpy(x)), ("arrays", x)):
        seconds = found.setdefault(form, [])
        while len(seconds) < request["repeats"] and sum(seconds) < request["budget"]:
            rule = make()
            start = time.perf_counter()
            result = rule(given)
            seconds.append(time.perf_counter() - start)
    assert result is not None  # noqa: S101  (there are repeats)
    form = min(found, key=lambda name: min(found[name]))
    return {"seconds": found[form], "form": form, "probes": np.asarray(result)[probes].tolist()}


def main() -> None:
    print(json.dumps({"byzfl": version("byzfl"), "torch": version("torch")}), flush=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for line in sys.stdin:
        request = json.loads(line)
        shape = request["sites"], request["parameters"], request["num_byzantine"]
        if request["rule"] not in rules(1, 1):
            answer: dict[str, Any] = {}
        elif (bytes_ := needed(request["rule"], *shape)) > 0.6 * memory:
            answer = {"needs": bytes_}
        else:
            answer = run(request, updates(*shape))
            gc.collect()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
