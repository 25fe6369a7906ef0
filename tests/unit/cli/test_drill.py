"""What the command line of a drill says before and after anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sealround.cli.drill import drill
from sealround.errors import UnsupportedError, UsageError

STUDY = Path(__file__).resolve().parents[3] / "examples" / "heart-disease.toml"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no study is named"),
        ([str(STUDY), "--resume", "drills/x"], "goes on with the study in its folder"),
        (["--resume", "drills/nowhere"], "not a drill folder"),
        ([str(STUDY), "--attacks", "label-flp"], "there is no 'label-flp'"),
        ([str(STUDY), "--num-byzantine", "4"], "--num-byzantine is 4"),
    ],
)
def test_what_cannot_be_drilled_is_said_at_once(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        CliRunner().invoke(drill, arguments, catch_exceptions=False, standalone_mode=False)


def test_a_private_study_is_refused() -> None:
    private = STUDY.with_name("heart-disease-private.toml")
    with pytest.raises(UnsupportedError, match="does not play the noise"):
        CliRunner().invoke(drill, [str(private)], catch_exceptions=False, standalone_mode=False)


def test_words_are_not_empty() -> None:
    result = CliRunner().invoke(drill, [str(STUDY), "--rules", " , "])
    assert result.exit_code == 2
    assert "expected words with commas between them" in result.output


def test_help_shows_examples() -> None:
    result = CliRunner().invoke(drill, ["--help"])
    assert "sealround drill study.toml --attacks label-flip,badnets" in result.output
