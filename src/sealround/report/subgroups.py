"""How groups of patients fare, for those who treat them: who is missed, who is alarmed for nothing, and the gaps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.evidence import Estimate
from sealround.report.figures.intervals import Axis, interval_axis, interval_row
from sealround.report.gate import withheld
from sealround.report.group_entries import GROUP_METRICS
from sealround.report.typography import NONE, decimal, interval, plural, signed, whole
from sealround.report.voice import LABELS, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from sealround.report.group_entries import GroupFacts, Subgroups
    from sealround.report.voice import Voice

__all__ = ["GroupForest", "GroupSection", "subgroup_section"]

_DRAWN = ("fnr", "fpr")
_MOST_ROWS = 16
"""Up to so many groups, pairs of columns are drawn as well; beyond, they are in the table only."""

_NOT_ASSESSABLE = "not assessable"
_TITLES = {
    "fnr": "Missed",
    "fpr": "False alarms",
    "ppv": "Called rightly",
    "auroc": "AUROC",
    "calibration": "Risk off by",
}


@dataclass(frozen=True, slots=True)
class _Row:
    """A group in a figure: as the rows of other forest plots."""

    name: str
    note: str
    svg: Markup
    values: tuple[tuple[str, str, str], ...]
    strong: bool = False


@dataclass(frozen=True, slots=True)
class GroupForest:
    """One metric of every group, drawn.

    Attributes:
        title: What is drawn.
        rows: Everybody first.
        axis: Shared by all rows.
    """

    title: str
    rows: tuple[_Row, ...]
    axis: Markup


@dataclass(frozen=True, slots=True)
class GroupSection:
    """The section.

    Attributes:
        said: Sentences: the largest gaps, and what chance could do.
        warning: What nothing is known about; empty if nothing.
        forests: One for each metric that is drawn.
        table: Every metric of every group.
        more: Gaps, and the other models.
        note: How to read it.
    """

    said: tuple[str, ...]
    warning: str
    forests: tuple[GroupForest, ...]
    table: Table
    more: tuple[Table, ...]
    note: str


def subgroup_section(voice: Voice) -> GroupSection | None:
    """Make the section; ``None`` for a study without groups, and where no model was released: then none was tested."""
    found = voice.evidence.subgroups
    if found is None or withheld(voice):
        return None
    groups = found.models["federated"]
    return GroupSection(
        said=tuple(_said(voice, found)),
        warning=_warning(found, groups),
        forests=tuple(
            _forest(voice, metric, groups) for metric in _DRAWN if any(metric in entry.metrics for entry in groups)
        ),
        table=_table(voice, found),
        more=(_gaps(voice, groups), *_models(voice, found)),
        note=_note(voice, found),
    )


# --- words ------------------------------------------------------------------------------------------------------------


def _said(voice: Voice, found: Subgroups) -> list[str]:
    words = {"fnr": ("missed", f"with {voice.outcome}"), "fpr": ("called positive", f"without {voice.outcome}")}
    sentences = []
    for metric, (happens, whom) in words.items():
        if metric not in found.largest:
            continue
        group, gap = found.largest[metric]
        clear = gap.low is not None and gap.low > 0
        more = f"{_points(gap.value)} more often than others ({_points_between(voice, gap)})"
        chance = "" if clear else "; a difference of this size can be chance"
        sentences.append(f"Of the patients {whom}, those of the group {group} are {happens} {more}{chance}.")
    if len(found.models["federated"]) > 3:  # noqa: PLR2004  (two groups have one gap)
        sentences.append("These are the largest of many gaps, and the largest of many is large by chance alone.")
    return sentences


def _points(value: float | None) -> str:
    points = 100 * (value or 0.0)
    return f"{decimal(abs(points), 0 if abs(points) >= 1 else 1)}\N{NO-BREAK SPACE}percentage points"


def _points_between(voice: Voice, gap: Estimate) -> str:
    if gap.low is None or gap.high is None:
        return "interval not known"
    return f"{voice.evidence.confidence} {signed(100 * gap.low, 0)} to {signed(100 * gap.high, 0)}"


def _warning(found: Subgroups, groups: Sequence[GroupFacts]) -> str:
    few = [entry.group for entry in groups if entry.withheld]
    if not few:
        return ""
    shown = "; ".join(few[:4]) + (f" and {len(few) - 4} more" if len(few) > 4 else "")  # noqa: PLR2004  (named so far)
    return (
        f"Nothing is known about how the model serves: {shown}. There are fewer than {found.min_group} such patients, "
        "or their number would tell that of a group so small. That is no sign that it serves them well."
    )


def _note(voice: Voice, found: Subgroups) -> str:
    left = (
        ""
        if found.min_cell_count is None or found.min_cell_count <= 1
        else f" A {voice.sites(1)} leaves out a group of which it has fewer than {found.min_cell_count} patients, and "
        f"others that would tell how they fare, so a group can lack {voice.sites()} that everybody includes."
    )
    return (
        f"All {voice.sites()}' test patients, as the model trained together decides. {voice.evidence.confidence} in "
        f"parentheses. {NONE}: too few such patients, or their number would tell one that is.{left} "
        "Several records of one patient are counted like those of several patients."
    )


# --- drawing ----------------------------------------------------------------------------------------------------------


def _drawn(groups: Sequence[GroupFacts]) -> list[GroupFacts]:
    return [entry for entry in groups if entry.terms < 2 or len(groups) <= _MOST_ROWS]  # noqa: PLR2004  (a pair)


def _forest(voice: Voice, metric: str, groups: Sequence[GroupFacts]) -> GroupForest:
    drawn = _drawn(groups)
    known = [entry.metrics[metric] for entry in drawn if metric in entry.metrics]
    everybody = groups[0].metrics.get(metric, Estimate())
    axis = Axis.around(known, everybody.value)
    titles = {
        "fnr": f"Missed: of the patients with {voice.outcome}, how many the model calls negative",
        "fpr": f"False alarms: of the patients without {voice.outcome}, how many it calls positive",
    }
    rows = tuple(_row(axis, metric, entry, voice.sites(1)) for entry in drawn)
    return GroupForest(titles[metric], rows, interval_axis(axis))


def _row(axis: Axis, metric: str, entry: GroupFacts, site: str) -> _Row:
    name = _label(entry)
    found = entry.metrics.get(metric)
    note = "" if entry.patients is None else plural(entry.patients, "patient")
    if entry.terms and entry.sites is not None:
        note += f", {plural(entry.sites, site)}"
    if found is None:
        text = _NOT_ASSESSABLE if entry.withheld else "too few to say"
        return _Row(name, note, interval_row(axis, []), (("none", "", text),), strong=not entry.terms)
    text = _estimate(found)
    marks = [("federated", found, f"{name}: {text}")]
    return _Row(name, note, interval_row(axis, marks), (("federated", "", text),), strong=not entry.terms)


def _estimate(found: Estimate | None) -> str:
    if found is None:
        return NONE
    ends = interval(found, 2)
    return f"{decimal(found.value, 2)} ({ends})" if ends else decimal(found.value, 2)


# --- tables -----------------------------------------------------------------------------------------------------------


def _label(entry: GroupFacts) -> str:
    return "Everybody" if not entry.terms else entry.group


def _table(voice: Voice, found: Subgroups) -> Table:
    rows = []
    for entry in found.models["federated"]:
        if entry.withheld:
            rows.append((_label(entry), _NOT_ASSESSABLE, *(NONE for _ in GROUP_METRICS), NONE))
            continue
        numbers = (_estimate(entry.metrics.get(metric)) for metric in GROUP_METRICS)
        rows.append((_label(entry), whole(entry.patients), whole(entry.positives), *numbers))
    head = ("Group", "Test patients", voice.positives, *(_TITLES[metric] for metric in GROUP_METRICS))
    note = (
        "Called rightly: of those called positive, how many have the condition (positive predictive value). Risk off "
        "by: mean predicted minus observed risk; above 0 the model overstates the risk of the group."
    )
    return Table("How groups of patients fare", head, tuple(rows), note)


def _gaps(voice: Voice, groups: Sequence[GroupFacts]) -> Table:
    rows = tuple((_label(entry), *(_gap(entry.gaps.get(metric)) for metric in GROUP_METRICS)) for entry in groups[1:])
    head = ("Group", *(_TITLES[metric] for metric in GROUP_METRICS))
    note = (
        f"Each group minus all others of the same columns, {voice.evidence.confidence} in parentheses. "
        "* the interval excludes 0."
    )
    return Table("Gaps to everybody else", head, rows, note)


def _gap(found: Estimate | None) -> str:
    if found is None:
        return NONE
    clear = found.low is not None and found.high is not None and (found.low > 0 or found.high < 0)
    return f"{signed(found.value, 2)} ({interval(found, 2)})" + (" *" if clear else "")


def _models(voice: Voice, found: Subgroups) -> tuple[Table, ...]:
    if len(found.models) < 2:  # noqa: PLR2004  (nothing to compare)
        return ()
    tables = []
    for metric in _DRAWN:
        rows = tuple(
            (_label(entries[0]), *(_estimate(entry.metrics.get(metric)) for entry in entries))
            for entries in zip(*found.models.values(), strict=True)
        )
        head = ("Group", *(LABELS[name] for name in found.models))
        note = f"{voice.evidence.confidence} in parentheses. The same patients under each model."
        tables.append(Table(f"{_TITLES[metric]}, by model", head, rows, note))
    return tuple(tables)
