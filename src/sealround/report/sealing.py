"""Who saw what in a run whose sums were sealed, in plain words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.metrics import METRICS
from sealround.report.typography import NONE, listing, number_word, plural

if TYPE_CHECKING:
    from sealround.report.evidence import Aggregation
    from sealround.report.voice import Voice

__all__ = ["Sealing", "sealing", "small"]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PLAIN = -3  # power of ten from which on a bound is written out
_SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, slots=True)
class Sealing:
    """Who saw what, how sums were sealed, what travelled in clear, and where a site finds its own results."""

    seen: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    in_clear: tuple[str, ...]
    own: str


def sealing(voice: Voice) -> Sealing | None:
    """Say who saw what; ``None`` where sums were not sealed."""
    found = voice.evidence.aggregation
    if found is None:
        return None
    site = voice.sites(1)
    own = (
        f"Each {site}'s own results and curves stay with it. This run is a simulation: what a {site} would see at its "
        f"own place is in the run folder, sites/<{site}>.json, and is not part of this page or its evidence. The "
        "protocol ran as it would between institutions, but on one computer, whose owner could have looked."
    )
    return Sealing(_seen(voice, found), _facts(voice, found), (*found.in_clear, *_of_few(voice, found)), own)


def _of_few(voice: Voice, found: Aggregation) -> tuple[str, ...]:
    """Own up to sums to which few sites had anything to add: the others' zeros hide nothing."""
    by_number: dict[int, list[str]] = {}
    for name, number in voice.evidence.federated.defined.items():
        if 0 < number < found.n_min:
            by_number.setdefault(number, []).append(METRICS[name].sentence.split(" ", 1)[1])
    return tuple(
        f"the sum of {listing(names)} over {plural(number, voice.sites(1))}, fewer than {found.n_min}: at the others "
        f"{'it is' if len(names) == 1 else 'they are'} undefined"
        for number, names in sorted(by_number.items())
    )


def _seen(voice: Voice, found: Aggregation) -> tuple[tuple[str, str], ...]:
    site, sites = voice.sites(1), voice.sites()
    least = found.n_min if found.smallest is None else found.smallest
    inputs = "" if voice.private else f", and the mean and spread of the inputs over all {sites}"
    own = (
        f"its own records and results, the model of each round{inputs}; of another {site} nothing but that it takes "
        "part"
    )
    rows = [(f"A {site}", own)]
    if found.mode == "pairwise":
        sums = (
            f"sums over {least} {sites} or more; of one {site} only numbers hidden by masks that it agreed on with "
            "others, and what is listed below"
        )
        return (*rows, ("The coordinator", sums))
    sums = f"sums over {least} {sites} or more, and what is listed below"
    shares = f"shares that are random numbers by themselves; two of the {number_word(len(found.aggregators))} together "
    shares += "could open what they add up"
    return (*rows, ("The coordinator", sums), (f"Each aggregator ({listing(found.aggregators)})", shares))


def _facts(voice: Voice, found: Aggregation) -> tuple[tuple[str, str], ...]:
    sites, total = voice.sites(), len(voice.evidence.cohort.roster)
    opened = NONE if found.smallest is None else f"{found.smallest} of {total} {sites}"
    clipped = sum(found.clipped)
    norm = "" if found.clip_norm is None else f", updates of a norm above {found.clip_norm:g} shortened"
    rows = [
        ("Mode", _MODES[found.mode]),
        ("Smallest sum opened", f"{opened}; fewer than {found.n_min} are refused"),
        *([] if found.threshold is None else [("Drop-outs survived", _survived(voice, found.threshold, total))]),
    ]
    if voice.private:  # rounding and limits come before the noise, which accounts for them
        return (*rows, ("Rounding", "to whole numbers before the noise, which is chosen with it"))
    rows += [
        ("Rounding", _rounding(found)),
        ("Limits", f"changes of a parameter above {found.max_abs:g} cut{norm}"),
        ("Updates cut", _cut(clipped, len(found.clipped))),
        ("Test results", "rounded to 1/1024 before they are added up, so that a sum of shares does not tell them"),
    ]
    return tuple(rows)


_MODES = {
    "pairwise": "pairwise masks: each two hide their numbers from everybody else, and only the sum comes off",
    "replicated": "replicated shares: three aggregators add up what none of them can read",
}


def _survived(voice: Voice, threshold: int, total: int) -> str:
    return f"a sum comes off while {threshold} of {total} {voice.sites()} are there"


def _rounding(found: Aggregation) -> str:
    if found.error_bound is None:
        return f"to multiples of 2{_superscript(-found.scale_bits)}"
    return f"a parameter's mean change is off by less than {small(found.error_bound)}"


def _cut(clipped: int, rounds: int) -> str:
    if not clipped:
        return "none: the limits changed nothing"
    return f"{plural(clipped, 'update')} in {plural(rounds, 'round')}"


def small(bound: float) -> str:
    """Write a bound with one digit, rounded up so that it stays one: ``6 × 10⁻⁸``."""
    if bound == 0:
        return "0"
    power = math.floor(math.log10(bound))
    digit = math.ceil(bound / 10.0**power - 1e-9)
    if digit == 10:  # noqa: PLR2004  (carried)
        digit, power = 1, power + 1
    if power >= _PLAIN:
        return f"{digit * 10.0**power:g}"
    return f"{digit}{_SPACE}×{_SPACE}10{_superscript(power)}"


def _superscript(power: int) -> str:
    return str(power).translate(_SUPERSCRIPTS)
