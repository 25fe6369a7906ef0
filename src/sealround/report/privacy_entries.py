"""What the evidence says of differential privacy, checked: what left, what it spent, what an attacker can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar, cast

from sealround.errors import ConsistencyError
from sealround.report.entries import only

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sealround.report.nodes import Node

__all__ = ["PrivacyFacts", "ReleaseFacts", "check_privacy_facts", "read_privacy"]

Unit: TypeAlias = Literal["patient", "record", "site"]
Relation: TypeAlias = Literal["add-or-remove-one", "replace-one"]
Trust: TypeAlias = Literal["sealed", "local"]
What: TypeAlias = Literal["training", "statistics", "validation", "metrics", "threshold", "clipping"]

_Number = TypeVar("_Number", int, float)

_WHAT = ("training", "statistics", "validation", "metrics", "threshold", "clipping")
_TOLERANCE = 1e-6
_KEYS = frozenset(
    {
        "unit", "relation", "trust", "budget", "epsilon", "delta", "accountant", "epsilon_rdp", "epsilon_seen_by_site",
        "l2_clip_norm", "clipping", "noise_multiplier", "sampling_probability", "steps", "patients", "sites", "honest",
        "dishonest_sites", "metrics", "noise_in_results", "releases", "over_rounds", "tradeoff",
        "max_true_positive_rate", "advantage", "posterior", "by_site", "simulated", "simulated_why", "not_covered",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """One kind of noised sum that left, how often, and what it spent of those it is about."""

    what: What
    noise_multiplier: float
    sampling_probability: float
    count: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class PrivacyFacts:
    """How private a training was.

    Attributes:
        unit: Whose presence is hidden.
        relation: Which two sets of records nobody can tell apart.
        trust: What is private: sums under secure aggregation, or each site's message.
        budget: The study's; ``None`` where it gives the noise instead.
        epsilon: What any one unit spends at ``delta``.
        delta: With which probability more may be told.
        accountant: How it was added up.
        epsilon_rdp: By another accountant; ``None`` where that has no bound.
        epsilon_seen_by_site: Against a site that takes its own noise off sums; ``None`` where that is no matter.
        l2_clip_norm: Longest gradient of one unit.
        adaptive: Whether that is where the norm begins, and it follows the gradients.
        noise_multiplier: Of each training sum, in clip norms.
        sampling_probability: With which a unit is drawn into a step.
        steps: Training sums.
        patients: Units, as the study declares them.
        sites: How many send.
        honest: How many sites' noise is counted on.
        dishonest_sites: How many may leave theirs out.
        noised: Whether test results left, with noise; else they stayed.
        noise_in_results: Standard deviation of the noise in each cell of the test histogram, in units.
        releases: All that left.
        over_rounds: Epsilon of a training unit after some rounds.
        bound: False-positive rates, rising, and the largest true-positive rate at each.
        found: The same at a few round rates.
        advantage: Largest difference of both rates.
        posterior: Beliefs before, and the most one can come to believe, by epsilon alone.
        by_site: What each site's training sums spent.
        simulated: Why whoever has the study can take the noise off; empty where nobody can.
        not_covered: What these numbers do not bound, a sentence each.
    """

    unit: Unit
    relation: Relation
    trust: Trust
    budget: float | None
    epsilon: float
    delta: float
    accountant: str
    epsilon_rdp: float | None
    epsilon_seen_by_site: float | None
    l2_clip_norm: float
    adaptive: bool
    noise_multiplier: float
    sampling_probability: float
    steps: int
    patients: int
    sites: int
    honest: int
    dishonest_sites: int
    noised: bool
    noise_in_results: float
    releases: tuple[ReleaseFacts, ...]
    over_rounds: tuple[tuple[int, float], ...]
    bound: tuple[tuple[float, float], ...]
    found: tuple[tuple[float, float], ...]
    advantage: float
    posterior: tuple[tuple[float, float], ...]
    by_site: Mapping[str, ReleaseFacts]
    simulated: str
    not_covered: tuple[str, ...]


def read_privacy(node: Node | None) -> PrivacyFacts | None:
    """Read what the evidence says of differential privacy; ``None`` where the study has none.

    Raises:
        UnsupportedError: If something in it is not known to this version.
        VerificationError: If a value is missing, of the wrong type or out of range.
        ConsistencyError: If two lists that belong together differ in length.
    """
    if node is None:
        return None
    only(node, _KEYS, "entry")
    why = node.text_or("simulated_why", "") or "this run is a simulation"
    return PrivacyFacts(
        unit=cast(Unit, node["unit"].word("patient", "record", "site")),
        relation=cast(Relation, node["relation"].word("add-or-remove-one", "replace-one")),
        trust=cast(Trust, node["trust"].word("sealed", "local")),
        budget=node.number_or_none("budget", low=0.0),
        epsilon=node["epsilon"].number(low=0.0),
        delta=node["delta"].number(0.0, 1.0),
        accountant=node["accountant"].word("pld"),
        epsilon_rdp=node.number_or_none("epsilon_rdp", low=0.0),
        epsilon_seen_by_site=node.number_or_none("epsilon_seen_by_site", low=0.0),
        l2_clip_norm=node["l2_clip_norm"].number(low=0.0),
        adaptive=node["clipping"].word("fixed", "adaptive") == "adaptive",
        noise_multiplier=node["noise_multiplier"].number(low=0.0),
        sampling_probability=node["sampling_probability"].number(0.0, 1.0),
        steps=node["steps"].count(),
        patients=node["patients"].count(),
        sites=node["sites"].count(),
        honest=node["honest"].count(),
        dishonest_sites=node["dishonest_sites"].count(),
        noised=node["metrics"].word("noised", "kept") == "noised",
        noise_in_results=node["noise_in_results"].number(low=0.0),
        releases=tuple(_release(entry) for entry in node["releases"].items()),
        over_rounds=_spent(node["over_rounds"]),
        bound=tuple((alpha, 1.0 - beta) for alpha, beta in _curve(node["tradeoff"])),
        found=tuple(
            (entry["false_positive_rate"].number(0.0, 1.0), entry["true_positive_rate"].number(0.0, 1.0))
            for entry in node["max_true_positive_rate"].items()
        ),
        advantage=node["advantage"].number(0.0, 1.0),
        posterior=tuple(_belief(entry) for entry in node["posterior"].items()),
        by_site={site: _release(entry) for site, entry in node["by_site"].fields().items()},
        simulated=why if node["simulated"].flag() else "",
        not_covered=tuple(entry.text() for entry in node["not_covered"].items()),
    )


def check_privacy_facts(privacy: PrivacyFacts | None, sites: Collection[str], *, sealed: bool) -> None:
    """Refuse privacy that contradicts itself or the rest.

    Raises:
        ConsistencyError: If it does.
    """
    if privacy is None:
        return
    if not privacy.by_site.keys() <= {*sites}:
        raise ConsistencyError("evidence: privacy lists a site that the cohort does not list")
    if privacy.trust == "sealed" and not sealed:
        raise ConsistencyError("evidence: privacy.trust is sealed, and sums are not")
    if privacy.noised != any(entry.what == "metrics" for entry in privacy.releases):
        raise ConsistencyError("evidence: privacy.metrics is not what was released")
    if any(entry.epsilon > privacy.epsilon + _TOLERANCE for entry in (*privacy.releases, *privacy.by_site.values())):
        raise ConsistencyError("evidence: privacy.epsilon is less than one release spends")
    if privacy.budget is not None and privacy.epsilon > privacy.budget + _TOLERANCE:
        raise ConsistencyError("evidence: privacy.epsilon is more than its budget")


def _release(node: Node) -> ReleaseFacts:
    return ReleaseFacts(
        what=cast(What, node["what"].word(*_WHAT)),
        noise_multiplier=node["noise_multiplier"].number(low=0.0),
        sampling_probability=node["sampling_probability"].number(0.0, 1.0),
        count=node["count"].count(),
        epsilon=node["epsilon"].number(low=0.0),
    )


def _belief(node: Node) -> tuple[float, float]:
    node["reading"].word("pure-epsilon")
    return node["prior"].number(0.0, 1.0), node["posterior"].number(0.0, 1.0)


def _curve(node: Node) -> tuple[tuple[float, float], ...]:
    return _pairs(node, "alpha", node["alpha"].numbers(0.0, 1.0), "beta", node["beta"].numbers(0.0, 1.0))


def _spent(node: Node) -> tuple[tuple[int, float], ...]:
    rounds = tuple(entry.count() for entry in node["rounds"].items())
    return _pairs(node, "rounds", rounds, "epsilon", node["epsilon"].numbers(low=0.0))


def _pairs(
    node: Node, one: str, across: tuple[_Number, ...], other: str, up: tuple[float, ...]
) -> tuple[tuple[_Number, float], ...]:
    """Join two lists, the first of which rises."""
    if len(across) != len(up):
        raise ConsistencyError(f"evidence: {node.path}: {one} and {other} differ in length")
    if list(across) != sorted(across):
        raise ConsistencyError(f"evidence: {node.path}: {one} does not rise")
    return tuple(zip(across, up, strict=True))
