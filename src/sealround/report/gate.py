"""May this model be used? What the gate found, in plain words, and to whom harm was traced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from sealround.report.typography import NONE, decimal, listing, plural, signed, some, whole
from sealround.report.voice import Table

if TYPE_CHECKING:
    from sealround.report.gate_entries import Attribution, Finding, GateFacts, LookFacts
    from sealround.report.voice import Voice

__all__ = ["GateSection", "Tone", "gate_section", "withheld"]

Tone: TypeAlias = Literal["yes", "no", "unknown"]

_POINTS = "\N{NO-BREAK SPACE}points"
_OFTEN = {"fnr": "Missed", "fpr": "False alarms", "calibration": "Risk off by"}
_EVERYBODY = "everybody"
_NAMED = 4


@dataclass(frozen=True, slots=True)
class GateSection:
    """The section.

    Attributes:
        tone: What the verdict is: the page sets it off.
        verdict: One or two words.
        said: The verdict in sentences.
        warning: Which groups nothing is known about; empty if none.
        table: What was found of each group, of the last look.
        tracing: Sentence and table for each look after which sites were looked into.
        earlier: What earlier looks found.
        note: How it was judged, and what that cannot show.
    """

    tone: Tone
    verdict: str
    said: tuple[str, ...]
    warning: str
    table: Table
    tracing: tuple[tuple[str, Table], ...]
    earlier: tuple[Table, ...]
    note: str


def withheld(voice: Voice) -> bool:
    """Whether a gate kept the model back."""
    gate = voice.evidence.gate
    return gate is not None and not gate.released


def gate_section(voice: Voice) -> GateSection | None:
    """Make the section; ``None`` for a study without a gate."""
    gate = voice.evidence.gate
    if gate is None:
        return None
    *earlier, last = gate.looks
    tone, verdict = _tone(gate)
    return GateSection(
        tone=tone,
        verdict=verdict,
        said=tuple(_said(voice, gate)),
        warning=_warning(voice, gate, last),
        table=_table(voice, gate, last, "The model that was judged last, group by group"),
        tracing=tuple(
            (_traced(voice, look), _influence(voice, look.attribution)) for look in gate.looks if look.attribution
        ),
        earlier=tuple(
            _table(voice, gate, look, f"Look {place}: the model of round {look.round}{_without(look)}")
            for place, look in enumerate(earlier, start=1)
        ),
        note=_note(voice, gate),
    )


# --- the verdict ------------------------------------------------------------------------------------------------------


def _tone(gate: GateFacts) -> tuple[Tone, str]:
    if not gate.released:
        return "no", "Not released"
    if all(entry.verdict == "not assessable" for entry in gate.looks[-1].findings):
        return "unknown", "Released, and not judged"
    return "yes", f"Released without {listing(gate.without)}" if gate.without else "Released"


def _said(voice: Voice, gate: GateFacts) -> list[str]:
    sentences = []
    first, last = gate.looks[0], gate.looks[-1]
    reference = _reference(voice, gate)
    if not gate.released:
        worse = [entry for entry in last.findings if entry.verdict == "worse"]
        if worse:
            clearest = next(entry for entry in worse if (entry.group, entry.metric) == last.failed[0])
            sentences.append(f"No: {_harm(voice, clearest, reference)}")
            sentences += _others(worse, clearest)
        else:
            names = [entry.group for entry in last.findings if (entry.group, entry.metric) in last.failed]
            sentences.append(
                f"No: too little is known about {some(list(dict.fromkeys(names)), _NAMED)}, and this study releases no "
                "model that it cannot judge."
            )
        sentences.append("No model was released, and none was tested.")
        return sentences
    if gate.without:
        (group, metric) = first.failed[0]
        harmed = next(entry for entry in first.findings if (entry.group, entry.metric) == (group, metric))
        sentences.append(f"At first, no: {_harm(voice, harmed, reference)}")
        sentences.append(
            f"That was traced to {listing(gate.without)}. The rounds were trained again without "
            f"{'it' if len(gate.without) == 1 else 'them'}, and this is the model of these rounds."
        )
    judged = [entry for entry in last.findings if entry.verdict == "not worse"]
    if not judged:
        sentences.append(
            "Nobody knows: there are too few patients to judge any group by, so the gate found nothing and could find "
            "nothing. The model was released because the study says so."
        )
        return sentences
    of = len(last.findings)
    part = "every comparison" if len(judged) == of else f"{whole(len(judged))} of {plural(of, 'comparison')}"
    sentences.append(
        f"Nothing speaks against it: in {part} there were enough patients to tell, and no group was found to be worse "
        f"off than with {reference}. That is no proof that none is."
    )
    return sentences


def _reference(voice: Voice, gate: GateFacts) -> str:
    if gate.reference == "model":
        return f"the approved model ({gate.name})" if gate.name else "the approved model"
    return f"the model that each {voice.sites(1)} has alone"


def _harm(voice: Voice, found: Finding, reference: str) -> str:
    whom = "for everybody" if found.group == _EVERYBODY else f"in the group {found.group}"
    now, before = decimal(100 * (found.candidate or 0.0), 0), decimal(100 * (found.reference or 0.0), 0)
    match found.metric:
        case "fnr":
            return f"{whom}, {now} of 100 patients with {voice.outcome} are missed; with {reference}, {before} are."
        case "fpr":
            said = f"{now} of 100 patients without {voice.outcome} are called positive"
            return f"{whom}, {said}; with {reference}, {before} are."
        case "calibration":
            return f"{whom}, the predicted risk is off by {now}{_POINTS} of 100; with {reference}, by {before}."


def _others(worse: list[Finding], clearest: Finding) -> list[str]:
    more = [f"{entry.group} ({_OFTEN[entry.metric].lower()})" for entry in worse if entry is not clearest]
    return [f"Worse off are also: {some(more, _NAMED)}."] if more else []


def _warning(voice: Voice, gate: GateFacts, last: LookFacts) -> str:
    blind = [entry for entry in last.findings if entry.verdict == "not assessable"]
    if not blind:
        return ""
    names = [f"{entry.group} ({_OFTEN[entry.metric].lower()})" for entry in blind]
    return (
        f"Nothing is known about {some(names, _NAMED)}: there are too few patients, or of too few {voice.sites()}, to "
        f"find a rise of {decimal(100 * gate.largest_undetected, 0)}{_POINTS}. That is not a pass."
    )


# --- tables -----------------------------------------------------------------------------------------------------------


def _table(voice: Voice, gate: GateFacts, look: LookFacts, caption: str) -> Table:
    head = (
        "Group",
        "What",
        "Finding",
        "Patients",
        "This model",
        "Reference",
        "Rise",
        "At least",
        "Would have been found",
    )
    rows = tuple(
        (
            entry.group.capitalize() if entry.group == _EVERYBODY else entry.group,
            _OFTEN[entry.metric],
            f"{entry.verdict}: {entry.why}" if entry.why else entry.verdict,
            whole(entry.n) if entry.n else NONE,
            _share(entry.candidate),
            _share(entry.reference),
            _points(entry.rise),
            _points(entry.low),
            _points(entry.detectable),
        )
        for entry in look.findings
    )
    note = (
        f"Of 100 patients with {voice.outcome} (missed) or without (false alarms). “At least” is a one-sided "
        f"{100 * gate.confidence:g}\N{NARROW NO-BREAK SPACE}% bound, for all rows together (Holm). “Would have been "
        "found”: the smallest rise that would be found four times in five."
    )
    return Table(caption, head, rows, note, numbers_from=3)


def _influence(voice: Voice, found: Attribution | None) -> Table:
    assert found is not None  # noqa: S101  (for the type checker: the caller has looked)
    site = voice.sites(1)
    what = _OFTEN[found.metric].lower()
    head = (site.capitalize(), "Patients", "With its updates", "Without", "Its part", "At least", "Traced")
    rows = tuple(
        (
            entry.site,
            whole(entry.n),
            _share(entry.with_it),
            _share(entry.without_it),
            _points(entry.rise),
            _points(entry.low),
            "yes" if entry.traced else NONE,
        )
        for entry in found.sites
    )
    note = (
        f"The rounds aggregated again without one {site}, from the updates that were sent; counted by the other "
        f"{voice.sites()}. The others' updates answered to the missing one, so these models overshoot: read whose part "
        "has which sign, not how large it is."
    )
    return Table(f"Each {site}'s part in what befell {found.group} ({what})", head, rows, note)


def _traced(voice: Voice, look: LookFacts) -> str:
    assert look.attribution is not None  # noqa: S101  (as above)
    traced = [entry.site for entry in look.attribution.sites if entry.traced]
    if not traced:
        return f"No {voice.sites(1)}'s updates stand out: without any one of them the group fares no better."
    whose = "its updates" if len(traced) == 1 else "the updates of any one of them"
    return (
        f"It is traced to {listing(traced)}: without {whose} the group would fare better. That is no proof of bad "
        "intent: unusual patients or wrong labels look the same."
    )


def _without(look: LookFacts) -> str:
    return f", without {listing(look.without)}" if look.without else ""


def _share(value: float | None) -> str:
    return NONE if value is None else decimal(100 * value, 1)


def _points(value: float | None) -> str:
    return NONE if value is None else signed(100 * value, 1)


# --- how far it reaches -----------------------------------------------------------------------------------------------


def _note(voice: Voice, gate: GateFacts) -> str:
    site, sites = voice.sites(1), voice.sites()
    tolerance = f" by more than {decimal(100 * gate.tolerance, 1)}{_POINTS}" if gate.tolerance else ""
    least = gate.looks[-1].untraced
    said = (
        f"Judged on the validation patients of the {sites}, whom no model was trained on; the test patients were not "
        f"touched. A group is worse off{tolerance} only if chance explains it less than once in "
        f"{decimal(1 / max(1 - gate.confidence, 1e-9), 0)} studies, over all groups and measures. Every {site} counts "
        "for itself: one that lies in its counts can hide harm, or make some up."
    )
    return f"{said} Nobody was looked into: {least}." if least else said
