"""How work in a folder of parts was started, and whether what it is resumed with is the same: for drills and audits."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sealround import __version__
from sealround.clinical import Places
from sealround.engines.runs import fingerprint
from sealround.errors import ConsistencyError
from sealround.study import load_study, study_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.clinical import SiteCohort
    from sealround.storage.cell_folder import CellFolder
    from sealround.study import Study
    from sealround.vocabulary import PartyId

__all__ = ["Origin", "origin_of", "reopened", "stamped"]

_KEYS = {"sealround", "study_digest", "cohorts_sha256", "study_folder", "data_folder", "wishes"}


@dataclass(frozen=True, slots=True)
class Origin:
    """What interrupted work was started with.

    Attributes:
        kind: What the work is called.
        study: The study.
        places: Where its files are.
        wishes: What was asked for, by name.
        cohorts_sha256: Of every record of every site.
    """

    kind: str
    study: Study
    places: Places
    wishes: Mapping[str, Any]
    cohorts_sha256: str

    def check_records(self, cohorts: Mapping[PartyId, SiteCohort]) -> None:
        """Check that the records are still the same.

        Raises:
            ConsistencyError: If they are not.
        """
        if fingerprint(cohorts) != self.cohorts_sha256:
            raise ConsistencyError(
                f"the data are not those this {self.kind} was started with",
                hint=f"restore the data, or start a new {self.kind}",
            )


def stamped(study: Study) -> str:
    """Return a folder's name for work on a study that starts now."""
    return f"{study.study.name}-{dt.datetime.now().astimezone():%Y%m%d-%H%M%S}"


def origin_of(
    study: Study, places: Places, cohorts: Mapping[PartyId, SiteCohort], wishes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return how work is started, fit for JSON: enough to resume it."""
    return {
        "sealround": __version__,
        "study_digest": study_digest(study).hex(),
        "cohorts_sha256": fingerprint(cohorts),
        "study_folder": str(places.study_folder),
        "data_folder": str(places.data_folder.resolve()),
        "wishes": dict(wishes),
    }


def reopened(folder: CellFolder) -> Origin:
    """Return how the work in a folder was started.

    Raises:
        ConsistencyError: If it was by another version, or its study file has changed.
    """
    start, kind = folder.start, folder.KIND
    if not start.keys() >= _KEYS or start["sealround"] != __version__:
        raise ConsistencyError(
            f"the {kind} was started by another version of sealround",
            hint="resume with that version, or start a new one",
        )
    study = load_study(folder.file("study.toml"))
    if study_digest(study).hex() != start["study_digest"]:
        raise ConsistencyError(
            f"study.toml in the {kind} folder has changed", hint=f"start a new {kind} of the new study"
        )
    wishes = {key: tuple(value) if isinstance(value, list) else value for key, value in start["wishes"].items()}
    places = Places(Path(start["study_folder"]), Path(start["data_folder"]))
    return Origin(kind, study, places, wishes, start["cohorts_sha256"])
