"""How the command line reads lists and writes counts and times."""

from __future__ import annotations

import click

__all__ = ["Words", "duration", "plural"]

_SECONDS_UP_TO = 90
_MINUTES_UP_TO = 90


class Words(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on, which we do not require
    """Words with commas between them."""

    name = "WORD,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the words, each once."""
        words = tuple(dict.fromkeys(word.strip().lower() for word in str(value).split(",") if word.strip()))
        if not words:
            self.fail("expected words with commas between them", param, ctx)
        return words


def plural(number: int, word: str) -> str:
    """Write a count with its noun: ``1 attack``, ``2 attacks``."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Write a time as people say it: ``40 s``, ``12 min``, ``1.5 h``."""
    if seconds < _SECONDS_UP_TO:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < _MINUTES_UP_TO else f"{minutes / 60:.1f} h"
