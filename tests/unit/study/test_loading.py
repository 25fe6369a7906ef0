from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sealround.errors import StudyError
from sealround.study import load_study, parse_study
from sealround.study.loading import MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parents[3] / "examples"


def test_a_valid_study_is_read_with_its_defaults(small: str) -> None:
    study = parse_study(small, "study.toml")
    assert study.study.name == "small"
    assert study.task == "binary"
    assert study.primary_metric == "auroc"
    assert study.cohort.missing_codes == ("", "?", "NA", "NaN")
    assert study.training.server.kind == "fedavg"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_example_is_a_valid_study(path: Path) -> None:
    assert load_study(path).study.rounds >= 1


def test_a_study_never_changes_after_loading(small: str) -> None:
    study = parse_study(small, "study.toml")
    with pytest.raises(ValueError, match="frozen"):
        study.study.rounds = 4  # type: ignore[misc]


def test_load_reads_a_file_and_tolerates_a_byte_order_mark(small: str, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(b"\xef\xbb\xbf" + small.replace("\n", "\r\n").encode())
    assert load_study(path) == parse_study(small, "study.toml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"there is no file .*absent\.toml"):
        load_study(tmp_path / "absent.toml")


def test_a_folder_is_no_study(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="is a folder"):
        load_study(tmp_path)


def test_a_path_the_system_refuses_is_a_study_error(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="cannot read"):
        load_study(tmp_path / ("x" * 5000))


def test_a_file_that_is_not_utf8_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(b'[study]\nname = "caf\xe9"\n')
    with pytest.raises(StudyError, match="not UTF-8") as caught:
        load_study(path)
    assert caught.value.problems[0].line == 2


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(StudyError, match="larger than"):
        load_study(path)


@pytest.mark.parametrize(
    ("text", "line", "phrase"),
    [
        ("[study]\nname = small\n", 2, "text is written in quotes"),
        ("[study]\nname = \n", 2, "a value is missing"),
        ("[study]\nname = 'x\nrounds = 3\n", 2, "closing quote"),
        ("[study]\nname = 'x'\nname = 'y'\n", 3, "given twice"),
        ("[study]\na = 1\n[study]\nb = 1\n", 3, "the same section is given twice"),
        ("[study\nname = 'x'\n", 1, "closing ]"),
        ("[study]\nname 'x'\n", 2, "expected = after the key"),
        ("[study]\na = 1 b = 2\n", 2, "left over after the value"),
        ("a = { b = 1,\n c = 2 }\n", 1, "on one line"),
        ("a = { b = 1\n", 1, "on one line"),
        ("a = [1, 2\n", 1, "list"),
        ('path = "C:\\data"\n', 1, "single quotes"),
        ("a = 1\na.b = 2\n", 2, "twice"),
    ],
)
def test_a_syntax_error_is_told_in_plain_words_with_its_line(text: str, line: int, phrase: str) -> None:
    with pytest.raises(StudyError, match="cannot be read as TOML") as caught:
        parse_study(text, "study.toml")
    (problem,) = caught.value.problems
    assert problem.line == line
    assert phrase in problem.message


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(StudyError, match="nests too deep"):
        parse_study("a = " + "[" * 100_000, "study.toml")


def test_nesting_that_parses_is_refused_too() -> None:
    with pytest.raises(StudyError) as caught:
        parse_study("a = " + "[" * 60 + "]" * 60, "study.toml")
    assert "nests too deep" in [problem.message for problem in caught.value.problems]


def test_the_message_counts_the_mistakes(changed: Callable[[dict[str, str]], str]) -> None:
    with pytest.raises(StudyError, match=r"^study.toml has a mistake"):
        parse_study(changed({"rounds = 3": "rounds = 0"}), "study.toml")
    with pytest.raises(StudyError, match=r"^study.toml has 2 mistakes"):
        parse_study(changed({"rounds = 3": "rounds = 0", "seed = 7": "seed = -1"}), "study.toml")


def test_an_empty_file_says_what_every_study_needs() -> None:
    with pytest.raises(StudyError) as caught:
        parse_study("", "study.toml")
    paths = {problem.path for problem in caught.value.problems}
    assert paths >= {"study.name", "study.rounds", "cohort.source", "model", "training.optimizer", "protection.privacy"}


def test_a_flood_of_mistakes_ends(small: str) -> None:
    flood = "".join(f"word{number} = 1\n" for number in range(500))
    with pytest.raises(StudyError) as caught:
        parse_study(flood + small, "study.toml")
    assert 50 <= len(caught.value.problems) <= 101
