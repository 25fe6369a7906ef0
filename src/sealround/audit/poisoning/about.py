"""What a report says of each attack on updates: a name, a sentence for a security officer, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, get_args

from sealround.audit.poisoning.attacks import ATTACKS, AttackName, Knowledge

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ABOUT", "About", "knowledge_of"]

_WORDS: Mapping[Knowledge, str] = MappingProxyType(
    {
        Knowledge.OWN: "its own update",
        Knowledge.HONEST: "what honest sites send",
        Knowledge.RULE: "the study's rule and its constants",
        Knowledge.EXAMPLES: "how many examples honest sites have",
        Knowledge.LAST_CHANGE: "the last two models, which every site is sent",
        Knowledge.TARGET: "the model that it wants",
    }
)


@dataclass(frozen=True, slots=True)
class About:
    """What is said of one attack.

    Attributes:
        title: What a report calls it.
        what: What it does, one sentence for a security officer.
        source: Whose it is.
    """

    title: str
    what: str
    source: str


def knowledge_of(name: AttackName) -> tuple[str, ...]:
    """Say in plain words what an attack on updates has to know, in a fixed order; nothing if that is nothing."""
    return tuple(words for item, words in _WORDS.items() if item in ATTACKS[name].knows)


ABOUT: Mapping[AttackName, About] = MappingProxyType(
    {
        "sign-flip": About(
            "Opposite update",
            "The liar sends the opposite of what it learned.",
            "Li et al.: RSA, AAAI 2019; Karimireddy et al., ICLR 2022",
        ),
        "gaussian": About(
            "Noise",
            "The liar sends large random numbers, so that the model drowns in them.",
            "Xie, Koyejo, Gupta: Generalized Byzantine-tolerant SGD, 2018",
        ),
        "not-finite": About(
            "No numbers",
            "The liar sends values that are no numbers, of which one is enough to ruin a sum.",
            "no source is needed",
        ),
        "alie": About(
            "A little is enough",
            "The liars shift every parameter by so little that enough honest sites look just as unusual.",
            "Baruch, Baruch, Goldberg, NeurIPS 2019",
        ),
        "ipm": About(
            "Inner-product manipulation",
            "The liars send a small step against what the honest sites learned together, round after round.",
            "Xie, Koyejo, Gupta: Fall of Empires, UAI 2019",
        ),
        "min-max": About(
            "Min-max",
            "The liars go as far off as the two most different honest sites are from each other, and no further.",
            "Shejwalkar, Houmansadr, NDSS 2021",
        ),
        "min-sum": About(
            "Min-sum",
            "The liars go as far off as keeps them no further from everybody than some honest site is.",
            "Shejwalkar, Houmansadr, NDSS 2021",
        ),
        "fang-trimmed-mean": About(
            "Directed deviation, against trimming",
            "The liars send values just beyond the honest ones, so that trimming cuts off good ones instead.",
            "Fang et al., USENIX Security 2020",
        ),
        "fang-krum": About(
            "Directed deviation, against Krum",
            "The liars agree on one update in the wrong direction that a rule which looks for neighbours would choose.",
            "Fang et al., USENIX Security 2020",
        ),
        "mimic": About(
            "Mimic",
            "The liars copy the most unusual honest site, so that it outvotes the others.",
            "Karimireddy, He, Jaggi, ICLR 2022",
        ),
        "opt-alie": About(
            "A little is enough, tuned to the rule",
            "The liars try on the study's own rule how large a shift does the most harm, and send that.",
            "Allouah et al.: Fixing by Mixing, AISTATS 2023",
        ),
        "opt-ipm": About(
            "Inner-product manipulation, tuned to the rule",
            "The liars try on the study's own rule how large a step backwards does the most harm, and send that.",
            "Allouah et al.: Fixing by Mixing, AISTATS 2023",
        ),
        "sample-inflation": About(
            "Claimed patients",
            "The liar claims many more patients than it has, so that the average is mostly its own update.",
            "Portnoy, Tirosh, Hendler, Applied Sciences 2022",
        ),
        "model-replacement": About(
            "Model replacement",
            "The liar sends its own model so many times as long that a plain average becomes that model.",
            "Bagdasaryan et al.: How To Backdoor Federated Learning, AISTATS 2020",
        ),
        "free-rider": About(
            "Free rider",
            "The site has no data and sends nothing, to be given the model all the same.",
            "Fraboni, Vidal, Lorenzi, AISTATS 2021",
        ),
        "free-rider-delta": About(
            "Free rider that repeats",
            "The site has no data and sends the last change of the model again, to be given the model all the same.",
            "Lin, Du, Liu: Free-riders in Federated Learning, 2019",
        ),
    }
)
"""What is said of every attack on updates, in the order of `ATTACKS`."""

assert tuple(ABOUT) == get_args(AttackName)  # noqa: S101
