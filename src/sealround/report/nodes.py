"""A strict walk through decoded JSON: every value is asked for by type, and every refusal names its path.

Neither a refusal nor anything else here repeats a value: a broken evidence file could hold anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sealround.errors import VerificationError

__all__ = ["Node"]

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_HINT = "the evidence is not what sealround writes; take it from its folder unchanged, or run the study again"
_LARGEST_COUNT = 2**64


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # A whole number that no float holds.
        return False


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a JSON tree, and where it stands.

    Attributes:
        value: What the JSON decoder gave.
        parent: The object or array it is in; ``None`` for the whole.
        key: Its name or number there.
    """

    value: object
    parent: Node | None = None
    key: str | int = ""

    @property
    def path(self) -> str:
        """Its place, for refusals: ``models.federated.sites['St. Mary'].n``; made only when something is refused."""
        before = self.parent.path if self.parent is not None else ""
        if isinstance(self.key, int):
            return f"{before}[{self.key}]"
        if not _PLAIN_KEY.fullmatch(self.key):
            return f"{before}[{self.key!a}]" if self.key else before
        return f"{before}.{self.key}" if before else self.key

    def __repr__(self) -> str:
        """The place only, never the value."""
        return f"Node({self.path!r})"

    def fault(self, expected: str) -> VerificationError:
        """Make the refusal: at this path, ``expected`` was not found."""
        return VerificationError(f"evidence: {self.path or 'the whole'}: expected {expected}", hint=_HINT)

    # --- containers ---------------------------------------------------------------------------------------------------

    def fields(self) -> dict[str, Node]:
        """Return the entries of an object, in order.

        Raises:
            VerificationError: If this is not an object with text keys.
        """
        if not isinstance(self.value, Mapping) or not all(isinstance(key, str) for key in self.value):
            raise self.fault("an object")
        return {key: Node(item, self, key) for key, item in self.value.items()}

    def items(self) -> tuple[Node, ...]:
        """Return the entries of an array.

        Raises:
            VerificationError: If this is not an array.
        """
        if not isinstance(self.value, Sequence) or isinstance(self.value, str | bytes):
            raise self.fault("an array")
        return tuple(Node(item, self, position) for position, item in enumerate(self.value))

    def __getitem__(self, key: str) -> Node:
        """Return a required entry of an object.

        Raises:
            VerificationError: If this is no object, or has no such entry.
        """
        found = self.get(key, keep_null=True)
        if found is None:
            raise Node(None, self, key).fault("a value, found nothing")
        return found

    def get(self, key: str, *, keep_null: bool = False) -> Node | None:
        """Return an entry of an object, or ``None`` where it is absent or null.

        Raises:
            VerificationError: If this is no object.
        """
        if not isinstance(self.value, Mapping):
            raise self.fault("an object")
        if key not in self.value or (self.value[key] is None and not keep_null):
            return None
        return Node(self.value[key], self, key)

    def entries(self, key: str) -> dict[str, Node]:
        """Return the entries of the object at ``key``; none where it is absent or null.

        Raises:
            VerificationError: If there is something else.
        """
        found = self.get(key)
        return {} if found is None else found.fields()

    # --- values -------------------------------------------------------------------------------------------------------

    def text(self) -> str:
        """Return a string.

        Raises:
            VerificationError: If this is none.
        """
        if not isinstance(self.value, str):
            raise self.fault("a text")
        return self.value

    def word(self, *known: str) -> str:
        """Return a string that is one of ``known``.

        Raises:
            VerificationError: If it is not.
        """
        text = self.text()
        if text not in known:
            raise self.fault(f"one of {', '.join(known)}")
        return text

    def flag(self) -> bool:
        """Return true or false.

        Raises:
            VerificationError: If this is neither.
        """
        if not isinstance(self.value, bool):
            raise self.fault("true or false")
        return self.value

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a finite number within ``low`` and ``high``, both included.

        Raises:
            VerificationError: If this is none.
        """
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise self.fault("a finite number")
        if not low <= value <= high:
            raise self.fault(f"a number within {low:g} and {high:g}")
        return float(value)

    def numbers(self, low: float = -math.inf, high: float = math.inf) -> tuple[float, ...]:
        """Return an array of finite numbers within ``low`` and ``high``, both included.

        Raises:
            VerificationError: If this is none.
        """
        return tuple(item.number(low, high) for item in self.items())

    def count(self) -> int:
        """Return a whole number, 0 or more.

        Raises:
            VerificationError: If this is none.
        """
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_COUNT:
            raise self.fault("a whole number, 0 or more")
        return value

    def number_or_none(self, key: str, low: float = -math.inf, high: float = math.inf) -> float | None:
        """Return the number at ``key``, or ``None`` where it is absent or null."""
        found = self.get(key)
        return None if found is None else found.number(low, high)

    def count_or_none(self, key: str) -> int | None:
        """Return the whole number at ``key``, or ``None`` where it is absent or null."""
        found = self.get(key)
        return None if found is None else found.count()

    def text_or(self, key: str, otherwise: str) -> str:
        """Return the text at ``key``, or ``otherwise`` where it is absent or null."""
        found = self.get(key)
        return otherwise if found is None else found.text()
