"""What a rule costs beside byzfl's and flwr's, and how far it is from what the machine allows, in one run.

    python benchmarks/aggregation_rules.py [--byzfl PYTHON] [--flwr PYTHON] [--quick] [--threads 2]
        [--sites N ...] [--parameters D ...] [--rules RULE ...] [--out FILE] [--figure FILE]

The peers are interpreters of environments of their own, made once by

    python -m venv byzfl && byzfl/bin/pip install torch==2.13.0 numpy scipy
    byzfl/bin/pip install --no-deps byzfl==0.0.11
    python -m venv flower && flower/bin/pip install flwr==1.41.0

and left out if they are not given. For 20, 50 and 100 sites, a fifth of them lying, and 10^5, 10^6 and 10^7 parameters:
seconds on the clock, the least of `REPEATS` calls, everybody with as many threads; no more are made once they have
taken `BUDGET_S`. A peer that would need more memory than there is, or more than `PATIENCE_S` by its last cell, is left
out of a cell, and the cell says which; one that ends is started again for the next rule.

``--out`` is written after every cell, and read at the start: a cell that is in it, with all peers that are given, is
not measured again. So a run that was interrupted goes on, and a table may be made in parts: of some numbers of sites,
or of parameters. ``--rules`` measures these alone, and puts them into the cells that are there.

What the machine allows is measured in the same minute: reading the updates once (the least for any rule), and with the
multiplications of one triangle of the Gram matrix from the cache (the least for a rule that goes by distances).

Results are compared with the peers' where the rule is the same. byzfl's Multi-Krum takes n - f - 1 neighbours: liars
here are far enough for that not to matter. Its geometric median stops after three coarse steps, so that only the time
is compared. flwr's Bulyan takes the first of equal scores, which with f = 1 the last ones are: it may choose another
site.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # of ours; threads are the rules' own, over blocks

import argparse  # noqa: E402 - after the environment that numpy reads
import functools  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import tracemalloc  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any, TypeAlias  # noqa: E402

import numpy as np  # noqa: E402

from aggregation_figure import draw  # noqa: E402
from sealround.aggregation import Settings, aggregate  # noqa: E402
from sealround.aggregation.blocks import over_columns  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HERE = Path(__file__).parent
SITES, PARAMETERS = (20, 50, 100), (10**5, 10**6, 10**7)
QUICK_SITES, QUICK_PARAMETERS = (10, 20), (10**4, 10**5)
REPEATS = 15
BUDGET_S = 3.0
PATIENCE_S = 60.0
PROBES = 64
COLUMNS = 8192

RULES: dict[str, Callable[[int, int], Settings]] = {
    "multi-krum": lambda f, _: Settings(rule="multi-krum", num_byzantine=f),
    "median": lambda f, _: Settings(rule="median", num_byzantine=f),
    "trimmed-mean": lambda f, _: Settings(rule="trimmed-mean", num_byzantine=f),
    "meamed": lambda f, _: Settings(rule="meamed", num_byzantine=f),
    "geometric-median": lambda f, _: Settings(rule="geometric-median", num_byzantine=f),
    "centered-clipping": lambda f, d: Settings(
        rule="centered-clipping", num_byzantine=f, clip_norm=float(d) ** 0.5, iterations=5
    ),
    "NNM, trimmed-mean": lambda f, _: Settings(rule="trimmed-mean", num_byzantine=f, mixing=True),
    "NNM, geometric-median": lambda f, _: Settings(rule="geometric-median", num_byzantine=f, mixing=True),
    "bulyan": lambda f, _: Settings(rule="bulyan", num_byzantine=f),
}
BY_COORDINATE = ("median", "trimmed-mean", "meamed")
Cell: TypeAlias = "dict[str, dict[str, Any]]"
"""By rule, what ``ours`` took and what each of the ``peers`` did."""

NOT_THE_SAME = {("byzfl", "geometric-median"), ("byzfl", "NNM, geometric-median")}


def liars(rule: str, n: int) -> int:
    """A fifth, or as many as Bulyan withstands."""
    return min(n // 5, (n - 3) // 4) if rule == "bulyan" else n // 5


@functools.lru_cache(maxsize=1)
def updates(n: int, d: int) -> np.ndarray:
    x = np.random.default_rng(n).standard_normal((n, d), dtype=np.float32)
    x.flags.writeable = False
    return x


def lying(n: int, d: int, f: int) -> np.ndarray:
    """The first f sites three standard deviations away: the same as peers make."""
    x = updates(n, d)
    x.flags.writeable = True
    x[:f] += 3
    return x


def least(work: Callable[[], object], repeats: int) -> float:
    times: list[float] = []
    while len(times) < repeats and sum(times) < BUDGET_S:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


# --- what the machine allows ------------------------------------------------------------------------------------------


def reading(x: np.ndarray, threads: int) -> Callable[[], object]:
    """Read everything once."""

    def work(blocks: Sequence[slice]) -> None:
        for block in blocks:
            x[:, block].max()

    return lambda: over_columns(work, x.shape[1], columns=1 << 16, threads=threads)


def multiplying(n: int, d: int, threads: int) -> Callable[[], object]:
    """As many products of a block with itself as there are blocks, from the cache."""

    def work(blocks: Sequence[slice]) -> None:
        block = np.ones((n, min(d, COLUMNS)), dtype=np.float32)
        out = np.empty((n, n), dtype=np.float32)
        for _ in blocks:
            np.matmul(block, block.T, out=out)

    return lambda: over_columns(work, d, columns=COLUMNS, threads=threads)


@functools.lru_cache(maxsize=1)
def floors(n: int, d: int, threads: int) -> tuple[float, float]:
    return least(reading(updates(n, d), threads), REPEATS), least(multiplying(n, d, threads), REPEATS)


# --- peers ------------------------------------------------------------------------------------------------------------


class Peer:
    """A script under another interpreter, which answers a line for each line."""

    def __init__(self, name: str, interpreter: str, script: str, threads: int) -> None:
        self.name = name
        threaded = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        self._environment = os.environ | threaded | {"FLWR_TELEMETRY_ENABLED": "0"}
        self._command = [interpreter, str(HERE / "peers" / script)]
        self._last: dict[str, tuple[int, int, float]] = {}
        self.versions = self._start()

    def _start(self) -> dict[str, str]:
        self._child = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._environment
        )
        versions: dict[str, str] | None = self._read()
        if versions is None:
            sys.exit(f"{self.name} does not start; what it said is above")
        return versions

    def ask(self, rule: str, n: int, d: int) -> dict[str, Any]:
        """Return ``seconds`` and ``probes``; ``needs`` bytes, ``expects`` seconds or ``ended``; or nothing."""
        if rule in self._last:
            sites, parameters, seconds = self._last[rule]
            expects = seconds * d / parameters * (n / sites) ** (3 if rule == "bulyan" else 2)
            if expects > PATIENCE_S:
                return {"expects": expects}
        request = {"rule": rule, "sites": n, "parameters": d, "num_byzantine": liars(rule, n)}
        assert self._child.stdin is not None  # noqa: S101  (a pipe)
        self._child.stdin.write(json.dumps(request | {"repeats": REPEATS, "budget": BUDGET_S}) + "\n")
        self._child.stdin.flush()
        found: dict[str, Any] | None = self._read()
        if found is None:
            code = self._child.wait()
            self._start()
            return {"ended": code}
        self.remember(rule, n, d, found)
        return found

    def remember(self, rule: str, n: int, d: int, found: dict[str, Any]) -> None:
        """Expect of the next cell what this one took."""
        if "seconds" in found:
            self._last[rule] = n, d, min(found["seconds"])

    def _read(self) -> Any:
        assert self._child.stdout is not None  # noqa: S101  (a pipe)
        line = self._child.stdout.readline()
        return json.loads(line) if line else None

    def close(self) -> None:
        self._child.communicate()


# --- cells ------------------------------------------------------------------------------------------------------------


def ours(rule: str, n: int, d: int, threads: int) -> dict[str, Any]:
    """Time one rule, and measure how much memory it takes beside the updates."""
    f = liars(rule, n)
    read, multiply = floors(n, d, threads)
    settings, x = RULES[rule](f, d), lying(n, d, f)
    result = aggregate(settings, x, threads=threads)
    seconds = least(lambda: aggregate(settings, x, threads=threads), REPEATS)
    tracemalloc.start()
    aggregate(settings, x, threads=threads)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    x[:f] -= 3
    floor = read if rule in BY_COORDINATE else max(read, multiply)
    probes = result.update[np.linspace(0, d - 1, PROBES).astype(np.int64)]
    return {"seconds": seconds, "floor": floor, "memory": 1 + peak / x.nbytes, "probes": probes.tolist()}


def differs(mine: dict[str, Any], other: dict[str, Any]) -> float:
    """Largest difference between two results, in standard deviations of a parameter."""
    return float(np.abs(np.subtract(mine["probes"], other["probes"])).max())


def show(n: int, d: int, cell: Cell) -> None:
    print(f"\n{n} sites, {d:.0e} parameters: milliseconds; times floor; memory in updates' own; peers, and their ratio")
    for rule, taken in cell.items():
        mine = taken["ours"]
        line = (
            f"  {rule:22} {1e3 * mine['seconds']:9.2f}  x{mine['seconds'] / mine['floor']:<5.1f} {mine['memory']:.2f}"
        )
        for name, other in taken["peers"].items():
            if "seconds" in other:
                line += f"   {name} {1e3 * min(other['seconds']):9.1f} ({ratio(mine, other):.1f})"
                if (name, rule) not in NOT_THE_SAME:
                    line += f" differs {differs(mine, other):.0e}"
            elif "needs" in other:
                line += f"   {name} needs {other['needs'] / 2**30:.0f} GiB"
            elif "expects" in other:
                line += f"   {name} would take {other['expects']:.0f} s"
            elif "ended" in other:
                line += f"   {name} ended ({other['ended']})"
        print(line)
    sys.stdout.flush()


def ratio(mine: dict[str, Any], other: dict[str, Any]) -> float:
    return float(min(other["seconds"]) / mine["seconds"])


def growth(found: dict[tuple[int, int], Cell]) -> None:
    """Exponents of n and d between the smallest and the largest cell of each rule."""
    print("\ngrowth of ours from the smallest to the largest: n^a at the largest d, d^b at the largest n")
    sites, parameters = (sorted({size[axis] for size in found}) for axis in (0, 1))
    corners = (sites[0], parameters[-1]), (sites[-1], parameters[0]), (sites[-1], parameters[-1])
    if len(sites) == 1 or len(parameters) == 1 or any(corner not in found for corner in corners):
        print("  not all corners of the table are there")
        return
    for rule in set.intersection(*(set(found[corner]) for corner in corners)):
        few, narrow, last = (float(found[corner][rule]["ours"]["seconds"]) for corner in corners)
        a = np.log(last / few) / np.log(sites[-1] / sites[0])
        b = np.log(last / narrow) / np.log(parameters[-1] / parameters[0])
        print(f"  {rule:22} n^{a:.2f}  d^{b:.2f}")


def worst(found: dict[tuple[int, int], Cell]) -> None:
    """Where each peer comes nearest, and where memory is most."""
    cells = [(n, d, rule, taken) for (n, d), cell in found.items() for rule, taken in cell.items()]
    print("\nthe least ahead, and the most memory")
    for name in ("byzfl", "flwr"):
        raced = [
            (ratio(taken["ours"], taken["peers"][name]), n, d, rule)
            for n, d, rule, taken in cells
            if "seconds" in taken["peers"].get(name, {})
        ]
        for times, n, d, rule in sorted(raced)[:3]:
            print(f"  {name:8} x{times:<5.2f} {rule}, {n} sites, {d:.0e} parameters ({len(raced)} cells)")
    memory, n, d, rule = max((taken["ours"]["memory"], n, d, rule) for n, d, rule, taken in cells)
    print(f"  memory   {memory:<6.2f} {rule}, {n} sites, {d:.0e} parameters")


# --- tables -----------------------------------------------------------------------------------------------------------


def load(path: Path | None) -> dict[tuple[int, int], Cell]:
    """Return the cells that are there already."""
    if path is None or not path.exists():
        return {}
    found = json.loads(path.read_text(encoding="utf-8"))["found"]
    return {(cell["sites"], cell["parameters"]): cell["cells"] for cell in found}


def listed(found: dict[tuple[int, int], Cell]) -> list[dict[str, Any]]:
    return [
        {"sites": n, "parameters": d, "cells": found[n, d]}
        for n, d in sorted(found, key=lambda size: (size[1], size[0]))
    ]


def save(path: Path, versions: dict[str, str], found: dict[tuple[int, int], Cell]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"versions": versions, "found": listed(found)}), encoding="utf-8")
    part.replace(path)


def measure(n: int, d: int, rules: Sequence[str], peers: Sequence[Peer], threads: int) -> Cell:
    """Measure ours, then forget the updates: peers make their own."""
    cell: Cell = {rule: {"ours": ours(rule, n, d, threads), "peers": {}} for rule in rules}
    updates.cache_clear()
    for peer in peers:
        for rule, taken in cell.items():
            taken["peers"][peer.name] = peer.ask(rule, n, d)
    return cell


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--byzfl", help="interpreter of an environment that has byzfl")
    parser.add_argument("--flwr", help="interpreter of an environment that has flwr")
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    parser.add_argument("--sites", type=int, nargs="+", help="numbers of sites")
    parser.add_argument("--parameters", type=lambda text: int(float(text)), nargs="+", help="such as 1e6")
    parser.add_argument("--rules", nargs="+", choices=tuple(RULES), help="measure these alone, and again")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--out", type=Path, help="keep everything measured as JSON; what is there is not done again")
    parser.add_argument("--figure", type=Path, help="draw growth in sites and in parameters as SVG")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    scripts = (("byzfl", options.byzfl, "byzfl_rules.py"), ("flwr", options.flwr, "flower_rules.py"))
    peers = [Peer(name, python, script, options.threads) for name, python, script in scripts if python]
    versions = {key: value for peer in peers for key, value in peer.versions.items()}
    print(f"{platform.processor() or platform.machine()}, {options.threads} threads; {versions}")
    found = load(options.out)
    for d in options.parameters or (QUICK_PARAMETERS if options.quick else PARAMETERS):
        for n in options.sites or (QUICK_SITES if options.quick else SITES):
            cell = found.get((n, d), {})
            asked = {peer.name for peer in peers}
            missing = [rule for rule in RULES if rule not in cell or asked - set(cell[rule]["peers"])]
            cell |= measure(n, d, options.rules or missing, peers, options.threads)
            found[n, d] = {rule: cell[rule] for rule in RULES if rule in cell}
            for peer in peers:
                for rule, taken in cell.items():
                    peer.remember(rule, n, d, taken["peers"].get(peer.name, {}))
            show(n, d, found[n, d])
            if options.out:
                save(options.out, versions, found)
    growth(found)
    worst(found)
    for peer in peers:
        peer.close()
    if options.figure:
        options.figure.write_text(draw(listed(found)), encoding="utf-8")


if __name__ == "__main__":
    main()
