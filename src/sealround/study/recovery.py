"""Go on after a mistake, so that one reading of a file finds all of them.

As a compiler does: each mistake is noted, then mended with the most likely meaning (the nearest word) or, where there
is none, with some valid value, and the file is read again. What was invented that way is remembered, and nothing is
said about it later: a mistake is reported once, and no report rests on a guess.
"""

from __future__ import annotations

import functools
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Literal

from sealround.errors import Problem
from sealround.study.places import KeyPath, Places, dotted

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Recovery"]

Mark = Literal["key", "value"]


class Recovery:
    """One file being read, with what was found wrong in it and how that was mended.

    Args:
        text: The file, which ``tomllib`` accepts.
        data: Its values; this object changes them.
    """

    def __init__(self, text: str, data: dict[str, Any]) -> None:
        self.data = data
        self._text = text
        self._written: dict[KeyPath, KeyPath] = {}
        self._invented: set[KeyPath] = set()
        self._problems: dict[Problem, None] = {}

    @functools.cached_property
    def _places(self) -> Places:
        return Places(self._text)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything found so far, in the order of the file."""
        return tuple(sorted(self._problems, key=lambda problem: (problem.line or 0, problem.span or (0, 0))))

    def report(self, path: KeyPath, message: str, suggestion: str | None = None, mark: Mark = "value") -> None:
        """Note a mistake.

        Args:
            path: Where; words that were mended on the way are turned back into what the file says.
            message: What is wrong and what was expected.
            suggestion: The nearest valid word.
            mark: Whether the key or its value is to be underlined.
        """
        written = self.written(path)
        place, line, span = self._places[written], None, None
        if place is not None:
            line, span = (place.line, place.key) if mark == "key" else (place.value_line, place.value)
        elif (around := self._places.nearest(written)) is not None:
            line = around.line
        self._problems[Problem(dotted(written), message, suggestion, line, span)] = None

    def rename(self, path: KeyPath, name: str) -> None:
        """Read the key at ``path`` as if it were spelt ``name``, unless that is there as well."""
        self.move(path, (*path[:-1], name))

    def move(self, path: KeyPath, to: KeyPath) -> None:
        """Read the value at ``path`` as if it stood at ``to``, if there is a table for it without such a key."""
        written, value = self.written(path), self._table(path[:-1]).pop(path[-1])
        table: Any = self.data
        for part in to[:-1]:
            table = table.get(part) if isinstance(table, dict) else None
        if isinstance(table, dict) and to[-1] not in table:
            table[to[-1]] = value
            self._written[to] = written

    def mend(self, path: KeyPath, value: object) -> None:
        """Read the value at ``path`` as ``value``, the most likely meaning."""
        self._table(path[:-1])[path[-1]] = value

    def invent(self, path: KeyPath, value: object) -> None:
        """Put some valid value at ``path``, to be able to go on; nothing will be concluded from it."""
        self._invented.add(path)
        self.mend(path, value)

    def drop(self, path: KeyPath) -> None:
        """Read on as if ``path``, or the list it is in, were not in the file; nothing is concluded from its absence."""
        in_list = [number for number, part in enumerate(path) if isinstance(part, int)]
        path = path[: in_list[0]] if in_list else path
        if path not in self._invented:
            self._invented.add(path)
            self.ignore(path)

    def dropped(self, path: KeyPath) -> bool:
        """Return whether `drop` took ``path`` out."""
        return path in self._invented

    def ignore(self, path: KeyPath) -> None:
        """Read on as if ``path`` were not in the file, which it should not be."""
        self._table(path[:-1]).pop(path[-1], None)

    def sound(self, patterns: Iterable[str]) -> bool:
        """Return whether nothing under the given paths was invented.

        Args:
            patterns: Dotted paths; ``*`` stands for any one name.
        """
        return not any(
            all(fnmatchcase(str(part), piece) for part, piece in zip(path, pattern.split("."), strict=False))
            for pattern in patterns
            for path in self._invented
        )

    def _table(self, path: KeyPath) -> Any:  # noqa: ANN401  (a TOML table or list)
        table: Any = self.data
        for part in path:
            table = table[part]
        return table

    def written(self, path: KeyPath) -> KeyPath:
        """Return how the file itself spells ``path``."""
        for length in range(len(path), 0, -1):
            if (start := self._written.get(path[:length])) is not None:
                return (*start, *path[length:])
        return path
