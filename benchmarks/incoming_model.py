"""How often the site's check on incoming models refuses an honest one, and which planted ones it lets through.

    python benchmarks/incoming_model.py [--seeds 2] [--first-seed 30] [--rounds 12] [--draws 5] [--skip-honest]

First part: whole honest trainings of every kind of model on small data, with several local optimisers, algorithms,
servers, rules, shares of participation and ways to deal out patients; every model that a site with training patients is
sent is checked. Refusals with their Clopper-Pearson upper bound (95 %, one-sided): of trainings, which are independent,
and of checks, which within a training are not (that bound is for reading only). For each sign, how near to its limit
honest training came. What share of a round's computation the check was.

Second part: models planted into the fourth round of an honest training, at full strength and weakened to pass unseen.
For each: which signs refuse it, without the change (as after a restart of the site) and with it, and what share of the
records of the attacked batch is rebuilt to 1 % of its length; beside it, what the honest model of that round gives.
Last, plants that are gone to over several rounds, a part of the way in each.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import itertools
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch

from sealround.audit.malicious import (
    ImprintOptions,
    extract_imprint,
    extract_rows,
    extract_sweep,
    extract_traps,
    plant_class,
    plant_imprint,
    plant_silence,
    plant_sweep,
    plant_traps,
)
from sealround.audit.malicious.layers import hidden_layers
from sealround.clinical import Places, load_cohorts
from sealround.clinical.cohort import Outcome, SiteCohort, SplitName
from sealround.federation import Coordinator, Plan, Site
from sealround.federation.interfaces import InputShape, TrainOrder
from sealround.federation.statistics import Statistics
from sealround.learning import TorchWork, initial_model
from sealround.learning.device import prepare
from sealround.learning.rounds import randomness
from sealround.monitoring import incoming_model
from sealround.study import Study, study_digest
from sealround.testing import Network, small_study
from sealround.vocabulary import PartyId, RoundId

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sealround.learning.encodings import Encoding
    from sealround.monitoring import Finding
    from sealround.vocabulary import Update

NOWHERE = Places(Path(), Path())
OPEN = "made-up numbers in a benchmark"


def clopper_pearson_upper(hits: int, of: int, alpha: float = 0.05) -> float:
    """Return the one-sided upper bound, by bisection of the binomial distribution."""
    if hits >= of:
        return 1.0

    def tail(p: float) -> float:
        logs = [
            math.lgamma(of + 1)
            - math.lgamma(i + 1)
            - math.lgamma(of - i + 1)
            + i * math.log(p)
            + (of - i) * math.log1p(-p)
            for i in range(hits + 1)
        ]
        return sum(map(math.exp, logs))

    low, high = 1e-12, 1.0 - 1e-12
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if tail(middle) > alpha else (low, middle)
    return high


# --- honest trainings -------------------------------------------------------------------------------------------------


def sgd(rate: float, **more: Any) -> dict[str, Any]:
    optimizer = {
        "kind": "sgd",
        "learning_rate": rate,
        **{k: more.pop(k) for k in ("momentum", "weight_decay") if k in more},
    }
    return {"optimizer": optimizer, "batch_size": 16, "local_epochs": 1, **more}


def adam(rate: float, **more: Any) -> dict[str, Any]:
    return {"optimizer": {"kind": "adam", "learning_rate": rate}, "batch_size": 16, "local_epochs": 1, **more}


TRAININGS: dict[str, dict[str, Any]] = {
    "sgd 0.05": sgd(0.05),
    "sgd 0.5": sgd(0.5),
    "sgd 0.05, 10 epochs": sgd(0.05, local_epochs=10),
    "sgd 0.1, 3 steps": sgd(0.1, local_epochs=None, local_steps=3),
    "momentum 0.9": sgd(0.05, momentum=0.9),
    "weight decay": sgd(0.1, weight_decay=0.05, local_epochs=3),
    "adam 0.001": adam(0.001),
    "adam 0.02, 5 epochs": adam(0.02, local_epochs=5),
    "fedprox": sgd(0.1, algorithm={"kind": "fedprox", "mu": 0.1}),
    "scaffold": sgd(0.1, algorithm={"kind": "scaffold"}),
    "fedadam 0.03": sgd(0.1, server={"kind": "fedadam", "learning_rate": 0.03}),
    "fedyogi 0.01": sgd(0.1, server={"kind": "fedyogi", "learning_rate": 0.01}),
    "server momentum 0.9": sgd(0.1, server={"kind": "fedavg", "momentum": 0.9}),
    "participation 0.5": sgd(0.1, participation=0.5),
}
TABLE_MODELS: dict[str, dict[str, Any]] = {
    "logistic": {"kind": "logistic"},
    "mlp 32": {"kind": "mlp"},
    "mlp 64-32, dropout": {"kind": "mlp", "hidden": [64, 32], "dropout": 0.2},
}
DEALT: dict[str, dict[str, Any]] = {
    "iid": {"kind": "iid", "number": 4},
    "dirichlet 0.3": {"kind": "dirichlet", "number": 5, "alpha": 0.3},
    "quantity 0.5": {"kind": "quantity", "number": 5, "alpha": 0.5},
    "iid of 6": {"kind": "iid", "number": 6},
}


def table_study(
    name: str, dealt: str, model: dict[str, Any], training: dict[str, Any], seed: int, rounds: int
) -> Study:
    columns = {"hospital": {"role": "ignore"}} if name == "heart-disease" else {}
    source = {"kind": "builtin", "name": name}
    return small_study(
        study={"seed": seed, "rounds": rounds},
        cohort={"source": source, "sites": DEALT[dealt], "columns": columns},
        model=model,
        training=training,
    )


def made_up(kind: str, seed: int, *, rows: int = 90, width: int = 6) -> dict[PartyId, SiteCohort]:
    """Make three sites with vectors, times or images, the second with a third and the last with twice the patients."""
    cohorts = {}
    for number, share in enumerate((1.0, 0.34, 2.0)):
        draw = np.random.default_rng((seed, number))
        n = int(rows * share)
        time_, split = None, np.resize(np.repeat([0, 1, 2], [6, 2, 2]), n).astype(np.int8)
        if kind == "images":
            event = np.resize([0.0, 1.0], n).astype(np.float32)
            pixels = draw.normal(100.0, 30.0, (n, 16, 16))
            pixels[:, 5:11, 5:11] += 40.0 * event[:, None, None]
            array, shape = np.clip(pixels, 0, 255).astype(np.uint8), InputShape("image", (1, 16, 16))
        else:
            values = draw.normal(3.0, 2.0, (n, width)) if kind == "times" else np.abs(draw.normal(0.0, 1.0, (n, width)))
            array, shape = values.astype(np.float32), InputShape("vector", (width,))
            score = (array[:, 0] - array[:, 0].mean()) / array[:, 0].std()
            event = (score + draw.normal(size=n) > 0).astype(np.float32)
            if kind == "times":
                time_ = np.ceil(draw.exponential(size=n) * np.exp(-score) * 20).astype(np.float32)
                event = (draw.random(n) < 0.7).astype(np.float32)
        party, outcome = PartyId(f"site-{number}"), Outcome(event, time_)
        table = pl.DataFrame({"label": event.astype(str)})
        cohorts[party] = SiteCohort(party, shape, table, array, outcome, np.arange(n), split)
    return cohorts


def honest_trainings(seeds: range, rounds: int) -> Iterator[tuple[str, Study, Mapping[PartyId, SiteCohort]]]:
    """Yield every training: what it is, the study, and the sites."""
    for seed in seeds:
        for how, training in TRAININGS.items():
            for model, name in itertools.product(TABLE_MODELS, ("heart-disease", "breast-cancer")):
                study = table_study(name, "iid", TABLE_MODELS[model], training, seed, rounds)
                yield f"{name}, {model}, {how}", study, load_cohorts(study, NOWHERE)
            for dealt in ("dirichlet 0.3", "quantity 0.5"):
                study = table_study("heart-disease", dealt, {"kind": "mlp", "hidden": [64]}, training, seed, rounds)
                yield f"heart-disease, {dealt}, {how}", study, load_cohorts(study, NOWHERE)
            for kind, width, model_ in (
                ("times", 8, {"kind": "cox"}),
                ("times", 8, {"kind": "cox", "hidden": [32]}),
                ("vectors", 3, {"kind": "mlp", "hidden": [64]}),
                ("vectors", 300, {"kind": "mlp", "hidden": [64]}),  # as wide as a frozen backbone's features get small
                ("images", 0, {"kind": "cnn", "channels": [8, 16]}),
            ):
                study = small_study(study={"seed": seed, "rounds": rounds}, model=model_, training=training)
                yield f"{kind} {width}, {model_['kind']}, {how}", study, made_up(kind, seed, width=max(width, 1))
        for rule in ({"rule": "multi-krum", "num_byzantine": 1}, {"rule": "trimmed-mean", "num_byzantine": 1}):
            protection = small_study().protection.model_dump() | {"robustness": rule}
            study = table_study("heart-disease", "iid of 6", {"kind": "mlp", "hidden": [64]}, sgd(0.1), seed, rounds)
            tree = study.model_dump() | {"protection": protection}
            study = Study.model_validate(tree, strict=False)
            yield f"heart-disease, {rule['rule']}", study, load_cohorts(study, NOWHERE)
        study = table_study(
            "heart-disease", "iid", {"kind": "mlp", "hidden": [64]}, sgd(0.1, weight_decay=0.05), seed, 100
        )
        yield "heart-disease, 100 rounds with weight decay", study, load_cohorts(study, NOWHERE)


@dataclass
class Count:
    """What the checks of a part of the benchmark came to."""

    checks: int = 0
    check_s: float = 0.0
    train_s: float = 0.0
    refused: collections.Counter[str] = None  # type: ignore[assignment]
    nearest: dict[str, tuple[float, str]] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.refused, self.nearest = collections.Counter(), {}


class Counted(TorchWork):
    """Trains as always, and goes on with a model that the check refuses."""

    count: Count
    what = ""
    noise = 0.0
    rounds = 0

    def train(self, order: TrainOrder) -> Any:
        encoding = self._encodings.under(order.statistics)
        self._incoming._private = self.noise > 0  # noqa: SLF001  (as in a study whose sites add noise)
        Counted.rounds = max(Counted.rounds, order.round)
        looks, self._incoming.check = self._incoming.findings, lambda *_: None  # type: ignore[method-assign]
        began = time.perf_counter()
        found = looks(order, encoding)
        took = time.perf_counter() - began
        kept, self._incoming._accepted = self._incoming._accepted, {}  # noqa: SLF001
        found += looks(order, encoding)  # as after a restart
        self._incoming._accepted = kept  # noqa: SLF001
        began = time.perf_counter() - took
        outcome = super().train(order)
        del self._incoming.check
        self.count.train_s += time.perf_counter() - began - took
        if len(encoding.parts[SplitName.TRAIN]):
            self.count.checks += 1
            self.count.check_s += took
            self.count.refused.update({f"{self.what}: {finding.sign} in {finding.layer or 'all'}" for finding in found})
        if self.noise:
            drawn = np.random.default_rng((order.round, len(self.what))).normal(0.0, self.noise, outcome.update.size)
            return dataclasses.replace(outcome, update=(outcome.update + drawn).astype(np.float32))
        return outcome


def measure_honest(seeds: range, rounds: int) -> None:
    count = Counted.count = Count()
    judged = incoming_model._judged  # noqa: SLF001

    def noted(sign: str, layer: str, measured: float, limit: float) -> Iterator[Finding]:
        part = measured / limit if limit else math.inf
        if measured and part > count.nearest.get(sign, (0.0, ""))[0]:
            count.nearest[sign] = (part, Counted.what)
        yield from judged(sign, layer, measured, limit)  # type: ignore[arg-type]

    incoming_model._judged = noted  # type: ignore[assignment]  # noqa: SLF001
    trainings, refused, broken = 0, 0, 0
    for what, study, cohorts in honest_trainings(seeds, rounds):
        Counted.what = what
        Counted.noise, Counted.rounds = (0.05 if "noise" in what else 0.0), 0
        works = {site: Counted(study, cohort) for site, cohort in cohorts.items()}
        roster, before = tuple(sorted(cohorts)), sum(count.refused.values())
        coordinator = Coordinator(Plan(study, "federated", roster, roster), initial_model(study))
        sites = {site: Site(site, study_digest(study), work, 1) for site, work in works.items()}
        try:
            Network(coordinator, sites).run()
        except Exception as error:  # noqa: BLE001  (a training that diverges is no false alarm)
            if Counted.rounds < study.study.rounds:
                broken += 1
                print(f"  did not end: {what}: {type(error).__name__}: {error}")
                continue
        trainings += 1
        refused += sum(count.refused.values()) > before
    incoming_model._judged = judged  # noqa: SLF001
    print(f"honest trainings: {trainings} ({broken} did not end), of which refused: {refused};", end=" ")
    print(f"at most {clopper_pearson_upper(refused, trainings):.3g} of all with 95 % confidence")
    number = sum(count.refused.values())
    print(f"models checked: {count.checks}, findings: {number}; bound if they were independent:", end=" ")
    print(f"{clopper_pearson_upper(min(number, count.checks), count.checks):.2g}")
    each = 1e3 * count.check_s / count.checks
    print(f"check: {each:.2f} ms a model, {100 * count.check_s / count.train_s:.0f} % of what training took")
    for sign, (part, what) in sorted(count.nearest.items()):
        print(f"  {sign:<18} came to {100 * part:4.0f} % of its limit: {what}")
    for finding, times in count.refused.most_common(20):
        print(f"  refused {times} times: {finding}")


# --- planted models ---------------------------------------------------------------------------------------------------


@dataclass
class Victim:
    """A site in the fourth round of an honest training, and what its batch will be."""

    study: Study
    work: TorchWork
    encoding: Encoding
    statistics: Statistics
    model: Update
    auxiliary: np.ndarray
    batch: np.ndarray

    @property
    def module(self) -> Any:
        return self.encoding.predictor.flat.module

    def order(self, model: Update) -> TrainOrder:
        return TrainOrder("federated", RoundId(4), model, self.statistics)

    def batch_of(self, round_: int) -> np.ndarray:
        records = self.encoding.parts[SplitName.TRAIN].inputs.matrix.numpy().astype(float)  # type: ignore[attr-defined]
        site = self.work._records.site  # noqa: SLF001
        order, _ = randomness(7, "federated", site, round_, torch.device("cpu"))
        return records[order.permutation(len(records))[: len(self.batch)]]

    def trained(self, order: TrainOrder) -> Update:
        self.work._incoming.check = lambda *_: None  # type: ignore[method-assign]  # noqa: SLF001
        update = self.work.train(order).update
        del self.work._incoming.check  # noqa: SLF001
        return update

    def update(self, model: Update) -> Update:
        check, self.work._incoming.check = self.work._incoming.check, lambda *_: None  # type: ignore[method-assign]  # noqa: SLF001
        kept = dict(self.work._incoming._accepted)  # noqa: SLF001
        update = self.work.train(self.order(model)).update
        self.work._incoming.check, self.work._incoming._accepted = check, kept  # type: ignore[method-assign]  # noqa: SLF001
        return update

    def signs(self, model: Update, *, restarted: bool) -> set[str]:
        incoming, kept = self.work._incoming, self.work._incoming._accepted  # noqa: SLF001
        incoming._accepted = {} if restarted else kept  # noqa: SLF001
        found = {finding.sign for finding in incoming.findings(self.order(model), self.encoding)}
        incoming._accepted = kept  # noqa: SLF001
        return found


def victim(name: str, batch: int, hidden: list[int], rate: float = 0.05) -> Victim:
    training = sgd(rate, batch_size=batch, local_epochs=None, local_steps=1)
    study = table_study(
        name, "iid", {"kind": "mlp", "hidden": hidden} if hidden else {"kind": "logistic"}, training, 7, 80
    )
    works = {site: TorchWork(study, cohort) for site, cohort in load_cohorts(study, NOWHERE).items()}
    layout = next(iter(works.values())).layout
    statistics = Statistics.from_counts(layout, sum(work.counts(layout, 1) for work in works.values()))
    statistics = statistics.with_squares(sum(work.squares(layout, 1, statistics.mean) for work in works.values()))
    model = initial_model(study)(next(iter(works.values())).inputs, statistics)
    for round_ in range(1, 4):
        orders = [work.train(TrainOrder("federated", RoundId(round_), model, statistics)) for work in works.values()]
        model = (model + np.mean([outcome.update for outcome in orders], axis=0)).astype(np.float32)
    (site, work), (_, other), *_ = works.items()
    encoding = work._encodings.under(statistics)  # noqa: SLF001
    records = encoding.parts[SplitName.TRAIN].inputs.matrix.numpy().astype(float)  # type: ignore[attr-defined]
    auxiliary = other._encodings.under(statistics).parts[SplitName.TRAIN].inputs.matrix.numpy().astype(float)  # type: ignore[attr-defined]  # noqa: SLF001
    encoding = work._encodings.under(statistics)  # noqa: SLF001
    order, _ = randomness(7, "federated", site, 4, torch.device("cpu"))
    return Victim(study, work, encoding, statistics, model, auxiliary, records[order.permutation(len(records))[:batch]])


def rebuilt(candidates: np.ndarray, records: np.ndarray) -> float:
    """Return the share of records that some candidate is within 1 % of."""
    if not len(candidates):
        return 0.0
    apart = np.linalg.norm(candidates[:, None] - records[None], axis=2).min(axis=0)
    return float((apart <= 0.01 * np.linalg.norm(records, axis=1)).mean())


Read = "Callable[[Update], np.ndarray]"


def planted(v: Victim, draw: np.random.Generator) -> Iterator[tuple[str, Update, Read]]:
    """Yield models with what reads their updates."""
    layer = hidden_layers(v.module)[0]
    yield "the honest model", v.model, lambda update: extract_rows(update, layer).inputs
    imprint = plant_imprint(v.module, v.model, ImprintOptions(auxiliary=v.auxiliary), draw)
    yield "imprint as published", imprint.parameters, lambda u, i=imprint: extract_imprint(u, i).inputs
    for noise in (0.0, 0.1, 0.3, 0.5, 0.7, 1.0, 1.5, 3.0):
        options = ImprintOptions(noise=noise, scatter=0.5, shuffle=True, auxiliary=v.auxiliary)
        imprint = plant_imprint(v.module, v.model, options, draw)
        yield f"imprint, hidden, noise {noise}", imprint.parameters, lambda u, i=imprint: extract_imprint(u, i).inputs
    for part in (0.5, 0.25, 0.1, 0.03):
        imprint = plant_imprint(v.module, v.model, ImprintOptions(scatter=0.5, deviation=part, shuffle=True), draw)
        yield (
            f"imprint, hidden, bins within {part}",
            imprint.parameters,
            lambda u, i=imprint: extract_imprint(u, i).inputs,
        )
    for rate in (0.02, 0.05, 0.1, 0.2, 0.3):
        traps = plant_traps(v.module, v.model, rate, draw)
        yield f"traps that fire at {rate}", traps.parameters, lambda u, t=traps: extract_traps(u, t).inputs
    once = 1.5 / len(v.batch)
    for number, gain in ((8, 1.0), (4, 1.0), (1, 1.0), (1, 1000.0)):
        traps = plant_traps(v.module, v.model, once, draw, traps=number, gain=gain)
        yield f"{number} traps, gain {gain:g}", traps.parameters, lambda u, t=traps: extract_traps(u, t).inputs
    for part in (0.7, 0.5, 0.3):
        traps = plant_traps(v.module, v.model, once, draw, traps=4)
        mixed = (v.model + part * (traps.parameters - v.model)).astype(np.float32)
        yield f"4 traps, {part} of the way", mixed, lambda u, t=traps: extract_traps(u, t).inputs
    for logit in (15.0, 5.0, 2.0):
        model = plant_class(v.module, v.model, 1, logit)
        yield f"class fishing, logit {logit:g}", model, lambda u: extract_rows(u, layer).inputs
    yield "silence", plant_silence(v.module, v.model), lambda u: extract_rows(u, layer).inputs


def measure_power(draws: int) -> None:
    for name, batch in (("heart-disease", 16), ("breast-cancer", 64)):
        v = victim(name, batch, [64])
        shares: dict[str, list[float]] = collections.defaultdict(list)
        alone: dict[str, list[set[str]]] = collections.defaultdict(list)
        full: dict[str, list[set[str]]] = collections.defaultdict(list)
        for seed in range(draws):
            for what, model, read in planted(v, np.random.default_rng(seed)):
                shares[what].append(rebuilt(read(v.update(model)), v.batch))
                alone[what].append(v.signs(model, restarted=True))
                full[what].append(v.signs(model, restarted=False))
        print(f"\n{name}, perceptron (64), one step on {batch} records, {draws} draws of each plant")
        print(f"  {'planted':<34} {'rebuilt: mean':>14} {'most':>7}  refused after a restart | refused otherwise")
        for what, found in shares.items():
            print(f"  {what:<34} {100 * np.mean(found):12.1f} % {100 * max(found):5.1f} %", end="  ")
            print(f"{_said(alone[what])} | {_said(full[what])}")
    print()
    for steepness in (3000.0, 300.0, 100.0, 30.0, 3.0):
        v = victim("breast-cancer", 64, [])
        axis = np.random.default_rng(0).normal(size=v.batch.shape[1])
        along = np.sort(v.batch @ axis / np.linalg.norm(axis))
        hits, signs = [], ([], [])
        for place in range(4, 60, 4):
            cuts = [float(along[at : at + 2].mean()) for at in (place, place + 1)]
            sweeps = [plant_sweep(v.module, v.model, axis, cut, steepness) for cut in cuts]
            first, second = (v.update(sweep.parameters) for sweep in sweeps)
            hits.append(rebuilt(extract_sweep((first, second), (sweeps[0], sweeps[1])).inputs, v.batch) > 0)
            for restarted, seen in zip((True, False), signs, strict=True):
                seen.append(v.signs(sweeps[0].parameters, restarted=restarted))
        print(
            f"  breast-cancer, logistic, sweep of steepness {steepness:g}: {sum(hits)} of {len(hits)} aims hit;",
            end=" ",
        )
        print(f"{_said(signs[0])} | {_said(signs[1])}")


def measure_patience() -> None:
    """Go to the plant over several rounds, a part of the way in each."""
    print()
    for name, batch in (("heart-disease", 16), ("breast-cancer", 64)):
        for what in (
            "imprint, hidden, noise 0.0",
            "imprint, hidden, noise 1.0",
            "traps that fire at 0.2",
            "4 traps, gain 1",
        ):
            for number in (2, 4, 8, 16, 32, 64):
                v = victim(name, batch, [64])
                target, read = next((m, r) for w, m, r in planted(v, np.random.default_rng(1)) if w == what)
                refused: set[str] = set()
                for step in range(1, number + 1):
                    model = (v.model + step / number * (target - v.model)).astype(np.float32)
                    order = TrainOrder("federated", RoundId(3 + step), model, v.statistics)
                    refused |= {finding.sign for finding in v.work._incoming.findings(order, v.encoding)}  # noqa: SLF001
                    update = v.trained(order)
                # The batch of the round in which it is complete.
                share = 100 * rebuilt(read(update), v.batch_of(3 + number))
                print(f"  {name}, {what}, over {number:2} rounds: {share:5.1f} % rebuilt;", end=" ")
                print(", ".join(sorted(refused)) or "NOT REFUSED")


def _said(found: list[set[str]]) -> str:
    times = sum(map(bool, found))
    signs = ", ".join(sorted(set().union(*found)))
    return f"{times}/{len(found)} {signs}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=30, help="limits were chosen on 0 to 21")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--skip-honest", action="store_true")
    options = parser.parse_args()
    prepare()
    if not options.skip_honest:
        measure_honest(range(options.first_seed, options.first_seed + options.seeds), options.rounds)
    measure_power(options.draws)
    measure_patience()


if __name__ == "__main__":
    main()
