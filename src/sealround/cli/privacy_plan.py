"""``sealround privacy plan``: from the numbers of private training that are given to the one that is missing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sealround.cli.privacy_solving import UNKNOWN, planned, spent_by
from sealround.errors import ServiceError
from sealround.study import load_study

if TYPE_CHECKING:
    from sealround.cli.privacy_solving import Planned

__all__ = ["plan"]

_ROWS, _BAR = 8, 40
_RELEASES: Final = {"validation": "validation results", "metrics": "test results"}


class _Gap(click.ParamType):  # type: ignore[type-arg]  # generic from click 8.5 on, which we do not require
    """A number, or ``?`` for the one that is asked for."""

    name = "NUMBER|?"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | str:
        """Return the number, or ``?``."""
        if value == UNKNOWN:
            return UNKNOWN
        try:
            return float(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither a number nor ?", param, ctx)


@click.command(
    epilog="""\b
Examples:
  sealround privacy plan study.toml
  sealround privacy plan study.toml --epsilon 4 --rounds 50
  sealround privacy plan study.toml --noise-multiplier 1.1 --rounds ?"""
)
@click.argument("study", metavar="STUDY", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--epsilon", type=_Gap(), help="The budget.")
@click.option("--delta", type=_Gap(), help="At which: far less than one patient's share.")
@click.option("--noise-multiplier", type=_Gap(), help="Noise of a step, in clip norms.")
@click.option("--sampling-probability", type=_Gap(), help="With which each patient is drawn into a step.")
@click.option("--rounds", type=_Gap(), help="Rounds of the training.")
@click.option("--clip", type=float, help="Longest gradient of one patient.")
@click.option("--patients", type=int, help="Patients of all sites.")
@click.option("--sites", type=int, help="How many sites there are, where the study leaves it to the data.")
@click.option("--parameters", type=int, help="Parameters of the model, where they depend on the data.")
@click.option(
    "--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.svg", help="Draw epsilon over the rounds."
)
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON on standard output.")
def plan(study: Path, plot: Path | None, *, as_json: bool, **options: Any) -> None:  # noqa: ANN401  (as click hands them over)
    """Tell what the privacy of STUDY costs: solve for the number that is missing.

    Options take the place of what the study says; the one that is asked for is `?`. Without one, epsilon and
    noise_multiplier are told from each other.
    """
    found = planned(load_study(study), options)
    if plot is not None:
        _draw(found, plot)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=1, ensure_ascii=False))
    else:
        _print(found)


# --- on a terminal ----------------------------------------------------------------------------------------------------


def _print(found: Planned) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:  # A pipe or a file has no width to wrap at.
        console.width = max(console.width, 100)
    unit = found.options.unit
    trust = "the sealed sum is private" if found.options.trust == "sealed" else "each site's message is private"
    console.print(Text.assemble((found.study.study.name, "bold"), f"  each {unit} is hidden; {trust}"))
    table = Table.grid(padding=(0, 2))
    for name, text in _lines(found):
        table.add_row(Text(name, style="dim"), Text(text, style="bold green" if name == "solved for" else ""))
    console.print(Padding(table, (1, 0, 1, 2), expand=False))
    console.print(Text("epsilon over the rounds", style="dim"))
    console.print(Padding(_chart(found), (0, 0, 0, 2), expand=False))


def _lines(found: Planned) -> list[tuple[str, str]]:
    plan, steps, number = found.plan, found.steps, found.study.study.rounds
    told = {
        "epsilon": f"epsilon {plan.epsilon:.4g}",
        "delta": f"delta {plan.delta:.4g}",
        "noise_multiplier": f"noise_multiplier {plan.noise_multiplier:.4g}",
        "sampling_probability": f"sampling_probability {plan.sampling_probability:.4g}",
        "rounds": f"{_plural(number, 'round')}{'' if steps == 1 else f' of {steps} steps'}",
    }
    given = [text for name, text in told.items() if name != found.solved]
    by_rdp = "" if found.rdp is None else f"; {found.rdp:.4g} by RDP, which is looser"
    lines = [
        ("given", ", ".join([*given, f"l2_clip_norm {plan.l2_clip_norm:g}", f"{plan.patients} patients"])),
        ("solved for", told[found.solved]),
        ("spent", f"epsilon {found.over[1][-1]:.4g} by PLD{by_rdp}"),
    ]
    whose = "each site" if found.senders is None else "all sites"
    for what in found.terms.releases:
        event = found.terms.release(what)
        noise = (
            f"noise of {event.noise_multiplier * math.sqrt(found.senders or 1):.3g} {found.options.unit}s in each cell"
        )
        spent = f"epsilon {spent_by(found.terms, what):.4g} of those in it, who are not trained on"
        lines.append(("leaves too", f"{_RELEASES.get(what, what)} of {whose}: {noise}; {spent}"))
    return [*lines, *_signal_lines(found)]


def _signal_lines(found: Planned) -> list[tuple[str, str]]:
    if found.parameters is None:
        return [("noise to signal", "depends on the data; give --parameters")]
    if found.ratio is None:
        return [("parameters", str(found.parameters)), ("noise to signal", "depends on the data; give --sites")]
    return [
        ("parameters", str(found.parameters)),
        ("noise to signal", f"{found.ratio:.3g} in one step; steps average noise out"),
        ("for a ratio of 1", f"{_plural(found.patients_needed or 0, 'patient')}"),
    ]


def _chart(found: Planned) -> Table:
    rounds, epsilons = found.over
    shown = np.unique(np.linspace(0, rounds.size - 1, min(_ROWS, rounds.size)).round().astype(int))
    largest = max(float(epsilons[-1]), 1e-12)
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right")
    table.add_column(justify="right")
    table.add_column()
    for at in shown:
        length = round(_BAR * float(epsilons[at]) / largest)
        table.add_row(str(rounds[at]), f"{epsilons[at]:.3g}", "█" * length)
    return table


def _plural(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


# --- as a drawing -----------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 340, 64, 48, 96, 52
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #15191e; }
.title { font-weight: 600; font-size: 15px; }
.tick { fill: #565f69; }
.grid { stroke: #e6eaed; }
.over { overflow: visible; }
.line { fill: none; stroke: #0068a5; stroke-width: 2; vector-effect: non-scaling-stroke; }
.dot { fill: #0068a5; }
"""


def _draw(found: Planned, path: Path) -> None:
    from sealround.report.figures.curves import Curve, round_curves

    title = f"Epsilon over the rounds of {found.study.study.name}"
    points = tuple((float(at), float(value)) for at, value in zip(*found.over, strict=True))
    last = points[-1][1]
    description = (
        f"Rises to {last:.4g} after {_plural(found.study.study.rounds, 'round')}, at a delta of {found.plan.delta:g}."
    )
    curve = Curve(f"{last:.3g}", "federated", points)
    figure = str(round_curves("epsilon", title, description, [curve], span=(0.0, last)))
    figure = figure.replace("<svg ", '<svg overflow="visible" ', 1)
    inner = f'x="{_LEFT}" y="{_TOP}" width="{_WIDTH - _LEFT - _RIGHT}" height="{_HEIGHT - _TOP - _BOTTOM}"'
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}">'
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#ffffff"/>'
        f'<text class="title" x="{_LEFT}" y="28">epsilon at a delta of {found.plan.delta:g}</text>'
        f'<svg {inner} overflow="visible">{figure}</svg>'
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 10}" text-anchor="end">rounds</text></svg>\n'
    )
    try:
        path.write_text(drawing, encoding="utf-8")
    except OSError as error:
        raise ServiceError(f"cannot write {path}: {error.strerror}", hint="check that its folder is there") from error
