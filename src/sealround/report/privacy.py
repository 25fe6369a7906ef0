"""How private is it? What one patient's presence can change, as numbers and as what an attacker can do with it.

In the words of NIST SP 800-226 (2025): unit of privacy, neighboring relation, trust model, accountant.
"""

from __future__ import annotations

import math
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
_SAYABLE = 12.0
_HOPELESS = 0.995
_MANY = 100
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
        own: Where a site finds its own results; empty where another section says so.
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
    own: str


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
        figure=_figure(voice, found),
        attacks=_attacks(voice, found),
        released=_released(voice, found),
        by_site=_by_site(voice, found),
        not_covered=found.not_covered,
        own=_own(voice),
    )


# --- in words ---------------------------------------------------------------------------------------------------------


def _said(voice: Voice, found: PrivacyFacts) -> list[str]:
    whom = {"patient": "with all records, ", "record": "", "site": "with all its patients, "}[found.unit]
    other = "left out" if found.relation == "add-or-remove-one" else "exchanged for another"
    first = (
        f"Take any one {voice.unit}, {whom}and think of the same run with this {voice.unit} {other}. Whatever left the "
        f"{voice.sites()} would have come out with a probability {_factor(found.epsilon)}, but for a "
        f"probability of delta, {small(found.delta)}."
    )
    return [first, *_attack(voice, found), *_belief(voice, found)]


def _factor(epsilon: float) -> str:
    """Write what epsilon is as a factor."""
    power = f"e to the power of epsilon, {upward(epsilon)}"
    if epsilon > _SAYABLE:
        return f"within a factor of {power}"
    times = math.exp(epsilon)
    return (
        f"at most {whole(math.ceil(times)) if times >= _MANY else upward(times, 1)} times as large or small ({power})"
    )


def _attack(voice: Voice, found: PrivacyFacts) -> list[str]:
    """Say what a cautious attacker finds."""
    best = dict(found.found).get(_RATE)
    if best is None:
        return []
    if best >= _HOPELESS:
        return [f"That rules out next to nothing: an attacker could find nearly every {voice.unit} of the data."]
    said = (
        f"Of 100 {voice.unit}s who were not in the data, an attacker who calls 1 of them in finds at most "
        f"{_of_100(best)} of 100 who were. Guessing finds 1. That holds for any attack, whatever else the attacker "
        "knows, and for all time."
    )
    return [said.replace("who were", "that were") if found.unit != "patient" else said]


def _belief(voice: Voice, found: PrivacyFacts) -> list[str]:
    """Say how far a belief can be moved, and that this is the cruder reading."""
    if not found.posterior:
        return []
    parts = [f"from {_of_100(before)} in 100 to at most {_of_100(after)}" for before, after in found.posterior]
    said = (
        f"What left can move a belief that some {voice.unit} was in the data {', '.join(parts)}. This reads epsilon by "
        "itself, as if delta were 0, and is cruder than the curve below."
    )
    return [said]


def _warning(voice: Voice, found: PrivacyFacts) -> str:
    if found.epsilon_seen_by_site is None:
        return ""
    site = voice.sites(1)
    others = "others" if found.unit == "site" else f"others' {voice.unit}s"
    return (
        f"Each {site} knows its own part of the noise. One that takes it off sees the {others} with an epsilon of "
        f"{upward(found.epsilon_seen_by_site)}, not {upward(found.epsilon)}. A study with dishonest_sites = 1 reckons "
        "with that, and has more noise."
    )


def _own(voice: Voice) -> str:
    if voice.evidence.aggregation is not None:
        return ""
    site = voice.sites(1)
    return (
        f"Each {site}'s own results, without noise, stay with it. This run is a simulation: they are in the run "
        f"folder, sites/<{site}>.json, and are not part of this page or its evidence."
    )


# --- what is promised -------------------------------------------------------------------------------------------------


def _facts(voice: Voice, found: PrivacyFacts) -> list[tuple[str, str]]:
    unit = {
        "patient": f"a patient, with all records at one {voice.sites(1)}",
        "record": "a record: a patient with several is hidden less",
        "site": f"a {voice.sites(1)}, with all its patients",
    }[found.unit]
    relation = {
        "add-or-remove-one": f"one {voice.unit} more or less (add-or-remove-one)",
        "replace-one": f"one {voice.unit} exchanged for another (replace-one)",
    }[found.relation]
    rows = [
        ("Unit of privacy", unit),
        ("Neighboring relation", relation),
        ("Trust model", _trust(voice, found)),
        ("Epsilon", f"{upward(found.epsilon)}{_budget(found)}"),
        ("Delta", f"{small(found.delta)}{_part(found)}"),
        ("Accountant", _accountant(found)),
        ("Clipping", _clipping(voice, found)),
        ("Noise", f"{decimal(found.noise_multiplier, 2)} clip norms on each sum{_whose(voice, found)}"),
        ("Steps", f"{whole(found.steps)}{_drawn(voice, found)}"),
    ]
    if found.noised:
        rows.append(
            (
                "Noise in test results",
                f"{decimal(found.noise_in_results, 1)} {voice.unit}s (standard deviation) in a cell",
            )
        )
    return rows


def _part(found: PrivacyFacts) -> str:
    """Set delta beside one unit's share, which it must be well below; of sites there are too few for that."""
    if found.unit == "site" or not found.patients:
        return ""
    return f"; one of about {whole(found.patients)} {found.unit}s is {1.0 / found.patients:.1g}"


def _clipping(voice: Voice, found: PrivacyFacts) -> str:
    said = f"no {voice.unit} adds more than {found.l2_clip_norm:g} (L2 norm) to a sum"
    return f"{said} at first; then the norm follows, by a noised count" if found.adaptive else said


def _drawn(voice: Voice, found: PrivacyFacts) -> str:
    if found.sampling_probability == 1.0:
        return f", each over all {voice.unit}s"
    return f", into each of which a {voice.unit} is drawn with a chance of {percent(found.sampling_probability)}"


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
    by = "privacy loss distributions"
    return by if found.epsilon_rdp is None else f"{by}; Rényi divergences alone give {upward(found.epsilon_rdp)}"


def _whose(voice: Voice, found: PrivacyFacts) -> str:
    if found.trust == "local":
        return f" of a {voice.sites(1)}"
    return f", by {_counted(voice, found)}"


# --- figure and tables ------------------------------------------------------------------------------------------------


def _figure(voice: Voice, found: PrivacyFacts) -> Figure:
    rates = "; ".join(f"at {percent(one, digits=1)} at most {percent(other, digits=1)}" for one, other in found.found)
    bound = Panel(
        "What an attacker can do at most",
        bound_curve("bound", "Largest true-positive rate by false-positive rate", f"{capital(rates)}.", found.bound),
        f"Across: of the {voice.unit}s not in the data, the share called in. Up: of those in it, the share found. No "
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
    note = "The first is a proved limit, not the result of an attack."
    return Figure("privacy", "What the numbers allow, and how they grew", note, (bound, course), tables, "privacy")


def _attacks(voice: Voice, found: PrivacyFacts) -> Table:
    rows = tuple((_of_100(one), _of_100(other), _of_100(one)) for one, other in found.found)
    note = (
        f"The largest difference of the two rates, at any caution, is {_of_100(found.advantage)} points (membership "
        f"advantage). From the trade-off function of what left, whichever split the {voice.unit} was in."
    )
    head = (f"Called in, of 100 {voice.unit}s not in the data", "Found, of 100 in the data, at most", "By guessing")
    return Table(f"Who can tell whether a {voice.unit} was in the data", head, rows, note)


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
        f"Noise in multiples of what one {voice.unit} can change. {_parallel(voice, found)}The model is made of these "
        f"sums and costs nothing more.{kept}"
    )
    head = ("What left", f"{capital(voice.unit)}s", "Times", "Drawn", "Noise", "Epsilon")
    return Table("What left, and what it spent", head, rows, note, numbers_from=2)


def _parallel(voice: Voice, found: PrivacyFacts) -> str:
    if len(found.releases) == 1:
        return ""
    return (
        f"Nobody is in two splits, so each {voice.unit} spends what the lines of one split say, and not the sum of "
        f"all: {upward(found.epsilon)} at the most. "
    )


def _by_site(voice: Voice, found: PrivacyFacts) -> Table:
    site, sites = voice.sites(1), voice.sites()
    entries = list(found.by_site.items())
    if len(entries) > MANY_SITES and len({_key(entry) for _, entry in entries}) == 1:
        entries = [(f"Each of {plural(len(entries), site, sites)}", entries[0][1])]
    rows = tuple(
        (name, whole(entry.count), decimal(entry.noise_multiplier, 2), upward(entry.epsilon)) for name, entry in entries
    )
    note = {
        "sealed": "Nobody sees a part of a sum, so each spends what the sum does: at every one of them the same.",
        "local": f"What a {site}'s own messages spend, whatever the others do.",
    }[found.trust]
    whose = site if found.unit == "site" else f"{site}'s {voice.unit}s"
    head = (site.capitalize(), "Sums" if found.trust == "sealed" else "Steps", "Noise", "Epsilon")
    return Table(f"What the training spent of each {whose}", head, rows or ((NONE,) * 4,), note)


def _key(entry: ReleaseFacts) -> tuple[int, float, float]:
    return entry.count, entry.noise_multiplier, entry.epsilon


def _of_100(share: float) -> str:
    """Write a share as so many of 100, rounded up: it is a bound."""
    return upward(100 * share, 1)
