"""Which rule withstands every attack, when hospitals are alike and when they are not.

    OMP_NUM_THREADS=1 python benchmarks/adaptive_rule.py --out FILE [--rules "adaptive;mean"] [--attacks further]

The handwritten digits of scikit-learn (1797 images of 8 × 8, 10 classes), a network 64-64-10, 16 honest sites and 4
that lie. Training images are dealt to the honest sites by class in Dirichlet proportions, and, independently, once
more, to the liars, so that no class is in liars' hands alone. Each of 500 rounds every site sends the gradient of 32
of its images; the model moves by 0.5 times what the rule makes of what is remembered of the sites. Every cell is the
accuracy on 360 held-out images after the last round.

Liars are as strong as the literature has them: they see what is remembered of every honest site in this very round,
and send what makes the memory of themselves the lie. The attacks that search for their strength know the rule; they
search every fourth round. Finished cells are kept in the file and not computed again.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.datasets import load_digits

from sealround.aggregation import (
    HISTORY,
    ORIGIN,
    Gram,
    Known,
    Settings,
    Weighting,
    aggregate,
    centered_clipping,
    combine,
    coordinate_median,
    geometric_median,
    gram,
    mean,
    multi_krum,
    nearest_neighbor_mixing,
    trimmed_mean,
)
from sealround.aggregation.adaptive import DECAY, adaptive_clipping
from sealround.audit.poisoning import Scene, alie_factor, flip_labels, line_search, play, watch
from sealround.audit.poisoning.spread import mean_and_deviation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

HONEST, LIARS, CLASSES = 16, 4, 10
SITES = HONEST + LIARS
ROUNDS, BATCH, RATE, HIDDEN, TEST = 500, 32, np.float32(0.5), 64, 360
WATCHED = 100  # rounds that the mimic watches before it settles on somebody
SEARCHED = 4  # rounds from one search for a strength to the next
LISTED = ("none", "sign-flip", "ipm", "alie", "opt-alie", "label-flip", "mimic")
FURTHER = ("opt-ipm", "min-max", "min-sum", "fang-trimmed-mean", "fang-krum", "noisy-mimic")

LINES: Mapping[str, Callable[[float], tuple[float, float, float]]] = {
    "opt-alie": lambda z: (1.0, -z, z),
    "opt-ipm": lambda z: (-z, 0.0, 1.0 + z),
}
"""The lie of a strength: how much of the honest mean, of the deviation, and of the origin; together 1."""


@dataclass(frozen=True)
class Contestant:
    """A rule as it stands in the table.

    Attributes:
        weigh: From inner products to weights, to a tolerance; ``None`` for rules that go by coordinates.
        settings: The same as the package runs it; ``None`` for parts of the adaptive rule.
        decay: Of what is remembered of each site.
    """

    weigh: Callable[[Gram, float], Weighting] | None
    settings: Settings | None
    decay: float


def _clipped(then: Callable[[Gram, float], Weighting]) -> Callable[[Gram, float], Weighting]:
    """Clip adaptively before a rule."""

    def weigh(found: Gram, tolerance: float) -> Weighting:
        products = found.about(ORIGIN)[:SITES, :SITES]
        factors = adaptive_clipping(np.sqrt(np.maximum(np.diagonal(products), 0.0)), num_byzantine=LIARS)
        decided = then(Gram(products * np.outer(factors, factors), SITES), tolerance)
        return Weighting(decided.weights * factors, decided.reasons)

    return weigh


def _mixed(then: Callable[[Gram, float], Weighting]) -> Callable[[Gram, float], Weighting]:
    """Mix with nearest neighbours before a rule."""

    def weigh(found: Gram, tolerance: float) -> Weighting:
        mixing = nearest_neighbor_mixing(found, num_byzantine=LIARS)
        return then(found.mixed(mixing), tolerance).through(mixing)

    return weigh


def _mean(found: Gram, _: float) -> Weighting:
    return mean(found.sites)


def _median(found: Gram, tolerance: float) -> Weighting:
    return geometric_median(found, num_byzantine=LIARS, tolerance=tolerance)


def _krum(found: Gram, _: float) -> Weighting:
    return multi_krum(found, num_byzantine=LIARS)


def _centred(found: Gram, _: float) -> Weighting:
    return centered_clipping(found, num_byzantine=LIARS, clip_norm=1.0)


def _rule(name: str, **constants: object) -> Settings:
    return Settings(rule=name, num_byzantine=0 if name == "mean" else LIARS, **constants)


PUBLISHED: Mapping[str, tuple[Callable[[Gram, float], Weighting] | None, Settings]] = {
    "mean": (_mean, _rule("mean")),
    "median": (None, _rule("median")),
    "trimmed-mean": (None, _rule("trimmed-mean")),
    "multi-krum": (_krum, _rule("multi-krum")),
    "geometric-median": (_median, _rule("geometric-median")),
    "centered-clipping": (_centred, _rule("centered-clipping", clip_norm=1.0)),
    "nnm + geometric-median": (_mixed(_median), _rule("geometric-median", mixing=True)),
}
WHOLE = _clipped(_mixed(_median))
CONTESTANTS: Mapping[str, Contestant] = {
    "adaptive": Contestant(WHOLE, _rule("adaptive"), DECAY),
    **{f"{name}, remembered": Contestant(weigh, rule, DECAY) for name, (weigh, rule) in PUBLISHED.items()},
    **{name: Contestant(weigh, rule, 0.0) for name, (weigh, rule) in PUBLISHED.items()},
    "adaptive without memory": Contestant(WHOLE, _rule("adaptive"), 0.0),
    "adaptive without mixing": Contestant(_clipped(_median), None, DECAY),
    "adaptive, mean for the median": Contestant(_clipped(_mixed(_mean)), None, DECAY),
    "adaptive, multi-krum for the rest": Contestant(_clipped(_krum), None, DECAY),
}
"""Without its clipping the adaptive rule is ``nnm + geometric-median, remembered``."""


@dataclass(frozen=True)
class Digits:
    """Images and labels, and who has which.

    Attributes:
        images: Of training, float32 ``(m, 64)``.
        labels: int64 ``(m,)``.
        rows: Which of them each site has, liars last.
        test_images: Held out.
        test_labels: Held out.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: tuple[np.ndarray, ...]
    test_images: np.ndarray
    test_labels: np.ndarray


@functools.lru_cache(maxsize=16)
def deal(seed: int, alpha: float) -> Digits:
    """Hold images out, and deal the others to sites."""
    images, labels = load_digits(return_X_y=True)
    generator = np.random.default_rng([1, seed, round(1000 * alpha)])
    order = np.random.default_rng([2, seed]).permutation(len(labels))
    x, y = (images / 16.0).astype(np.float32)[order], labels.astype(np.int64)[order]
    rows = _dealt(y[TEST:], alpha, generator) + _dealt(y[TEST:], alpha, generator)[:LIARS]
    return Digits(x[TEST:], y[TEST:], tuple(rows), x[:TEST], y[:TEST])


def _dealt(labels: np.ndarray, alpha: float, generator: np.random.Generator) -> list[np.ndarray]:
    while True:
        parts: list[list[np.ndarray]] = [[] for _ in range(HONEST)]
        for label in range(CLASSES):
            rows = generator.permutation(np.flatnonzero(labels == label))
            cuts = (np.cumsum(generator.dirichlet(np.full(HONEST, alpha)))[:-1] * len(rows)).astype(int)
            for part, piece in zip(parts, np.split(rows, cuts), strict=True):
                part.append(piece)
        dealt = [np.concatenate(part) for part in parts]
        if min(map(len, dealt)) > 1:
            return dealt


class Network:
    """One hidden layer, the gradients of all sites in one pass."""

    shapes = ((64, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,))
    parameters = sum(int(np.prod(shape)) for shape in shapes)

    def __init__(self, generator: np.random.Generator) -> None:
        """Draw the first weights."""
        self.weights = np.empty(self.parameters, dtype=np.float32)
        for part, fan_in in zip(self._parts(self.weights), (64, 64, HIDDEN, HIDDEN), strict=True):
            part[...] = generator.uniform(-1.0, 1.0, part.shape) / np.sqrt(fan_in)

    def _parts(self, vectors: np.ndarray) -> Iterator[np.ndarray]:
        start = 0
        for shape in self.shapes:
            stop = start + int(np.prod(shape))
            yield vectors[..., start:stop].reshape(*vectors.shape[:-1], *shape)
            start = stop

    def _forward(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        one, first, two, second = self._parts(self.weights)
        hidden = np.maximum(images @ one + first, 0.0)
        return hidden, hidden @ two + second

    def gradients(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return the gradient of each site's cross-entropy, float32 ``(n, d)``, of ``(n, b, 64)`` and ``(n, b)``."""
        n, b, _ = images.shape
        hidden, logits = self._forward(images.reshape(n * b, 64))
        logits -= logits.max(axis=1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=1, keepdims=True)
        logits[np.arange(n * b), labels.ravel()] -= 1.0
        logits /= b
        back = (logits @ list(self._parts(self.weights))[2].T) * (hidden > 0.0)
        found = np.empty((n, self.parameters), dtype=np.float32)
        one, first, two, second = self._parts(found)
        logits, back, hidden = (array.reshape(n, b, -1) for array in (logits, back, hidden))
        one[...], first[...] = images.transpose(0, 2, 1) @ back, back.sum(axis=1)
        two[...], second[...] = hidden.transpose(0, 2, 1) @ logits, logits.sum(axis=1)
        return found

    def accuracy(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Return how many labels are right; a model of NaN calls everything a zero."""
        return float((self._forward(images)[1].argmax(axis=1) == labels).mean())


@dataclass
class Liar:
    """What the liars together do."""

    attack: str
    contestant: Contestant
    generator: np.random.Generator

    def __post_init__(self) -> None:
        """Begin to watch."""
        self.mimicry, self.rounds, self.strength = None, 0, 0.0

    def lie(self, remembered: np.ndarray, history: np.ndarray | None) -> np.ndarray:
        """Return what shall be remembered of the liars, float32 ``(f, d)``."""
        honest, own = remembered[:HONEST], remembered[HONEST:]
        self.rounds += 1
        if self.attack in ("none", "label-flip"):
            return own
        if self.attack in LINES and self.contestant.weigh is not None:
            return self._strongest(honest, history)
        scene = Scene(
            parameters=honest.shape[1],
            sites=SITES,
            num_byzantine=LIARS,
            generator=self.generator,
            own=own,
            honest=honest,
            rule=lambda everybody: step(self.contestant, everybody, history),
            mimicry=self._watched(honest),
        )
        found = play("mimic" if self.attack == "noisy-mimic" else self.attack, scene).updates
        if self.attack == "noisy-mimic":  # copies that no comparison of copies finds
            noise = self.generator.standard_normal(found.shape, dtype=np.float32)
            found += noise * np.float32(0.5 * np.linalg.norm(found[0]) / np.sqrt(found.shape[1]))
        return found

    def _watched(self, honest: np.ndarray) -> object:
        if self.attack.endswith("mimic") and self.rounds <= WATCHED:
            self.mimicry = watch(honest, self.generator, self.mimicry)
        return self.mimicry

    def _strongest(self, honest: np.ndarray, history: np.ndarray | None) -> np.ndarray:
        """Search a line for the lie that moves the rule furthest, on inner products alone: no try costs a pass."""
        middle, deviation = mean_and_deviation(honest)
        known = {} if history is None else {HISTORY: history}
        found = gram(honest, {"mean": middle, "deviation": deviation, **known}, origin=True)
        names = [name for name in found.references if name in (HISTORY, ORIGIN)]
        kept = [found.row(name) for name in ("mean", "deviation", ORIGIN)]
        view = np.zeros((SITES + len(names), len(found.products)))
        view[:HONEST, :HONEST] = np.eye(HONEST)
        for row, name in enumerate(names, start=SITES):
            view[row, found.row(name)] = 1.0

        def harm(strength: float) -> float:
            view[HONEST:SITES, kept] = LINES[self.attack](strength)
            decided = self.contestant.weigh(Gram(view @ found.products @ view.T, SITES, tuple(names)), 1e-3)
            at = decided.weights @ view[:SITES]
            for name, weight in decided.references.items():
                at[found.row(name)] += weight
            at[kept[0]] -= 1.0
            at[kept[2]] -= at.sum()
            return float(at @ found.products @ at)

        if self.rounds % SEARCHED == 1:
            start = max(alie_factor(SITES, LIARS), 0.0) if self.attack == "opt-alie" else 0.1
            self.strength = line_search(harm, start=start)
        of_mean, of_deviation, _ = LINES[self.attack](self.strength)
        lie = np.float32(of_mean) * middle + np.float32(of_deviation) * deviation
        return np.tile(lie, (LIARS, 1))


def step(contestant: Contestant, updates: np.ndarray, history: np.ndarray | None) -> np.ndarray:
    """Return what a rule makes of updates."""
    if contestant.settings is not None:
        if contestant.weigh is None:
            rule = {"median": coordinate_median, "trimmed-mean": trimmed_mean}[contestant.settings.rule]
            return rule(updates, num_byzantine=LIARS).update
        return aggregate(contestant.settings, updates, Known(history=history)).update
    return combine(contestant.weigh(gram(updates, origin=True), 1e-6).weights, updates)


def train(contestant: Contestant, attack: str, alpha: float, seed: int) -> float:
    """Return accuracy after training under an attack."""
    digits = deal(seed, alpha)
    network = Network(np.random.default_rng([3, seed]))
    drawn, liar = np.random.default_rng([4, seed]), Liar(attack, contestant, np.random.default_rng([5, seed]))
    sizes = np.array([len(rows) for rows in digits.rows])
    table = np.zeros((SITES, sizes.max()), dtype=np.int64)
    for site, rows in enumerate(digits.rows):
        table[site, : len(rows)] = rows
    flipped = flip_labels(digits.labels, classes=CLASSES)
    remembered, weight = np.zeros((SITES, network.parameters), dtype=np.float32), 0.0
    history = None
    for _ in range(ROUNDS):
        chosen = table[np.arange(SITES)[:, None], (drawn.random((SITES, BATCH)) * sizes[:, None]).astype(np.int64)]
        labels = digits.labels[chosen]
        if attack == "label-flip":
            labels[HONEST:] = flipped[chosen[HONEST:]]
        weight = 1.0 + contestant.decay * weight  # as `sealround.aggregation.remember`, for all sites at once
        remembered += (network.gradients(digits.images[chosen], labels) - remembered) * np.float32(1.0 / weight)
        sent = np.vstack([remembered[:HONEST], liar.lie(remembered, history)])
        if not np.abs(sent).max() < 1e15:  # what `admit` refuses: the model is lost already
            network.weights[:] = np.nan
            break
        history = step(contestant, sent, history)
        network.weights -= RATE * history
    return network.accuracy(digits.test_images, digits.test_labels)


def cells(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """Go through the table, cells of the file first."""
    finished = {}
    if options.out.exists():
        for line in options.out.read_text().splitlines():
            cell = json.loads(line)
            finished[cell["rule"], cell["alpha"], cell["seed"], cell["attack"]] = cell
    for rule, alpha, seed, attack in itertools.product(options.rules, options.alphas, options.seeds, options.attacks):
        cell = finished.get((rule, alpha, seed, attack))
        if cell is None and not options.show:
            began = time.perf_counter()
            value = train(CONTESTANTS[rule], attack, alpha, seed)
            seconds = round(time.perf_counter() - began, 2)
            cell = {"rule": rule, "alpha": alpha, "seed": seed, "attack": attack, "accuracy": value, "seconds": seconds}
            with options.out.open("a") as file:
                file.write(json.dumps(cell) + "\n")
        if cell is not None:
            yield cell


def show(found: list[dict[str, object]], attacks: tuple[str, ...]) -> None:
    """Print means over seeds; the worst case is the mean over seeds of each seed's worst attack."""
    table = defaultdict(dict)
    for cell in found:
        table[cell["alpha"], cell["rule"]].setdefault(cell["seed"], {})[cell["attack"]] = cell["accuracy"]
    print(f"{'alpha':5} {'rule':34} {'seeds':>5} {'worst':>6} {'least':>6}  " + " ".join(f"{a:>10}" for a in attacks))
    for (alpha, rule), seeds in sorted(table.items(), key=lambda item: -item[0][0]):
        whole = np.array([[by[a] for a in attacks] for by in seeds.values() if len(by) == len(attacks)])
        if whole.size:
            worst = whole.min(axis=1)
            row = " ".join(f"{value:10.3f}" for value in whole.mean(axis=0))
            print(f"{alpha:<5} {rule:34} {len(whole):5} {worst.mean():6.3f} {worst.min():6.3f}  {row}")


def main() -> None:
    """Fill the table and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = lambda text: tuple(part.strip() for part in text.split(";"))  # noqa: E731
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rules", type=listed, default=tuple(CONTESTANTS), help="names, with ; between them")
    parser.add_argument("--attacks", type=listed, default=LISTED, help="names, or 'further'")
    parser.add_argument("--alphas", type=lambda text: tuple(map(float, text.split(","))), default=(1.0, 0.1))
    parser.add_argument("--seeds", type=lambda text: tuple(map(int, text.split(","))), default=(1, 2, 3, 4, 5))
    parser.add_argument("--show", action="store_true", help="only what is in the file")
    options = parser.parse_args()
    if options.attacks == ("further",):
        options.attacks = FURTHER
    np.seterr(over="ignore", invalid="ignore")  # of models that an attack has blown up
    show(list(cells(options)), options.attacks)


if __name__ == "__main__":
    main()
