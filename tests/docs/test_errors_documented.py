"""Every error class has a section in the reference, under its code, and every exit status a row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sealround import errors

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


def _classes() -> list[type[errors.SealroundError]]:
    found = [getattr(errors, name) for name in errors.__all__]
    return [cls for cls in found if isinstance(cls, type) and issubclass(cls, errors.SealroundError)]


@pytest.mark.parametrize("cls", _classes(), ids=lambda cls: cls.code)
def test_an_error_has_a_section_under_its_code(cls: type[errors.SealroundError]) -> None:
    text = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    section = re.search(rf"^##+ `{re.escape(cls.code)}`$(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"docs/reference/errors.md has no section `{cls.code}`"
    assert cls.__name__ in section[1]
    assert f"exit status {cls.exit_status}" in section[1].lower()


@pytest.mark.parametrize("cls", _classes(), ids=lambda cls: cls.code)
def test_an_exit_status_has_a_row(cls: type[errors.SealroundError]) -> None:
    rows = [
        line
        for line in (REFERENCE / "exit-codes.md").read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| {cls.exit_status} |")
    ]
    assert len(rows) == 1
    assert f"`{cls.code}`" in rows[0]


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in _classes()]
    assert sorted(codes) == sorted(set(codes))
