"""The answer of a run in sentences made from its numbers, never better than they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup

from sealround.report.evidence import Estimate
from sealround.report.figures.intervals import Axis, interval_axis, interval_row
from sealround.report.gate import withheld
from sealround.report.private_answer import private_sentences
from sealround.report.sealing import small
from sealround.report.typography import decimal, interval, number_word, plural, signed, upward, whole
from sealround.report.voice import LABELS

if TYPE_CHECKING:
    from sealround.report.evidence import Aggregation, ModelResult
    from sealround.report.privacy_entries import PrivacyFacts
    from sealround.report.voice import Voice

__all__ = ["Answer", "IntervalRow", "Tile", "answer", "verdict"]

Verdict = Literal["better", "worse", "unclear", "unknown"]


@dataclass(frozen=True, slots=True)
class Tile:
    """One key number."""

    label: str
    value: str
    note: str
    site: str = ""
    accent: bool = False


@dataclass(frozen=True, slots=True)
class IntervalRow:
    """One row of a forest plot: what, its drawing, and the numbers beside it as (series, label, text)."""

    name: str
    note: str
    svg: Markup
    values: tuple[tuple[str, str, str], ...]
    strong: bool = False
    is_site: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The top of the page."""

    sentences: tuple[Markup, ...]
    tiles: tuple[Tile, ...]
    means: tuple[IntervalRow, ...]
    means_axis: Markup
    differences: tuple[IntervalRow, ...]
    differences_axis: Markup | None


def verdict(difference: Estimate | None, *, higher_is_better: bool) -> Verdict:
    """Say what a difference (together minus other) supports.

    ``better`` and ``worse`` need an interval that lies wholly on one side of 0; touching 0 is ``unclear``.
    """
    if difference is None or difference.low is None or difference.high is None or difference.value is None:
        return "unknown"
    if difference.low <= 0 <= difference.high:
        return "unclear"
    return "better" if (difference.low > 0) == higher_is_better else "worse"


def answer(voice: Voice) -> Answer:
    """Make the top of the page."""
    axis, means = _means(voice)
    differences_axis, differences = _differences(voice)
    return Answer(
        sentences=tuple(_sentences(voice)),
        tiles=tuple(_tiles(voice)),
        means=means,
        means_axis=interval_axis(axis),
        differences=differences,
        differences_axis=None if differences_axis is None else interval_axis(differences_axis),
    )


# --- sentences --------------------------------------------------------------------------------------------------------


def _measured(voice: Voice, model: ModelResult) -> int:
    """Count the sites at which a model's leading metric is defined."""
    if voice.sealed:
        return model.defined.get(voice.primary, 0)
    return sum(entry.metrics.get(voice.primary, Estimate()).value is not None for entry in model.sites.values())


def _strong(text: str, series: str) -> Markup:
    return Markup('<strong class="{}">{}</strong>').format(series, text)


def _sentences(voice: Voice) -> list[Markup]:
    if withheld(voice):
        return [
            Markup(
                "<strong>No model was released.</strong> The one that was trained did not pass the study\u2019s gate."
            )
        ]
    if voice.evidence.privacy is not None:
        return private_sentences(voice, voice.evidence.privacy)
    evidence, metric = voice.evidence, voice.metric
    together = evidence.federated.mean.get(voice.primary, Estimate())
    total = len(evidence.cohort.roster)
    if together.value is None:
        return [_no_answer(voice)]
    measured = _measured(voice, evidence.federated)
    ends = _ends(voice, interval(together, voice.digits))
    reached = Markup("{}{}").format(_strong(voice.number(together.value), "federated"), ends)
    if total == 1:
        first = Markup("This run has a single {}: nothing was trained together. Its model reaches {} of {}.")
        return [first.format(voice.sites(1), metric.sentence, reached), *_worst(voice)]
    who = f"the {number_word(total)}" if measured == total else f"{number_word(measured)} of the {number_word(total)}"
    first = Markup("Trained together, {} {} reach {} of {} on average, each measured on its own test patients.")
    said = [first.format(who, voice.sites(total), metric.sentence, reached)]
    return said + _against_alone(voice) + _against_pooled(voice) + (_whole(voice) if voice.sealed else _worst(voice))


def _no_answer(voice: Voice) -> Markup:
    name, measured = _no_article(voice.metric.sentence), _measured(voice, voice.evidence.federated)
    if not measured or voice.evidence.aggregation is None:
        return Markup("This run gives no answer: {} is not defined for the model trained together.").format(name)
    said = Markup("This run gives no answer: {} is defined at {} only, and a mean over fewer than {} is not shown.")
    return said.format(name, plural(measured, voice.sites(1)), voice.evidence.aggregation.n_min)


def _no_article(sentence: str) -> str:
    return sentence.split(" ", 1)[1]


def _ends(voice: Voice, ends: str) -> Markup:
    """Write an interval with its level, in parentheses that stay on one line; nothing for none."""
    return Markup(' <span class="nb">({} {})</span>').format(voice.evidence.confidence, ends) if ends else Markup()


def _by(voice: Voice, difference: Estimate) -> Markup:
    """Write the size of a difference that has a verdict: ``0.08 (95 % CI 0.04-0.12)``, without signs."""
    low, high = sorted(abs(end or 0.0) for end in (difference.low, difference.high))
    size, digits = Estimate(abs(difference.value or 0.0), low, high), voice.difference_digits(difference)
    return Markup("{}{}").format(decimal(size.value, digits), _ends(voice, interval(size, digits)))


def _signed(voice: Voice, difference: Estimate) -> Markup:
    """Write a difference without a verdict: ``+0.01 (95 % CI -0.01 to 0.03)``."""
    digits = voice.difference_digits(difference)
    return Markup("{}{}").format(signed(difference.value, digits), _ends(voice, interval(difference, digits)))


def _against_alone(voice: Voice) -> list[Markup]:
    found = voice.evidence.models.get("alone")
    mean = Estimate() if found is None else found.mean.get(voice.primary, Estimate())
    if mean.value is None:
        return [Markup("What each {} reaches alone was not measured.").format(voice.sites(1))]
    start = Markup("Alone, each with only its own records, they reach {}").format(
        _strong(voice.number(mean.value), "alone")
    )
    difference = voice.evidence.differences.get("federated-alone", {}).get(voice.primary)
    match verdict(difference, higher_is_better=voice.metric.higher_is_better):
        case "better" if difference is not None:
            return [Markup("{}: training together is better by {}.").format(start, _by(voice, difference))]
        case "worse" if difference is not None:
            return [
                Markup("{}: <em>in this run training together is worse</em>, by {}.").format(
                    start, _by(voice, difference)
                )
            ]
        case "unclear" if difference is not None:
            rest = Markup(
                "{}. The difference of {} may be chance: its interval includes 0, so this run <em>does not show</em> "
                "that training together helps on average."
            )
            return [rest.format(start, _signed(voice, difference))]
        case _:
            return [
                Markup("{}. No interval of the difference was computed, so it may be chance.").format(start),
            ]


def _against_pooled(voice: Voice) -> list[Markup]:
    found = voice.evidence.models.get("pooled")
    mean = Estimate() if found is None else found.mean.get(voice.primary, Estimate())
    if mean.value is None:
        return []
    start = Markup("Pooling all records in one place would give {}").format(_strong(voice.number(mean.value), "pooled"))
    difference = voice.evidence.differences.get("federated-pooled", {}).get(voice.primary)
    match verdict(difference, higher_is_better=voice.metric.higher_is_better):
        case "better" if difference is not None:
            return [Markup("{}; together is better than that by {}.").format(start, _by(voice, difference))]
        case "worse" if difference is not None:
            return [Markup("{}; that is better than together by {}.").format(start, _by(voice, difference))]
        case "unclear" if difference is not None:
            said = Markup("{}; this run cannot tell the two apart: the difference is {}.")
            return [said.format(start, _signed(voice, difference))]
        case _:
            return [Markup("{}.").format(start)]


def _worst(voice: Voice) -> list[Markup]:
    found = voice.evidence.federated.worst.get(voice.primary)
    if found is None or found.value is None or found.site is None or len(voice.evidence.cohort.sites) == 1:
        return []
    ends = _ends(voice, interval(found, voice.digits))
    result = voice.evidence.federated.sites.get(found.site)
    tested = "" if result is None or result.n is None else f", on {plural(result.n, 'test patient')}"
    said = Markup("The average hides {}, where it works least well: {}{}{}.")
    return [said.format(Markup("<bdi>{}</bdi>").format(found.site), voice.number(found.value), ends, tested)]


def _whole(voice: Voice) -> list[Markup]:
    """Say what all test patients together give, where no site's own result is known."""
    found = voice.evidence.federated.everyone.get(voice.primary, Estimate())
    tested = voice.evidence.federated.together
    each = Markup("What each {} reaches by itself, only that {} knows.").format(voice.sites(1), voice.sites(1))
    if found.value is None:
        return [each]
    patients = "test patients" if tested is None or tested.n is None else f"{whole(tested.n)} test patients"
    said = Markup("Over all {} together, the model trained together reaches {}{}. {}")
    return [said.format(patients, voice.number(found.value), _ends(voice, interval(found, voice.digits)), each)]


# --- tiles and charts -------------------------------------------------------------------------------------------------


def _tiles(voice: Voice) -> list[Tile]:
    evidence, primary = voice.evidence, voice.primary
    if evidence.privacy is not None:
        return _private_tiles(voice, evidence.privacy)
    tiles = []
    for series, label in LABELS.items():
        model = evidence.models.get(series)
        mean = Estimate() if model is None else model.mean.get(primary, Estimate())
        note = voice.interval(mean) if model is not None else "not run"
        total = len(evidence.cohort.roster)
        if model is not None and 0 < _measured(voice, model) < total:
            note = f"{note}{'; ' if note else ''}{_measured(voice, model)} of {total} {voice.sites()}"
        tiles.append(Tile(label, voice.number(mean.value), note, accent=series == "federated"))
    if evidence.aggregation is not None:
        everyone = evidence.federated.everyone.get(primary, Estimate())
        tiles.append(Tile("Together, all test patients", voice.number(everyone.value), voice.interval(everyone)))
        tiles.append(_smallest(voice, evidence.aggregation))
    elif len(evidence.cohort.sites) > 1:
        worst = evidence.federated.worst.get(primary, Estimate())
        gap = evidence.federated.gap.get(primary, Estimate())
        tiles.append(
            Tile(f"Worst {voice.sites(1)}", voice.number(worst.value), voice.interval(worst), worst.site or "")
        )
        tiles.append(Tile("Gap, best to worst", voice.number(gap.value), voice.interval(gap)))
    return tiles


def _private_tiles(voice: Voice, privacy: PrivacyFacts) -> list[Tile]:
    """Make the key numbers of a private run: what it reached, if that left, and what it spent."""
    tiles = []
    for series in voice.evidence.models:
        if series != "federated" or privacy.noised:
            found = voice.leading(series)
            note = voice.interval(found)
            label = f"{LABELS[series]}, {voice.metric.label}"
            tiles.append(Tile(label, voice.number(found.value), note, accent=series == "federated"))
    each = f"one {voice.unit} spends it at the most; delta {small(privacy.delta)}"
    tiles.append(Tile("Epsilon", upward(privacy.epsilon), each))
    if voice.evidence.aggregation is not None:
        tiles.append(_smallest(voice, voice.evidence.aggregation))
    return tiles


def _smallest(voice: Voice, found: Aggregation) -> Tile:
    note = f"a sum of fewer than {found.n_min} is never opened"
    return Tile(f"{voice.sites().capitalize()} in the smallest sum", whole(found.smallest), note)


_LONG = {
    "federated": ("Together", "one model, records stay where they are"),
    "alone": ("Alone", "each its own model, its own records"),
    "pooled": ("Pooled", "one model, all records in one place"),
}


def _means(voice: Voice) -> tuple[Axis, tuple[IntervalRow, ...]]:
    found = {
        name: voice.leading(name)
        for name, model in voice.evidence.models.items()
        if (voice.leading(name).value is not None if voice.private else voice.primary in model.mean)
    }
    axis = Axis.around(list(found.values()), voice.metric.chance)
    rows = tuple(
        IntervalRow(
            name=_LONG[name][0],
            note=_LONG[name][1],
            svg=interval_row(axis, [(name, estimate, f"{LABELS[name]}: {voice.estimate(estimate)}")], line=34),
            values=((name, "", voice.estimate(estimate)),),
        )
        for name, estimate in found.items()
    )
    return axis, rows


def _differences(voice: Voice) -> tuple[Axis | None, tuple[IntervalRow, ...]]:
    found = {
        other: voice.evidence.differences[f"federated-{other}"][voice.primary]
        for other in ("alone", "pooled")
        if voice.primary in voice.evidence.differences.get(f"federated-{other}", {})
    }
    if not found:
        return None, ()
    axis = Axis.around(list(found.values()), 0.0, bounded=False)
    words = {
        "better": "together is better",
        "worse": "together is worse",
        "unclear": "cannot be told apart",
        "unknown": "no interval",
    }
    rows = tuple(
        IntervalRow(
            name=f"Together − {LABELS[other].lower()}",
            note=words[verdict(estimate, higher_is_better=voice.metric.higher_is_better)],
            svg=interval_row(axis, [("federated", estimate, voice.difference(estimate))], line=34),
            values=(("federated", "", voice.difference(estimate)),),
        )
        for other, estimate in found.items()
    )
    return axis, rows
