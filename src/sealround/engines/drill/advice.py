"""What a drill suggests to change, from what it saw; and what it left out, in plain words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sealround.aggregation.conditions import fewest_sites
from sealround.engines.drill.grid import MIXING
from sealround.engines.drill.plays import NOBODY, PLAYS
from sealround.report.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sealround.engines.drill.grid import Grid, RuleChoice
    from sealround.study import Study

    Cells = Sequence[Mapping[str, Any]]

__all__ = ["left_out", "suggestions"]

_BETTER = 0.02
_ATTENTION = ("fails", "degrades")
_TRUE = (
    "Malicious sites lie about updates, training records and claimed numbers of examples only: what they say of their "
    "statistics, validation and test patients is true."
)
_SEEN = (
    "Malicious sites see the honest updates of a round before they answer: that is a strong attacker, and what holds "
    "here holds against weaker ones."
)
_TUNED = "Attacks tuned to a rule know the last round's model, and not what the rule remembers of each site."


def suggestions(study: Study, grid: Grid, cells: Cells) -> list[dict[str, str]]:
    """Return what to change, each with why; the most useful first, nothing where nothing is wrong.

    Args:
        study: The study.
        grid: All that was gone through.
        cells: Every cell of the evidence.
    """
    own = next(rule for rule in grid.rules if rule.own)
    at_home = [cell for cell in cells if cell["heterogeneity"] == grid.mixes[0].key and cell["attack"] != NOBODY]
    mine = [cell for cell in at_home if cell["rule"] == own.key]
    hurt = [cell for cell in mine if cell["verdict"] in _ATTENTION]
    found = [
        *_other_rule(study, grid, at_home, own),
        *_sealed(study, hurt),
        *_more_sites(grid, hurt),
        *_stops(study, mine),
        *_gate(study, hurt),
        *_power(study, mine),
    ]
    return [{"text": text, "why": why} for text, why in found]


@dataclass(frozen=True)
class _Worst:
    """The worst that attacks did under one rule: how many fail it, most harm done (in metric or in aim), and how."""

    failures: int
    harm: float
    cell: Mapping[str, Any]

    def told(self, name: str) -> str:
        """Say what it came to."""
        title = PLAYS[self.cell["attack"]].title
        if self.harm == math.inf:
            return f"no model ({title})"
        value, success = self.cell["metric"]["value"], self.cell["success"]
        aim = "" if success is None else f", and {100 * success['value']:.0f} % of the patients it is aimed at"
        return f"{name} {value:.3f}{aim} ({title})"


def _worst(study: Study, cells: Cells, rule: str, own: str) -> _Worst | None:
    """Return a rule's worst case, against what the study as it is reaches when nobody lies; ``None`` if none counts."""
    honest = {
        cell["attack"]: cell["baseline"] for cell in cells if cell["rule"] == own and cell["baseline"] is not None
    }
    sign = -1.0 if study.primary_metric in ("brier", "ece") else 1.0

    def harm(cell: Mapping[str, Any]) -> float:
        if cell["stopped"] or cell["metric"]["value"] is None:
            return math.inf
        won = 0.0 if cell["success"] is None else cell["success"]["value"] - (cell["success_without"] or 0.0)
        return float(max(sign * (honest[cell["attack"]] - cell["metric"]["value"]), won))

    played = [
        cell
        for cell in cells
        if cell["rule"] == rule
        and cell["verdict"] != "not applicable"
        and (cell["stopped"] or cell["attack"] in honest)
    ]
    if not played:
        return None
    cell = max(played, key=harm)
    return _Worst(sum(each["verdict"] == "fails" for each in played), harm(cell), cell)


def _other_rule(study: Study, grid: Grid, cells: Cells, own: RuleChoice) -> Iterator[tuple[str, str]]:
    """Suggest the rule under which the worst attack does least, if that is less than under the study's own."""
    mine = _worst(study, cells, own.key, own.key)
    rules = [rule for rule in grid.rules if not rule.own and rule.refused is None]
    others = [(found, rule) for rule in rules if (found := _worst(study, cells, rule.key, own.key)) is not None]
    if mine is None or not others:
        return
    least, best = min(others, key=lambda pair: (pair[0].harm, pair[0].failures))
    if least.harm >= mine.harm - _BETTER:
        return
    name = METRICS[study.primary_metric].label
    fewer = f"{_attacks_that(least.failures)} in place of {mine.failures}"
    yield (
        f"Aggregate by {best.title}: robustness = {_toml(best.section)}",
        f"{fewer}; the worst comes to {least.told(name)} in place of {mine.told(name)}.",
    )


def _attacks_that(fail: int) -> str:
    return (
        "No attack succeeds" if not fail else f"{fail} attack{'s' if fail > 1 else ''} succeed{'' if fail > 1 else 's'}"
    )


def _toml(section: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in section.items() if value is not False}
    return "{ " + ", ".join(f"{key} = {_word(value)}" for key, value in kept.items()) + " }"


def _word(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sealed(study: Study, hurt: Cells) -> Iterator[tuple[str, str]]:
    if study.protection.sealed and hurt:
        yield (
            "Decide which matters more here: that nobody sees a site's update, or that a rule can look at it",
            "Sealed sums hide lies as well as they hide patients: no rule can tell one update from another.",
        )


def _more_sites(grid: Grid, hurt: Cells) -> Iterator[tuple[str, str]]:
    """Say how many sites the rules would need that these are too few for."""
    needed = {
        rule.title: fewest_sites(rule.key.removesuffix(MIXING), grid.num_byzantine)
        for rule in grid.rules
        if rule.refused is not None and " needs " in rule.refused and "Byzantine" in rule.refused
    }
    if hurt and needed:
        least = min(needed.values())
        rules = " and ".join(sorted(rule for rule, sites in needed.items() if sites == least))
        yield (
            f"Take at least {least} sites into each round",
            f"With so few sites as these, {rules} cannot run; with {least} it withstands {grid.num_byzantine}.",
        )


def _stops(study: Study, mine: Cells) -> Iterator[tuple[str, str]]:
    stopped = [cell for cell in mine if cell["stopped"]]
    if stopped and study.training.on_divergence == "stop":
        titles = ", ".join(PLAYS[cell["attack"]].title for cell in stopped)
        yield (
            'Go on without a site whose numbers are not finite: training.on_divergence = "drop-site"',
            f"One site can end the study: {titles}.",
        )


def _gate(study: Study, hurt: Cells) -> Iterator[tuple[str, str]]:
    aimed = [cell for cell in hurt if PLAYS[cell["attack"]].success]
    if not aimed:
        return
    titles = ", ".join(PLAYS[cell["attack"]].title for cell in aimed)
    if not any(cell["groups"][1:] for cell in aimed):
        yield (
            "Declare which columns are sensitive, so that harm to a group is measured",
            f"{titles}: overall figures hardly show what is aimed at one group.",
        )
    elif study.fairness.gate is None:
        yield (
            "Release a model only if no group is worse off with it: [fairness.gate]",
            f"{titles}: the gate compares every group with a reference on validation patients.",
        )


def _power(study: Study, mine: Cells) -> Iterator[tuple[str, str]]:
    unclear = [cell for cell in mine if cell["verdict"] == "not assessable"]
    if unclear:
        number = f"{len(unclear)} attacks" if len(unclear) > 1 else "one attack"
        yield (
            "Test on more patients, or repeat with more seeds (--seeds)",
            f"The intervals of {number} are too wide to say that the study holds, or that it does not.",
        )
    del study


def left_out(study: Study, grid: Grid) -> list[str]:
    """Say what the drill did not play, and what it simplified."""
    said = []
    missing = [PLAYS[key].title for key in PLAYS if key not in grid.attacks]
    if missing:
        said.append(f"Not played: {', '.join(missing)}. `--attacks all` plays every attack.")
    said += [_TRUE, _SEEN, _TUNED]
    if grid.rounds != study.study.rounds:
        said.append(f"Trainings of {grid.rounds} rounds; the study's are of {study.study.rounds}.")
    if study.protection.sealed:
        said.append(
            "Sums were not sealed in the drill: masks and shares cancel exactly, so only clipping, range, rounding and "
            "the cap on weights were played. A malicious site leaves out its own clipping."
        )
    if study.training.participation < 1.0:
        said.append("Who takes part in a round is drawn as in an open study, malicious sites included.")
    return said
