"""No patient's value in an error, a report or a printed object: every cell is poisoned in turn, and looked for."""

from __future__ import annotations

import json
import re
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from sealround.clinical import Places, cohort_card
from sealround.clinical.cohorts import assemble
from sealround.clinical.quality import inspect
from sealround.errors import SealroundError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sealround.study import Study

POISON = "POISON"
NUMBER = "31337.25"

COLUMNS = {
    "x": {"role": "feature", "kind": "numeric", "range": [0, 100], "missing": [-9]},
    "c": {"role": "feature", "kind": "categorical"},
    "d": {"role": "feature", "kind": "categorical", "levels": ["p", "q"]},
    "s": {"role": "sensitive"},
    "pid": {"role": "patient"},
    "label": {"role": "label", "positive": [1], "negative": [0]},
}
SURVIVAL = {
    **{name: column for name, column in COLUMNS.items() if name != "label"},
    "t": {"role": "time"},
    "e": {"role": "event", "positive": [1]},
}
SPLIT = {"kind": "column", "column": "part"}


def _text(columns: list[str], poisoned: str, poison: str) -> str:
    usual = {
        "x": "5",
        "c": "a",
        "d": "p",
        "s": "m",
        "pid": "{}",
        "label": "{odd}",
        "t": "3",
        "e": "{odd}",
        "part": "train",
    }
    lines = [",".join(columns)]
    for number in range(12):
        cells = {name: usual[name].format(number, odd=number % 2) for name in columns}
        if number in {3, 7}:
            cells[poisoned] = poison
        lines.append(",".join(cells[name] for name in columns))
    return "\n".join(lines) + "\n"


def _everything_said(study: Study, folder: Path) -> str:
    """Return every text that comes of a study: errors with their tracebacks, or report, card and printed objects."""
    try:
        assembly = assemble(study, Places(folder, folder))
    except SealroundError as error:
        return f"{error} {error.hint} {error!r} {''.join(traceback.format_exception(error))}"
    report = inspect(study, assembly)
    said = [json.dumps(report.to_json()), repr(report)]
    for cohort in assembly.cohorts.values():
        said += [repr(cohort), json.dumps(cohort_card(cohort, study, 5))]
    return " ".join(said)


@pytest.mark.parametrize("poison", [POISON, NUMBER])
@pytest.mark.parametrize("column", [*COLUMNS, "part"])
def test_a_poisoned_cell_is_never_repeated(
    csv_study: Callable[..., Study], tmp_path: Path, column: str, poison: str
) -> None:
    study = csv_study(_text([*COLUMNS, "part"], column, poison), COLUMNS, split=SPLIT)
    assert poison not in _everything_said(study, tmp_path)


@pytest.mark.parametrize("poison", [POISON, NUMBER])
@pytest.mark.parametrize("column", ["t", "e"])
def test_a_poisoned_survival_cell_is_never_repeated(
    csv_study: Callable[..., Study], tmp_path: Path, column: str, poison: str
) -> None:
    study = csv_study(_text(list(SURVIVAL), column, poison), SURVIVAL, model="cox")
    assert poison not in _everything_said(study, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        f"x,label\n1,0\n{POISON}\n",
        f"x,label\n1,0\n1,0,{POISON}\n",
        f'x,label\n"{POISON},0\n',
        f"x,label\n1,{POISON}\udcff\n",
    ],
    ids=["few cells", "many cells", "open quote", "not UTF-8"],
)
def test_a_broken_file_is_never_quoted(csv_study: Callable[..., Study], tmp_path: Path, text: str) -> None:
    study = csv_study("x,label\n1,0\n")
    (tmp_path / "table.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    said = _everything_said(study, tmp_path)
    assert "table.csv" in said
    assert POISON not in said


@pytest.mark.parametrize("line", [f"5,{POISON},0", f"7,{POISON},{POISON}"], ids=["other names", "a name twice"])
def test_a_first_line_of_data_is_not_repeated(csv_study: Callable[..., Study], tmp_path: Path, line: str) -> None:
    study = csv_study("x,c,label\n1,a,0\n")
    (tmp_path / "table.csv").write_text(f"{line}\n1,a,0\n")
    said = _everything_said(study, tmp_path)
    assert "cohort.source.header" in said
    assert POISON not in said


def test_the_poison_would_be_noticed(csv_study: Callable[..., Study], tmp_path: Path) -> None:
    study: Any = csv_study(_text(list(COLUMNS), "c", POISON) * 1, COLUMNS)
    assembly = assemble(study, Places(tmp_path, tmp_path))
    (cohort,) = assembly.cohorts.values()
    assert POISON in cohort.table["c"].to_list()
    assert re.search(POISON, str(cohort_card(cohort, study, 1)))  # nothing is hidden where one patient is enough
