"""Key derivation: HKDF with SHA-256 (RFC 5869), one label for each use.

A derived key depends on the secret, the label and the whole context. Label and context are encoded canonically
(`sealround.wire`), so that no two of them run into each other, and they go into HKDF's ``info``; the salt is empty, as
the secrets here are uniform (RFC 5869, section 3.1).
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sealround import wire
from sealround.crypto.secret import SECRET_BYTES, Secret
from sealround.errors import UsageError

if TYPE_CHECKING:
    from sealround.wire import Value

__all__ = ["MAX_DERIVED_BYTES", "Label", "commit", "derive", "derive_bytes", "opens"]

MAX_DERIVED_BYTES = 255 * 32
"""HKDF's limit (RFC 5869, section 2.3)."""


class Label(enum.Enum):
    """What a derived value is for; each appears at one place in the code."""

    SHARE_KEY = "share key pair"
    SEED_KEY = "seed key pair"
    MASTER_SEED = "master seed"
    SELF_SEED = "self seed"
    PAIR_SEED = "pair seed"
    SELF_MASK = "self mask"
    PAIR_MASK = "pair mask"
    SHARING = "polynomial coefficients"
    SELF_SEED_COMMITMENT = "self seed commitment"
    BOX_KEY = "box key pair"
    COMPONENT_SEED = "component seed"
    COMPONENT_STREAM = "component stream"
    COMPONENT_COMMITMENT = "component seed commitment"
    PRIVATE_SAMPLE = "who is drawn into a private sum"
    PRIVATE_NOISE = "noise of a private sum"
    PRIVATE_COUNT = "noise of a private count"


def derive_bytes(secret: Secret, label: Label, *context: Value, length: int) -> bytes:
    """Derive ``length`` bytes.

    Args:
        secret: A uniform secret.
        label: What the bytes are for.
        context: What they are bound to, e.g. the hash of the round's manifest and the ids of both parties.
        length: How many, 1 .. 8160.

    Raises:
        UsageError: If the length is out of range.
    """
    if not 1 <= length <= MAX_DERIVED_BYTES:
        raise UsageError(f"HKDF derives 1 to {MAX_DERIVED_BYTES} bytes, not {length}")
    hkdf = HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=_info(label, context))
    return hkdf.derive(secret.reveal())


def derive(secret: Secret, label: Label, *context: Value) -> Secret:
    """Derive a secret of 32 bytes; see `derive_bytes`."""
    return Secret(derive_bytes(secret, label, *context, length=SECRET_BYTES))


def commit(secret: Secret, label: Label, *context: Value) -> bytes:
    """Return a commitment to a secret of high entropy: SHA-256 over label, context and secret (32 bytes).

    It hides the secret because the secret cannot be guessed, and binds because SHA-256 resists collisions.
    """
    return hashlib.sha256(_info(label, context) + secret.reveal()).digest()


def opens(commitment: bytes, secret: Secret, label: Label, *context: Value) -> bool:
    """Whether a commitment is to this secret."""
    return hmac.compare_digest(commitment, commit(secret, label, *context))


def _info(label: Label, context: tuple[Value, ...]) -> bytes:
    return wire.encode(["sealround kdf v1", label.value, *context])
