"""What has to be said besides the numbers: who was left out, what it cost, how to repeat it, and where it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.gate import withheld
from sealround.report.metrics import METRICS
from sealround.report.typography import NONE, duration, listing, plural, size, whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.report.privacy_entries import PrivacyFacts
    from sealround.report.voice import Voice

__all__ = ["LeftOut", "cost", "environment", "glossary", "left_out", "limits"]

_PRIVATE_WORDS = {
    "Epsilon, delta": "How far the odds of anything that comes out can differ with and without one unit: by a factor "
    "of e to the epsilon, but for a probability of delta. Smaller is more private; 0 tells nothing.",
    "Unit of privacy": "Whose presence is hidden: a patient with all records, or a single record.",
    "Neighboring relation": "Which two sets of records nobody can tell apart: with one unit more or less, or with one "
    "unit exchanged for another.",
    "Trust model": "Who has to be believed for the bound to hold: whoever adds up sealed sums, or nobody but the own "
    "site.",
    "Noise multiplier": "Standard deviation of the noise in a sum, in lengths of the longest part that one unit can "
    "add to it.",
}
_SMALL_TEST = 100
_NAMED = 4


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One site that did not take part in all of the run."""

    site: str
    when: str
    why: str


def _ranges(numbers: Sequence[int]) -> str:
    """Write numbers as ranges: ``3-5, 9``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in runs)


def _since(round_: int | None) -> str:
    if round_ is None:
        return NONE
    return f"from round {round_}" if round_ else "before round 1"


def left_out(voice: Voice) -> tuple[LeftOut, ...]:
    """List sites that were excluded, absent from rounds, or have no result."""
    evidence = voice.evidence
    found = [LeftOut(entry.site, _since(entry.round), entry.why) for entry in evidence.excluded]
    for site in evidence.cohort.roster:
        absent = [entry.round for entry in evidence.rounds if site in entry.absent]
        if absent:
            when = f"{_ranges(absent)} ({len(absent)} of {len(evidence.rounds)})"
            found.append(LeftOut(site, f"rounds {when}" if len(absent) > 1 else f"round {when}", "absent"))
    named = {entry.site for entry in found}
    found += [
        LeftOut(site, "at the end", "no result of the model trained together")
        for site in evidence.cohort.roster
        if not (voice.sealed or withheld(voice)) and site not in evidence.federated.sites and site not in named
    ]
    return tuple(found)


def cost(voice: Voice) -> tuple[tuple[str, str], ...]:
    """List what the run took: (what, how much)."""
    found, rounds, sites = voice.evidence.cost, len(voice.evidence.rounds), len(voice.evidence.cohort.roster)
    sent = None if found.bytes_up is None or found.bytes_down is None else found.bytes_up + found.bytes_down
    rows = [
        ("Time, whole run", duration(found.seconds)),
        ("Time, local training", duration(found.training_seconds)),
        (f"Sent by the {voice.sites()}", size(found.bytes_up)),
        (f"Sent to the {voice.sites()}", size(found.bytes_down)),
    ]
    if sent is not None and rounds and sites:
        rows.append((f"Sent both ways, per {voice.sites(1)} and round", size(round(sent / rounds / sites))))
    rows += [
        ("Peak memory", size(found.peak_rss_bytes)),
        ("Worker processes", "none, all in one process" if found.workers == 0 else whole(found.workers)),
        ("Computed on", found.device or "not recorded"),
    ]
    return tuple(rows)


def environment(voice: Voice) -> tuple[tuple[str, str], ...]:
    """List versions: (what, which)."""
    return (("sealround", voice.evidence.sealround), *voice.evidence.environment.items())


def limits(voice: Voice) -> tuple[str, ...]:
    """List what the numbers of this run cannot say."""
    evidence = voice.evidence
    sites = len(evidence.cohort.roster)
    said = [
        (
            "Not for clinical use. This is a research result; it has not been assessed as a medical device, and no "
            "decision about a patient may rest on it."
        ),
        *_small_tests(voice),
        *_unseen(voice),
        *_intervals(voice),
        (
            f"Test patients come from the same {voice.sites()} as the training patients. At {voice.sites(1)} number "
            f"{sites + 1} the model may do worse."
        ),
    ]
    if sites > 1 and len(evidence.models) > 1:
        said.append(
            "Many numbers are compared on this page and no interval is widened for it: among many intervals some miss "
            "the truth by chance alone."
        )
    if "pooled" in evidence.models:
        said.append(
            "The pooled comparison needs all records in one place. Here that was possible because this run is a "
            "simulation on one machine; in a real federation it is what cannot be done."
        )
    if evidence.cohort.simulated:
        said.append("The sites are simulated: one data set was divided. Real hospitals differ more than its parts do.")
    if any(entry.state != "on" for entry in evidence.protection):
        more = "" if voice.private else " Nothing on this page shows that records stayed private."
        said.append(f"Not every protection was on (see above).{more}")
    return tuple(said)


def _intervals(voice: Voice) -> list[str]:
    """Say what an interval does not cover, where there is one."""
    privacy = voice.evidence.privacy
    if privacy is not None and not privacy.noised:
        return []
    drawn = "resampling test patients" if privacy is None else "drawing patients and noise anew"
    said = (
        f"Intervals ({voice.evidence.confidence}) come from {drawn}. They do not cover what another seed, another "
        "split or another year would change: this is one run with one seed."
    )
    return [said]


def _unseen(voice: Voice) -> list[str]:
    """Say what a page of sums hides."""
    if not voice.sealed:
        return []
    site, sites = voice.sites(1), voice.sites()
    where = (
        f"No {site}'s own result is on this page, so it cannot show where the model works badly: a mean hides the "
        f"{site} at which it fails. Each of the {sites} has to look at its own, and to speak up."
    )
    if voice.evidence.privacy is not None:
        return [where.replace("a mean hides", "the whole hides"), *_simulated(voice.evidence.privacy)]
    subtract = (
        f"Sums carry no noise: whoever knows the numbers of all {sites} but one can subtract them, and a sum of few "
        f"{sites} tells more about each than a sum of many."
    )
    return [where, subtract]


def _simulated(privacy: PrivacyFacts) -> list[str]:
    """Say that the noise of a simulation hides nobody."""
    if not privacy.simulated:
        return []
    return [f"This run protects nobody: {privacy.simulated}. It shows what a real one would cost and reach."]


def _small_tests(voice: Voice) -> list[str]:
    """Say what one patient weighs at the sites with small test sets, the smallest first."""
    sizes = {site: entry.n for site, entry in voice.evidence.federated.sites.items() if entry.n}
    small = sorted((site for site in sizes if sizes[site] < _SMALL_TEST), key=lambda site: sizes[site])
    if not small:
        return []
    named = small[:_NAMED]
    parts = [f"{site} ({plural(sizes[site], 'patient')}: one is {100 / sizes[site]:.1f} points)" for site in named]
    if len(small) > len(named):
        parts.append(f"{len(small) - len(named)} more")
    weight = "A percentage moves by so many points when one patient is judged differently."
    return [f"Small test sets: {listing(parts)}. {weight}"]


def glossary(voice: Voice) -> tuple[tuple[str, str], ...]:
    """Explain the words of the page: (word, two lines)."""
    evidence = voice.evidence
    site, sites = voice.sites(1), voice.sites()
    level = evidence.study.confidence
    share = "" if level is None else f" Over many repetitions, {100 * level:g} % of such intervals hold the true value."
    words = {
        "Together (federated)": f"One model for all: each {site} trains it on its own records, only model updates "
        "travel, and their mean is the next model. Records stay where they are.",
        "Alone": f"Each {site} trains a model of its own on its own records, with the same method.",
        "Pooled": "One model trained on all records in one place: what sharing everything would give.",
        "Confidence interval (CI)": f"Values the test patients are compatible with.{share} Wide means few patients.",
        "Mean, worst, gap": f"The mean counts each {site} the same, however large. The gap is the best {site} minus "
        "the worst.",
        "Training, validation, test": "Patients the model learned from, patients used to choose settings, and patients "
        f"it never saw; each patient is in one of them only. All results are from test patients of the {sites}.",
    }
    if voice.sealed:
        del words["Mean, worst, gap"]
    if voice.private:
        words |= _PRIVATE_WORDS
    elif voice.sealed:
        words["Mean, all test patients"] = (
            f"The mean counts each {site} the same, however large. All test patients together count each patient the "
            "same. Both come from sums."
        )
    for model, word in (("alone", "Alone"), ("pooled", "Pooled")):
        if model not in evidence.models:
            del words[word]
    used = {voice.primary}
    if not voice.private:
        used |= {name for model in evidence.models.values() for name in model.mean}
    used |= {name for entry in evidence.federated.sites.values() for name in entry.metrics}
    return (*words.items(), *((metric.label, metric.meaning) for name, metric in METRICS.items() if name in used))
