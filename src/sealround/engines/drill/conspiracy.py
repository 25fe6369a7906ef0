"""What lying sites know and agree on in one training, and the sites that take part in it.

Honest sites answer first in every round, so whoever lies sees their updates, as someone who guesses them from similar
data would. A site's `LocalWork` is all that a drill exchanges.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.data_poisoning import DATA_ATTACKS, Delivery, deliver
from sealround.audit.poisoning import ATTACKS, Knowledge, Mimicry, Scene, play, watch
from sealround.errors import ThresholdError, UsageError
from sealround.federation.interfaces import EvaluateOrder
from sealround.federation.judgement import RuleMemory, judge
from sealround.federation.plan import FEDERATED
from sealround.federation.randomness import stream
from sealround.federation.summation import Rows
from sealround.learning import TorchWork

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.clinical import SiteCohort
    from sealround.engines.drill.plays import Play
    from sealround.federation import Plan, TrainedModel
    from sealround.federation.interfaces import TrainOrder, TrainOutcome
    from sealround.study import Study
    from sealround.vocabulary import PartyId, Update, Updates
    from sealround.wire import Value

    Sent = Callable[[PartyId, TrainOrder, TrainOutcome], TrainOutcome]

__all__ = ["Conspirators", "Honest", "Liar", "Script", "Trusting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Who lies, how, and until when.

    Attributes:
        play: The attack.
        liars: Who lies, sorted.
        last_lie: The last round in which they do.
        poisoned: What each of them trains on until then; empty where the attack leaves records alone.
        sent: What becomes of an update on its way, whoever sends it: sums that are sealed have a range.
    """

    play: Play
    liars: tuple[PartyId, ...]
    last_lie: int
    poisoned: Mapping[PartyId, SiteCohort]
    sent: Sent


@dataclass(slots=True)
class _Round:
    """What is known of the running round.

    Attributes:
        number: Which.
        honest: What honest sites send.
        lies: What liars send.
    """

    number: int
    honest: dict[PartyId, TrainOutcome] = field(default_factory=dict)
    lies: dict[PartyId, TrainOutcome] = field(default_factory=dict)


class Conspirators:
    """The lying sites of one training.

    Args:
        plan: Of the training.
        script: Who lies, and how.
        cohorts: The liars' true records.
        began: Told of each round before anybody trains.

    Attributes:
        why_not: Why the attack cannot exist in this training, once that turns out.
    """

    def __init__(
        self,
        plan: Plan,
        script: Script,
        cohorts: Mapping[PartyId, SiteCohort],
        began: Callable[[TrainOrder], None],
    ) -> None:
        self._plan = plan
        self._began = began
        self._script = script
        self._true = {site: Trusting(plan.study, cohorts[site]) for site in script.liars}
        self._false = {site: Trusting(plan.study, cohort) for site, cohort in script.poisoned.items()}
        self.why_not: str | None = None
        self._played = False
        self._asked: frozenset[PartyId] = frozenset()
        self._round = _Round(0)
        self._memories: dict[PartyId, Mapping[str, Value]] = {}
        self._mimicry: tuple[tuple[PartyId, ...], Mimicry] | None = None
        name = script.play.update
        self._knows_rule = name is not None and Knowledge.RULE in ATTACKS[name].knows
        self._memory = RuleMemory()
        self._last_model: Update | None = None
        self._last_change: Update | None = None

    @property
    def parameters(self) -> int | None:
        """How many the model has; ``None`` before the first round."""
        return None if self._last_model is None else self._last_model.size

    def wave(self, asked: frozenset[PartyId]) -> None:
        """Learn who is asked at the same time."""
        self._asked = asked

    def saw(self, site: PartyId, order: TrainOrder, outcome: TrainOutcome) -> TrainOutcome:
        """Learn what an honest site sends, and return it as it is sent."""
        self._round.honest[site] = self._script.sent(site, order, outcome)
        return self._round.honest[site]

    def lie(self, site: PartyId, order: TrainOrder) -> TrainOutcome:
        """Return what one liar sends; what the others will send is settled with it.

        Raises:
            UsageError: If the attack cannot exist in this training.
        """
        self.begin(order)
        if site not in self._round.lies:
            self._round.lies = self._settled(order)
        return self._round.lies[site]

    def begin(self, order: TrainOrder) -> None:
        """Learn that a round has begun; every site that is asked to train says so."""
        if order.round == self._round.number:
            return
        if order.round < self._round.number:  # a gate has the rounds trained anew, without somebody
            self._memory, self._last_model, self._last_change = RuleMemory(), None, None
        else:
            self._remember()
        self._round = _Round(order.round)
        if self._last_model is not None:
            self._last_change = order.model - self._last_model
        self._last_model = order.model
        self._began(order)

    def _settled(self, order: TrainOrder) -> dict[PartyId, TrainOutcome]:
        lying = order.round <= self._script.last_lie
        present = [site for site in self._script.liars if site in self._asked]
        own = {site: self._train(site, order, lying=lying) for site in present}
        told = self._told(order, own) if lying else own
        return {site: self._script.sent(site, order, told[site]) for site in present}

    def _train(self, site: PartyId, order: TrainOrder, *, lying: bool) -> TrainOutcome:
        work = self._false.get(site, self._true[site]) if lying else self._true[site]
        outcome = work.train(replace(order, memory=self._memories.get(site, {})))
        self._memories[site] = outcome.memory
        return outcome

    def _told(self, order: TrainOrder, own: Mapping[PartyId, TrainOutcome]) -> Mapping[PartyId, TrainOutcome]:
        """Return what liars send in place of what they learned."""
        name, data = self._script.play.update, self._script.play.data
        learned = np.stack([outcome.update for outcome in own.values()])
        if name is not None:
            try:
                lie = play(name, self._scene(order, own, learned))
            except UsageError as error:
                if not self._played:
                    self.why_not = error.message  # a site's errors reach nobody but as its refusal
                if self._plan.study.training.participation >= 1.0:
                    raise
                return own  # in a round with other sites it may be possible
            self._played, self.why_not = True, None
            claims = [outcome.weight for outcome in own.values()] if lie.examples is None else lie.examples.tolist()
            return _instead(own, lie.updates, claims)
        if data is None or DATA_ATTACKS[data].delivery is Delivery.PLAIN:
            return own
        updates = deliver(DATA_ATTACKS[data].delivery, learned, share=self._share(own), last_change=self._last_change)
        return _instead(own, updates, [outcome.weight for outcome in own.values()])

    def _share(self, own: Mapping[PartyId, TrainOutcome]) -> float:
        """Return the liars' part in a plain mean of this round."""
        mine = sum(outcome.weight for outcome in own.values())
        everybody = mine + sum(outcome.weight for outcome in self._round.honest.values())
        return mine / everybody if mine else 1.0

    def _scene(self, order: TrainOrder, own: Mapping[PartyId, TrainOutcome], learned: Updates) -> Scene:
        """Return the round as the liars see it. Who has no training records sends nothing that counts."""
        counted = {site: outcome for site, outcome in sorted(self._round.honest.items()) if outcome.weight}
        honest = np.stack([outcome.update for outcome in counted.values()]) if counted else None
        examples = np.array([outcome.weight for outcome in counted.values()])
        generator = stream(self._plan.study.study.seed, "drill", self._script.play.key, order.round)
        return Scene(
            parameters=order.model.size,
            sites=len(counted) + len(own),
            num_byzantine=len(own),
            generator=generator,
            own=learned,
            honest=honest,
            rule=self._rule(counted | dict(own)),
            examples=examples if counted else None,
            last_change=np.zeros_like(order.model) if self._last_change is None else self._last_change,
            mimicry=self._watch(tuple(counted), honest, generator),
        )

    def _watch(
        self, sites: tuple[PartyId, ...], honest: Updates | None, generator: np.random.Generator
    ) -> Mimicry | None:
        """Go on watching the same honest sites; when others take part, begin anew."""
        if self._script.play.update != "mimic" or honest is None:
            return None
        before = self._mimicry[1] if self._mimicry is not None and self._mimicry[0] == sites else None
        seen = watch(honest, generator, before)
        self._mimicry = sites, seen
        return seen

    def _rule(self, sent: Mapping[PartyId, TrainOutcome]) -> Callable[[Updates], Update]:
        """Return the rule as it will be applied: from updates, in the order of ``sent``, to their aggregate."""
        plan, sites, weights = self._plan, tuple(sent), [outcome.weight for outcome in sent.values()]
        if plan.rule is None:
            parts = (np.array(weights) / (sum(weights) or 1.0)).astype(np.float32)
            return lambda updates: parts @ updates

        def judged(updates: Updates) -> Update:
            rows = Rows(tuple(sorted(sites)))
            for site, weight, update in zip(sites, weights, updates, strict=True):
                rows.add(site, weight, update)
            # A copy: what is only tried is not remembered.
            return judge(plan, RuleMemory(self._memory.aggregate, dict(self._memory.sites)), rows).update

        return judged

    def _remember(self) -> None:
        """Follow what the rule keeps between rounds: who sees all updates knows that, too."""
        sent = {site: outcome for site, outcome in (self._round.honest | self._round.lies).items() if outcome.weight}
        if not self._knows_rule or self._plan.rule is None or not sent:
            return
        rows = Rows(tuple(sorted(sent)))
        for site, outcome in sent.items():
            rows.add(site, outcome.weight, outcome.update)
        with contextlib.suppress(ThresholdError):
            judge(self._plan, self._memory, rows)


def _instead(own: Mapping[PartyId, TrainOutcome], updates: Updates, claims: list[float]) -> dict[PartyId, TrainOutcome]:
    return {
        site: replace(outcome, update=np.array(update, dtype=np.float32), weight=float(claim))
        for (site, outcome), update, claim in zip(own.items(), updates, claims, strict=True)
    }


class Trusting(TorchWork):
    """A site that trains on every model: where a lie moved it too far, a real one would refuse, and no harm be seen."""

    looks_at_models = False


class Honest(Trusting):
    """A site that does as it should; who lies sees what it sends.

    Args:
        study: The study.
        cohort: The site's records.
        conspirators: Who lies.
        measure: Told of the released model, as this site is asked to test it.
    """

    def __init__(
        self,
        study: Study,
        cohort: SiteCohort,
        conspirators: Conspirators,
        measure: Callable[[Honest, EvaluateOrder, int | None], None],
    ) -> None:
        super().__init__(study, cohort)
        self.site = cohort.site
        self._conspirators = conspirators
        self._measure = measure
        self._kept: Mapping[str, Value] = {}

    def as_used(self, model: TrainedModel) -> EvaluateOrder:
        """Return the order to test a model that it was not asked to test."""
        return EvaluateOrder(
            FEDERATED, model.vector, model.statistics, model.threshold, model.calibration, memory=self._kept
        )

    def as_trained(self, order: TrainOrder) -> EvaluateOrder:
        """Return the order to test the model that a round begins with."""
        model = order.model if order.candidate is None else order.candidate
        return EvaluateOrder(FEDERATED, model, order.statistics, threshold=0.5, memory=self._kept)

    def train(self, order: TrainOrder) -> TrainOutcome:
        """Train as it should."""
        if order.job != FEDERATED:  # a gate may ask for a model of the site's own
            return super().train(order)
        self._conspirators.begin(order)
        outcome = super().train(order)
        self._kept = outcome.memory
        return self._conspirators.saw(self.site, order, outcome)

    def evaluate(self, order: EvaluateOrder) -> Mapping[str, Value]:
        """Test the released model."""
        self._measure(self, order, None)
        return super().evaluate(order)


class Liar(Trusting):
    """A site that sends what the conspirators agree on. Of all but its update it tells the truth."""

    def __init__(self, study: Study, cohort: SiteCohort, conspirators: Conspirators) -> None:
        super().__init__(study, cohort)
        self._site = cohort.site
        self._conspirators = conspirators

    def train(self, order: TrainOrder) -> TrainOutcome:
        """Send what was agreed on."""
        if order.job != FEDERATED:
            return super().train(order)
        return self._conspirators.lie(self._site, order)
