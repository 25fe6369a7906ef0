"""From a study file to a finished drill folder, and from an interrupted one to the same."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sealround.clinical import Places, load_cohorts
from sealround.engines.drill.crew import play_all
from sealround.engines.drill.evidence import gather_drill
from sealround.engines.drill.grid import Grid, Wishes, lay_out
from sealround.engines.drill.setting import Setting
from sealround.engines.evidence import environment
from sealround.engines.gate_reference import check_gate, find_reference
from sealround.engines.origin import origin_of, reopened, stamped
from sealround.errors import Problem, StudyError, UnsupportedError
from sealround.federation import Plan
from sealround.federation.plan import FEDERATED
from sealround.learning import device_name
from sealround.report import render_drill
from sealround.storage import DrillFolder
from sealround.study import load_study
from sealround.study.robust_rules import rule_unfit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.clinical import SiteCohort
    from sealround.engines.drill.grid import Cell
    from sealround.study import Study
    from sealround.vocabulary import PartyId

__all__ = ["DrillProgress", "resume_drill", "start_drill"]

DRILLS = Path("drills")
_WORTH_STARTING_WORKERS = 8
_MOST_WORKERS = 4


@dataclass(frozen=True, slots=True)
class DrillProgress:
    """Where a drill is, for whoever watches.

    Attributes:
        grid: All that it goes through.
        done: How many trainings are done.
        before: How many of these were done by an earlier start.
        total: How many there are.
        seconds: Since this start.
        cell: The one that was done last; ``None`` at the start.
    """

    grid: Grid
    done: int
    before: int
    total: int
    seconds: float
    cell: Cell | None

    @property
    def ahead_s(self) -> float | None:
        """About how many seconds the rest takes; ``None`` where nothing is known yet."""
        made = self.done - self.before
        return None if not made else self.seconds / made * (self.total - self.done)


@dataclass(frozen=True, slots=True)
class _Agreed:
    """What is drilled.

    Attributes:
        setting: Study, places, grid.
        cohorts: The records of the study's own sites.
        workers: Worker processes.
    """

    setting: Setting
    cohorts: Mapping[PartyId, SiteCohort]
    workers: int


def start_drill(
    study_file: Path,
    wishes: Wishes,
    *,
    out: Path | None,
    data_folder: Path | None,
    workers: int | Literal["auto"] | None,
    observe: Callable[[DrillProgress], None],
    folder_known: Callable[[Path], None],
) -> Mapping[str, Any]:
    """Drill a study in a new folder.

    Args:
        study_file: The study.
        wishes: What is asked for.
        out: The folder; ``drills/<name>-<date>-<time>`` when ``None``.
        data_folder: Where ``data:`` paths start; ``None`` for the default.
        workers: Worker processes, 0 for none, ``"auto"`` or ``None`` to choose.
        observe: Told of every training that is done.
        folder_known: Told of the folder before anything is trained.

    Returns:
        The evidence, as in the folder's ``drill.json``.

    Raises:
        UsageError: If a wish does not fit the study; nothing is written.
        SealroundError: As the parts raise; what is done so far stays in the folder.
    """
    began = time.monotonic()
    study = load_study(study_file)
    places = Places.of_study(study_file, data_folder)
    agreed = _agree(study, places, wishes, workers)
    folder = DrillFolder.create(
        out or DRILLS / stamped(study),
        study_file.read_bytes(),
        origin_of(study, places, agreed.cohorts, dataclasses.asdict(wishes)),
    )
    folder_known(folder.path)
    folder.write_json("environment.json", environment())
    return _finish(agreed, folder, observe, began)


def resume_drill(
    drill_folder: Path,
    *,
    workers: int | Literal["auto"] | None,
    observe: Callable[[DrillProgress], None],
    folder_known: Callable[[Path], None],
) -> Mapping[str, Any]:
    """Go on with a drill: trainings that are done are not made again.

    Args:
        drill_folder: The drill's folder.
        workers: As in `start_drill`.
        observe: Told of every training that is done.
        folder_known: Told of the folder before anything is trained.

    Returns:
        The evidence; but for its cost, byte for byte what an uninterrupted drill gives.

    Raises:
        UsageError: If it is not a drill folder, or another process works in it.
        ConsistencyError: If study, data or version are not those the drill was started with.
    """
    began = time.monotonic()
    folder = DrillFolder.open(drill_folder)
    folder_known(folder.path)
    origin = reopened(folder)
    agreed = _agree(origin.study, origin.places, Wishes(**origin.wishes), workers)
    origin.check_records(agreed.cohorts)
    return _finish(agreed, folder, observe, began)


def _agree(study: Study, places: Places, wishes: Wishes, workers: int | Literal["auto"] | None) -> _Agreed:
    if study.protection.private:
        raise UnsupportedError(
            "a drill does not play the noise of a private study",
            hint='drill a copy with privacy = { unit = "none", reason = "…" }: noise makes small lies harder to see',
        )
    cohorts = load_cohorts(study, places)
    roster = tuple(sorted(cohorts))
    a_round = Plan(study, FEDERATED, roster, roster).round_size(len(roster))
    if why := rule_unfit(study.protection.robustness, a_round):
        problem = Problem("protection.robustness.num_byzantine", why)
        raise StudyError(f"{study.study.name}: the rule does not fit the sites", (problem,))
    check_gate(study, cohorts)
    grid = lay_out(study, roster, wishes)
    if workers is None or workers == "auto":
        cores = min(len(os.sched_getaffinity(0)), _MOST_WORKERS)
        small = len(grid.cells) <= _WORTH_STARTING_WORKERS
        workers = 0 if cores == 1 or small or device_name(study.model) != "cpu" else cores
    return _Agreed(Setting(study, places, grid, find_reference(study, places, cohorts)), cohorts, workers)


def _finish(
    agreed: _Agreed, folder: DrillFolder, observe: Callable[[DrillProgress], None], began: float
) -> Mapping[str, Any]:
    study, grid = agreed.setting.study, agreed.setting.grid
    folder.lock()
    try:
        found = {cell: kept for cell in grid.cells if (kept := folder.kept(_words(cell))) is not None}
        ahead = [cell for cell in grid.cells if cell not in found]
        before, started = len(found), time.monotonic()

        def progress(cell: Cell | None) -> DrillProgress:
            return DrillProgress(grid, len(found), before, len(grid.cells), time.monotonic() - started, cell)

        def done(cell: Cell, result: Mapping[str, Any]) -> None:
            folder.keep(_words(cell), result)
            found[cell] = json.loads(json.dumps(result))
            observe(progress(cell))

        observe(progress(None))
        play_all(agreed.setting, ahead, agreed.workers, done)
        evidence = gather_drill(study, grid, agreed.cohorts, found) | {
            "cost": {
                "seconds": time.monotonic() - began,
                "training_seconds": sum(result["seconds"] for result in found.values()),
                "cells": len(found),
                "workers": agreed.workers,
            },
            "environment": environment(),
        }
        folder.write_json("drill.json", evidence)
        # Last: whoever finds a report finds everything it is made from.
        folder.write("report.html", render_drill(evidence).encode())
    finally:
        folder.unlock()
    return evidence


def _words(cell: Cell) -> tuple[str | int, ...]:
    return cell.heterogeneity, cell.rule, cell.seed, cell.attack
