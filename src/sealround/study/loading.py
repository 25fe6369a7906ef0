"""From the text of a study file to a frozen `Study`, or to every mistake at once."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

from pydantic import ValidationError

from sealround.errors import Problem, StudyError
from sealround.study.sections import Study

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load_study", "parse_study"]


def load_study(path: Path) -> Study:
    """Read and validate a study file.

    Args:
        path: The study file.

    Returns:
        The study.

    Raises:
        StudyError: If the file cannot be read, or with every mistake in it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"cannot read {path}"
        raise StudyError(msg, hint="give the path of a UTF-8 study file") from error
    return parse_study(text, path.name)


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
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        msg = f"{name} is not valid TOML"
        raise StudyError(msg, (Problem("", str(error)),)) from error
    try:
        return Study.model_validate_json(json.dumps(data))
    except ValidationError as error:
        problems = tuple(Problem(".".join(map(str, item["loc"])), item["msg"]) for item in error.errors())
        msg = f"{name} has {len(problems)} problems"
        raise StudyError(msg, problems) from None
