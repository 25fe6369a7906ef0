"""Run the grid of `fundus_inversion.py` and `chest_xray_inversion.py`: attack, judge, keep, print, draw.

Results are kept one update at a time; a run that was stopped goes on where it was, and one with more images or seeds
computes only what is not there. The file holds figures, never images.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from inversion_attacks import ATTACKS, attacked, why_not
from inversion_figure import BLIND, draw
from inversion_scene import DEFENCES, FEATURES, MODELS, STATES, UPDATES, Setting, scenes
from sealround.audit.identity.gallery import retrieve
from sealround.audit.inversion.playing import Trial
from sealround.audit.inversion.scoring import Judgement, judge, pooled

if TYPE_CHECKING:
    from collections.abc import Callable

    from inversion_scene import Pictures, Scene

CELL = 24
COLUMNS = {
    "pixels_within_8": ("within 8/255", 100.0, "%"),
    "psnr_db": ("PSNR", 1.0, "dB"),
    "ssim": ("SSIM", 1.0, ""),
    "reidentified": ("by its vessels", 100.0, "%"),
    "reidentified_pixels": ("by its pixels", 100.0, "%"),
    "one_minus_mae": ("1 - MAE", 100.0, "%"),
}
"""Figures of the table: head, factor, unit."""

FULL = {
    "images": 100, "seeds": 3, "sizes": "32,64", "models": ",".join(MODELS), "updates": ",".join(UPDATES),
    "defences": ",".join(DEFENCES), "states": ",".join(STATES), "labels": "known,recovered", "norms": "train,eval",
    "width": 64, "seconds": 600.0,
}  # fmt: skip
"""The design's grid: days on a few cores."""


def options(description: str | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file of results, kept and gone on with")
    parser.add_argument("--figure", type=Path, help="SVG file of PSNR against batch, steps, noise and sites")
    parser.add_argument("--full", action="store_true", help="the whole grid: days")
    parser.add_argument("--images", type=int, default=4, help="victims a seed (one a patient)")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--sizes", default="32")
    parser.add_argument("--models", default="lenet@16,vgg16@32", help=f"{', '.join(MODELS)}; @SIZE for one size")
    parser.add_argument("--updates", default="gradient,fedsgd4", help=", ".join(UPDATES))
    parser.add_argument("--defences", default="none,dp8,sum2", help=", ".join(DEFENCES))
    parser.add_argument("--states", default="random", help=", ".join(STATES))
    parser.add_argument("--labels", default="known", help="known, recovered")
    parser.add_argument("--norms", default="train", help="batch normalisation at the site: train, eval")
    parser.add_argument("--width", type=int, default=16, help="channels of the first block (64: as published)")
    parser.add_argument("--attacks", default=",".join(ATTACKS), help=", ".join(ATTACKS))
    parser.add_argument("--seconds", type=float, default=2.0, help="budget of an attack on one update")
    chosen = parser.parse_args()
    if chosen.full:
        defaults = vars(parser.parse_args([]))
        for name, value in FULL.items():
            if getattr(chosen, name) == defaults[name]:
                setattr(chosen, name, value)
    return chosen


def settings(chosen: argparse.Namespace) -> list[Setting]:
    """Return the cells: every update without protection, and every protection of single gradients.

    With `--full`, every protection of every update that it can be had with.
    """
    axes = (chosen.models, chosen.sizes, chosen.updates, chosen.defences, chosen.states, chosen.labels, chosen.norms)
    found = []
    for model, size, update, defence, state, labels, norms in itertools.product(*(axis.split(",") for axis in axes)):
        name, _, own = model.partition("@")
        if own and size != axes[1].split(",")[0]:
            continue  # once, at its own size
        setting = Setting(name, int(own or size), update, defence, state, labels, norms, chosen.width)
        alone = defence == "none" or chosen.full or update == chosen.updates.split(",")[0]
        batch_norm = name.endswith("-bn")
        private = defence.startswith("dp")  # of one image alone there is no batch norm, of several steps several noises
        silly = (private and (setting.steps > 1 or batch_norm)) or (norms == "eval" and not batch_norm)
        if alone and not silly:
            found.append(setting)
    return found


# One update


def recognised(images: torch.Tensor, scene: Scene) -> dict[str, np.ndarray]:
    """Return, for each victim, whether of all victims' images the right one is nearest to the rebuilt one.

    Args:
        images: Rebuilt images in the victims' order, encoded.
        scene: Whose they are.
    """
    raw = scene.seen.domain.raw(images).clamp(0.0, 1.0)
    return {
        name: retrieve(features(raw), scene.places, scene.gallery[name], lambda maps: maps).hits(1)
        for name, features in FEATURES.items()
    }


def result(scene: Scene, attack: str, seed: int, seconds: float) -> dict[str, Any]:
    """Attack one update and judge; the reason, where an attack gives up."""
    start = time.perf_counter()
    played = attacked(attack, scene.seen, Trial(seconds, seed, time.perf_counter, scene.others))
    taken, found = time.perf_counter() - start, played.reconstruction
    if found is None:
        return {"status": played.status, "why": played.why, "seconds": taken}
    judgement = judge(found, scene.victims, scene.seen.domain, "image", scene.baselines)
    figures = dict(judgement.figures)
    spoken = judgement.rebuilt >= 0
    figures |= {name: np.zeros(len(spoken)) for name in FEATURES}
    if spoken.any():
        whole = found.inputs[torch.from_numpy(np.maximum(judgement.rebuilt, 0))]
        figures |= {name: np.where(spoken, hits, 0.0) for name, hits in recognised(whole, scene).items()}
    baselines = {name: dict(theirs) for name, theirs in judgement.baselines.items()}
    for baseline in scene.baselines:
        guess = baseline.guesses[0].expand_as(scene.victims.inputs)
        baselines[baseline.name] |= recognised(guess, scene)
    return {
        "status": played.status,
        "figures": {name: _plain(values) for name, values in figures.items()},
        "baselines": {
            name: {figure: _plain(values) for figure, values in theirs.items()} for name, theirs in baselines.items()
        },
        "blind": sorted(judgement.blind),
        "mismatch": found.mismatch if np.isfinite(found.mismatch) else None,
        "seconds": taken,
        "note": found.note,
    }


def _plain(values: np.ndarray) -> list[float | None]:
    return [round(float(value), 5) if np.isfinite(value) else None for value in values]


def _judgement(attack: str, kept: dict[str, Any]) -> Judgement:
    def arrays(figures: dict[str, list[float | None]]) -> dict[str, np.ndarray]:
        return {name: np.array(values, dtype=np.float64) for name, values in figures.items()}

    figures = arrays(kept["figures"])
    patients = figures["psnr_db"].size
    return Judgement(
        attack=attack,
        kind="image",
        figures=figures,
        hits=None,
        rebuilt=np.zeros(patients, dtype=np.int64),
        certified=np.zeros(patients, dtype=np.bool_),
        batch=np.zeros(patients, dtype=np.int64),
        baselines={name: arrays(theirs) for name, theirs in kept["baselines"].items()},
        blind=frozenset(kept["blind"]),
    )


# The grid


def run(chosen: argparse.Namespace, pictures: Callable[[int], Pictures]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Compute what is not in the file yet; by setting and attack, one result an update."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    if chosen.out and chosen.out.exists():
        found = json.loads(chosen.out.read_text())["results"]
    for setting in settings(chosen):
        cell = found.setdefault(setting.key, {})
        here = pictures(setting.size)
        for seed in range(chosen.seeds):
            for number, scene in enumerate(scenes(here, setting, chosen.images, seed)):
                for attack in chosen.attacks.split(","):
                    done = cell.setdefault(attack, [])
                    this = {"seed": seed, "update": number, "budget": chosen.seconds}
                    known = any(all(one[key] == value for key, value in this.items()) for one in done)
                    if known or why_not(attack, scene.seen, chosen.seconds) is not None:
                        continue
                    # Of another budget's result nothing is kept.
                    done[:] = [one for one in done if (one["seed"], one["update"]) != (seed, number)]
                    done.append(result(scene, attack, seed, chosen.seconds) | this)
                    _keep(chosen, found)
        _print(setting, cell)
    return found


def _keep(chosen: argparse.Namespace, found: dict[str, Any]) -> None:
    if chosen.out:
        part = chosen.out.with_suffix(".part")
        part.write_text(json.dumps({"format": "inversion-benchmark/1", "results": found}))
        part.replace(chosen.out)


def summary(cell: dict[str, list[dict[str, Any]]], attack: str) -> Judgement | None:
    """Pool one attack's results on a setting; ``None`` if there are none."""
    kept = [one for one in cell.get(attack, []) if "figures" in one]
    return pooled([_judgement(attack, one) for one in kept]) if kept else None


def _print(setting: Setting, cell: dict[str, list[dict[str, Any]]]) -> None:
    print(f"\n{setting.key}: {setting.images * setting.sites} images an update", flush=True)
    _head("attack")
    reference = None
    for attack, done in cell.items():
        judged = summary(cell, attack)
        for why in {one["why"] for one in done if one.get("why")}:
            print(f"  {attack:<30}{sum(one.get('why') == why for one in done):>7} updates without a result: {why}")
        if judged is None:
            continue
        reference = judged
        seconds = float(np.median([one["seconds"] for one in done]))
        worst = judged.worst().figures["psnr_db"]
        line = "".join(_number(judged, figure) for figure in COLUMNS)
        print(f"  {attack:<30}{len(judged):>7}{line}{worst:>9.1f} dB{seconds:>8.1f}")
    if reference is None:
        print("  no attack here")
        return
    best = {figure: reference.best_baseline(figure) for figure in COLUMNS}
    line = "".join(f"{_mean({figure: found[1]} if found else {}, figure):>{CELL}}" for figure, found in best.items())
    print(f"  {BLIND:<30}{len(reference):>7}{line}")


def _head(first: str) -> None:
    print(f"  {first:<30}{'images':>7}" + "".join(f"{head:>{CELL}}" for head, _, _ in COLUMNS.values()), end="")
    print(f"{'worst':>12}{'s':>8}" if first == "attack" else "")


def print_baselines(found: dict[str, dict[str, list[dict[str, Any]]]]) -> None:
    """Print what can be said without an update, from each size's first setting."""
    sizes: dict[str, Judgement] = {}
    for key, cell in found.items():
        judged = [one for attack in cell if (one := summary(cell, attack)) is not None]
        if judged:
            sizes.setdefault(key.split("/")[1], judged[0])
    for size, judged in sizes.items():
        print(f"\nwithout an update, {size} pixels (* nothing of the patient is known but the label)")
        _head("guess")
        for name, figures in judged.baselines.items():
            line = "".join(f"{_mean(figures, figure):>{CELL}}" for figure in COLUMNS)
            print(f"  {'* ' if name in judged.blind else '  '}{name:<33}{len(judged):>2}{line}")


def _number(judged: Judgement, figure: str) -> str:
    number = judged.number(figure, np.random.default_rng(0))
    if number is None:
        return f"{'-':>{CELL}}"
    _, factor, unit = COLUMNS[figure]
    digits = 3 if factor == 1.0 and not unit else 1
    value, low, high = (f"{factor * end:.{digits}f}" for end in (number.value, number.low, number.high))
    if not np.isfinite(number.low):
        return f"{f'{value} {unit}':>{CELL}}"
    return f"{f'{value} [{low}, {high}] {unit}':>{CELL}}"


def _mean(figures: Any, figure: str) -> str:
    if figure not in figures:
        return "-"
    _, factor, unit = COLUMNS[figure]
    return f"{factor * float(np.nanmean(figures[figure])):.{3 if factor == 1.0 and not unit else 1}f} {unit}"


def main(description: str | None, pictures: Callable[[int], Pictures]) -> None:
    """Run what the command line asks for."""
    chosen = options(description)
    start = time.perf_counter()
    found = run(chosen, pictures)
    if chosen.figure:
        chosen.figure.write_text(draw(series(found)))
    print_baselines(found)
    print(f"\n{time.perf_counter() - start:.0f} s")


def series(
    found: dict[str, dict[str, list[dict[str, Any]]]],
) -> dict[str, dict[str, list[tuple[str, float, float, float]]]]:
    """Return the lines of the figure: by panel and by model and attack, places with PSNR and its interval."""
    panels: dict[str, dict[str, list[tuple[str, float, float, float]]]] = {}
    for key, cell in found.items():
        model, size, update, defence, state, labels, norms, width = key.split("/")
        if (state, labels, norms) != ("random", "known", "train"):
            continue
        setting = Setting(model, int(size), update, defence, width=int(width))
        judged = {attack: one for attack in cell if (one := summary(cell, attack)) is not None}
        lines = {attack: one.number("psnr_db", np.random.default_rng(0)) for attack, one in judged.items()}
        for number in [one for one in lines.values() if one is not None][:1]:
            lines[BLIND] = replace(number, value=number.baseline, low=math.nan)
        for (line, number), (panel, at) in itertools.product(lines.items(), _places(setting)):
            if number is not None:
                ends = (number.low, number.high) if np.isfinite(number.low) else (number.value, number.value)
                points = panels.setdefault(panel, {}).setdefault(f"{model} {size} px, {line}", [])
                points.append((at, number.value, *ends))
    return panels


def _places(setting: Setting) -> list[tuple[str, str]]:
    """Return where a setting stands, on each axis that it is on."""
    places = []
    plain, single = setting.defence == "none", setting.update == "gradient"
    if plain and not setting.update.startswith("fedavg"):
        places.append(("images a batch", str(setting.images)))
    if plain and setting.update.startswith("fedavg"):
        places.append(("local steps", str(setting.steps)))
    if single and (plain or setting.defence.startswith("dp")):
        places.append(("epsilon of the noise", "none" if plain else setting.defence[2:]))
    if single and (plain or setting.sites > 1):
        places.append(("sites in the sum", str(setting.sites)))
    return places
