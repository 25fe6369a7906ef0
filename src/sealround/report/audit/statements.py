"""What has to be said besides the numbers: gate, two worlds, cost, command, limits of the method, words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealround.report.audit.measures import LIMITS, MEASURES, power
from sealround.report.typography import NONE, duration, percent, plural, whole
from sealround.report.voice import Table

if TYPE_CHECKING:
    from sealround.report.audit.voice import AuditVoice

__all__ = ["command", "cost", "facts", "gate", "gate_says", "glossary", "limits", "pixels", "shown", "worlds"]

_MINUTE = 60.0


# --- gate and worlds --------------------------------------------------------------------------------------------------


def gate_says(voice: AuditVoice) -> str:
    """Say whether what was found is within what the study permits."""
    match voice.evidence.passed:
        case None:
            return (
                "The study requires nothing of its audit: it starts whatever this page says. `[audit.require]` in the "
                "study file sets limits."
            )
        case True if not voice.evidence.plan.finished:
            return (
                "Within the limits as far as it was played. Not every attack was, so the study does not start with "
                "this audit."
            )
        case True:
            return "Within the limits: no attack that was played found more than the study permits."
        case False:
            return "Not within the limits: the study does not start with this audit."


def gate(voice: AuditVoice) -> Table | None:
    """Make the table of limits; ``None`` where there are none."""
    if not voice.evidence.require:
        return None
    rows = []
    for limit in voice.evidence.require:
        label, key = LIMITS[limit.key]
        found = NONE if limit.found is None else MEASURES[key].write(limit.found)
        verdict = "kept" if limit.passed else "not measured, so not kept" if limit.found is None else "exceeded"
        rows.append((label, verdict, MEASURES[key].write(limit.limit), found))
    head = ("What is limited", "Verdict", "Permitted", "Found")
    note = (
        "Found: the most that any attack on the study as written recovered, of one patient where one is meant. A limit "
        "on what was not measured is not kept."
    )
    return Table("What the study requires", head, tuple(rows), note, 2)


def worlds(voice: AuditVoice) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    """Say what the two-world test came to: (sentence, facts); ``None`` where none was made."""
    found = voice.evidence.two_worlds
    if found is None:
        return None
    alarm = percent(found.false_alarm, digits=1 if found.false_alarm < 0.01 else 0)  # noqa: PLR2004 (1 %)
    if found.told_apart:
        said = (
            f"Told apart: what this coalition sees depends on what an honest site holds beyond the sum (p = "
            f"{power(found.p_value)}, false alarms {alarm}). Secure aggregation does not hide it."
        )
    else:
        said = (
            f"Not told apart in {plural(found.views, 'view')} (p = {power(found.p_value)}, false alarms {alarm}): this "
            "statistic saw nothing but the sum. Another statistic, or more views, may."
        )
    facts = (
        ("Who looks", found.coalition),
        ("The two worlds", found.worlds),
        ("Statistic", found.statistic),
        ("Views", whole(found.views)),
    )
    return said, facts


# --- what it took -----------------------------------------------------------------------------------------------------


def facts(voice: AuditVoice) -> tuple[tuple[str, str], ...]:
    """List what was attacked: (what, which)."""
    study, plan = voice.evidence.study, voice.evidence.plan
    listed = (
        ("Model", study.model),
        ("Inputs", study.inputs),
        ("Predicts", study.task),
        ("Sites", whole(study.sites)),
        ("Rounds", whole(study.rounds)),
        ("Local training", study.local),
        ("Batch size", "" if study.batch_size is None else whole(study.batch_size)),
        ("Learning rate", "" if study.learning_rate is None else f"{study.learning_rate:g}"),
        (
            "Data",
            f"public: {plan.why_public}"
            if plan.public and plan.why_public
            else "public"
            if plan.public
            else "the sites' own",
        ),
    )
    return tuple((what, which) for what, which in listed if which)


def cost(voice: AuditVoice) -> tuple[tuple[str, str], ...]:
    """List what the audit took: (what, how much)."""
    plan, found = voice.evidence.plan, voice.evidence.findings
    return (
        ("Time", duration(plan.seconds)),
        ("Budget", "none" if plan.budget_s is None else duration(plan.budget_s)),
        ("Attacks that ran", whole(sum(one.status in {"done", "stopped"} for one in found))),
        ("Cut short by the budget", whole(sum(one.status == "stopped" for one in found))),
    )


def command(voice: AuditVoice) -> str:
    """Write the command that makes the same audit again."""
    plan = voice.evidence.plan
    budget = ""
    if plan.budget_s is not None:
        minutes = plan.budget_s / _MINUTE
        budget = f" --budget {minutes:g}m" if minutes >= 1 and minutes.is_integer() else f" --budget {plan.budget_s:g}s"
    return f"sealround audit study.toml --seed {plan.seed}{budget}"


def shown(voice: AuditVoice) -> tuple[tuple[str, str], ...]:
    """List versions: (what, which)."""
    return (("sealround", voice.evidence.sealround), *voice.evidence.environment.items())


# --- what it cannot say -----------------------------------------------------------------------------------------------


def limits(voice: AuditVoice) -> tuple[str, ...]:
    """List what an audit cannot say."""
    plan = voice.evidence.plan
    said = [
        (
            "That an attack recovered nothing proves only that this attack did not, with what it was granted and in "
            "the time it had. A better one may. It is never a proof that nothing can be recovered."
        ),
        (
            "The worst-off patient is the worst-off of those who were judged here. Another patient, a rarer one above "
            "all, may be worse off."
        ),
        (
            "Updates of some rounds were attacked, not of all. Somebody who keeps the updates of every round has more, "
            "and the later rounds of a training can say more about a rare patient than the first."
        ),
        (
            "What attackers know besides (other tables, pictures of the same people) was as granted in the table of "
            "assumptions. Who knows more recovers more."
        ),
        (
            "Whether what leaves a site is personal data is a question of law. This page has the measurements that "
            "such a judgement needs; it is not the judgement."
        ),
        "Computers, keys, networks and people were not attacked. Nor was the way in which records get into the study.",
        "Not for clinical use: models that were trained to be attacked are not the study's result.",
    ]
    if plan.budget_s is not None:
        said.insert(1, f"All attacks together had {duration(plan.budget_s)}. With more time some of them find more.")
    if not plan.public:
        said.append(
            "The sites' own records were attacked where they lie. Their reconstructions are as sensitive as the "
            "records and are not on this page."
        )
    return tuple(said)


def pixels(voice: AuditVoice) -> str:
    """Say how figures of "pixel-wise accuracy" are to be read; empty where records are no pictures."""
    if not voice.images:
        return ""
    return (
        f"Published attacks often report a “pixel-wise accuracy” of, say, {percent(0.94)}: one less the mean absolute "
        "error. Without a tolerance and a baseline it means nothing: by it, a flat disc of the mean colour comes to "
        f"{percent(0.956, digits=1)} on a real fundus photograph, and the mirror image of the other eye to "
        f"{percent(0.944, digits=1)}, both without any update. Here a pixel counts only if it is within 8 of 255 grey "
        f"values, inside the field of view, and the guess stands beside it. {percent(0.94)} by that count takes about "
        "37 to 40 dB, and does mean that the picture was rebuilt."
    )


def glossary(voice: AuditVoice) -> tuple[tuple[str, str], ...]:
    """Explain the words of the page: (word, two lines)."""
    words = {
        "Update": "What a site sends in a round: the change of the model that its own patients made.",
        "Attacker": "Who sees what a study sends and wants to know what is behind it. Each is granted what it would "
        "have there, and named with it.",
        "Worst-off patient": "The one patient, of those judged, of whom most was recovered. Means hide this patient.",
        "Guess without the update (baseline)": "The best that somebody does who never saw the update: the mean, the "
        "nearest public example, chance. What is not above it was not recovered from the update.",
        "Certificate (proved)": "Some attacks can check their result against the update: then the attacker knows, "
        "without the original, that a rebuilt record is right.",
        "Mismatch": "Relative distance of the update that the reconstruction would give from the update that was seen.",
        "95 % interval": "Where the number would lie for other patients like these, in 95 of 100 such audits.",
        "SPEAR": "Takes apart the gradient of a layer with ReLU by linear algebra, exactly, whole batches of a table "
        "at a time (Dimitrov et al., NeurIPS 2024).",
        "Numbers determined": "How many of a patient's numbers the update pins down to less than they vary from "
        "patient to patient: counted by linear algebra, not attacked.",
        "Cramér-Rao bound (typical error at least)": "With noise in the update, the error below which no unbiased "
        "attack can get. Attacks that know what patients look like are biased, and can.",
        "Fisher information leakage": "How sharply the update points at a patient's values, over the noise in it. "
        "Larger is worse.",
        "I²F": "Inversion influence: how far noise moves the best reconstruction, at least. Smaller is worse (Zhang et "
        "al., NeurIPS 2023).",
        "Two-world test": "Two studies that have the same sum and differ in what one honest site holds are played; if "
        "what a coalition sees tells them apart, more than the sum gets out.",
    }
    names = {one.name for one in voice.evidence.findings}
    bounded = bool(voice.evidence.bounds)
    used = {
        "SPEAR": "SPEAR" in names,
        "Numbers determined": bounded,
        "Cramér-Rao bound (typical error at least)": bounded,
        "Fisher information leakage": bounded,
        "I²F": bounded,
        "Two-world test": voice.evidence.two_worlds is not None,
    }
    own = [(word, meaning) for word, meaning in words.items() if used.get(word, True)]
    measured = [(one.label, one.meaning) for key, one in MEASURES.items() if voice.measured(key)]
    return (*own, *measured)
