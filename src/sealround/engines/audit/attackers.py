"""Who attacks: every attacker of a study's threat model, what it sees, and what that takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from sealround.study.sections import ReplicatedAggregation

if TYPE_CHECKING:
    from sealround.study import Study

__all__ = ["Attacker", "AttackerKey", "attackers_of"]

AttackerKey: TypeAlias = Literal[
    "coordinator", "coordinator+site", "aggregator+site", "site", "malicious-coordinator", "reader"
]


@dataclass(frozen=True, slots=True)
class Attacker:
    """One attacker.

    Attributes:
        key: Its word.
        name: What a report calls it.
        sees: What it has of a round.
        assumes: What it takes for it to be there, and what it would cost it.
    """

    key: AttackerKey
    name: str
    sees: str
    assumes: str


def attackers_of(study: Study, sites: int) -> tuple[Attacker, ...]:
    """Return the attackers that are meant when a study says what protects it; who is dishonest without trying first.

    Args:
        study: The study.
        sites: How many sites take part in a round.
    """
    site, sealed = study.cohort.site_term, study.protection.sealed
    each = f"sums over {sites} {site}s, never one {site}'s update" if sealed else f"each {site}'s update, one by one"
    found = [
        Attacker(
            "coordinator",
            "The coordinator, curious",
            f"{each}; the model that each round starts from",
            "keeps to the protocol and keeps what it sees; costs it a disk, and nobody would notice",
        ),
        Attacker(
            "coordinator+site",
            f"The coordinator and one {site}",
            f"the same, and one {site}'s own update, which it takes off a sum",
            f"one {site} hands over its update or its key; costs a person at that {site}",
        ),
    ]
    if isinstance(study.protection.secure_aggregation, ReplicatedAggregation):
        found.append(
            Attacker(
                "aggregator+site",
                f"One aggregator and one {site}",
                f"two of the three seeds of each share, the opened sums, and one {site}'s own update",
                f"one of the three institutions that add up, and one {site}, work together",
            )
        )
    found += [
        Attacker(
            "site",
            f"A curious {site}",
            f"the model of each round, so what all {site}s together changed, and its own update",
            f"every {site} has this by taking part; costs it nothing",
        ),
        Attacker(
            "malicious-coordinator",
            "The coordinator, malicious",
            f"{each}, for a model that it made up to draw records out",
            "sends a model that no training gave; costs it the study's trust if a check finds it",
        ),
        Attacker(
            "reader",
            "Whoever has the released model",
            "the model that the study ends in",
            "anybody who is given the model; knows some records and asks who took part",
        ),
    ]
    return tuple(found)
