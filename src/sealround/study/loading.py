"""From the text of a study or site file to a frozen record, or to every mistake in it at once."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from sealround.errors import Problem, StudyError
from sealround.study.checks import run_checks
from sealround.study.grammar import Grammar
from sealround.study.mistakes import explain, turn
from sealround.study.recovery import Recovery
from sealround.study.sections import Study
from sealround.study.unbuilt import refuse_unbuilt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sealround.study.places import KeyPath

__all__ = ["MAX_BYTES", "load_study", "parse_record", "parse_study", "read_text"]

MAX_BYTES = 2**20
"""Size above which a study or site file is refused unread."""

_MAX_MISTAKES = 100
_MAX_DEPTH = 32
_TOML_POSITION = re.compile(r"^(?P<what>.*?) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
_TOML_IN_PLAIN_WORDS = (
    ("Invalid value", "a value is missing here or cannot be read; text is written in quotes"),
    ("Expected '=' after a key", "expected = after the key; names with blanks or accents are written in quotes"),
    ("Cannot overwrite a value", "the same key is given twice"),
    ("Cannot declare", "the same section is given twice"),
    ("Cannot redefine", "the same section is given twice"),
    ("Cannot mutate immutable", "this table was closed by its } and cannot be added to"),
    ("Duplicate inline table key", "the same key is given twice"),
    ("Expected newline or end of document", "something is left over after the value; one key = value to a line"),
    ("Illegal character '\\n'", 'a closing quote " is missing in this line'),
    ('Expected "\'"', "a closing quote ' is missing in this line"),
    ("Unterminated string", 'a closing quote " is missing'),
    ("Expected ']' at the end of a table", "a closing ] is missing after the section's name"),
    ("Unclosed array", "a closing ] or a comma is missing in the list"),
    ("Unclosed inline table", "a closing } or a comma is missing; a table in { } has to stand on one line"),
    ("Invalid initial character for a key", "expected a key here; a table in { } has to stand on one line"),
    ("Unescaped '\\' in a string", "a \\ in double quotes has a special meaning; use single quotes or / in paths"),
)

_Record = TypeVar("_Record", bound=BaseModel)


def load_study(path: Path) -> Study:
    """Read and validate a study file.

    Args:
        path: The study file.

    Returns:
        The study.

    Raises:
        StudyError: If the file cannot be read, or with every mistake in it.
    """
    return parse_study(read_text(path), str(path))


def parse_study(text: str, name: str) -> Study:
    """Validate the text of a study file.

    Args:
        text: TOML.
        name: What to call the file in errors.

    Returns:
        The study.

    Raises:
        StudyError: With every mistake in it.
    """
    return parse_record(text, name, Study, before=refuse_unbuilt, after=run_checks)


def read_text(path: Path) -> str:
    """Read a study or site file.

    Raises:
        StudyError: If it is missing, unreadable, too large or not UTF-8.
    """
    try:
        if path.is_dir():
            msg = f"{path} is a folder"
            raise StudyError(msg, hint="give the path of the file in it")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        msg = f"there is no file {path}"
        raise StudyError(msg, hint="give the path of a study file, for example examples/heart-disease.toml") from None
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror}"
        raise StudyError(msg, hint="check that the file is there and may be read") from error
    if len(content) > MAX_BYTES:
        msg = f"{path} is larger than {MAX_BYTES} bytes"
        raise StudyError(msg, hint="this is no study file; data belongs in a file of its own")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        msg = f"{path} is not UTF-8 text"
        problem = Problem("", "a byte that is not UTF-8", line=line)
        raise StudyError(msg, (problem,), hint="save the file as UTF-8") from None


def parse_record(
    text: str,
    name: str,
    model: type[_Record],
    *,
    before: Callable[[Recovery], None] | None = None,
    after: Callable[[_Record, Recovery], None] | None = None,
) -> _Record:
    """Validate TOML against a model and report every mistake at once.

    Args:
        text: TOML.
        name: What to call the file in errors.
        model: What the file must say.
        before: Looks for mistakes in the values of an invalid file, first of all.
        after: Looks for mistakes in the valid record, across its sections.

    Returns:
        The record.

    Raises:
        StudyError: With every mistake.
    """
    recovery = Recovery(text, _parse_toml(text, name))
    for path, what in list(_strange_values(recovery.data, ())):
        recovery.report(path, what)
        recovery.drop(path)
    record = _validate(model, recovery, before)
    if record is not None and after is not None:
        after(record, recovery)
    if record is None or recovery.problems:
        count = len(recovery.problems)
        msg = f"{name} has {count} mistakes" if count > 1 else f"{name} has a mistake"
        raise StudyError(msg, recovery.problems, hint="`sealround check` shows each in its line")
    return record


def _validate(model: type[_Record], recovery: Recovery, before: Callable[[Recovery], None] | None) -> _Record | None:
    """Validate; after a mistake, mend it and validate again."""
    grammar: Grammar | None = None
    for _ in range(_MAX_MISTAKES):
        try:
            return model.model_validate_json(json.dumps(recovery.data))
        except ValidationError as error:
            found = error.errors(include_url=False)
        if grammar is None:
            grammar = Grammar(model)
            if before is not None:
                before(recovery)
                continue
        explain(min(found, key=turn), grammar, recovery)
    return None


def _parse_toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{name} cannot be read as TOML"
        raise StudyError(
            msg, (_syntax_problem(text, str(error)),), hint="TOML in two minutes: https://toml.io"
        ) from None
    except RecursionError:
        msg = f"{name} nests too deep"
        raise StudyError(msg) from None


def _syntax_problem(text: str, error: str) -> Problem:
    match = _TOML_POSITION.match(error)
    what = match["what"] if match else error
    plain = next((words for start, words in _TOML_IN_PLAIN_WORDS if what.startswith(start)), what)
    if match is None:
        return Problem("", plain)
    lines = text.split("\n")
    if match["line"] is None:  # The end of the file is where it was noticed; an odd quote is where it began.
        odd = [number for number, line in enumerate(lines, start=1) if line.partition("#")[0].count("'") % 2]
        return Problem("", plain, line=odd[0] if odd else max(len(text.rstrip().split("\n")), 1))
    line, column = int(match["line"]), int(match["column"])
    while line > 1 and not lines[line - 1].strip():  # the parser stops after the line it stumbled over
        line, column = line - 1, len(lines[line - 2].rstrip())
    return Problem("", plain, line=line, span=(column - 1, column))


def _strange_values(value: object, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    """Yield what TOML can say and no study can mean."""
    if len(path) > _MAX_DEPTH:
        yield path, "nests too deep"
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strange_values(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _strange_values(item, (*path, number))
    elif not isinstance(value, str | bool | int | float):
        yield path, "dates and times mean nothing here; for text, put it in quotes"
    elif isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        yield path, "a whole number in TOML lies within -2^63 and 2^63 - 1"
