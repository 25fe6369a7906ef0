"""Whether a study's rule can withstand as many lying sites as it says, in rounds of so many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sealround.errors import Problem, UsageError
from sealround.study.sections import RobustRule
from sealround.study.words import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.aggregation import Settings
    from sealround.study.sections import Robustness

__all__ = ["root_misplaced", "root_unknown", "rule_settings", "rule_unfit"]


def rule_settings(options: Robustness, rounds: int | None = None) -> Settings | None:
    """Return the rule with its constants, in a study of so many rounds; ``None`` for the plain mean."""
    if not isinstance(options, RobustRule):
        return None
    from sealround.aggregation import Settings  # noqa: PLC0415  (numpy, which a study file without a rule can do without)

    return Settings(
        rule=options.rule,
        num_byzantine=options.num_byzantine,
        mixing=options.mixing,
        num_selected=options.num_selected,
        clip_norm=options.clip_norm,
        rounds=rounds,
    )


def rule_unfit(options: Robustness, sites: int) -> str | None:
    """Say why a rule cannot run in rounds of so many sites, and what to change; ``None`` if it can.

    Args:
        options: The study's.
        sites: How many train in a round; the root of trust is one of them, and is not judged.
    """
    settings = rule_settings(options)
    if settings is None or not isinstance(options, RobustRule):
        return None
    if why := root_misplaced(options) or _number_misplaced(options):
        return why
    if options.root is not None and sites == 1:
        return "a root of trust needs somebody to measure: 2 sites in a round; take more into each"
    try:
        settings.check(sites if options.root is None else sites - 1)
    except UsageError as error:
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return None


def root_misplaced(options: Robustness) -> str | None:
    """Say whether a root of trust is missing, or named where none belongs; ``None`` if all is well."""
    if not isinstance(options, RobustRule) or (options.rule == "fltrust") == (options.root is not None):
        return None
    if options.root is None:
        return 'fltrust measures each site by one whose records the consortium trusts; say root = "<its name>"'
    return f"{options.rule} measures no site by a trusted one; leave root out, or take fltrust"


def root_unknown(options: Robustness, roster: Sequence[str]) -> Problem | None:
    """Say that the root of trust is none of the sites; ``None`` if it is one, or there is none."""
    if not isinstance(options, RobustRule) or options.root is None or options.root in roster:
        return None
    why = f'there is no site "{options.root}"; sites are {", ".join(sorted(roster))}'
    return Problem("protection.robustness.root", why, nearest(options.root, roster))


def _number_misplaced(options: RobustRule) -> str | None:
    from sealround.aggregation import fewest_sites  # noqa: PLC0415  (see `rule_settings`)

    if not options.num_byzantine or fewest_sites(options.rule, 1) > 1:
        return None
    return f"{options.rule} assumes no number of Byzantine sites, and is not stronger for a larger one; say 0"
