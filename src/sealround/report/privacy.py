"""How private is it? What one patient's presence can change, as numbers and as what an attacker can do with it.

In the words of NIST SP 800-226 (2025): unit of privacy, neighboring relation, trust model, accountant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.figures.curves import Curve, bound_curve, round_curves
from sealround.report.sealing import small
from sealround.report.typography import NONE, capital, decimal, number_word, percent, plural, upward, whole
from sealround.report.voice import MANY_SITES, Figure, Panel, Table

if TYPE_CHECKING:
    from sealround.report.privacy_entries import PrivacyFacts, ReleaseFacts
    from sealround.report.voice import Voice

__all__ = ["PrivacySection", "privacy_section"]

_RATE = 0.01
_SPLITS = {"validation": "validated with", "threshold": "validated with", "metrics": "tested"}
_WHAT = {
    "training": "Sums of clipped gradients",
    "statistics": "Mean and spread of the inputs",
    "validation": "Histogram of validation predictions",
    "metrics": "Histogram of test predictions",
    "threshold": "Decision threshold",
    "clipping": "Share of clipped gradients",
}


@dataclass(frozen=True, slots=True)
class PrivacySection:
    """The section.

    Attributes:
        said: What the numbers mean, in sentences.
        simulated: Why this run itself hides nobody; empty where it does.
        warning: What one site sees that knows its own noise; empty where that is no matter.
        facts: What is promised, to whom and how: (what, how).
        figure: The bound on any attacker, and epsilon over the rounds.
        attacks: The bound as a table.
        released: What left, and what it spent.
        by_site: What each site's training spent.
        not_covered: What none of this bounds.
    """

    said: tuple[str, ...]
    simulated: str
    warning: str
    facts: tuple[tuple[str, str], ...]
    figure: Figure
    attacks: Table
    released: Table
    by_site: Table
    not_covered: tuple[str, ...]


def privacy_section(voice: Voice) -> PrivacySection | None:
    """Make the section; ``None`` for a study without differential privacy."""
    found = voice.evidence.privacy
    if found is None:
        return None
    return PrivacySection(
        said=tuple(_said(voice, found)),
        simulated=capital(found.simulated),
        warning=_warning(voice, found),
        facts=tuple(_facts(voice, found)),
        figure=_figure(found),
        attacks=_attacks(found),
        released=_released(voice, found),
        by_site=_by_site(voice, found),
        not_covered=found.not_covered,
    )


# --- in words ---------------------------------------------------------------------------------------------------------


def _said(voice: Voice, found: PrivacyFacts) -> list[str]:
    whom = "with all records, " if found.unit == "patient" else ""
    other = "left out" if found.relation == "add-or-remove-one" else "exchanged for another"
    first = (
        f"Take any one {found.unit}, {whom}and think of the same run with this {found.unit} {other}. Whatever left the "
        f"{voice.sites()} would have come out with nearly the same probability: up to a factor of e to the power of "
        f"epsilon, {upward(found.epsilon)} here, but for a probability of delta, {small(found.delta)}."
    )
    return [first, *_attack(found), *_belief(found)]


def _attack(found: PrivacyFacts) -> list[str]:
    """Say what a cautious attacker finds."""
    best = dict(found.found).get(_RATE)
    if best is None:
        return []
    return [
        f"Of 100 {found.unit}s who were not in it, an attacker who calls 1 of them in finds at most "
        f"{_of_100(best)} of 100 who were. Guessing finds 1. That holds for any attack, whatever else the attacker "
        "knows and however much time there is."
    ]


def _belief(found: PrivacyFacts) -> list[str]:
    """Say how far a belief can be moved, and that this is the cruder reading."""
    if not found.posterior:
        return []
    parts = [f"from {_of_100(before)} to {_of_100(after)}" for before, after in found.posterior]
    return [
        f"Who gave the odds that a {found.unit} was in it so many chances of 100 can be moved, at most, "
        f"{' and '.join(parts)}. This reads epsilon by itself, as if delta were 0: it is cruder than the curve below."
    ]


def _warning(voice: Voice, found: PrivacyFacts) -> str:
    if found.epsilon_seen_by_site is None:
        return ""
    site = voice.sites(1)
    return (
        f"Each {site} knows its own part of the noise. One that takes it off sees the others' {found.unit}s with an "
        f"epsilon of {upward(found.epsilon_seen_by_site)}, not {upward(found.epsilon)}. dishonest_sites = 1 in the "
        "study makes up for it."
    )


# --- what is promised -------------------------------------------------------------------------------------------------


def _facts(voice: Voice, found: PrivacyFacts) -> list[tuple[str, str]]:
    unit = {
        "patient": "a patient, with all records at one " + voice.sites(1),
        "record": "a record: a patient with several is hidden less",
    }[found.unit]
    relation = {
        "add-or-remove-one": f"one {found.unit} more or less (add-or-remove-one)",
        "replace-one": f"one {found.unit} exchanged for another (replace-one)",
    }[found.relation]
    rows = [
        ("Unit of privacy", unit),
        ("Neighboring relation", relation),
        ("Trust model", _trust(voice, found)),
        ("Epsilon", f"{upward(found.epsilon)}{_budget(found)}"),
        ("Delta", f"{small(found.delta)}; one of the {whole(found.patients)} {found.unit}s is {small(_part(found))}"),
        ("Accountant", _accountant(found)),
        ("Clipping", f"no {found.unit} adds more than {found.l2_clip_norm:g} (L2 norm) to a sum of gradients"),
        ("Noise", f"{decimal(found.noise_multiplier, 2)} clip norms on each sum{_whose(voice, found)}"),
        ("Steps", f"{whole(found.steps)}, each with a chance of {percent(found.sampling_probability)} to be drawn"),
    ]
    if found.noised:
        rows.append(
            ("Noise in test results", f"{decimal(found.noise_in_results, 1)} {found.unit}s (standard deviation) a cell")
        )
    return rows


def _part(found: PrivacyFacts) -> float:
    return 1.0 / max(found.patients, 1)


def _trust(voice: Voice, found: PrivacyFacts) -> str:
    site = voice.sites(1)
    if found.trust == "local":
        return f"nobody but the own {site}: each message is private by itself"
    return f"only sums are private: secure aggregation has to hold, and {_counted(voice, found)} to add their noise"


def _counted(voice: Voice, found: PrivacyFacts) -> str:
    return f"{number_word(found.honest)} of {number_word(found.sites)} {voice.sites()}"


def _budget(found: PrivacyFacts) -> str:
    return "" if found.budget is None else f", of a budget of {found.budget:g}"


def _accountant(found: PrivacyFacts) -> str:
    by = "privacy loss distributions (dp-accounting)"
    return by if found.epsilon_rdp is None else f"{by}; Rényi divergences alone give {upward(found.epsilon_rdp)}"


def _whose(voice: Voice, found: PrivacyFacts) -> str:
    if found.trust == "local":
        return f" of a {voice.sites(1)}"
    return f", by {_counted(voice, found)}"


# --- figure and tables ------------------------------------------------------------------------------------------------


def _figure(found: PrivacyFacts) -> Figure:
    rates = "; ".join(f"at {percent(one, digits=1)} at most {percent(other, digits=1)}" for one, other in found.found)
    bound = Panel(
        "What an attacker can do at most",
        bound_curve("bound", "Largest true-positive rate by false-positive rate", f"{capital(rates)}.", found.bound),
        f"Across: {found.unit}s who were not in it and are called in. Up: {found.unit}s who were, and are found. No "
        "attack lies above the line; the dashed diagonal is guessing.",
    )
    spent = [(float(round_), epsilon) for round_, epsilon in found.over_rounds]
    last = found.over_rounds[-1] if found.over_rounds else (0, 0.0)
    course = Panel(
        "Epsilon spent by the training",
        round_curves(
            "spent",
            "Epsilon by round",
            f"Rises from 0 to {upward(last[1])} in round {last[0]}.",
            [Curve("", "federated", spent)],
            span=(0.0, 0.0),
        ),
        f"After each round, at a delta of {small(found.delta)}. Stopping early spends less.",
    )
    tables = (
        Table(
            "Largest true-positive rate",
            ("False-positive rate", "At most"),
            tuple((f"{one:.2g}", decimal(other, 3)) for one, other in found.bound),
        ),
        Table(
            "Epsilon by round",
            ("Round", "Epsilon"),
            tuple((whole(round_), decimal(epsilon, 3)) for round_, epsilon in found.over_rounds),
        ),
    )
    note = "The left one is a proved limit, not the result of an attack."
    return Figure("privacy", "What the numbers allow, and how they grew", note, (bound, course), tables, "privacy")


def _attacks(found: PrivacyFacts) -> Table:
    rows = tuple((_of_100(one), _of_100(other), _of_100(one)) for one, other in found.found)
    note = (
        f"The largest difference of the two rates, at any caution, is {_of_100(found.advantage)} points (membership "
        "advantage). From the trade-off function of what left, whichever release tells most."
    )
    head = (f"Of 100 {found.unit}s who were not in it, called in", "Found of 100 who were, at most", "By guessing")
    return Table("Who can tell whether somebody was in it", head, rows, note)


def _released(voice: Voice, found: PrivacyFacts) -> Table:
    rows = tuple(
        (
            _WHAT[entry.what],
            _SPLITS.get(entry.what, "trained on"),
            whole(entry.count),
            percent(entry.sampling_probability),
            decimal(entry.noise_multiplier, 2),
            upward(entry.epsilon),
        )
        for entry in found.releases
    )
    kept = "" if found.noised else f" Test results left no {voice.sites(1)}."
    note = (
        f"Noise in multiples of what one {found.unit} can change. Nobody is in two splits, so each {found.unit} spends "
        f"what one line says, and not their sum: {upward(found.epsilon)} at the most. The model itself is made of these "
        f"sums and costs nothing more.{kept}"
    )
    head = ("What left", f"{capital(found.unit)}s", "Times", "Drawn", "Noise", "Epsilon")
    return Table("What left, and what it spent", head, rows, note, numbers_from=2)


def _by_site(voice: Voice, found: PrivacyFacts) -> Table:
    site, sites = voice.sites(1), voice.sites()
    entries = list(found.by_site.items())
    if len(entries) > MANY_SITES and len({_key(entry) for _, entry in entries}) == 1:
        entries = [(f"Each of {plural(len(entries), site, sites)}", entries[0][1])]
    rows = tuple(
        (name, whole(entry.count), decimal(entry.noise_multiplier, 2), upward(entry.epsilon)) for name, entry in entries
    )
    note = {
        "sealed": f"What a {site}'s own {found.unit}s spend is what the sum spends, and so the same at each.",
        "local": f"What a {site}'s own messages spend of its own {found.unit}s, whatever the others do.",
    }[found.trust]
    head = (site.capitalize(), "Sums" if found.trust == "sealed" else "Steps", "Noise", "Epsilon")
    return Table(f"What the training spent of each {site}'s {found.unit}s", head, rows or ((NONE,) * 4,), note)


def _key(entry: ReleaseFacts) -> tuple[int, float, float]:
    return entry.count, entry.noise_multiplier, entry.epsilon


def _of_100(share: float) -> str:
    """Write a share as so many of 100, rounded up: it is a bound."""
    return upward(100 * share, 1)
