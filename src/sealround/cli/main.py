"""``sealround``: the verbs, and the one place where errors become words on a terminal and exit statuses."""

from __future__ import annotations

import importlib
import io
import sys
import traceback
from typing import NoReturn

import click

from sealround import __version__
from sealround.errors import SealroundError

__all__ = ["cli", "main"]

_INTERNAL = 70
"""EX_SOFTWARE of sysexits.h."""

_INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


class _Verbs(click.Group):
    """Verbs by module name, imported when they are used: ``sealround check`` must not wait for torch."""

    def __init__(self, verbs: dict[str, str], **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]  # click's own keyword arguments
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order a newcomer needs them."""
        del ctx
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        del ctx
        if cmd_name not in self._verbs:
            return None
        module, _, attribute = self._verbs[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest verb for a typo (click's own message names none)."""
        if args and args[0] not in self._verbs and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], self._verbs, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(self._verbs)}."
            raise click.UsageError(f"No such command {args[0]!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)


_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

data = _Verbs(
    {"check": "sealround.cli.data_check:check", "fetch": "sealround.cli.data_fetch:fetch"},
    name="data",
    help="Look at a study's data before anything is trained; bring public data sets.",
)

privacy = _Verbs(
    {"plan": "sealround.cli.privacy_plan:plan", "budget": "sealround.cli.privacy_budget:budget"},
    name="privacy",
    help="Plan the differential privacy of a study; look at what a site has spent of it.",
)

cli = _Verbs(
    {
        "check": "sealround.cli.check:check",
        "data": "sealround.cli.main:data",
        "run": "sealround.cli.run:run",
        "resume": "sealround.cli.run:resume",
        "audit": "sealround.cli.audit:audit",
        "drill": "sealround.cli.drill:drill",
        "privacy": "sealround.cli.main:privacy",
        "report": "sealround.cli.report:report",
        "schema": "sealround.cli.schema:schema",
    },
    name="sealround",
    help=(
        "Hospitals train one diagnostic model together without sharing patient records.\n\n"
        "A study is one TOML file: check it, look at the data, run it, read the report."
    ),
    epilog="Exit status: 0 success, 1 findings, 2 usage, 3 study file, 4 data, 5-13 see docs, 130 interrupted.",
    context_settings=_SETTINGS,
)
click.version_option(__version__, prog_name="sealround", message="%(prog)s %(version)s")(cli)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file or pipe may have an encoding without every letter
            stream.reconfigure(errors="replace")
    try:
        status = cli.main(args=arguments, prog_name="sealround", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(_INTERRUPTED)
    except SealroundError as error:
        click.echo(f"{click.style('error', fg='red', bold=True)} [{error.code}] {error}", err=True)
        sys.exit(error.exit_status)
    except Exception as error:  # noqa: BLE001  (the outermost edge)
        # Where, but not what: a library's message may quote a cell of the data.
        trace = "".join(traceback.format_tb(error.__traceback__))
        click.echo(f"internal error: {type(error).__name__}\n{trace}please report this", err=True)
        sys.exit(_INTERNAL)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
