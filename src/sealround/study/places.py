"""Where each key of a TOML text stands, so that a mistake can be shown in the line it was made in.

``tomllib`` returns values without positions. This scanner reads a text that ``tomllib`` has already accepted, so it
has to find where things end, and never to judge them.
"""

from __future__ import annotations

import bisect
import re
import tomllib
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["KeyPath", "Place", "Places", "dotted"]

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys, and numbers of list items, from the top of a file down to one value."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\n]*")
_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
# The first of these that matches at a quote is the whole string: three quotes before one, quotes may end a long string.
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}' + r"|'''(?:[^']|'(?!''))*'{3,5}" + r'|"(?:[^"\\\n]|\\.)*"' + r"|'[^'\n]*'",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one key and its value stand; columns count from 0, the end is exclusive.

    Attributes:
        line: Line of the key, from 1; of the value, for an item of a list.
        key: Columns of the key in that line.
        value_line: Line the value starts in, from 1.
        value: Columns of the value's part in that line.
    """

    line: int
    key: tuple[int, int]
    value_line: int
    value: tuple[int, int]


def dotted(path: KeyPath) -> str:
    """Return a path as one would write it: ``cohort.columns."chest pain".missing[0]``.

    >>> from sealround.study.places import dotted
    >>> dotted(("cohort", "columns", "chest pain", "missing", 0))
    'cohort.columns."chest pain".missing[0]'
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE_KEY.fullmatch(part) else f'"{part}"')
    return text


class Places:
    """The place of every key, table and list item of one TOML text.

    Args:
        text: A text that ``tomllib.loads`` accepts.
    """

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._at = 0
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", self._text))]
        self._found: dict[KeyPath, Place] = {}
        self._tables_in_list: dict[KeyPath, int] = {}
        self._scan()

    def __getitem__(self, path: KeyPath) -> Place | None:
        """Return the place of ``path``, or ``None`` where the text does not spell it out."""
        return self._found.get(path)

    def nearest(self, path: KeyPath) -> Place | None:
        """Return the place of ``path``, or of the innermost table around it that the text spells out."""
        for length in range(len(path), 0, -1):
            if (place := self._found.get(path[:length])) is not None:
                return place
        return None

    def _scan(self) -> None:
        table: KeyPath = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _position(self, at: int) -> tuple[int, int]:
        """Return line (from 1) and column (from 0)."""
        line = bisect.bisect_right(self._line_starts, at)
        return line, at - self._line_starts[line - 1]

    def _place(self, path: KeyPath, key: tuple[int, int], value: tuple[int, int]) -> None:
        """Note where ``path`` stands, unless an earlier line spelt it out."""
        line, key_start = self._position(key[0])
        value_line, value_start = self._position(value[0])
        line_end = self._text.find("\n", value[0])
        value_end = value[1] if line_end < 0 else min(value[1], line_end)
        place = Place(
            line=line,
            key=(key_start, key_start + key[1] - key[0]),
            value_line=value_line,
            value=(value_start, value_start + value_end - value[0]),
        )
        self._found.setdefault(path, place)

    def _key(self) -> list[tuple[str, int, int]]:
        """Read a dotted key: each part with its start and end."""
        parts = []
        while True:
            self._skip(_SPACE)
            start = self._at
            self._skip(_STRING if self._text[start] in "\"'" else _BARE_KEY)
            raw = self._text[start : self._at]
            parts.append((tomllib.loads(f"key = {raw}")["key"] if raw[0] in "\"'" else raw, start, self._at))
            self._skip(_SPACE)
            if self._text[self._at] != ".":
                return parts
            self._at += 1

    def _header(self) -> KeyPath:
        start = self._at
        opening = 2 if self._text.startswith("[[", start) else 1
        self._at += opening
        parts = self._key()
        self._at += opening
        path: KeyPath = ()
        for number, (name, key_start, key_end) in enumerate(parts):
            path = (*path, name)
            self._place(path, (key_start, key_end), (start, self._at))
            last = number == len(parts) - 1
            if last and opening == 2:  # noqa: PLR2004  ("[[": one more table of a list)
                self._tables_in_list[path] = self._tables_in_list.get(path, -1) + 1
            if path in self._tables_in_list:
                path = (*path, self._tables_in_list[path])
                self._place(path, (key_start, key_end), (start, self._at))
        return path

    def _pair(self, table: KeyPath) -> None:
        parts = self._key()
        self._at += 1  # the equals sign
        self._skip(_SPACE)
        value_start = self._at
        path = (*table, *(name for name, _, _ in parts))
        self._value(path)
        value = (value_start, self._at)
        for length in range(1, len(parts) + 1):
            _, key_start, key_end = parts[length - 1]
            self._place((*table, *(name for name, _, _ in parts[:length])), (key_start, key_end), value)

    def _value(self, path: KeyPath) -> None:
        match self._text[self._at]:
            case '"' | "'":
                self._skip(_STRING)
            case "[":
                self._list(path)
            case "{":
                self._inline_table(path)
            case _:
                start = self._at
                self._skip(_SCALAR)
                self._at = start + len(self._text[start : self._at].rstrip())

    def _list(self, path: KeyPath) -> None:
        self._at += 1
        number = 0
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == "]":
                self._at += 1
                return
            start = self._at
            self._value((*path, number))
            self._place((*path, number), (start, self._at), (start, self._at))
            number += 1
            self._skip(_BLANK)
            self._at += self._text[self._at] == ","

    def _inline_table(self, path: KeyPath) -> None:
        self._at += 1
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == "}":
                self._at += 1
                return
            self._pair(path)
            self._skip(_BLANK)
            self._at += self._text[self._at] == ","
