"""How many sites a rule needs to withstand f Byzantine ones: known before a study starts, and refused then.

=========================  ============  ====================================================
Rule                       Sites         Why
=========================  ============  ====================================================
mean, norm-clipping        1             no f is assumed, none is withstood
foolsgold, fltrust         1             no f is assumed; copies, or a trusted update, are
median, trimmed-mean       2f + 1        an honest majority
meamed, geometric-median   2f + 1        an honest majority
centered-clipping          2f + 1        an honest majority; its proof asks for n >= 10f
dnc, flame, adaptive       2f + 1        an honest majority
krum, multi-krum           2f + 3        Blanchard et al. 2017: 2f + 2 < n
bulyan                     4f + 3        El Mhamdi et al. 2018
mixing, before any         2f + 1        an honest majority
=========================  ============  ====================================================
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from sealround.errors import UsageError

__all__ = ["RULES", "RuleName", "fewest_sites", "most_byzantine", "require", "require_majority"]

RuleName: TypeAlias = Literal[
    "mean",
    "krum",
    "multi-krum",
    "bulyan",
    "median",
    "trimmed-mean",
    "meamed",
    "geometric-median",
    "centered-clipping",
    "fltrust",
    "norm-clipping",
    "dnc",
    "foolsgold",
    "flame",
    "adaptive",
]
"""The word of a study file for each rule."""

RULES: tuple[RuleName, ...] = get_args(RuleName)
"""Every rule."""

_NO_F = ("mean", "norm-clipping", "foolsgold", "fltrust")
_SLOPES = {"krum": (2, 3), "multi-krum": (2, 3), "bulyan": (4, 3)}
_MAJORITY = (2, 1)


def fewest_sites(rule: str, num_byzantine: int) -> int:
    """Return how many sites a rule needs.

    Args:
        rule: A `RuleName`.
        num_byzantine: f, how many sites may lie.
    """
    slope, start = (0, 1) if rule in _NO_F else _SLOPES.get(rule, _MAJORITY)
    return slope * num_byzantine + start


def most_byzantine(rule: str, sites: int) -> int:
    """Return the largest f that a rule withstands among so many sites; -1 if it cannot run at all."""
    if rule in _NO_F:
        return 0
    slope, start = _SLOPES.get(rule, _MAJORITY)
    return max((sites - start) // slope, -1)


def require(rule: str, sites: int, num_byzantine: int) -> None:
    """Check that a rule can withstand f Byzantine sites among n.

    Args:
        rule: A `RuleName`.
        sites: n, how many sites take part in a round.
        num_byzantine: f, how many of them may lie.

    Raises:
        UsageError: If it cannot; the numbers are in the message.
    """
    if rule not in RULES:
        raise UsageError(f"there is no rule {rule!r}", hint=f"rules are {', '.join(RULES)}")
    if num_byzantine < 0:
        raise UsageError(f"num_byzantine is {num_byzantine}, and cannot be negative")
    if rule == "mean" and num_byzantine:
        raise UsageError(
            f"the mean withstands no Byzantine site, and num_byzantine is {num_byzantine}",
            hint="choose a robust rule, or set num_byzantine to 0",
        )
    needed = fewest_sites(rule, num_byzantine)
    if sites >= needed:
        return
    most = most_byzantine(rule, sites)
    lower = f"set num_byzantine to {most} at the most, or " if 0 <= most < num_byzantine else ""
    raise UsageError(
        f"{rule} needs {needed} sites to withstand {num_byzantine} Byzantine ones, and there are {sites}",
        hint=f"{lower}choose a rule that needs fewer, or take more sites into each round",
    )


def require_majority(what: str, sites: int, num_byzantine: int) -> None:
    """Check that honest sites are more than the others.

    Args:
        what: What needs it, for the message.
        sites: n.
        num_byzantine: f.

    Raises:
        UsageError: If they are not; the numbers are in the message.
    """
    if num_byzantine < 0 or sites <= 2 * num_byzantine:
        raise UsageError(
            f"{what} needs {max(2 * num_byzantine + 1, 1)} sites to withstand {num_byzantine} Byzantine ones, "
            f"and there are {sites}",
            hint=f"set num_byzantine to a number from 0 to {max(sites - 1, 0) // 2}",
        )
