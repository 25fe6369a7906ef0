"""Every verb of the command line works with ``--help`` and is described in the reference, with each of its options."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from sealround.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference" / "cli.md"


def _walk(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _walk(child, (*words, name))


COMMANDS = dict(_walk(cli, ("sealround",)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_works(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli, [*words[1:], "--help"], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.startswith("Usage:")


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_reference_describes_it(words: tuple[str, ...]) -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    section = re.search(rf"^##? `{' '.join(words)}`$(.*?)(?=^##? |\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"docs/reference/cli.md has no section `{' '.join(words)}`"
    for parameter in COMMANDS[words].params:
        spelt = max(parameter.opts, key=len) if isinstance(parameter, click.Option) else parameter.human_readable_name
        assert spelt in section[1], f"`{' '.join(words)}` does not mention {spelt}"


def _shown() -> Iterator[tuple[str, str]]:
    """Yield every sealround command shown in a console block, with where it is."""
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for line in re.findall(r"^\$ (?:\S+=\S+ )*(sealround .*)$", block, re.MULTILINE):
                yield str(page.relative_to(ROOT)), line.partition(" #")[0]


@pytest.mark.parametrize(("page", "line"), sorted(set(_shown())))
def test_a_command_shown_on_a_page_exists(page: str, line: str) -> None:
    words = [word for word in shlex.split(re.sub(r" [|>;&].*", "", line)) if word]
    command: click.Command = cli
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        child = command.get_command(click.Context(command), rest.pop(0))
        assert child is not None, f"{page}: no such verb: {line}"
        command = child
    known = {spelt for parameter in command.params for spelt in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "-h"}
    unknown = [word for word in rest if word.startswith("-") and word.partition("=")[0] not in known]
    assert unknown == [], f"{page}: {line}"
