"""How the page of a drill speaks: its nouns, how many digits its numbers earn, and what it looks up again and again."""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup, escape

from sealround.report import typography
from sealround.report.drill.evidence import NO_ATTACK, VERDICTS, Attack, Cell, DrillEvidence, Verdict
from sealround.report.evidence import Estimate
from sealround.report.metrics import METRICS, Metric

__all__ = ["MEAN", "VERDICT_LABELS", "DrillVoice", "prose", "verdict_key"]

MEAN = "mean"
"""The rule that looks at nothing."""

VERDICT_LABELS: dict[Verdict | None, str] = {
    "fails": "Fails",
    "degrades": "Degrades",
    "not assessable": "Not assessable",
    "holds": "Holds",
    "not applicable": "Does not apply",
    None: "Not played",
}
"""What the page calls each verdict; ``None`` is an attack that was not played."""

_NARROW = 0.02  # An interval narrower than this has earned a third digit.


def verdict_key(verdict: Verdict | None) -> str:
    """Return a verdict as the name of a style and of an icon."""
    return (verdict or "not played").replace(" ", "-")


def prose(text: str) -> Markup:
    """Escape a text, and set what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 (escaped)


@dataclass(frozen=True, slots=True)
class DrillVoice:
    """How the page speaks.

    Attributes:
        evidence: What it speaks about.
    """

    evidence: DrillEvidence

    # --- words --------------------------------------------------------------------------------------------------------

    @property
    def metric(self) -> Metric:
        """The leading metric, in words."""
        return METRICS[self.evidence.metric]

    @property
    def measure(self) -> str:
        """The leading metric as in the middle of a sentence, without its article."""
        return self.metric.sentence.split(" ", 1)[1]

    @property
    def survival(self) -> bool:
        """Whether the study predicts when, not whether."""
        return self.evidence.study.task == "survival"

    @property
    def condition(self) -> str:
        """What is predicted, as it stands after "with"."""
        return self.evidence.study.outcome or "the condition"

    @property
    def confidence(self) -> str:
        """How an interval is called."""
        return typography.confidence(self.evidence.study.confidence)

    def sites(self, count: int = 2) -> str:
        """Return the noun for so many sites."""
        return self.evidence.site_term if count == 1 else f"{self.evidence.site_term}s"

    @property
    def liars(self) -> str:
        """Say who lies: ``one of the four hospitals``."""
        lying, all_ = self.evidence.num_byzantine, len(self.evidence.sites)
        return f"{typography.number_word(lying)} of the {typography.number_word(all_)} {self.sites()}"

    @property
    def as_it_is(self) -> str:
        """Say what verdicts are about: the study as it is, or with its patients divided otherwise."""
        kind = self.evidence.heterogeneity[self.kind]
        if kind.own:
            return f"with its own rule and its own {self.sites()}"
        return f"with its own rule, and patients divided among the {self.sites()} in another way: {kind.title}"

    # --- numbers ------------------------------------------------------------------------------------------------------

    @property
    def digits(self) -> int:
        """Digits of a metric: two, or three where the interval without an attack is narrow enough to carry them."""
        found = self.unattacked
        if found is None or found.metric.low is None or found.metric.high is None:
            return 2
        return 3 if found.metric.high - found.metric.low < _NARROW else 2

    def number(self, value: float | None) -> str:
        """Write a metric."""
        return typography.decimal(value, self.digits)

    def loss_digits(self, value: float) -> int:
        """Return the digits of a loss: the page's, and one more where rounding would hide on which side of a limit."""
        limits = (self.evidence.holds, self.evidence.degrades)
        shown = f"{value:.{self.digits}f}"
        hidden = any(value > limit and float(shown) <= limit for limit in limits)
        return self.digits + hidden

    def loss(self, found: Estimate | None, *, ends: bool = True) -> str:
        """Write a loss as a change of the metric, with its sign and interval: ``-0.26 (-0.31 to -0.20)``."""
        if found is None or found.value is None:
            return typography.NONE
        digits = self.loss_digits(found.value)
        sign = -1 if self.metric.higher_is_better else 1
        value = typography.signed(sign * found.value, digits)
        if not ends or found.low is None or found.high is None:
            return value
        low, high = sorted((sign * found.low, sign * found.high))
        return f"{value} ({typography.interval(Estimate(None, low, high), digits)})"

    # --- what was played ----------------------------------------------------------------------------------------------

    @property
    def rule(self) -> str:
        """The study's own rule, by its key."""
        return next(key for key, rule in self.evidence.rules.items() if rule.own)

    @property
    def kind(self) -> str:
        """The division of patients that verdicts are about, by its key: the study's own, else the first."""
        kinds = self.evidence.heterogeneity
        return next((key for key, kind in kinds.items() if kind.own), next(iter(kinds)))

    @property
    def attacks(self) -> dict[str, Attack]:
        """Every attack that is one."""
        return {key: attack for key, attack in self.evidence.attacks.items() if key != NO_ATTACK}

    @property
    def unattacked(self) -> Cell | None:
        """The study as it is, without an attack."""
        return self.own(NO_ATTACK)

    def own(self, attack: str) -> Cell | None:
        """Return what an attack makes of the study as it is; ``None`` if it was not played."""
        return self.evidence.cells.get((attack, self.rule, self.kind))

    def plain(self, attack: str) -> Cell | None:
        """Return what an attack makes of the plain mean; ``None`` if not played, or if that is the study's rule."""
        return None if self.rule == MEAN else self.evidence.cells.get((attack, MEAN, self.kind))

    @property
    def has_plain(self) -> bool:
        """Whether the plain mean was played beside the study's own rule."""
        return any(self.plain(key) is not None for key in self.evidence.attacks)

    def verdict(self, attack: str) -> Verdict | None:
        """Return what the study as it is makes of an attack; ``None`` if it was not played."""
        if attack in self.evidence.rulings:
            return self.evidence.rulings[attack].verdict
        cell = self.own(attack)
        if cell is not None:
            return cell.verdict
        return None if self.evidence.attacks[attack].why_not is None else "not applicable"

    def by_concern(self) -> tuple[str, ...]:
        """Return every attack by its key, those that do most first."""
        order = {verdict: place for place, verdict in enumerate((*VERDICTS[:-1], None, VERDICTS[-1]))}

        def concern(attack: str) -> tuple[int, float]:
            cell = self.own(attack)
            loss = None if cell is None or cell.loss is None else cell.loss.value
            return order[self.verdict(attack)], -(loss or 0.0)

        return tuple(sorted(self.attacks, key=concern))

    def with_verdict(self, *verdicts: Verdict | None) -> tuple[str, ...]:
        """Return the attacks with one of these verdicts, those that do most first."""
        return tuple(attack for attack in self.by_concern() if self.verdict(attack) in verdicts)
