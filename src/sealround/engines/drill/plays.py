"""Every attack that a drill can play, by its word: those on updates, those on records, and nobody lying."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from sealround.audit.data_poisoning import DATA_ATTACKS
from sealround.audit.poisoning import ABOUT, ATTACKS, Aim, knowledge_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.audit.data_poisoning import DataAttackName
    from sealround.audit.poisoning import AttackName

__all__ = ["NOBODY", "PLAYS", "QUICK", "Play"]

NOBODY = "none"
"""The word for everybody being honest: what all else is compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One attack as a drill plays it.

    Attributes:
        key: Its word.
        title: What reports call it.
        what: One plain sentence.
        aim: What it is for.
        knows: What malicious sites have to know.
        source: Whose it is.
        update: The attack on updates it is; ``None`` if it is none.
        data: The attack on records it is; ``None`` if it is none.
        success: What its success is the share of; empty where there is none but a worse model.
    """

    key: str
    title: str
    what: str
    aim: str
    knows: tuple[str, ...] = ()
    source: str = ""
    update: AttackName | None = None
    data: DataAttackName | None = None
    success: str = ""


def _of_update(name: AttackName) -> Play:
    about = ABOUT[name]
    return Play(
        key=name,
        title=about.title,
        what=about.what,
        aim=ATTACKS[name].aim.value,
        knows=knowledge_of(name),
        source=about.source,
        update=name,
    )


def _of_data(name: DataAttackName) -> Play:
    attack = DATA_ATTACKS[name]
    return Play(
        key=name,
        title=attack.title,
        what=attack.what,
        aim=attack.aim.value,
        knows=attack.knows,
        source=attack.source,
        data=name,
        success=attack.success,
    )


PLAYS: Mapping[str, Play] = MappingProxyType(
    {
        NOBODY: Play(key=NOBODY, title="Nobody lies", what="Every site is honest.", aim="to compare with"),
        # A replaced model is one with a backdoor, which is among the attacks on records.
        **{name: _of_update(name) for name in ATTACKS if ATTACKS[name].aim is not Aim.TARGETED},
        **{name: _of_data(name) for name in DATA_ATTACKS},
    }
)
"""Nobody lying, then every attack."""

QUICK = (
    "sign-flip",
    "not-finite",
    "alie",
    "ipm",
    "min-max",
    "mimic",
    "opt-ipm",
    "sample-inflation",
    "free-rider",
    "label-flip",
    "relabel-group",
    "relabel-group-boosted",
    "badnets",
    "model-replacement",
    "neurotoxin",
)
"""What a drill plays unless it is told otherwise: of each kind the plainest and the strongest."""
