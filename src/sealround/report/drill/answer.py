"""The top of a drill's page: what the study withstands and what not, in words; key numbers; a verdict per attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from sealround.report.answer import Tile
from sealround.report.drill.evidence import EVERYBODY
from sealround.report.drill.voice import VERDICT_LABELS, verdict_key
from sealround.report.typography import listing, number_word, percent, plural

if TYPE_CHECKING:
    from sealround.report.drill.evidence import Cell, Verdict
    from sealround.report.drill.voice import DrillVoice

__all__ = ["VerdictRow", "headline", "most_harmed", "sentences", "tiles", "verdicts"]


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """What one attack makes of the study.

    Attributes:
        key: The verdict as the name of a style and of an icon.
        label: The verdict.
        attack: What the attack is called.
        what: What the attacker does.
        said: What came of it.
        numbers: Metric, success and what is worth a glance: (what, how much).
        facts: What the attacker is after, has to know, and where that is from: (what, which).
    """

    key: str
    label: str
    attack: str
    what: str
    said: str
    numbers: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]


_PLAYED: tuple[Verdict | None, ...] = ("holds", "degrades", "fails", "not assessable")


# --- sentences --------------------------------------------------------------------------------------------------------


def headline(voice: DrillVoice) -> str:
    """Ask the question of every drill."""
    return f"What if {voice.liars} {'lies' if voice.evidence.num_byzantine == 1 else 'lie'}?"


def sentences(voice: DrillVoice) -> tuple[Markup, ...]:
    """Answer it: what the study withstands, the worst it came to, what was hidden, what could not be told."""
    said = (_answer(voice), _worst(voice), _obeyed(voice), _hidden(voice), _without_rule(voice), _untold(voice))
    return tuple(sentence for sentence in said if sentence is not None)


def _strong(text: str, css: str) -> Markup:
    return Markup('<strong class="{}">{}</strong>').format(css, text)


def _answer(voice: DrillVoice) -> Markup:
    holds, degrades, fails = (voice.with_verdict(verdict) for verdict in ("holds", "degrades", "fails"))
    played = len(voice.with_verdict(*_PLAYED))
    if not (holds or degrades or fails):
        return Markup("This drill gives no answer: no attack could be judged.")
    if len(holds) == played:
        whom = "the attack that was played" if played == 1 else f"all {number_word(played)} attacks that were played"
        return Markup("This study {} {}.").format(_strong("withstands", "good"), whom)
    parts = []
    if fails:
        parts.append(Markup("{} {}").format(_strong("fails against", "warn"), _counted(voice, fails, played)))
    if degrades:
        parts.append(Markup("{} {}").format(_strong("is weakened by", "alone"), _counted(voice, degrades, played)))
    if holds:
        rest = len(holds) + len(fails) + len(degrades) == played
        parts.append(
            Markup("{} {}{}").format(
                _strong("withstands", "good"), "the other " if rest else "", number_word(len(holds))
            )
        )
    start = Markup("Of {} attacks, this study ") if played > 1 else Markup("This study ")
    return Markup("{}{}.").format(start.format(number_word(played)), _join(parts))


def _join(parts: list[Markup]) -> Markup:
    return Markup("; and ").join([Markup("; ").join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _counted(voice: DrillVoice, attacks: tuple[str, ...], played: int) -> Markup:
    """Write how many attacks and which."""
    if len(attacks) == played > 1:
        return Markup("every one")
    return (
        _named(voice, attacks)
        if played == 1
        else Markup("{}: {}").format(number_word(len(attacks)), _named(voice, attacks))
    )


def _named(voice: DrillVoice, attacks: tuple[str, ...], most: int = 3) -> Markup:
    """Name attacks, each set apart, for their names have commas; no more than so many."""
    names = [Markup("<em>{}</em>").format(voice.evidence.attacks[key].title) for key in attacks]
    shown = names if len(names) <= most + 1 else names[:most]
    rest = len(names) - len(shown)
    parts = [*shown, *([Markup("{} more").format(number_word(rest))] if rest else [])]
    return Markup(" and ").join([Markup(", ").join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]


def _worst(voice: DrillVoice) -> Markup | None:
    """Say where there was no model, and how far the leading metric fell elsewhere, under what."""
    own = {key: cell for key in voice.by_concern() if (cell := voice.own(key)) is not None}
    ended = tuple(key for key, cell in own.items() if cell.stopped is not None)
    kept = tuple(key for key, cell in own.items() if cell.kept_back)
    found = _largest_loss(voice)
    said = []
    if ended:
        said.append(Markup("Under {} training stops, and there is no model.").format(_named(voice, ended)))
    if kept:
        said.append(Markup("Under {} the study's gate keeps the model back.").format(_named(voice, kept)))
    if found is not None:
        attack, cell = found
        start = Markup("Else the worst") if said else Markup("The worst")
        rest = Markup("{} it came to is {} of {}, where nobody lying gives {}: under {}.")
        value, calm = _strong(voice.number(cell.metric.value), "federated"), voice.number(cell.baseline)
        said.append(rest.format(start, voice.metric.sentence, value, calm, _named(voice, (attack,))))
    return Markup(" ").join(said) if said else None


def _largest_loss(voice: DrillVoice) -> tuple[str, Cell] | None:
    found = [
        (cell.loss.value, attack, cell)
        for attack in voice.attacks
        if (cell := voice.own(attack)) is not None
        and cell.loss is not None
        and cell.loss.value is not None
        and cell.metric.value is not None
        and not cell.kept_back
    ]
    if not found:
        return None
    loss, attack, cell = max(found, key=lambda entry: entry[0])
    return (attack, cell) if loss > 0 else None


def _obeyed(voice: DrillVoice) -> Markup | None:
    """Say where the model does what an attacker wants, the most."""
    found = [
        (cell.success.value - (cell.success_without or 0.0), attack, cell)
        for attack in voice.with_verdict("fails", "degrades")
        if (cell := voice.own(attack)) is not None and not cell.kept_back and cell.gained
        if cell.success is not None and cell.success.value is not None
    ]
    if not found:
        return None
    _, attack, cell = max(found, key=lambda entry: entry[0])
    value = 0.0 if cell.success is None else cell.success.value or 0.0
    before = "" if cell.success_without is None else f" ({100 * cell.success_without:.0f} if nobody lies)"
    unseen = "" if cell.metric.value is None else f", while {voice.measure} stays at {voice.number(cell.metric.value)}"
    said = Markup("Under {}, the model does what the attacker wants with {} of 100 patients it is aimed at{}{}.")
    return said.format(_named(voice, (attack,)), round(100 * value), before, unseen)


def most_harmed(voice: DrillVoice) -> tuple[str, str, float] | None:
    """Return the attack, the group of which it makes the model miss the most more, and how many more.

    Only where the verdict on that attack is bad, and the whole interval lies beyond what holds: among so many groups
    and attacks, some rise by chance.
    """
    found = [
        (group.rise.value, attack, group.group)
        for attack in voice.with_verdict("fails", "degrades")
        if (cell := voice.own(attack)) is not None and not cell.kept_back
        for group in cell.groups
        if group.rise is not None and group.rise.value is not None and (group.rise.low or 0.0) > voice.evidence.holds
    ]
    if not found:
        return None
    rise, attack, name = max(found, key=lambda entry: entry[0])
    return attack, name, rise


def _hidden(voice: DrillVoice) -> Markup | None:
    found = most_harmed(voice)
    if found is None:
        return None
    attack, name, rise = found
    who = Markup("") if name == EVERYBODY else Markup(" in the group <bdi>{}</bdi>").format(name)
    said = Markup("Under <em>{}</em>, of 100 patients with {}{} about {} more are missed.")
    return said.format(voice.evidence.attacks[attack].title, voice.condition, who, round(100 * rise))


def _without_rule(voice: DrillVoice) -> Markup | None:
    """Say what the study's own rule is worth: how a plain mean fares under the same attacks."""
    both = [
        (own.verdict == "fails", plain.verdict == "fails")
        for attack in voice.attacks
        if (own := voice.own(attack)) is not None and (plain := voice.plain(attack)) is not None
    ]
    if not both:
        return None
    lost, left = sum(plain for _, plain in both), sum(own for own, _ in both)
    than = f"with the study's rule, against {number_word(left) if left else 'none'}"
    return Markup("With a plain mean it would fail against {} of them; {}.").format(number_word(lost), than)


def _untold(voice: DrillVoice) -> Markup | None:
    unknown = voice.with_verdict("not assessable", None)
    if not unknown:
        return None
    said = Markup("Whether it withstands {}, this drill cannot tell: it would take more patients or more seeds.")
    return said.format(_named(voice, unknown))


# --- key numbers ------------------------------------------------------------------------------------------------------


def tiles(voice: DrillVoice) -> tuple[Tile, ...]:
    """Make the key numbers."""
    played = len(voice.with_verdict(*_PLAYED))
    counts = {verdict: len(voice.with_verdict(verdict)) for verdict in ("holds", "degrades", "fails")}
    untold = len(voice.with_verdict("not assessable", None))
    worst, label = _largest_loss(voice), voice.metric.label
    found = [
        Tile("Withstood", f"{counts['holds']} of {played}", "attacks that were played", accent=True),
        Tile("Weakened by", str(counts["degrades"]), ""),
        Tile("Fails against", str(counts["fails"]), ""),
    ]
    if untold:
        found.append(Tile("Cannot be told", str(untold), "not a pass"))
    if any((cell := voice.own(key)) and cell.stopped is not None for key in voice.attacks):
        found.append(Tile("Worst attack", "no model", "training stops"))
    elif worst is not None:
        note = f"{voice.number(worst[1].baseline)} where nobody lies"
        found.append(Tile(f"{label}, worst attack", voice.number(worst[1].metric.value), note))
    elif voice.unattacked is not None:
        found.append(Tile(f"{label}, nobody lies", voice.number(voice.unattacked.metric.value), ""))
    return tuple(found)


# --- verdicts ---------------------------------------------------------------------------------------------------------


def verdicts(voice: DrillVoice) -> tuple[VerdictRow, ...]:
    """Make a row for each attack, those that do most first."""
    return tuple(_row(voice, key) for key in voice.by_concern())


def _row(voice: DrillVoice, key: str) -> VerdictRow:
    attack, cell, verdict = voice.evidence.attacks[key], voice.own(key), voice.verdict(key)
    ruling = voice.evidence.rulings.get(key)
    said = [ruling.sentence if ruling is not None else "" if cell is None else cell.sentence]
    if attack.why_not is not None and attack.why_not not in said[0]:
        said.append(f"Does not apply: {attack.why_not}.")
    if cell is not None and cell.stopped is not None and cell.stopped not in said[0]:
        said.append(f"Training stopped: {cell.stopped}.")
    return VerdictRow(
        key=verdict_key(verdict),
        label=VERDICT_LABELS[verdict],
        attack=attack.title,
        what="" if attack.why_not is not None else attack.what,
        said=" ".join(part for part in said if part),
        numbers=() if cell is None else _numbers(voice, cell),
        facts=tuple(
            (what, which)
            for what, which in (
                ("Is after", attack.aim),
                ("Has to know", listing(attack.knows) or "nothing"),
                ("Source", attack.source),
            )
            if which and attack.why_not is None
        ),
    )


def _numbers(voice: DrillVoice, cell: Cell) -> tuple[tuple[str, str], ...]:
    found = []
    if cell.metric.value is not None:
        found.append((voice.metric.label, voice.number(cell.metric.value)))
    if cell.loss is not None and cell.loss.value is not None:
        found.append(("Change", voice.loss(cell.loss)))
    if cell.success is not None and cell.success.value is not None:
        before = percent(cell.success_without)
        found.append(("Gets its way", f"{percent(cell.success.value)}{f', unattacked {before}' if before else ''}"))
    if cell.withheld:
        found.append(("Kept back by the gate", f"{cell.withheld} of {plural(cell.seeds, 'model')}"))
    if cell.durability is not None and cell.gained:
        found.append(("Half gone after", _half_life(cell.durability.half_life)))
    return tuple(found)


def _half_life(rounds: int | None) -> str:
    return "not seen" if rounds is None else plural(rounds, "round")
