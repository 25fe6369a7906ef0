"""Bytes that must not be printed, logged, pickled or compared in variable time."""

from __future__ import annotations

import hmac
from typing import NoReturn

from sealround.errors import UsageError

__all__ = ["SECRET_BYTES", "Secret"]

SECRET_BYTES = 32
"""Size of every secret here: 256 bits, which leaves 128 against a quantum search."""


class Secret:
    """32 secret bytes: prints as nothing, compares in constant time, refuses to be pickled or hashed.

    Args:
        data: The bytes, already uniform (from the operating system's generator or a key derivation).

    Raises:
        UsageError: If there are not 32.
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        if len(data) != SECRET_BYTES:
            raise UsageError(f"a secret has {SECRET_BYTES} bytes, not {len(data)}")
        self._data = bytes(data)

    def reveal(self) -> bytes:
        """Return the bytes: the one way to them, so that every use can be found by its name."""
        return self._data

    def __repr__(self) -> str:
        """Render without the bytes."""
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        """Compare in a time that does not depend on the bytes."""
        return isinstance(other, Secret) and hmac.compare_digest(self._data, other._data)

    __hash__ = None  # type: ignore[assignment]  # a table of secrets would look them up in variable time

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied."""
        raise UsageError("a secret does not leave its process; reveal() it where a protocol says so")
