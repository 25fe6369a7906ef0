"""Sealed boxes: hybrid post-quantum HPKE (RFC 9180 with MLKEM768-X25519, HKDF-SHA256, AES-256-GCM).

Boxes stay closed as long as either ML-KEM-768 or X25519 holds. The library's single-shot interface takes no associated
data, so the whole context of a box goes into ``info``, canonically encoded. Base mode does not say who sealed a box:
protocols sign what they send. Sealing draws its randomness from the operating system: the library offers no other way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from sealround import wire
from sealround.errors import MalformedMessageError, PeerError, UsageError, VerificationError

if TYPE_CHECKING:
    from sealround.wire import Value

__all__ = ["KEY_SEED_BYTES", "OVERHEAD_BYTES", "PUBLIC_KEY_BYTES", "OpeningKey", "SealingKey"]

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MLKEM_SEED, _MLKEM_PUBLIC, _MLKEM_CIPHERTEXT, _X25519 = 64, 1184, 1088, 32
_TAG = 16

KEY_SEED_BYTES = _MLKEM_SEED + _X25519
"""Uniform bytes that one key pair is made from."""

PUBLIC_KEY_BYTES = _MLKEM_PUBLIC + _X25519
"""Size of an encoded public key: ML-KEM-768's (1184), then X25519's (32)."""

OVERHEAD_BYTES = _MLKEM_CIPHERTEXT + _X25519 + _TAG
"""By how much a box is longer than what is in it: the encapsulated keys, then the tag."""


class SealingKey:
    """A public key.

    Args:
        encoded: 1216 bytes.
        owner: Whose key it claims to be; named if it is not a key.

    Attributes:
        encoded: As given.

    Raises:
        MalformedMessageError: If these bytes are not a public key.
    """

    __slots__ = ("_key", "encoded")

    def __init__(self, encoded: bytes, *, owner: str) -> None:
        if len(encoded) != PUBLIC_KEY_BYTES:
            raise MalformedMessageError(f"a public key has {PUBLIC_KEY_BYTES} bytes", party=owner)
        try:
            lattice = MLKEM768PublicKey.from_public_bytes(encoded[:_MLKEM_PUBLIC])
            curve = X25519PublicKey.from_public_bytes(encoded[_MLKEM_PUBLIC:])
        except ValueError:
            raise MalformedMessageError("sent a public key that is none", party=owner) from None
        self._key = MLKEM768X25519PublicKey(lattice, curve)
        self.encoded = bytes(encoded)

    def seal(self, plaintext: bytes, *context: Value) -> bytes:
        """Seal for the owner of this key; only the same context opens the box.

        Args:
            plaintext: What to send.
            context: What the box is bound to, e.g. the manifest's hash, a word for its use, sender and recipient.

        Returns:
            The box, `OVERHEAD_BYTES` longer than the plaintext.

        Raises:
            VerificationError: If the key is of small order, so that its owner shares the secret with everybody.
        """
        try:
            return bytes(_SUITE.encrypt(plaintext, self._key, info=_info(context)))
        except ValueError:
            raise VerificationError("a public key of small order seals nothing") from None


class OpeningKey:
    """A private key; prints as nothing.

    Args:
        seed: 96 uniform secret bytes: ML-KEM's seed (64), then X25519's private key (32).

    Raises:
        UsageError: If there are not 96 bytes.
    """

    __slots__ = ("_key", "_public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_SEED_BYTES:
            raise UsageError(f"a key pair is made from {KEY_SEED_BYTES} bytes, not {len(seed)}")
        lattice = MLKEM768PrivateKey.from_seed_bytes(seed[:_MLKEM_SEED])
        curve = X25519PrivateKey.from_private_bytes(seed[_MLKEM_SEED:])
        self._key = MLKEM768X25519PrivateKey(lattice, curve)
        self._public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()

    @property
    def public(self) -> bytes:
        """The public key, encoded."""
        return self._public

    def open(self, box: bytes, *context: Value, sender: str) -> bytes:
        """Open a box.

        Args:
            box: What `SealingKey.seal` returned.
            context: What it was bound to.
            sender: Who to name when it does not open.

        Raises:
            PeerError: If it was sealed for another key or context, or changed on the way.
        """
        try:
            return bytes(_SUITE.decrypt(box, self._key, info=_info(context)))
        except (InvalidTag, ValueError):
            raise PeerError("a sealed box does not open", party=sender) from None

    def __repr__(self) -> str:
        """Render without the key."""
        return "OpeningKey(...)"

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise UsageError("a private key does not leave its process")


def _info(context: tuple[Value, ...]) -> bytes:
    return wire.encode(["sealround hpke v1", *context])
