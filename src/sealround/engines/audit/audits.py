"""From a study file to a finished audit folder, and from an interrupted one to the same."""

from __future__ import annotations

import dataclasses
import difflib
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sealround.clinical import Places, load_cohorts
from sealround.engines.audit.attackers import attackers_of
from sealround.engines.audit.attacks import ATTACKS
from sealround.engines.audit.campaign import Campaign, Play
from sealround.engines.audit.evidence import gather_audit, showcase
from sealround.engines.audit.requirement import AUDITS
from sealround.engines.audit.sentences import sentence_of
from sealround.engines.evidence import environment
from sealround.engines.origin import origin_of, reopened, stamped
from sealround.errors import UsageError
from sealround.report import render_audit
from sealround.storage import AuditFolder
from sealround.study import load_study

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from sealround.clinical import SiteCohort
    from sealround.study import Study
    from sealround.vocabulary import PartyId

__all__ = ["AuditProgress", "AuditWishes", "explain", "resume_audit", "start_audit"]

_AT_THE_SITE = "at-the-site"
_PLAN = ("plan",)
_RECORDS = "records"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditWishes:
    """What is asked for.

    Attributes:
        budget_s: About how long to attack.
        seed: Of every random choice of the attackers.
        attacks: Which; ``None`` for all that apply.
        site: Whose update is attacked; ``None`` for the site with fewest records.
        only_study: Attack no variants with less or more protection.
    """

    budget_s: float
    seed: int = 1
    attacks: tuple[str, ...] | None = None
    site: str | None = None
    only_study: bool = False


@dataclass(frozen=True, slots=True)
class AuditProgress:
    """Where an audit is, for whoever watches.

    Attributes:
        doing: What it is doing.
        done: How many attacks were played.
        before: How many of these by an earlier start.
        total: How many there are; 0 while that is not known.
        seconds: Since this start.
        budget_s: About how long it may take.
        sentence: What the last attack found, where that is news.
    """

    doing: str
    done: int
    before: int
    total: int
    seconds: float
    budget_s: float
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class _Agreed:
    """What is audited."""

    study: Study
    cohorts: Mapping[PartyId, SiteCohort]
    wishes: AuditWishes


def start_audit(
    study_file: Path,
    wishes: AuditWishes,
    *,
    out: Path | None,
    data_folder: Path | None,
    observe: Callable[[AuditProgress], None],
    folder_known: Callable[[Path], None],
) -> Mapping[str, Any]:
    """Audit a study in a new folder.

    Args:
        study_file: The study.
        wishes: What is asked for.
        out: The folder; ``audits/<name>-<date>-<time>`` when ``None``.
        data_folder: Where ``data:`` paths start; ``None`` for the default.
        observe: Told of every attack that was played.
        folder_known: Told of the folder before anything is attacked.

    Returns:
        The evidence, as in the folder's ``audit.json``.

    Raises:
        UsageError: If a wish does not fit the study; nothing is written.
        SealroundError: As the parts raise; what was found so far stays in the folder.
    """
    study = load_study(study_file)
    places = Places.of_study(study_file, data_folder)
    agreed = _agree(study, places, wishes)
    folder = AuditFolder.create(
        out or AUDITS / stamped(study),
        study_file.read_bytes(),
        origin_of(study, places, agreed.cohorts, dataclasses.asdict(wishes)),
    )
    folder_known(folder.path)
    folder.write_json("environment.json", environment())
    return _finish(agreed, folder, observe)


def resume_audit(
    audit_folder: Path, *, observe: Callable[[AuditProgress], None], folder_known: Callable[[Path], None]
) -> Mapping[str, Any]:
    """Go on with an audit: attacks that were played are not played again.

    Args:
        audit_folder: The audit's folder.
        observe: Told of every attack that was played.
        folder_known: Told of the folder before anything is attacked.

    Returns:
        The evidence; but for its cost, what an uninterrupted audit gives.

    Raises:
        UsageError: If it is not an audit folder, or another process works in it.
        ConsistencyError: If study, data or version are not those the audit was started with.
    """
    folder = AuditFolder.open(audit_folder)
    folder_known(folder.path)
    origin = reopened(folder)
    agreed = _agree(origin.study, origin.places, AuditWishes(**origin.wishes))
    origin.check_records(agreed.cohorts)
    return _finish(agreed, folder, observe)


def explain(study_file: Path, data_folder: Path | None) -> dict[str, Any]:
    """Say who attacks a study, what each sees and what that costs, and which attacks apply; nothing is attacked.

    Args:
        study_file: The study.
        data_folder: Where ``data:`` paths start; ``None`` for the default.

    Returns:
        A tree fit for JSON.
    """
    study = load_study(study_file)
    agreed = _agree(study, Places.of_study(study_file, data_folder), AuditWishes(budget_s=1.0))
    return {
        "study": study.study.name,
        "attackers": [
            dataclasses.asdict(attacker)
            | {
                "attacks": [
                    {"name": attack.name, "what": attack.what, "source": attack.source}
                    for attack in ATTACKS.values()
                    if attacker.key in attack.by
                ]
            }
            for attacker in attackers_of(study, len(agreed.cohorts))
        ],
        "granted": list(granted_to_all(study)),
    }


def granted_to_all(study: Study) -> tuple[str, ...]:
    """Say what every attacker is taken to know."""
    site = study.cohort.site_term
    return (
        f"Everybody knows the study file, seeds of a simulation included, and how many records a {site} trains on.",
        "Labels are not given: where an attack needs them, it recovers them from the update first.",
        "Nobody is given a patient's record. Reconstructions are looked up in a list of people with some traits.",
        "An attack that fails here shows that this attack failed here.",
    )


def _agree(study: Study, places: Places, wishes: AuditWishes) -> _Agreed:
    unknown = [word for word in wishes.attacks or () if word not in ATTACKS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], ATTACKS, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"there is no attack {unknown[0]!r}", hint=f"{meant}attacks are: {', '.join(ATTACKS)}")
    cohorts = load_cohorts(study, places)
    if wishes.site is not None and wishes.site not in cohorts:
        term = study.cohort.site_term
        raise UsageError(f"there is no {term} {wishes.site!r}", hint=f"{term}s are: {', '.join(sorted(cohorts)[:20])}")
    return _Agreed(study, cohorts, wishes)


def _finish(agreed: _Agreed, folder: AuditFolder, observe: Callable[[AuditProgress], None]) -> Mapping[str, Any]:
    began = time.monotonic()
    study, wishes = agreed.study, agreed.wishes
    folder.lock()
    try:
        campaign = Campaign(study, agreed.cohorts, wishes, folder.file(_RECORDS), time.monotonic)
        found: list[tuple[Play, Mapping[str, Any]]] = []
        before = 0

        def tell(doing: str, sentence: str = "") -> None:
            seconds = time.monotonic() - began
            observe(AuditProgress(doing, len(found), before, len(campaign.plays), seconds, wishes.budget_s, sentence))

        folder.keep(_PLAN, campaign.prepare(folder.kept(_PLAN), tell))
        kept = {part: folder.kept(part.words) for part in campaign.plays}
        before = sum(result is not None for result in kept.values())
        for part, known in kept.items():
            if known is None:
                tell(part.doing)
            result = _played(folder, campaign, part) if known is None else known
            found.append((part, result))
            for one in result.get("findings", ()):
                tell(part.doing, sentence_of(study, one))
        evidence = gather_audit(campaign, found, _records(folder, found), time.monotonic() - began)
        if evidence["plan"]["data"] == "own":
            _write_at_the_site(folder, found, evidence)
        folder.write_json("audit.json", evidence)
        # Last: whoever finds a report finds everything it is made from.
        folder.write("report.html", render_audit(evidence).encode())
        shutil.rmtree(folder.file(_RECORDS), ignore_errors=True)
    finally:
        folder.unlock()
    return evidence


def _played(folder: AuditFolder, campaign: Campaign, part: Play) -> Mapping[str, Any]:
    """Play a part and write it down; a patient's record apart from what may be shared, and before it."""
    result = dict(campaign.play(part))
    record = result.pop("showcase", None)
    if record is not None:
        folder.file(_AT_THE_SITE).mkdir(exist_ok=True)
        folder.write_json(_record_file(part), record)
    folder.keep(part.words, result)
    return result


def _record_file(part: Play) -> str:
    return f"{_AT_THE_SITE}/{'-'.join(map(str, part.words))}.json"


def _records(folder: AuditFolder, found: Sequence[tuple[Play, Mapping[str, Any]]]) -> Mapping[Play, Mapping[str, Any]]:
    return {
        part: folder.read_json(_record_file(part)) for part, _ in found if folder.file(_record_file(part)).is_file()
    }


def _write_at_the_site(
    folder: AuditFolder,
    found: Sequence[tuple[Play, Mapping[str, Any]]],
    evidence: Mapping[str, Any],
) -> None:
    """Write the page with records in it, for who may see them."""
    records = showcase(found, _records(folder, found))
    if not records:
        return
    plan = {
        **evidence["plan"],
        "data": "public",
        "why_public": "this copy holds patients' records: it stays at the site",
    }
    page = render_audit({**evidence, "plan": plan, "showcase": records})
    folder.write(f"{_AT_THE_SITE}/report.html", page.encode())
