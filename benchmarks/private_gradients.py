"""What a sum of clipped gradients costs beside Opacus's and beside the plain gradient: time and memory, in one run.

    python benchmarks/private_gradients.py --opacus PYTHON [--models NAME ...] [--batch 256] [--threads 1] [--turns 9]

``PYTHON`` is the interpreter of an environment of its own, made once by

    python -m venv opacus && opacus/bin/pip install torch==2.13.0 numpy scipy opt_einsum
    opacus/bin/pip install --no-deps opacus==1.6.0

Same networks, same values, same patients with one row each, no noise on either side; results are compared. Opacus in
its default mode (``hooks``) and in both of those that clip with a second backward pass (``fast``, ``ghost``), each with
the whole batch at a time and with 64 examples; the quickest counts for time, the smallest for memory. All take turns;
what is said of time are medians, over turns, of the ratio to ours in the same turn.

Memory is how far a process grows in one sum, the peak of its resident set over what it was before (``VmHWM``, reset,
less ``VmRSS``), after a sum of two examples that makes what is kept for good. Each way has a process of its own.

``plain`` is the gradient of the mean without clipping, by the same predictor on the whole batch: nothing that clips can
be expected to take less.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HERE = Path(__file__).parent
MODELS = ("logistic", "mlp", "cnn", "resnet")
MODES = ("hooks", "fast", "ghost")
SMALL_CHUNK = 64
CLIP = 0.1


# --- our side, in a process of its own --------------------------------------------------------------------------------


def ours(request: dict[str, Any]) -> Callable[[int], Any]:
    """Return a function that adds up the gradients of the first so many examples."""
    import numpy as np
    import torch

    from sealround.learning.clipped_gradients import clipped_sum
    from sealround.learning.device import prepare
    from sealround.learning.examples import Examples, Features
    from sealround.learning.losses import BinaryLoss, Targets
    from sealround.learning.models import build_model, is_linear
    from sealround.learning.predictors import LinearPredictor, NetworkPredictor
    from sealround.learning.vector import bind
    from sealround.study.sections import Cnn, Logistic, Mlp, Resnet

    models = {
        "logistic": (Logistic(kind="logistic"), (100,)),
        "mlp": (Mlp(kind="mlp", hidden=(256, 256)), (64,)),
        "cnn": (Cnn(kind="cnn"), (1, 28, 28)),
        "resnet": (Resnet(kind="resnet", depth=10, width=32), (1, 28, 28)),
    }
    prepare()
    torch.set_num_threads(request["threads"])
    model, shape = models[request["model"]]
    cpu = torch.device("cpu")
    flat = bind(build_model(model, shape).to_empty(device="cpu"), cpu)
    draw = np.random.default_rng(0)
    with torch.no_grad():
        for name, parameter in flat.module.named_parameters():
            if parameter.ndim > 1:
                values = draw.standard_normal(tuple(parameter.shape)) * (2.0 / parameter[0].numel()) ** 0.5
                parameter.copy_(torch.tensor(values, dtype=torch.float32))
            else:
                parameter.fill_(float(name.endswith("weight")))
    draw = np.random.default_rng(1)
    inputs = torch.tensor(draw.standard_normal((request["batch"], *shape)), dtype=torch.float32)

    class Pictures(Features):
        """Images that are float32 already, as the peer's are."""

        @property
        def shape(self) -> tuple[int, ...]:
            return shape

    examples = Examples(Pictures(inputs), Targets(torch.tensor(draw.random(len(inputs)) < 0.4, dtype=torch.float32)))
    predictor = LinearPredictor(flat) if is_linear(model) else NetworkPredictor(flat)
    loss, rows = BinaryLoss(), torch.arange(len(inputs))

    def clipped(number: int) -> torch.Tensor:
        return clipped_sum(predictor, examples, rows[:number], rows[:number], loss, request["clip"]).gradient

    def plain(number: int) -> torch.Tensor:
        for x, targets in examples.batches(rows[:number], number):
            with torch.no_grad():
                outputs = predictor.outputs(x)
                predictor.backward(x, outputs, loss.derivative(outputs.detach(), targets))
        return flat.gradient

    return plain if request["mode"] == "plain" else clipped


def work() -> None:
    """Answer as the peer does."""
    import torch

    print(json.dumps({"torch": torch.__version__}), flush=True)
    request = json.loads(sys.stdin.readline())
    run = ours(request)
    run(2)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = memory("VmRSS")
    total = run(request["batch"])
    peak = memory("VmHWM") - before
    probes = total[torch.linspace(0, len(total) - 1, 64).long()].tolist()
    print(json.dumps({"memory": peak, "probes": probes, "norm": float(total.norm())}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run(request["batch"])
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)


def memory(key: str) -> int:
    """Bytes: VmRSS now, or VmHWM since it was reset."""
    found = (line for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if key in line)
    return 1024 * int(next(found).split()[1])


# --- both sides -------------------------------------------------------------------------------------------------------


class Side:
    """One way of one side, in its own process."""

    def __init__(self, name: str, command: Sequence[str], request: dict[str, Any]) -> None:
        self.name = name
        self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.versions: dict[str, str] = self._read()
        self.first = self._ask(json.dumps(request))
        self.seconds: list[float] = []

    def turn(self) -> None:
        self.seconds.append(self._ask("")["seconds"])

    def _ask(self, line: str) -> Any:
        assert self._child.stdin is not None  # noqa: S101  (a pipe)
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()
        return self._read()

    def _read(self) -> Any:
        assert self._child.stdout is not None  # noqa: S101  (a pipe)
        line = self._child.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended ({self._child.wait()}); what it said is above")
        return json.loads(line)

    def close(self) -> None:
        self._child.communicate()


def sides(model: str, options: argparse.Namespace) -> list[Side]:
    """Start ours, the plain gradient, and Opacus in every mode."""
    common = {"model": model, "batch": options.batch, "clip": CLIP, "threads": options.threads}
    mine = [sys.executable, __file__, "--work"]
    found = [Side(mode, mine, {**common, "mode": mode}) for mode in ("ours", "plain")]
    if options.opacus:
        peer = [options.opacus, str(HERE / "peers" / "opacus_gradients.py")]
        found += [
            Side(f"opacus {mode}, {chunk} at a time", peer, {**common, "mode": mode, "chunk": chunk})
            for mode in MODES
            for chunk in dict.fromkeys((options.batch, min(SMALL_CHUNK, options.batch)))
        ]
    return found


def relative(side: Side, mine: Side) -> float:
    """Median over turns of the time of a side by ours."""
    return statistics.median(a / b for a, b in zip(side.seconds, mine.seconds, strict=True))


def differs(side: Side, mine: Side) -> float:
    """Largest difference of a coordinate, as a part of the root mean square of all."""
    ours_, theirs = mine.first["probes"], side.first["probes"]
    size = (sum(value**2 for value in ours_) / len(ours_)) ** 0.5
    return float(max(abs(a - b) for a, b in zip(ours_, theirs, strict=True)) / size)


def show(model: str, found: Sequence[Side]) -> None:
    mine, _, *peers = found
    print(f"\n{model}: milliseconds; ratio of times to ours; MiB; largest difference of a coordinate")
    for side in found:
        line = f"  {side.name:32}{1e3 * statistics.median(side.seconds):9.2f}  x{relative(side, mine):<6.2f}"
        line += f"{side.first['memory'] / 2**20:9.1f}"
        print(line if side in found[:2] else f"{line}  {differs(side, mine):.0e}")
    if peers:
        least = min(side.first["memory"] for side in peers)
        quickest = min(peers, key=lambda side: relative(side, mine))
        print(
            f"  Opacus at its best takes {relative(quickest, mine):.2f} times as long ({quickest.name}), there with"
            f" {quickest.first['memory'] / max(mine.first['memory'], 1):.1f} times the memory; with the least of all"
            f" its ways {least / max(mine.first['memory'], 1):.1f} times"
        )
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opacus", help="interpreter of an environment that has Opacus")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work()
        return
    for model in options.models:
        found = sides(model, options)
        if model == options.models[0]:
            print(f"{options.threads} threads, {options.batch} patients; {found[-1].versions}")
        for _ in range(options.turns):
            for side in found:
                side.turn()
        show(model, found)
        for side in found:
            side.close()


if __name__ == "__main__":
    main()
