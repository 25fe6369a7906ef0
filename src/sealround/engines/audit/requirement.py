"""What an audit must have found before a run may start, and the run that starts all the same, with a reason."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sealround.errors import ConsistencyError, PolicyDeniedError, UsageError
from sealround.storage import AuditFolder
from sealround.study import study_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sealround.study import Study

__all__ = ["AUDITS", "AuditChoice", "judge_requirements", "permission"]

AUDITS = Path("audits")
"""Where audits are written, and looked for."""

FORMAT = "sealround-audit/1"
_SHORTEST_REASON = 10
_COUNTS = ("done", "stopped")


@dataclass(frozen=True, slots=True)
class AuditChoice:
    """What whoever starts a run says about its audit.

    Attributes:
        folder: The audit's folder; ``None`` to look for one among `AUDITS`.
        override: Why the run may start without an audit that passed; ``None`` if it may not.
    """

    folder: Path | None = None
    override: str | None = None


def judge_requirements(
    study: Study, findings: Sequence[Mapping[str, Any]], here: str
) -> dict[str, dict[str, float | bool | None]]:
    """Hold what was found against a study's limits.

    Args:
        study: The study.
        findings: The audit's (``findings`` of ``audit.json``).
        here: Key of the rung that is the study as written.

    Returns:
        For each limit what was found at most, over all attackers (``None`` if no attack could measure it), and whether
        that passes. What was not measured does not pass: a limit that nothing can break is a limit on nothing.
    """
    if study.audit.require is None:
        return {}
    counted = [found for found in findings if found["rung"] == here and found["status"] in _COUNTS]
    judged: dict[str, dict[str, float | bool | None]] = {}
    for measure, limit in study.audit.require.model_dump(exclude_none=True).items():
        measured = [found["beyond"][measure] for found in counted if measure in found["beyond"]]
        worst = max(measured, default=None)
        judged[measure] = {"limit": limit, "found": worst, "passed": worst is not None and worst <= limit}
    return judged


def permission(study: Study, cohorts_sha256: str, choice: AuditChoice) -> dict[str, Any] | None:
    """Return what lets a run start, as its report states it; ``None`` where its study asks for no audit.

    Args:
        study: The study that is agreed on.
        cohorts_sha256: Of every record of every site.
        choice: What whoever starts the run says.

    Raises:
        PolicyDeniedError: If the study asks for an audit, none of this study and these records passed, and no reason
            is given.
        UsageError: If the reason is too short, or there is nothing to override.
        ConsistencyError: If the named audit's file is damaged.
    """
    if study.audit.require is None:
        if choice.override is not None:
            raise UsageError("the study asks for no audit", hint="leave --without-audit out")
        return None
    if choice.override is not None and len(choice.override.strip()) < _SHORTEST_REASON:
        raise UsageError(
            "a reason for going without an audit is at least ten letters long", hint="say why: it is in the report"
        )
    folders = _candidates() if choice.folder is None else [choice.folder]
    refusals: list[str] = []
    for folder in folders:
        stated = _stated(study, cohorts_sha256, folder)
        if isinstance(stated, dict):
            return {"state": "passed", "reason": None, **stated}
        refusals.append(f"{folder}: {stated}")
    if choice.override is not None:
        return {"state": "overridden", "reason": choice.override.strip(), "sha256": None, "attacks": 0, "limits": {}}
    raise PolicyDeniedError(
        f"{study.study.name} asks for a leakage audit that passed, and there is none",
        tuple(refusals),
        hint="sealround audit STUDY, then run; or give a reason with --without-audit, which is in the report",
    )


def _candidates() -> Iterable[Path]:
    """Folders below `AUDITS`, the newest first."""
    if not AUDITS.is_dir():
        return []
    found = [path.parent for path in AUDITS.glob(f"*/{AuditFolder.start_file()}")]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)


def _stated(study: Study, cohorts_sha256: str, folder: Path) -> dict[str, Any] | str:
    """Return what an audit found against the limits, or why it does not count."""
    audit = AuditFolder.open(folder)
    start = audit.start
    if start.get("study_digest") != study_digest(study).hex():
        return "it is of another study, or of another version of this one"
    if start.get("cohorts_sha256") != cohorts_sha256:
        return "it is of other records"
    if not audit.file("audit.json").is_file():
        return f"it is not finished; go on with: sealround audit --resume {folder}"
    evidence = audit.read_json("audit.json")
    try:
        return _judged(study, evidence, audit.file("audit.json").read_bytes())
    except (KeyError, TypeError) as error:
        raise ConsistencyError(f"{folder}/audit.json is damaged", hint="make the audit again") from error


def _judged(study: Study, evidence: Mapping[str, Any], text: bytes) -> dict[str, Any] | str:
    if evidence["format"] != FORMAT or evidence["study"]["digest"] != study_digest(study).hex():
        return "its evidence is of another study or version"
    if not evidence["plan"]["finished"]:
        return "not every attack was played"
    (here,) = [rung["key"] for rung in evidence["rungs"] if rung["here"]]
    # Judged anew: what the file says about itself is not what lets a run start.
    limits = judge_requirements(study, evidence["findings"], here)
    failed = [name for name, found in limits.items() if not found["passed"]]
    if failed:
        return "; ".join(_failure(name, limits[name]) for name in failed)
    played = sum(found["status"] in _COUNTS for found in evidence["findings"] if found["rung"] == here)
    return {"sha256": hashlib.sha256(text).hexdigest(), "attacks": played, "limits": limits}


def _failure(name: str, found: Mapping[str, float | bool | None]) -> str:
    if found["found"] is None:
        return f"{name} was not measured by any attack"
    return f"{name} is {found['found']:.3g}, the study permits {found['limit']:.3g}"
