"""Whose updates counted in a run whose rule looked at each, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.typography import NONE

if TYPE_CHECKING:
    from sealround.report.evidence import RobustAggregation
    from sealround.report.voice import Voice

__all__ = ["Judging", "judging"]


@dataclass(frozen=True, slots=True)
class Judging:
    """What the rule does, and what it made of each site.

    Attributes:
        rule: Sentences.
        rows: For each site: name, rounds, rounds in which it did not count, mean part, the last round's reason.
    """

    rule: str
    rows: tuple[tuple[str, str, str, str, str], ...]


def judging(voice: Voice) -> Judging | None:
    """Say whose updates counted; ``None`` where they were averaged without looking."""
    found = voice.evidence.robustness
    if found is None:
        return None
    rows = tuple(
        (
            entry.site,
            str(entry.rounds),
            str(entry.left_out) if entry.left_out else NONE,
            f"{100 * entry.mean:.1f}\N{NO-BREAK SPACE}%",
            entry.reason or NONE,
        )
        for entry in found.sites
    )
    sentences = (_what_it_does(voice, found), *_what_it_remembers(voice, found), _what_it_does_not_say(voice, found))
    return Judging(" ".join(sentences), rows)


def _what_it_does(voice: Voice, found: RobustAggregation) -> str:
    mixed = ", after each was replaced by the mean of its nearest" if found.mixing else ""
    match found.rule, found.num_byzantine:
        case "fltrust", _:
            return (
                f"The rule fltrust{mixed} trusts each {voice.sites(1)} as far as its update points the way of "
                f"{found.root}, the root of trust, and makes the update as long as {found.root}'s, "
                "which itself takes no other part."
            )
        case "foolsgold", _:
            return (
                f"The rule foolsgold takes weight from {voice.sites()} whose updates, over all rounds, point the same "
                "way as another's. It is made for copies of one liar, however many; one "
                "who lies alone is nobody's copy."
            )
        case rule, 0:
            return f"The rule {rule}{mixed} assumes that nobody lies, and bounds how far one can move the model."
        case rule, 1:
            return f"The rule {rule}{mixed} is made for rounds in which no more than one {voice.sites(1)} lies."
        case rule, number:
            return f"The rule {rule}{mixed} is made for rounds in which no more than {number} {voice.sites()} lie."


def _what_it_remembers(voice: Voice, found: RobustAggregation) -> tuple[str, ...]:
    if not found.memory:  # or it counts nothing one round later
        return ()
    fading = "" if found.memory == 1.0 else f", in which each counts {found.memory:g} times as much as the next"
    return (f"It goes by the mean of all updates that a {voice.sites(1)} has sent{fading}.",)


def _what_it_does_not_say(voice: Voice, found: RobustAggregation) -> str:
    match found.rule:
        case "fltrust":
            honest = f"whose patients differ from those of {found.root} is trusted less"
        case "foolsgold":
            honest = "whose patients are like another's counts less"
        case _:
            honest = "whose patients differ from the others' is left out"
    return f"To be left out is no proof of a lie: an honest {voice.sites(1)} {honest} as well."
