"""From ``audit.json``, decoded, to `sealround.report.audit.evidence`: everything is checked before a line is written.

What the page could not show in full is refused, as for a run: see `sealround.report.reading`.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, TypeVar, cast

from sealround.errors import ConsistencyError, UnsupportedError
from sealround.report.audit.consistency import check
from sealround.report.audit.evidence import (
    ATTACKERS,
    FAMILIES,
    KINDS,
    STATUSES,
    Accuracy,
    Attacker,
    AuditedStudy,
    AuditEvidence,
    Bounds,
    Cell,
    Finding,
    Limit,
    Measured,
    PatientBounds,
    Pictures,
    Plan,
    Row,
    Rung,
    TwoWorlds,
    Worst,
)
from sealround.report.audit.measures import LIMITS, MEASURES
from sealround.report.entries import environment, evidence_format, only
from sealround.report.evidence import Estimate
from sealround.report.nodes import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sealround.report.audit.evidence import Family, Kind, Status

__all__ = ["AUDIT_FORMAT", "read_audit"]

AUDIT_FORMAT = "sealround-audit/1"

_SECTIONS = frozenset(
    {
        "format", "study", "plan", "attackers", "rungs", "findings", "bounds", "two_worlds", "showcase", "require",
        "passed", "skipped", "environment",
    }
)  # fmt: skip
_PNG = b"\x89PNG\r\n\x1a\n"
_IHDR = slice(16, 24)
_Named = TypeVar("_Named")


def read_audit(evidence: Mapping[str, object]) -> AuditEvidence:
    """Check and freeze one audit's evidence.

    Args:
        evidence: ``audit.json``, decoded.

    Raises:
        UnsupportedError: If its format, or something in it, is not known to this version.
        VerificationError: If a value is missing, of the wrong type or out of range.
        ConsistencyError: If two parts contradict each other.
    """
    root = Node(evidence)
    evidence_format(root, AUDIT_FORMAT)
    only(root, _SECTIONS, "section")
    worlds, passed = root.get("two_worlds"), root.get("passed")
    found = AuditEvidence(
        sealround=root["environment"].text_or("sealround", "of an unknown version"),
        study=_study(root["study"]),
        plan=_plan(root["plan"]),
        attackers=_by_key(root["attackers"], _attacker),
        rungs=_by_key(root["rungs"], _rung),
        findings=tuple(_finding(entry) for entry in root["findings"].items()),
        bounds=tuple(_bounds(entry) for entry in root["bounds"].items()),
        two_worlds=None if worlds is None else _two_worlds(worlds),
        showcase=tuple(_shown(entry) for entry in root["showcase"].items()),
        require=tuple(_limit(key, entry) for key, entry in root["require"].fields().items()),
        passed=None if passed is None else passed.flag(),
        skipped=tuple(_pair(entry) for entry in root["skipped"].items()),
        environment=environment(root["environment"]),
    )
    check(found)
    return found


def _word(node: Node, known: Iterable[str], what: str) -> str:
    """Read a word that the page has a sentence for.

    Raises:
        UnsupportedError: If it has none.
    """
    text, words = node.text(), tuple(known)
    if text not in words:
        raise UnsupportedError(f"evidence: {node.path}: unknown {what}", hint=f"known: {', '.join(words)}")
    return text


def _by_key(node: Node, read: Callable[[Node], _Named]) -> dict[str, _Named]:
    found: dict[str, _Named] = {}
    for entry in node.items():
        key = entry["key"].text()
        if key in found:
            raise ConsistencyError(f"evidence: {entry.path}: a key is there twice")
        found[key] = read(entry)
    return found


def _pair(node: Node) -> tuple[str, str]:
    """Read an array of two texts."""
    entries = node.items()
    if len(entries) != 2:  # noqa: PLR2004 (a pair)
        raise node.fault("two texts")
    return entries[0].text(), entries[1].text()


# --- study, plan, ladder ----------------------------------------------------------------------------------------------


def _study(node: Node) -> AuditedStudy:
    return AuditedStudy(
        name=node["name"].text(),
        digest=node["digest"].text(),
        task=node["task"].text(),
        model=node["model"].text(),
        inputs=node["inputs"].text(),
        sites=node["sites"].count(),
        rounds=node["rounds"].count(),
        batch_size=node.count_or_none("batch_size"),
        local=node.text_or("local", ""),
        learning_rate=node.number_or_none("learning_rate", 0.0),
    )


def _plan(node: Node) -> Plan:
    return Plan(
        seed=node["seed"].count(),
        budget_s=node.number_or_none("budget_s", 0.0),
        seconds=node["seconds"].number(0.0),
        finished=node["finished"].flag(),
        public=_word(node["data"], ("public", "own"), "word for whose the data are") == "public",
        why_public=node.text_or("why_public", ""),
        kind=cast("Kind", _word(node["kind"], KINDS, "kind of record")),
    )


def _attacker(node: Node) -> Attacker:
    return Attacker(
        key=_word(node["key"], sorted(ATTACKERS), "attacker"),
        name=node["name"].text(),
        sees=node["sees"].text(),
        assumes=node.text_or("assumes", ""),
    )


def _rung(node: Node) -> Rung:
    accuracy, switch = node.get("accuracy"), node.get("switch")
    return Rung(
        key=node["key"].text(),
        label=node["label"].text(),
        here=node["here"].flag(),
        beyond=node["beyond"].flag(),
        accuracy=None if accuracy is None else Accuracy(accuracy["metric"].text(), _interval(accuracy, 0.0, 1.0)),
        switch=None if switch is None else switch.text(),
    )


# --- findings ---------------------------------------------------------------------------------------------------------


def _interval(node: Node, low: float, high: float) -> Estimate:
    """Read ``{value, low, high}``.

    Raises:
        ConsistencyError: If the interval ends before it begins.
    """
    read = Estimate(
        value=node.number_or_none("value", low, high),
        low=node.number_or_none("low", low, high),
        high=node.number_or_none("high", low, high),
    )
    if read.low is not None and read.high is not None and read.low > read.high:
        raise ConsistencyError(f"evidence: {node.path}: the interval ends before it begins")
    return read


def _measures(node: Node | None) -> dict[str, Measured]:
    """Read measures in the page's order; those that are null are left out."""
    if node is None:
        return {}
    only(node, frozenset(MEASURES), "measure")
    found = {}
    for key, measure in MEASURES.items():
        entry = node.get(key)
        if entry is not None:
            read = _interval(entry, measure.low, measure.high)
            found[key] = Measured(read, entry.number_or_none("baseline", measure.low, measure.high))
    return {key: measured for key, measured in found.items() if measured.found.value is not None}


def _values(node: Node | None) -> dict[str, float]:
    """Read one patient's plain values, in the page's order."""
    if node is None:
        return {}
    only(node, frozenset(MEASURES) | {"patient", "baseline"}, "measure")
    found = {key: node.number_or_none(key, measure.low, measure.high) for key, measure in MEASURES.items()}
    return {key: value for key, value in found.items() if value is not None}


def _worst(node: Node | None) -> Worst:
    if node is None:
        return Worst(None, {}, {})
    return Worst(node.count_or_none("patient"), _values(node), _values(node.get("baseline")))


def _beyond(node: Node | None) -> dict[str, float]:
    """Read excesses over a guess by measure, named as the page names measures."""
    if node is None:
        return {}
    only(node, frozenset(LIMITS), "measure")
    found = {measure: node.number_or_none(key) for key, (_, measure) in LIMITS.items()}
    return {key: value for key, value in found.items() if value is not None}


def _finding(node: Node) -> Finding:
    site = node.get("site")
    return Finding(
        rung=node["rung"].text(),
        attacker=node["attacker"].text(),
        attack=node["attack"].text(),
        family=cast("Family", _word(node["family"], FAMILIES, "family of attacks")),
        name=node["name"].text(),
        source=node.text_or("source", ""),
        granted=tuple(_pair(entry) for entry in node["granted"].items()),
        round=node.count_or_none("round"),
        site=None if site is None else site.text(),
        sites_in_sum=node["sites_in_sum"].count(),
        examples=node["examples"].count(),
        unknowns=node["unknowns"].count(),
        status=cast("Status", _word(node["status"], STATUSES, "status")),
        why=node.text_or("why", ""),
        patients=node["patients"].count(),
        certified=node.count_or_none("certified") or 0,
        measures=_measures(node.get("measures")),
        worst=_worst(node.get("worst")),
        beyond=_beyond(node.get("beyond")),
        mismatch=node.number_or_none("mismatch", 0.0),
        seconds=node["seconds"].number(0.0),
        note=node.text_or("note", ""),
    )


# --- bounds, worlds, records, limits ----------------------------------------------------------------------------------


def _bounds(node: Node) -> Bounds:
    site = node.get("site")
    return Bounds(
        rung=node["rung"].text(),
        attacker=node["attacker"].text(),
        round=node.count_or_none("round"),
        site=None if site is None else site.text(),
        sites_in_sum=node["sites_in_sum"].count(),
        examples=node["examples"].count(),
        unknowns=node["unknowns"].count(),
        equations=node["equations"].count(),
        rank=node.count_or_none("rank"),
        precision=node.number_or_none("precision", 0.0),
        patients=tuple(_patient(entry) for entry in node["patients"].items()),
        note=node.text_or("note", ""),
    )


def _patient(node: Node) -> PatientBounds:
    keys = ("smallest_singular", "largest_singular", "crb_sd", "fil", "i2f")
    return PatientBounds(
        node["numbers"].count(), node["determined"].count(), *(node.number_or_none(key, 0.0) for key in keys)
    )


def _two_worlds(node: Node) -> TwoWorlds:
    verdict = _word(node["verdict"], ("told apart", "not told apart"), "verdict")
    return TwoWorlds(
        coalition=node["coalition"].text(),
        worlds=node["worlds"].text(),
        statistic=node["statistic"].text(),
        p_value=node["p_value"].number(0.0, 1.0),
        false_alarm=node["false_alarm"].number(0.0, 1.0),
        views=node["views"].count(),
        told_apart=verdict == "told apart",
    )


def _shown(node: Node) -> Pictures | Row:
    if _word(node["kind"], ("image", "table"), "kind of record") == "table":
        return Row(node["finding"].count(), tuple(_cell(entry) for entry in node["cells"].items()))
    return Pictures(
        node["finding"].count(),
        original=_picture(node["original"]),
        reconstruction=_picture(node["reconstruction"]),
        baseline=_picture(node["baseline"]),
        psnr_db=node.number_or_none("psnr_db"),
        baseline_db=node.number_or_none("baseline_db"),
    )


def _picture(node: Node) -> tuple[str, int, int]:
    """Read a base64 PNG: its text written anew, width and height (PNG specification, section 11.2.1: IHDR)."""
    try:
        raw = base64.b64decode(node.text(), validate=True)
    except (binascii.Error, ValueError):
        raise node.fault("a picture in base64") from None
    sizes = raw[_IHDR]
    width, height = int.from_bytes(sizes[:4]), int.from_bytes(sizes[4:])
    if not raw.startswith(_PNG) or not (width and height):
        raise node.fault("a PNG picture")
    return base64.b64encode(raw).decode(), width, height


def _cell(node: Node) -> Cell:
    return Cell(
        column=node["column"].text(),
        unit=node.text_or("unit", ""),
        original=node["original"].text(),
        rebuilt=node["rebuilt"].text(),
        baseline=node["baseline"].text(),
        recovered=node["recovered"].flag(),
    )


def _limit(key: str, node: Node) -> Limit:
    if key not in LIMITS:
        raise UnsupportedError("evidence: require: unknown limit", hint=f"known: {', '.join(LIMITS)}")
    return Limit(key, node["limit"].number(), node.number_or_none("found"), node["passed"].flag())
