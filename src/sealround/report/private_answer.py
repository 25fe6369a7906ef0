"""The answer of a run whose results left with noise, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

from sealround.report.metrics import METRICS
from sealround.report.sealing import small
from sealround.report.typography import capital, interval, number_word, upward, whole

if TYPE_CHECKING:
    from sealround.report.privacy_entries import PrivacyFacts
    from sealround.report.voice import Voice

__all__ = ["private_sentences"]


def private_sentences(voice: Voice, privacy: PrivacyFacts) -> list[Markup]:
    """Say what the model reaches, as far as anybody may know, and what that cost each patient."""
    return [*_reached(voice, privacy), _spent(voice, privacy)]


def _reached(voice: Voice, privacy: PrivacyFacts) -> list[Markup]:
    site, who = voice.sites(1), f"the {number_word(privacy.sites)} {voice.sites(privacy.sites)}"
    if not privacy.noised:
        said = Markup(
            "{} trained together, with noise on all that left them. How well it went stays with them: in this study no "
            "result leaves a {}, and each has its own."
        )
        return [said.format(capital(who), site)]
    found, tested = voice.leading("federated"), voice.evidence.federated.together
    number = None if tested is None else tested.n
    if found.value is None:
        said = Markup(
            "This run gives no answer: {} trained together, and the noise on their results drowns those of so few test "
            "{}s."
        )
        return [said.format(who, voice.unit)]
    ends = Markup(' <span class="nb">({} {})</span>').format(voice.evidence.confidence, interval(found, voice.digits))
    reached = Markup('<strong class="federated">{}</strong>{}').format(voice.number(found.value), ends)
    many = "" if number is None else f", about {whole(number)} of them"
    first = Markup(
        "Trained together, with noise on all that left them, {} reach {} of {} over all test {}s together{}."
    ).format(who, voice.metric.sentence, reached, voice.unit, many)
    second = Markup(
        "Results have noise too, for the sake of those tested; the interval takes it into account.{} What each {} "
        "reaches by itself, only that {} knows."
    )
    return [first, second.format(_asked(voice), site, site)]


def _asked(voice: Voice) -> str:
    """Own up to a metric that was asked for and is not there."""
    asked = voice.evidence.study.primary
    if asked == voice.primary:
        return ""
    name = METRICS[asked].sentence.split(" ", 1)[1]
    return f" The study asked for {name}; of a noised histogram only {voice.metric.label} is known."


def _spent(voice: Voice, privacy: PrivacyFacts) -> Markup:
    said = Markup(
        "What whoever sees all that left can learn about any one {} is bounded: by an epsilon of "
        '{} <span class="nb">(delta {}).</span>'
    )
    return said.format(voice.unit, upward(privacy.epsilon), small(privacy.delta))
