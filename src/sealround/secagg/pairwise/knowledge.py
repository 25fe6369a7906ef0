"""What a site knows before a round begins: who it is, whom it knows, which model and study it works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.errors import PolicyDeniedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.crypto import SigningKey, VerifyingKey
    from sealround.secagg.manifest import RoundManifest
    from sealround.vocabulary import PartyId

__all__ = ["Expected", "Identity"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a site is and whom it knows.

    Attributes:
        site: This site.
        key: Its identity key.
        registry: The identity keys of all sites, agreed on outside the protocol.
    """

    site: PartyId
    key: SigningKey
    registry: Mapping[PartyId, VerifyingKey]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a site knows of the round from elsewhere: the model it was sent, the study it agreed to.

    Attributes:
        model_hash: SHA-256 of the model it trains on.
        plan_hash: Digest of its study.
        length: Elements of its vector.
    """

    model_hash: bytes
    plan_hash: bytes
    length: int

    def check(self, manifest: RoundManifest) -> None:
        """Raise unless the manifest is about the same.

        Raises:
            PolicyDeniedError: If it is about another model, study or vector.
        """
        pairs = {
            "another model than this site was sent": manifest.model_hash == self.model_hash,
            "another study than this site agreed to": manifest.plan_hash == self.plan_hash,
            "vectors of another length than this site's": manifest.length == self.length,
        }
        differences = tuple(f"the manifest is about {what}" for what, same in pairs.items() if not same)
        if differences:
            raise PolicyDeniedError("the round is not the one this site trains for", differences)
