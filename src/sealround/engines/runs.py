"""From a study file to a finished run folder, and from a killed one to the same."""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sealround.clinical import Places, load_cohorts
from sealround.engines.evidence import environment, gather
from sealround.engines.model_file import model_file
from sealround.engines.simulation import Simulation
from sealround.errors import ConsistencyError
from sealround.report import render
from sealround.storage import RunFolder
from sealround.study import load_study, study_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.clinical.cohort import SiteCohort
    from sealround.engines.in_process import Progress
    from sealround.study import Study
    from sealround.vocabulary import PartyId

__all__ = ["fingerprint", "resume_run", "start_run"]

RUNS = Path("runs")


def start_run(
    study_file: Path,
    *,
    out: Path | None,
    data_folder: Path | None,
    workers: int | None,
    observe: Callable[[Progress], None],
    folder_known: Callable[[Path], None],
) -> Mapping[str, Any]:
    """Run a study in a new run folder.

    Args:
        study_file: The study.
        out: Run folder; ``runs/<name>-<date>-<time>`` when ``None``.
        data_folder: Where ``data:`` paths start; the default when ``None``.
        workers: Worker processes, 0 for none, ``None`` to measure and decide.
        observe: Told of every step.
        folder_known: Told of the run folder before anything is trained.

    Returns:
        The evidence, as in the folder's ``metrics.json``.

    Raises:
        SealroundError: As the parts raise; what is done so far stays in the folder.
    """
    began = time.monotonic()
    study = load_study(study_file)
    places = Places.of_study(study_file, data_folder)
    cohorts = load_cohorts(study, places)
    stamp = dt.datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    folder = RunFolder.create(
        out or RUNS / f"{study.study.name}-{stamp}",
        study_file.read_bytes(),
        {
            "study_digest": study_digest(study).hex(),
            "cohorts_sha256": fingerprint(cohorts),
            "study_folder": str(places.study_folder),
            "data_folder": str(places.data_folder.resolve()),
        },
    )
    folder_known(folder.path)
    folder.write_json("environment.json", environment())
    return _finish(study, cohorts, folder, workers, observe, began)


def resume_run(
    run_folder: Path,
    *,
    workers: int | None,
    observe: Callable[[Progress], None],
    folder_known: Callable[[Path], None],
) -> Mapping[str, Any]:
    """Go on with a run after the last round in its journal.

    Args:
        run_folder: The run's folder.
        workers: As in `start_run`.
        observe: Told of every step.
        folder_known: Told of the run folder before anything is trained.

    Returns:
        The evidence; the model is byte for byte what an uninterrupted run gives.

    Raises:
        UsageError: If it is not a run folder, or another process works in it.
        ConsistencyError: If study or data are not those the run was started with.
    """
    began = time.monotonic()
    folder = RunFolder.open(run_folder)
    folder_known(folder.path)
    origin = folder.read_json("run.json")
    study = load_study(folder.file("study.toml"))
    if study_digest(study).hex() != origin["study_digest"]:
        raise ConsistencyError("study.toml in the run folder has changed", hint="start a new run with the new study")
    places = Places(Path(origin["study_folder"]), Path(origin["data_folder"]))
    cohorts = load_cohorts(study, places)
    if fingerprint(cohorts) != origin["cohorts_sha256"]:
        raise ConsistencyError(
            "the data are not those this run was started with", hint="restore the data, or start a new run"
        )
    return _finish(study, cohorts, folder, workers, observe, began)


def _finish(
    study: Study,
    cohorts: Mapping[PartyId, SiteCohort],
    folder: RunFolder,
    workers: int | None,
    observe: Callable[[Progress], None],
    began: float,
) -> Mapping[str, Any]:
    folder.lock()
    try:
        trainings = Simulation(study, cohorts, folder, workers).run(observe)
        evidence = gather(study, cohorts, trainings, time.monotonic() - began)
        released = trainings.federated.coordinator.released
        folder.write("model.safetensors", model_file(study, released))
        folder.write_json("metrics.json", evidence)
        folder.write_csv("rounds.csv", *_round_table(evidence))
        # Last: whoever finds a report finds everything it is made from.
        folder.write("report.html", render(evidence).encode())
    finally:
        folder.unlock()
    return evidence


_ROUND_COLUMNS = ("round", "train_loss", "validation_loss", "validation", "bytes_up", "bytes_down", "seconds")


def _round_table(evidence: Mapping[str, Any]) -> tuple[tuple[str, ...], list[list[object]]]:
    sites = sorted(evidence["cohort"]["sites"])
    header = (*_ROUND_COLUMNS, *(f"validation {site}" for site in sites))
    rows = [
        [entry[column] for column in _ROUND_COLUMNS]
        + [entry["sites"].get(site, {}).get("validation") for site in sites]
        for entry in evidence["rounds"]
    ]
    return header, rows


def fingerprint(cohorts: Mapping[PartyId, SiteCohort]) -> str:
    """Return the SHA-256 of every record of every site, hex: a resumed run must find the same."""
    whole = hashlib.sha256()
    for site, cohort in sorted(cohorts.items()):
        whole.update(f"{site}\x00{cohort.rows}\x00".encode())
        whole.update(cohort.table.write_csv().encode())
        outcome = cohort.outcome
        for array in (cohort.array, outcome.event, outcome.time, cohort.patient, cohort.split):
            if array is not None:
                whole.update(f"{array.dtype.str}{array.shape}".encode())
                whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()
