"""Every attack that an audit plays: what it is, whose it is, and how long to let it try."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.engines.audit.attackers import AttackerKey

__all__ = ["ATTACKS", "Attack", "Family"]

Family: TypeAlias = Literal["exact", "optimisation", "malicious", "membership", "identity", "property"]

_UPDATES: tuple[AttackerKey, ...] = ("coordinator", "coordinator+site", "aggregator+site", "site")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack as an audit plays it.

    Attributes:
        key: Its word.
        name: What reports call it.
        what: One plain sentence.
        family: What kind it is.
        source: Whose it is.
        by: Who can make it.
        share: Part of the budget, among those that a study's kind of data and model leave.
    """

    key: str
    name: str
    what: str
    family: Family
    source: str
    by: tuple[AttackerKey, ...] = _UPDATES
    share: float = 1.0


_LISTED = (
    Attack(
        key="closed-form",
        name="Closed form",
        what="divides the gradient of a first linear layer's weights by that of its bias: the input, exactly",
        family="exact",
        source="Phong et al. 2018, section III; Geiping et al. 2020, proposition 3.1",
        share=0.2,
    ),
    Attack(
        key="spear",
        name="SPEAR",
        what="takes a whole batch apart by the zeros that ReLU leaves in it, and proves the result",
        family="exact",
        source="Dimitrov et al. 2024",
        share=1.0,
    ),
    Attack(
        key="r-gap",
        name="R-GAP",
        what="solves for one record layer by layer, from the last to the first",
        family="exact",
        source="Zhu and Blaschko 2021",
        share=0.5,
    ),
    Attack(
        key="levenberg-marquardt",
        name="Levenberg-Marquardt",
        what="solves for the records whose gradient is the one seen, to the last digit",
        family="optimisation",
        source="Levenberg 1944; Marquardt 1963; for gradients of networks, this project",
        share=3.0,
    ),
    Attack(
        key="local-steps",
        name="Unrolled local steps",
        what="plays the site's training, and changes made-up records until the same update comes out",
        family="optimisation",
        source="Dimitrov et al. 2022",
        share=3.0,
    ),
    Attack(
        key="tableak",
        name="TabLeak",
        what="searches for rows of a table, categories relaxed, and votes over many attempts",
        family="optimisation",
        source="Vero et al. 2023",
        share=2.0,
    ),
    Attack(
        key="kinked",
        name="Descent and Gauss-Newton",
        what="descends as Inverting Gradients does, then solves piece by piece between the kinks of ReLU",
        family="optimisation",
        source="Geiping et al. 2020; this project",
        share=3.0,
    ),
    Attack(
        key="inverting-gradients",
        name="Inverting Gradients",
        what="searches for smooth images whose gradient points the way the one seen does",
        family="optimisation",
        source="Geiping et al. 2020, section 4",
        share=2.0,
    ),
    Attack(
        key="generative-prior",
        name="Generative prior",
        what="searches among images like those it has seen before",
        family="optimisation",
        source="Jeon et al. 2021",
        share=2.0,
    ),
    Attack(
        key="imprint",
        name="Robbing the Fed",
        what="plants a layer that sorts records into bins, one each, which sums do not hide",
        family="malicious",
        source="Fowl et al. 2022",
        by=("malicious-coordinator",),
        share=0.5,
    ),
    Attack(
        key="trap-weights",
        name="Trap weights",
        what="plants weights with which most neurons see one record only",
        family="malicious",
        source="Boenisch et al. 2023",
        by=("malicious-coordinator",),
        share=0.5,
    ),
    Attack(
        key="disparity",
        name="Gradient disparity",
        what="plants a model with which one record's gradient drowns all others in a sum",
        family="malicious",
        source="Wen et al. 2022; Garov et al. 2024",
        by=("malicious-coordinator",),
        share=0.5,
    ),
    Attack(
        key="update-membership",
        name="Membership by updates",
        what="asks whether a known record's gradient is part of an update",
        family="membership",
        source="Li et al. 2023",
        share=0.5,
    ),
    Attack(
        key="lira",
        name="LiRA",
        what="compares what models trained with and without a record say about it",
        family="membership",
        source="Carlini et al. 2022",
        by=("reader",),
        share=3.0,
    ),
    Attack(
        key="rmia",
        name="RMIA",
        what="compares a record with many others under the model and a few reference models",
        family="membership",
        source="Zarifzadeh et al. 2024",
        by=("reader",),
        share=0.5,
    ),
    Attack(
        key="linkage",
        name="Linkage",
        what="looks the best reconstruction up in a list of people with a few of their traits",
        family="identity",
        source="Sweeney 2002; Narayanan and Shmatikov 2008",
        share=0.2,
    ),
    Attack(
        key="retrieval",
        name="Retrieval from a gallery",
        what="looks the best reconstruction up among many patients' images",
        family="identity",
        source="Hatamizadeh et al. 2023",
        share=0.2,
    ),
    Attack(
        key="property",
        name="Property inference",
        what="guesses a trait of all a site's patients from its update",
        family="property",
        source="Melis et al. 2019; Ganju et al. 2018",
        share=1.0,
    ),
)

ATTACKS: Mapping[str, Attack] = MappingProxyType({attack.key: attack for attack in _LISTED})
"""Every attack, by its word: exact ones first."""
