"""What a round costs beyond the training itself, and beside a peer.

    python benchmarks/round_overhead.py [--peer PYTHON] [--out FOLDER]

Three measurements in one run, on made-up tables of 15 features (logistic regression, 5 steps of SGD on batches of 32):

1. overhead: a federation's seconds per site and round, minus the bare training loop's, for 4 and for 120 sites;
2. growth: seconds per round for 4, 40 and 400 sites;
3. peer (``--peer``, the interpreter of an environment with ``flwr[simulation]==1.41``): the same job, wall time of a
   fresh process each, start-up included.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from sealround.clinical import Places, load_cohorts
from sealround.engines.simulation import Simulation
from sealround.learning.device import prepare
from sealround.storage import RunFolder
from sealround.study import Study, parse_study

FEATURES, EXAMPLES, STEPS, BATCH, RATE = 15, 185, 5, 32, 0.1

STUDY = """
[study]
name = "overhead"
rounds = {rounds}
seed = 1
[cohort]
source = {{ kind = "csv", path = "table.csv" }}
sites = {{ kind = "column" }}
split = {{ kind = "column", column = "split" }}
[cohort.columns]
site = {{ role = "site" }}
y = {{ role = "label", positive = [1] }}
{columns}
[model]
kind = "logistic"
[training]
optimizer = {{ kind = "sgd", learning_rate = 0.1 }}
batch_size = 32
local_steps = 5
[evaluation]
compare = []
bootstrap = 100
[protection]
secure_aggregation = {{ mode = "none", reason = "made-up numbers in a benchmark" }}
robustness = {{ rule = "mean", reason = "made-up numbers in a benchmark" }}
privacy = {{ unit = "none", reason = "made-up numbers in a benchmark" }}
"""


def make(folder: Path, sites: int, rounds: int) -> Study:
    """Write a table with so many sites, and the arrays of their training rows for the peer."""
    draw = np.random.default_rng(0)
    names = [f"x{i}" for i in range(FEATURES)]
    arrays: dict[str, np.ndarray] = {}
    lines = [",".join(["site", "split", "y", *names])]
    for site in range(sites):
        x = draw.normal(size=(EXAMPLES, FEATURES)).astype(np.float32)
        y = (draw.random(EXAMPLES) < 1 / (1 + np.exp(-x[:, 0] * 2))).astype(np.float32)
        split = np.array(["train", "validation", "test"])[np.digitize(np.arange(EXAMPLES), [145, 165])]
        arrays |= {f"x{site}": x[:145], f"y{site}": y[:145]}
        lines += [
            ",".join([f"site-{site:03d}", split[i], str(int(y[i])), *(f"{v:.6f}" for v in x[i])])
            for i in range(EXAMPLES)
        ]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    np.savez(folder / "arrays.npz", **arrays)
    columns = "\n".join(f'{name} = {{ role = "feature", kind = "numeric" }}' for name in names)
    text = STUDY.format(rounds=rounds, columns=columns)
    (folder / "study.toml").write_text(text)
    return parse_study(text, "study.toml")


def federated(folder: Path, study: Study) -> float:
    """Seconds of the federation's rounds: messages, validation, aggregation and journal included."""
    cohorts = load_cohorts(study, Places(folder, folder))
    with tempfile.TemporaryDirectory() as out:
        run = RunFolder.create(Path(out), b"", {})
        trainings = Simulation(study, cohorts, run, workers=0).run(lambda _: None)
        return sum(line["seconds"] for line in trainings.federated.journal.rounds()[1:])


def bare(folder: Path, rounds: int) -> float:
    """Seconds of the same steps in a plain torch loop: no framework, no messages, no validation."""
    with np.load(folder / "arrays.npz") as arrays:
        sites = [
            (torch.from_numpy(arrays[f"x{i}"]), torch.from_numpy(arrays[f"y{i}"])) for i in range(len(arrays) // 2)
        ]
    model = torch.nn.Linear(FEATURES, 1)
    start = time.perf_counter()
    for _ in range(rounds - 1):
        for x, y in sites:
            optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
            rows = torch.randperm(len(x))
            for step in range(STEPS):
                batch = rows[(step * BATCH) % len(x) :][:BATCH]
                optimizer.zero_grad()
                torch.nn.functional.binary_cross_entropy_with_logits(model(x[batch]).squeeze(1), y[batch]).backward()
                optimizer.step()
    return time.perf_counter() - start


def fresh_process(command: list[str], folder: Path) -> float:
    """Wall seconds of a command from start to exit."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return time.perf_counter() - start


def against_peer(peer_python: str, folder: Path, rounds: int) -> dict[str, object]:
    """Time the same job as whole processes in turns, ours and the peer's, and print the median ratio."""
    make(folder, 4, rounds)
    ours = [sys.executable, "-m", "sealround.cli.main", "run", "study.toml", "--quiet", "--workers", "0"]
    peer = [peer_python, str(Path(__file__).parent.resolve() / "peers" / "flower_logistic.py")]
    peer += ["arrays.npz", str(rounds), str(STEPS), str(BATCH), str(RATE)]
    times = [(fresh_process(ours, folder), fresh_process(peer, folder)) for _ in range(3 if rounds < 100 else 1)]
    for our_s, peer_s in times:
        print(f"4 sites, {rounds} rounds, whole process: sealround {our_s:.2f} s, flwr {peer_s:.2f} s")
    ratio = statistics.median(peer_s / our_s for our_s, peer_s in times)
    print(f"median ratio flwr / sealround: {ratio:.1f}")
    return {"pairs_s": times, "ratio": ratio}


def main() -> None:
    """Measure, print, and write ``round_overhead.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="interpreter of an environment with flwr[simulation]==1.41")
    parser.add_argument("--out", type=Path, help="folder for round_overhead.json")
    options = parser.parse_args()
    prepare()
    torch.set_num_threads(1)
    result: dict[str, object] = {"machine": platform.platform(), "threads": torch.get_num_threads()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(
            f"{'sites':>6} {'rounds':>6} {'federation':>12} {'bare loop':>12} {'overhead':>12}   ms per site and round"
        )
        for sites, rounds in ((4, 101), (40, 31), (120, 21), (400, 11)):
            study = make(folder, sites, rounds)
            pairs = [(federated(folder, study), bare(folder, rounds)) for _ in range(3)]
            ours, theirs = (statistics.median(pair) * 1e3 / (sites * (rounds - 1)) for pair in zip(*pairs, strict=True))
            print(f"{sites:>6} {rounds:>6} {ours:>12.3f} {theirs:>12.3f} {ours - theirs:>12.3f}")
            result[f"sites_{sites}"] = {"federation_ms": ours, "bare_ms": theirs, "overhead_ms": ours - theirs}
        if options.peer:
            result["peer"] = {rounds: against_peer(options.peer, folder, rounds) for rounds in (20, 200)}
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "round_overhead.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
