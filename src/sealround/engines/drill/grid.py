"""What a drill goes through: attacks, rules, ways to divide patients among sites, and seeds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from sealround.aggregation.conditions import fewest_sites, most_byzantine
from sealround.engines.drill.mixes import AS_IS, Mix, mix_of
from sealround.engines.drill.plays import NOBODY, PLAYS, QUICK
from sealround.errors import UsageError
from sealround.federation import Plan
from sealround.federation.plan import FEDERATED
from sealround.study.robust_rules import rule_unfit
from sealround.study.sections import RobustRule, Scaffold, Study
from sealround.study.words import nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sealround.vocabulary import PartyId

__all__ = ["MIXING", "Cell", "Grid", "RuleChoice", "Wishes", "lay_out"]

MIXING = "+mixing"
"""What is written after a rule's word for updates to be mixed with their nearest neighbours before it."""

_COMPARED = ("mean", "adaptive", "median", "multi-krum+mixing", "geometric-median+mixing")
_ATTACK_ENDS = 0.6
_MOST_SEEDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a person asks of a drill; ``None`` leaves the choice to the drill.

    Attributes:
        attacks: Words of `PLAYS`; ``("all",)`` for every one.
        rules: Words of rules, each may end in `MIXING`; ``("all",)`` for every one. The study's own is always among
            them.
        heterogeneity: ``"as-is"``, ``"iid"`` or ``"dirichlet-ALPHA"``. The study's own sites are always among them.
        num_byzantine: How many sites lie.
        seeds: How many times each training is repeated, with other liars and other randomness.
        rounds: Of each training.
        stop_after: The last round in which anybody lies.
    """

    attacks: tuple[str, ...] | None = None
    rules: tuple[str, ...] | None = None
    heterogeneity: tuple[str, ...] | None = None
    num_byzantine: int | None = None
    seeds: int = 3
    rounds: int | None = None
    stop_after: int | None = None


@dataclass(frozen=True, slots=True)
class RuleChoice:
    """One rule of a drill.

    Attributes:
        key: Its word.
        own: Whether it is the study's own.
        section: ``protection.robustness`` with it.
        refused: Why it cannot run in this study; ``None`` if it can.
    """

    key: str
    own: bool
    section: Mapping[str, Any]
    refused: str | None = None

    @property
    def title(self) -> str:
        """What reports call it."""
        name = self.key.removesuffix(MIXING).replace("-", " ")
        return f"{name} after mixing" if self.key.endswith(MIXING) else name


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One training of a drill."""

    heterogeneity: str
    rule: str
    seed: int
    attack: str


@dataclass(frozen=True, slots=True)
class Grid:
    """All that a drill goes through.

    Attributes:
        attacks: Words, `NOBODY` first.
        rules: The study's own first.
        mixes: The study's own first.
        seeds: Of the trainings.
        num_byzantine: How many sites lie.
        rounds: Of each training.
        stop_after: As wished; else targeted attacks stop early, and the others go on to the end.
        gated: Whether a gate judges the model at the end: then no attack stops early by itself.
    """

    attacks: tuple[str, ...]
    rules: tuple[RuleChoice, ...]
    mixes: tuple[Mix, ...]
    seeds: tuple[int, ...]
    num_byzantine: int
    rounds: int
    stop_after: int | None
    gated: bool = False

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every training, in the order in which they are best made: what is compared with first."""
        return tuple(
            Cell(mix.key, rule.key, seed, attack)
            for mix in self.mixes
            for attack in self.attacks
            for rule in self.rules
            if rule.refused is None
            for seed in self.seeds
        )

    def rule(self, key: str) -> RuleChoice:
        """Return one of its rules."""
        return next(rule for rule in self.rules if rule.key == key)

    def mix(self, key: str) -> Mix:
        """Return one of its ways to divide patients."""
        return next(mix for mix in self.mixes if mix.key == key)

    def last_lie(self, attack: str) -> int:
        """Return the last round in which anybody lies."""
        if self.stop_after is not None:
            return self.stop_after
        early = PLAYS[attack].success and not self.gated
        return max(1, round(_ATTACK_ENDS * self.rounds)) if early else self.rounds


def lay_out(study: Study, roster: tuple[PartyId, ...], wishes: Wishes) -> Grid:
    """Make a grid of what is asked for, and of what the study is.

    Args:
        study: The study.
        roster: Its sites.
        wishes: What is asked for.

    Raises:
        UsageError: If a word is unknown, or a number does not fit the study; the nearest word is named.
    """
    if len(roster) < 2:  # noqa: PLR2004
        raise UsageError("a drill takes a study of at least two sites: one that lies, and one to be harmed")
    rounds = _within("--rounds", study.study.rounds if wishes.rounds is None else wishes.rounds, 1, 100_000)
    if wishes.stop_after is not None:
        _within("--stop-after", wishes.stop_after, 1, rounds)
    _within("--seeds", wishes.seeds, 1, _MOST_SEEDS)
    lying = _num_byzantine(study, roster, wishes.num_byzantine)
    first = study.study.seed
    return Grid(
        attacks=(NOBODY, *_attacks(wishes.attacks)),
        rules=_rules(study, roster, lying, wishes.rules),
        mixes=_unique(mix_of(word, study) for word in (AS_IS, *(wishes.heterogeneity or ()))),
        seeds=tuple(range(first, first + wishes.seeds)),
        num_byzantine=lying,
        rounds=rounds,
        stop_after=wishes.stop_after,
        gated=study.fairness.gate is not None,
    )


def _within(option: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise UsageError(f"{option} is {value}", hint=f"give a number from {low} to {high}")
    return value


def _unique(mixes: Iterable[Mix]) -> tuple[Mix, ...]:
    return tuple({mix.key: mix for mix in mixes}.values())


def _known(option: str, word: str, words: Sequence[str]) -> str:
    if word not in words:
        near = nearest(word, words)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(words)}"
        raise UsageError(f"{option}: there is no {word!r}", hint=hint)
    return word


def _attacks(asked: tuple[str, ...] | None) -> tuple[str, ...]:
    every = tuple(key for key in PLAYS if key != NOBODY)
    if asked is None:
        return tuple(key for key in every if key in QUICK)
    if asked == ("all",):
        return every
    words = [word for word in asked if word != NOBODY]
    return tuple(dict.fromkeys(_known("--attacks", word, (*every, "all")) for word in words))


def _num_byzantine(study: Study, roster: tuple[PartyId, ...], asked: int | None) -> int:
    """Return how many sites lie: as asked, as the study says, or as many as its rule withstands, at least one."""
    options = study.protection.robustness
    if asked is not None:
        return _within("--num-byzantine", asked, 1, len(roster) - 1)
    if not isinstance(options, RobustRule):
        return 1
    in_a_round = Plan(study, FEDERATED, roster, roster).round_size(len(roster))
    most = options.num_byzantine or most_byzantine(options.rule, in_a_round)
    return min(max(most, 1), len(roster) - 1)


# --- rules ------------------------------------------------------------------------------------------------------------


def _rules(
    study: Study, roster: tuple[PartyId, ...], lying: int, asked: tuple[str, ...] | None
) -> tuple[RuleChoice, ...]:
    options = study.protection.robustness
    known = ("mean", *get_args(RobustRule.model_fields["rule"].annotation))
    own_key = options.rule + (MIXING if isinstance(options, RobustRule) and options.mixing else "")
    own = RuleChoice(own_key, own=True, section=options.model_dump(mode="json", exclude_none=True))
    if asked is None:
        words = [word for word in _COMPARED if word.removesuffix(MIXING) in known]
    elif asked == ("all",):
        words = list(known)
    else:
        every = ("own", "all", *known, *(rule + MIXING for rule in known if rule != "mean"))
        words = [_known("--rules", word, every) for word in asked if word != "own"]
    others = [_choice(study, roster, lying, word) for word in dict.fromkeys(words) if word != own_key]
    return (own, *others)


def _choice(study: Study, roster: tuple[PartyId, ...], lying: int, word: str) -> RuleChoice:
    """Return a rule that a study does not have, as it would have it."""
    name = word.removesuffix(MIXING)
    if name == "mean":
        return RuleChoice(word, own=False, section={"rule": "mean", "reason": "a drill compares with it"})
    section: dict[str, Any] = {
        "rule": name,
        "num_byzantine": 0 if fewest_sites(name, 1) == 1 else lying,
        "mixing": word.endswith(MIXING),
    }
    return RuleChoice(word, own=False, section=section, refused=_refused(study, roster, section))


def _refused(study: Study, roster: tuple[PartyId, ...], section: Mapping[str, Any]) -> str | None:
    """Say why a rule cannot run in a study; ``None`` if it can."""
    if study.protection.sealed:
        return "it has to look at each site's update, and this study seals them"
    if isinstance(study.training.algorithm, Scaffold):
        return "SCAFFOLD's control variates would go round it"
    try:
        options = RobustRule.model_validate(section, strict=False)
    except ValidationError:
        return "it needs constants or data that only the study's authors can give"
    unfit = rule_unfit(options, Plan(study, FEDERATED, roster, roster).round_size(len(roster)))
    return None if unfit is None else re.sub(r";.*", "", unfit)
