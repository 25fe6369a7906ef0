"""From the name of a rule to one round's aggregate.

Rules come in two kinds. *Weighing* rules go from inner products to weights (`weigh`), and never see a parameter: the
same call serves products that were computed on secret shares. *Coordinate* rules go over the updates themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.aggregation import averaging, coordinates, selection
from sealround.aggregation.adaptive import DECAY, adaptive, decay_within
from sealround.aggregation.blocks import check_updates
from sealround.aggregation.conditions import require, require_majority
from sealround.aggregation.mixing import nearest_neighbor_mixing
from sealround.aggregation.outcome import Aggregate
from sealround.aggregation.products import HISTORY, ORIGIN, ROOT, combine, gram
from sealround.aggregation.weiszfeld import geometric_median
from sealround.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from sealround.aggregation.conditions import RuleName
    from sealround.aggregation.outcome import Weighting
    from sealround.aggregation.products import Gram
    from sealround.vocabulary import Update, Updates

__all__ = ["COORDINATE_RULES", "Known", "Settings", "aggregate", "weigh"]

COORDINATE_RULES: tuple[RuleName, ...] = ("bulyan", "median", "trimmed-mean", "meamed")
"""Rules whose weights differ from parameter to parameter."""

_OF = {"num_selected": ("multi-krum",), "clip_norm": ("centered-clipping", "norm-clipping")}
"""Constants, and whose they are."""

_ABOUT_ORIGIN = ("norm-clipping", "fltrust", "foolsgold", "flame", "adaptive")
_WITHOUT_MAJORITY = ("fltrust", "foolsgold")
_ABOUT_HISTORY = ("centered-clipping",)

_WORTH_A_THREAD = 1 << 18
"""So many numbers take longer than a thread takes to start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A rule with its constants.

    Attributes:
        rule: Which.
        num_byzantine: f, how many sites may lie.
        mixing: Whether updates are mixed with their nearest neighbours before. Shares are not looked at then.
        num_selected: m, for ``multi-krum``; n - f if ``None``.
        clip_norm: Largest length, for ``centered-clipping`` (which needs it) and ``norm-clipping`` (the median if
            ``None``).
        iterations: Of ``centered-clipping``.
        rounds: How many there will be, by which ``adaptive`` settles how long it remembers; many if ``None``.
    """

    rule: RuleName
    num_byzantine: int = 0
    mixing: bool = False
    num_selected: int | None = None
    clip_norm: float | None = None
    iterations: int = 3
    rounds: int | None = None

    @property
    def memory(self) -> float | None:
        """Decay of what is remembered of each site (`remember`), for a rule that goes by that; else ``None``."""
        if self.rule == "adaptive":
            return DECAY if self.rounds is None else decay_within(self.rounds)
        return 1.0 if self.rule == "foolsgold" else None

    @property
    def history(self) -> bool:
        """Whether the rule goes by what the last round's aggregation returned."""
        return self.rule in _ABOUT_HISTORY

    def check(self, sites: int) -> None:
        """Check that the rule can run with so many sites in a round: before a study starts.

        Raises:
            UsageError: If it cannot; the numbers are in the message.
        """
        require(self.rule, sites, self.num_byzantine)
        if self.mixing:
            require_majority("mixing", sites, self.num_byzantine)
        if self.rule == "centered-clipping" and self.clip_norm is None:
            raise UsageError("centered-clipping needs clip_norm", hint="start with the usual distance between updates")
        for name, rules in _OF.items():
            if getattr(self, name) is not None and self.rule not in rules:
                raise UsageError(f"{self.rule} has no {name}", hint=f"leave it out; it is of {', '.join(rules)}")
        if self.rule == "foolsgold" and self.mixing:
            raise UsageError("foolsgold looks for copies, and mixing makes them", hint="leave mixing off")
        if self.rule == "adaptive" and self.mixing:
            raise UsageError("adaptive decides about mixing itself", hint="leave mixing off")
        if self.num_selected is not None and not 1 <= self.num_selected <= sites - self.num_byzantine:
            raise UsageError(f"num_selected is from 1 to n - f = {sites - self.num_byzantine}, not {self.num_selected}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What a round knows besides its updates; each rule takes what it needs.

    Attributes:
        shares: How much each site counts, ``(n,)`` (see `capped_shares`); equally if ``None``.
        history: What the last round's aggregation returned, float32 ``(d,)``; ``None`` in the first.
        root: The update computed on the consortium's own data, float32 ``(d,)``, for ``fltrust``.
        totals: What is remembered of each site, this round's update included (see `remember`), float32 ``(n, d)``:
            ``foolsgold`` compares it, and ``adaptive`` aggregates it in place of the updates. The round's if ``None``.
    """

    shares: np.ndarray | None = None
    history: Update | None = None
    root: Update | None = None
    totals: Updates | None = None


_NOTHING = Known()


def aggregate(settings: Settings, updates: Updates, known: Known = _NOTHING, *, threads: int = 1) -> Aggregate:
    """Make one update of a round's.

    Args:
        settings: The rule.
        updates: float32 ``(n, d)``, finite (see `sealround.aggregation.admit`). They are read, and never copied.
        known: What the rule may need besides.
        threads: How many threads share the work; the result is the same to the last bit.

    Returns:
        The update, and each site's part in it.

    Raises:
        UsageError: If the rule cannot run with so many sites, or something is missing or of another shape.
    """
    check_updates(updates)
    settings.check(len(updates))
    if known.totals is not None and known.totals.shape != updates.shape:
        raise UsageError("totals have the shape of updates")
    threads = max(min(threads, updates.size // _WORTH_A_THREAD), 1)
    if settings.rule in COORDINATE_RULES:
        return _by_coordinates(settings, updates, threads)
    if settings.rule == "mean" and not settings.mixing:
        found = averaging.mean(len(updates), shares=known.shares)
    else:
        found = weigh(settings, _products(settings, updates, known, threads), shares=known.shares)
    if settings.rule == "adaptive" and known.totals is not None:
        updates = known.totals
    vectors = {HISTORY: known.history}
    references = [(weight, vectors[name]) for name, weight in found.references.items() if name != ORIGIN]
    update = combine(found.weights, updates, [(w, v) for w, v in references if v is not None], threads=threads)
    return Aggregate(update, found.weights, found.weights, found.reasons)


def weigh(settings: Settings, products: Gram, *, shares: np.ndarray | None = None) -> Weighting:
    """Decide on weights from inner products alone.

    Args:
        settings: A rule that is none of `COORDINATE_RULES`.
        products: Of the updates (of their sums over rounds, for ``foolsgold``) and of what the rule compares them with.
        shares: How much each site counts, ``(n,)``; equally if ``None``.

    Returns:
        A weight for each site, and why.

    Raises:
        UsageError: If the rule cannot run with so many sites, or goes by coordinates, or a reference is missing.
    """
    settings.check(products.sites)
    if not settings.mixing:
        return _weigh(settings, products, shares)
    mixing = nearest_neighbor_mixing(products, num_byzantine=settings.num_byzantine)
    # A mixture is of several sites and has no share; a claim of examples must not make those that it is in heavier.
    return _weigh(settings, products.mixed(mixing), None).through(mixing)


def _weigh(settings: Settings, products: Gram, shares: np.ndarray | None) -> Weighting:  # noqa: C901, PLR0911 - a line for each
    f = settings.num_byzantine
    match settings.rule:
        case "mean":
            return averaging.mean(products.sites, shares=shares)
        case "krum":
            return selection.krum(products, num_byzantine=f)
        case "multi-krum":
            return selection.multi_krum(products, num_byzantine=f, num_selected=settings.num_selected, shares=shares)
        case "geometric-median":
            return geometric_median(products, num_byzantine=f, shares=shares)
        case "centered-clipping":
            return averaging.centered_clipping(
                products, num_byzantine=f, clip_norm=settings.clip_norm or 0.0, iterations=settings.iterations
            )
        case "fltrust":
            return averaging.fltrust(products)
        case "norm-clipping":
            return averaging.norm_clipping(products, clip_norm=settings.clip_norm, shares=shares)
        case "dnc":
            return selection.dnc(products, num_byzantine=f, shares=shares)
        case "foolsgold":
            return averaging.foolsgold(products)
        case "flame":
            return selection.flame(products, num_byzantine=f)
        case "adaptive":
            return adaptive(products, num_byzantine=f)
        case _:
            raise UsageError(f"{settings.rule} decides parameter by parameter: it needs the updates themselves")


def _products(settings: Settings, updates: Updates, known: Known, threads: int) -> Gram:
    references = {}
    origin = settings.rule in _ABOUT_ORIGIN
    if settings.history:
        if known.history is None:
            origin = True
        else:
            references[HISTORY] = known.history
    if settings.rule == "fltrust":
        if known.root is None:
            raise UsageError("fltrust needs the update of the root data")
        references[ROOT] = known.root
    if settings.memory is not None and known.totals is not None:
        updates = known.totals
    central = settings.rule in _WITHOUT_MAJORITY and not settings.mixing
    return gram(updates, references, origin=origin, central=central, threads=threads)


def _by_coordinates(settings: Settings, updates: Updates, threads: int) -> Aggregate:
    f, mixing, chosen = settings.num_byzantine, None, None
    if settings.mixing or settings.rule == "bulyan":
        products = gram(updates, threads=threads)
        if settings.mixing:
            mixing = nearest_neighbor_mixing(products, num_byzantine=f)
            products = products.mixed(mixing)
        if settings.rule == "bulyan":
            chosen = selection.bulyan_choice(products, num_byzantine=f)
    if chosen is not None:
        return coordinates.mean_of_chosen_near_median(updates, chosen, num_byzantine=f, mixing=mixing, threads=threads)
    rule = {
        "median": coordinates.coordinate_median,
        "trimmed-mean": coordinates.trimmed_mean,
        "meamed": coordinates.mean_near_median,
    }[settings.rule]
    return rule(updates, num_byzantine=f, mixing=mixing, threads=threads)
