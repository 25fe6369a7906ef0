"""What has to be said besides the numbers: where the lines are drawn, what was not played, cost, limits, words."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from sealround.report.drill.voice import MEAN
from sealround.report.typography import duration, listing, percent, plural, whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sealround.report.drill.evidence import Verdict
    from sealround.report.drill.voice import DrillVoice

__all__ = ["command", "cost", "facts", "glossary", "liars", "limits", "lines", "not_played", "shown"]

_FEW_SEEDS = 3
_ATTACK_ENDS = 0.6
"""The share of the rounds after which a drill ends attacks that are after something, unless it is told otherwise."""


def lines(voice: DrillVoice) -> tuple[tuple[Verdict, str], ...]:
    """Say where the lines between verdicts are drawn: (verdict, meaning)."""
    label, holds, degrades = voice.metric.label, voice.evidence.holds, voice.evidence.degrades
    worse, more = f"{label} is certainly worse, by more than", "or the attack gets its way in more than"
    gated = any(cell.withheld for cell in voice.evidence.cells.values())
    kept = "; or the study's gate keeps every model back, so that harm is averted" if gated else ""
    slightly = f"{label} is certainly no more than {holds:g} worse"
    return (
        ("holds", f"{slightly}, and the attack gets its way in no more than {percent(holds)} more of its cases."),
        ("degrades", f"{worse} {holds:g}, {more} {percent(holds)} more, or a group of patients is harmed{kept}."),
        ("fails", f"{worse} {degrades:g}, {more} {percent(degrades)} more, or there is no model at all."),
        ("not assessable", "The intervals are too wide for any of these. It is not a pass."),
    )


def not_played(voice: DrillVoice) -> tuple[str, ...]:
    """List what was not played and why: what the engine left out, and rules that cannot run."""
    refused = (
        f"{rule.title}: {rule.refused}{'' if rule.refused.endswith('.') else '.'}"
        for rule in voice.evidence.rules.values()
        if rule.refused is not None
    )
    return (*voice.evidence.left_out, *refused)


def liars(voice: DrillVoice) -> str:
    """Say who played the liars, seed by seed."""
    found = list(dict.fromkeys(voice.evidence.liars.values()))
    if not found:
        return "not recorded"
    if len(found) == 1 and len(found[0]) <= 12:  # noqa: PLR2004 (as many as can be read)
        return listing(found[0])
    if all(len(names) <= 3 for names in found):  # noqa: PLR2004
        return "; ".join(f"seed {seed}: {listing(names)}" for seed, names in voice.evidence.liars.items())
    return f"drawn anew for each of {plural(len(voice.evidence.liars), 'seed')}; see drill.json"


def facts(voice: DrillVoice) -> tuple[tuple[str, str], ...]:
    """List what was played: (what, which)."""
    evidence = voice.evidence
    return (
        ("The study's rule", evidence.rules[voice.rule].title),
        (voice.sites().capitalize(), f"{whole(len(evidence.sites))}, of which {whole(evidence.num_byzantine)} lie"),
        ("Who lied", liars(voice)),
        ("Seeds", listing([str(seed) for seed in evidence.seeds])),
        ("Trainings", whole(sum(cell.seeds for cell in evidence.cells.values()))),
    )


def command(voice: DrillVoice) -> str:
    """Write the command that plays the same drill again, its words quoted for a shell."""
    evidence = voice.evidence
    others = [key for key, rule in evidence.rules.items() if not rule.own]
    ends = {cell.durability.stopped_after for cell in evidence.cells.values() if cell.durability is not None}
    options = [
        f"--num-byzantine {evidence.num_byzantine} --seeds {len(evidence.seeds)} --rounds {evidence.study.rounds}",
        f"--heterogeneity {_words(evidence.heterogeneity)}",
        f"--rules {_words(['own', *others])}",
        f"--attacks {_words(voice.attacks)}",
    ]
    if len(ends) == 1 and ends != {max(1, round(_ATTACK_ENDS * evidence.study.rounds))}:
        options.append(f"--stop-after {ends.pop()}")
    return " \\\n  ".join(["sealround drill study.toml", *options])


def _words(keys: Iterable[str]) -> str:
    return shlex.quote(",".join(keys))


def cost(voice: DrillVoice) -> tuple[tuple[str, str], ...]:
    """List what the drill took: (what, how much)."""
    evidence = voice.evidence
    workers = "none, all in one process" if evidence.workers == 0 else whole(evidence.workers)
    return (
        ("Time", duration(evidence.seconds)),
        ("Combinations of attack, rule and division of patients", whole(len(evidence.cells))),
        ("Worker processes", workers),
    )


def shown(voice: DrillVoice) -> tuple[tuple[str, str], ...]:
    """List versions: (what, which)."""
    return (("sealround", voice.evidence.sealround), *voice.evidence.environment.items())


def limits(voice: DrillVoice) -> tuple[str, ...]:
    """List what a drill cannot say."""
    evidence, sites = voice.evidence, voice.sites()
    number = len(evidence.seeds)
    said = [
        (
            "To hold against these attacks is no proof against others. They are the published ones that apply; the "
            "next one will be made with this page in hand."
        ),
        (
            f"It was played with {evidence.num_byzantine} lying of {whole(len(evidence.sites))}. With one more, "
            "everything may be different; how many will lie, no drill can tell."
        ),
        (
            f"The lies were told by a program that knew what the other {sites} sent, which is more than most liars "
            f"know, and with the records of these {sites}: with others, the result is another."
        ),
        (
            f"Only updates and labels were lied about. Statistics, validation and test results of a {voice.sites(1)} "
            "are taken at their word by every rule; nor does a drill test keys, networks or computers."
        ),
        "A drill says nothing about privacy: what could be rebuilt from updates is another question.",
        (
            "Not for clinical use. The model is measured on the test patients of this study; what a patient elsewhere "
            "would suffer is not on this page."
        ),
    ]
    if number < _FEW_SEEDS:
        said.insert(
            2,
            f"Only {plural(number, 'seed')} played: another may turn a verdict that is close to its line.",
        )
    return tuple(said)


def glossary(voice: DrillVoice) -> tuple[tuple[str, str], ...]:
    """Explain the words of the page: (word, two lines)."""
    site, sites = voice.sites(1), voice.sites()
    words = {
        "Attack": f"What a lying {site} does instead of what the study asks of it, as published.",
        "Rule": f"How one model is made of what the {sites} send. A robust rule bounds what a few of them can do.",
        "Plain mean": "The rule that looks at nothing: the average. What the study would be without protection.",
        "Gets its way (success)": "Of the cases that an attack is after, the share in which the model answers as the "
        "attacker wants. An attack that only destroys is after nothing in particular.",
        "How long it lasts": "Honest rounds after the attack has stopped wash it out. How fast is half of it gone?",
        "Missed patients (FNR)": f"Of the patients with {voice.condition}, the share that the model calls healthy.",
        "False alarms (FPR)": f"Of the patients without {voice.condition}, the share that the model calls sick.",
        "Put down, left out": f"A {site} is put down in a round in which its update counts for less than half of what "
        "its size would give it, and left out if it does not count at all.",
        "Recall, precision": "Recall: of the rounds of liars, the share in which they were put down. Precision: of all "
        "that were put down, the share that lied.",
        "Division of patients": f"How alike the {sites} are. The less alike, the more an honest one looks like a liar.",
        "Not assessable": "Too few patients or rounds to tell. It is not a pass.",
        voice.metric.label: voice.metric.meaning,
    }
    used = {"Plain mean": MEAN in voice.evidence.rules}
    if voice.survival:
        used |= {"Missed patients (FNR)": False, "False alarms (FPR)": False}
    return tuple((word, meaning) for word, meaning in words.items() if used.get(word, True))
