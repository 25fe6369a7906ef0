"""All that an audit plays: every attack that applies, by every attacker, on every rung of the ladder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sealround.audit.inversion.held import Judge
from sealround.audit.inversion.observing import victims as encoded
from sealround.audit.inversion.others import held_out
from sealround.audit.inversion.playing import INVERSIONS, Trial, play, why_not
from sealround.clinical.cohort import SplitName
from sealround.engines.audit.attacks import ATTACKS
from sealround.engines.audit.bounding import bounds_of
from sealround.engines.audit.capture import capture
from sealround.engines.audit.exposures import Exposure, Hidden, exposures, judged, observation, worst_off
from sealround.engines.audit.findings import Aim, Outcome, finding
from sealround.engines.audit.judged import outcome_of
from sealround.engines.audit.ladder import accuracy, rungs
from sealround.engines.audit.linkage import Lookup, link, others_listed, retrieve
from sealround.engines.audit.membership import released_membership, strangers_of, update_membership
from sealround.engines.audit.planting import plant, refused, unguarded
from sealround.engines.audit.properties import Effort, infer_property
from sealround.engines.audit.showing import shown
from sealround.engines.audit.two_worlds import two_worlds
from sealround.errors import PeerError, UnsupportedError
from sealround.learning.models import feature_names
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from sealround.audit.inversion.observation import Observation, Victims
    from sealround.audit.inversion.scoring import Kind
    from sealround.clinical import SiteCohort
    from sealround.engines.audit.attackers import AttackerKey
    from sealround.engines.audit.attacks import Attack
    from sealround.engines.audit.capture import Captured
    from sealround.engines.audit.ladder import Rung
    from sealround.study import Study

__all__ = ["Campaign", "Play", "Wishes"]

_TIMED = ("update-membership", "property")
"""Attacks that are no inversions and take a part of the budget."""

_SHARED = ("lira", "rmia")
"""The same, on the released model: they share their trainings, so that the first that is wanted plays both."""

_GALLERY = 1000
"""Images that a rebuilt one is looked up among, at most."""

_OTHERS = 512
"""Records of other patients that guesses are made from, at most."""

_LATER = 0.15
"""Share of the budget that training to a later round may take."""


class Wishes(Protocol):
    """What is asked for; see `sealround.engines.audit.audits.AuditWishes`."""

    @property
    def budget_s(self) -> float:
        """About how long to attack."""
        ...

    @property
    def seed(self) -> int:
        """Of every random choice of the attackers."""
        ...

    @property
    def attacks(self) -> tuple[str, ...] | None:
        """Which; ``None`` for all that apply."""
        ...

    @property
    def site(self) -> str | None:
        """Whose update is attacked; ``None`` for the site with fewest records."""
        ...

    @property
    def only_study(self) -> bool:
        """Attack no variants with less or more protection."""
        ...


@dataclass(frozen=True, slots=True)
class Play:
    """One part of an audit.

    Attributes:
        rung: Key of the rung.
        round: Of which round; 0 for the released model, or none.
        attacker: Who attacks.
        what: Word of the attack; ``bounds``, ``accuracy`` for what is no attack.
        seconds: Part of the budget.
    """

    rung: str
    round: int
    attacker: AttackerKey
    what: str
    seconds: float

    @property
    def words(self) -> tuple[str | int, ...]:
        """Its name among all of an audit."""
        return self.rung, self.round, self.attacker, self.what

    @property
    def doing(self) -> str:
        """What to tell who watches."""
        return ATTACKS[self.what].name if self.what in ATTACKS else self.what


@dataclass(frozen=True, slots=True, eq=False)
class _Target:
    """One exposure, ready to be attacked and judged."""

    exposure: Exposure
    seen: Observation
    victims: Victims
    others: Victims
    judge: Judge
    kind: Kind

    def aim(self, rung: str) -> Aim:
        exposure = self.exposure
        return Aim(
            rung=rung,
            attacker=exposure.attacker,
            round=exposure.round,
            site=exposure.site,
            sites_in_sum=len(exposure.members),
            examples=exposure.examples,
            unknowns=self.seen.unknowns,
        )


@dataclass(slots=True)
class Campaign:
    """Plans and plays an audit.

    Attributes:
        study: The study.
        cohorts: Each site's records.
        wishes: What is asked for.
        folder: For what the trainings keep.
        clock: Tells the time, in seconds.
        rungs: The ladder.
        plays: What is played, in order; known after `prepare`.
        skipped: What is not, and why.
    """

    study: Study
    cohorts: Mapping[PartyId, SiteCohort]
    wishes: Wishes
    folder: Path
    clock: Callable[[], float]
    rungs: tuple[Rung, ...] = ()
    plays: tuple[Play, ...] = ()
    skipped: dict[tuple[str, str], None] = field(default_factory=dict)
    _captured: dict[str, Captured] = field(default_factory=dict)
    _targets: dict[tuple[str, int, AttackerKey], _Target] = field(default_factory=dict)

    # --- the plan -----------------------------------------------------------------------------------------------------

    def prepare(self, decided: Mapping[str, Any] | None, tell: Callable[[str], None]) -> Mapping[str, Any]:
        """Train as far as is attacked, and plan.

        Args:
            decided: What an earlier start returned, which measured how long a training takes; ``None`` at the first.
            tell: Told of what is being done.

        Returns:
            What this start has decided.
        """
        ladder = rungs(self.study, len(self.cohorts), self._examples)
        self.rungs = tuple(rung for rung in ladder if rung.here or not self.wishes.only_study)
        here = self._here
        first: Captured | None = None
        if decided is None:
            began = self.clock()
            tell("training a round, to see what is sent")
            first = capture(here.study, self.cohorts, (1,), self.folder / here.key)
            whole = (self.clock() - began) * self.study.study.rounds * len(self.rungs)
            later = self.study.study.rounds > 1 and whole <= _LATER * self.wishes.budget_s
            decided = {"later": later, "accuracy": whole <= 2 * _LATER * self.wishes.budget_s}
        last = (self.study.study.rounds,) if decided["later"] else ()
        for rung in self.rungs:
            tell(f"training: {rung.label}")
            rounds = (1, *last) if rung.here else (1,)
            known = first if rung.here and not last else None
            self._captured[rung.key] = known or capture(rung.study, self.cohorts, rounds, self.folder / rung.key)
            self._expose(rung, rounds)
        self.plays = tuple(self._planned(with_accuracy=decided["accuracy"]))
        return decided

    @property
    def _examples(self) -> int:
        return int(sum(cohort.where(SplitName.TRAIN).size for cohort in self.cohorts.values()))

    @property
    def _here(self) -> Rung:
        return next(rung for rung in self.rungs if rung.here)

    def _expose(self, rung: Rung, rounds: Sequence[int]) -> None:
        captured = self._captured[rung.key]
        draw = np.random.default_rng(self.wishes.seed)
        others = held_out(captured.study, self.cohorts.values(), captured.statistics, draw, _OTHERS)
        for number in rounds:
            held: dict[bytes, AttackerKey] = {}
            for exposure in exposures(captured, number, target=self._site(captured)):
                if isinstance(exposure, Hidden):
                    self.skipped[exposure.attacker, exposure.why] = None
                    continue
                # Who plants a model sees what the curious coordinator sees, of another model.
                if exposure.attacker == "malicious-coordinator":
                    continue
                same = held.setdefault(hashlib.sha256(exposure.update.tobytes()).digest(), exposure.attacker)
                if same != exposure.attacker:
                    self.skipped[exposure.attacker, f"has no more of the update than the {same}"] = None
                # What a protection is worth shows against the coordinator; the others attack the study as written.
                elif rung.here or exposure.attacker == "coordinator":
                    self._targets[rung.key, number, exposure.attacker] = self._target(captured, exposure, others)

    def _site(self, captured: Captured) -> PartyId:
        return worst_off(captured)[0] if self.wishes.site is None else PartyId(self.wishes.site)

    def _target(self, captured: Captured, exposure: Exposure, others: Victims) -> _Target:
        # Events and times of survival cannot be searched for: who attacks such a study is taken to have them.
        given = self.study.task == "survival"
        seen = observation(captured, exposure, labels=given, cohorts=self.cohorts if given else None)
        victims = judged(captured, exposure, self.cohorts)
        kind = captured.inputs.kind
        return _Target(exposure, seen, victims, others, Judge(seen, victims, others, kind, self.wishes.seed), kind)

    def _planned(self, *, with_accuracy: bool) -> Iterator[Play]:
        """Exact attacks first, then what takes a fixed time, then searches; the study as written before variants."""
        order, here = sorted(self.rungs, key=lambda rung: not rung.here), self._here.key
        wanted = [ATTACKS[word] for word in self.wishes.attacks or ATTACKS]
        found = [(rung, key, attack) for rung in order for key, attack in self._applicable(rung, wanted)]
        shared = [attack.key for attack in wanted if attack.key in _SHARED][:1]
        timed = [attack for attack in wanted if attack.key in (*_TIMED, *shared)]
        shares = sum(attack.share for _, _, attack in found) + sum(attack.share for attack in timed) or 1.0
        a_share = self.wishes.budget_s / shares
        inversions = [Play(*key, attack.key, attack.share * a_share) for _, key, attack in found]
        yield from (each for each in inversions if ATTACKS[each.what].family == "exact")
        bounded = [rung.key for rung in order][:2]
        yield from (Play(*key, "bounds", 0.0) for key in self._targets if key[0] in bounded and key[2] == "coordinator")
        if (here, 1, "coordinator") in self._targets:
            planted = [attack for attack in wanted if attack.family == "malicious"]
            yield from (Play(here, 1, "malicious-coordinator", attack.key, 0.0) for attack in planted)
        if self.study.protection.sealed:
            yield Play(here, 1, "coordinator", "two-worlds", 0.0)
        if with_accuracy:
            yield from (Play(rung.key, 0, "reader", "accuracy", 0.0) for rung in order)
        yield from (each for each in inversions if ATTACKS[each.what].family != "exact")
        for attack in timed:
            for key in self._aimed(attack):
                yield Play(*key, attack.key, attack.share * a_share)

    def _aimed(self, attack: Attack) -> Iterator[tuple[str, int, AttackerKey]]:
        """Yield what an attack that is no inversion is aimed at: the study as written."""
        here = self._here.key
        if attack.by == ("reader",):
            yield here, 0, "reader"
            return
        for key, target in self._targets.items():
            if key[0] == here and key[1] == 1 and (attack.key != "property" or target.exposure.site is not None):
                yield key
                return

    def _applicable(
        self, rung: Rung, wanted: Sequence[Attack]
    ) -> Iterator[tuple[tuple[str, int, AttackerKey], Attack]]:
        for key, target in self._targets.items():
            if key[0] != rung.key:
                continue
            searched = False
            for attack in wanted:
                if attack.key not in INVERSIONS or target.exposure.attacker not in attack.by:
                    continue
                reason = why_not(attack.key, target.seen, target.kind)
                if reason is not None:
                    if rung.here:
                        self.skipped[attack.name, reason] = None
                    continue
                # Of searches, a variant has one: the first that applies.
                if attack.family == "exact" or rung.here or not searched:
                    yield key, attack
                searched = searched or attack.family == "optimisation"

    # --- a part of it -------------------------------------------------------------------------------------------------

    def play(self, part: Play) -> Mapping[str, Any]:
        """Play one part.

        Returns:
            What it gave, fit for JSON: ``findings``, ``bounds`` or ``accuracy``; ``showcase`` is what may be shown
            where records may be seen.
        """
        if part.what == "accuracy":
            rung = next(rung for rung in self.rungs if rung.key == part.rung)
            found = accuracy(rung.study, self.cohorts, self.folder / f"{rung.key}-whole")
            return {"accuracy": found.to_tree()}
        by_attacker = {"malicious-coordinator": self._planted, "reader": self._released}
        if part.attacker in by_attacker:
            return by_attacker[part.attacker](part)
        target = self._targets[part.rung, part.round, part.attacker]
        by_word = {
            "bounds": self._bounded,
            "two-worlds": self._two_worlds,
            "update-membership": self._took_part,
            "property": self._property,
        }
        return by_word.get(part.what, self._invert)(part, target)

    def _bounded(self, part: Play, target: _Target) -> Mapping[str, Any]:
        return {"bounds": bounds_of(part.rung, target.exposure, target.seen, target.victims, self._seed(part))}

    def _two_worlds(self, part: Play, target: _Target) -> Mapping[str, Any]:
        taken = self._captured[part.rung].rounds[target.exposure.round]
        return {"two_worlds": two_worlds(self.study, taken, seed=self._seed(part)).to_tree()}

    def _released(self, part: Play) -> Mapping[str, Any]:
        """Ask of the released model who took part; both attacks share their trainings."""
        both = [word for word in _SHARED if self._wants(word)]
        found = released_membership(self.study, self.cohorts, self._seed(part), part.seconds * len(both), self.clock)
        aim = Aim(
            rung=part.rung,
            attacker="reader",
            round=None,
            site=None,
            sites_in_sum=0,
            examples=self._examples,
            unknowns=0,
        )
        return {"findings": [finding(ATTACKS[word], aim, found[word]) for word in both]}

    def _took_part(self, part: Play, target: _Target) -> Mapping[str, Any]:
        captured, began = self._captured[part.rung], self.clock()
        strangers, references = (
            encoded(captured.study, parts, captured.statistics)
            for parts in strangers_of(target.exposure, self.cohorts, self._seed(part))
        )
        outcome = update_membership(target.seen, target.victims, strangers, references, self._seed(part))
        outcome = replace(outcome, seconds=self.clock() - began)
        return {"findings": [finding(ATTACKS[part.what], target.aim(part.rung), outcome)]}

    def _property(self, part: Play, target: _Target) -> Mapping[str, Any]:
        effort = Effort(self._seed(part), part.seconds, self.clock)
        statistics = self._captured[part.rung].statistics
        outcome = infer_property(self.study, self.cohorts, statistics, target.exposure, effort)
        return {"findings": [finding(ATTACKS[part.what], target.aim(part.rung), outcome)]}

    def _invert(self, part: Play, target: _Target) -> Mapping[str, Any]:
        attack, seed = ATTACKS[part.what], self._seed(part)
        others = target.others.inputs
        played = play(part.what, target.seen, Trial(part.seconds, seed, self.clock, others))
        granted = (*played.granted, *target.exposure.granted)
        if played.reconstruction is None:
            outcome = Outcome(status=played.status, why=played.why, granted=granted)
            return {"findings": [finding(attack, target.aim(part.rung), outcome)]}
        judgement = target.judge.judge(played.reconstruction)
        draw = np.random.default_rng(seed)
        outcome = outcome_of(played.reconstruction, judgement, played.status, granted, draw)
        found: dict[str, Any] = {"findings": [finding(attack, target.aim(part.rung), outcome)]}
        captured = self._captured[part.rung]
        names = feature_names(self.study, captured.inputs, captured.statistics)
        held = target.judge.worst(played.reconstruction, judgement)
        if held is not None:
            found["showcase"] = shown(self.study, captured.statistics.layout, names, held)
        looked_up = self._look_up(part, target, target.judge.raw(played.reconstruction), judgement.rebuilt, names)
        if looked_up is not None:
            found["findings"].append(looked_up)
        return found

    def _look_up(
        self, part: Play, target: _Target, rebuilt: np.ndarray, given: np.ndarray, names: tuple[str, ...]
    ) -> dict[str, Any] | None:
        """Look rebuilt records up in a list of people; ``None`` where that is not wanted, or nothing was rebuilt."""
        key = {"table": "linkage", "image": "retrieval"}.get(target.kind)
        if key is None or not len(rebuilt) or not self._wants(key):
            return None
        captured, seed = self._captured[part.rung], self._seed(part)
        listed = others_listed(target.exposure, self.cohorts, seed, _GALLERY if key == "retrieval" else None)
        others = encoded(captured.study, listed, captured.statistics)
        lookup = Lookup(rebuilt, given, target.judge.people(others))
        if key == "retrieval":
            outcome = retrieve(lookup)
        else:
            outcome = link(self.study, captured.statistics.layout, names, lookup, seed)
        note = f"of what {ATTACKS[part.what].name} rebuilt" + ("" if outcome.note is None else f"; {outcome.note}")
        return finding(ATTACKS[key], target.aim(part.rung), replace(outcome, note=note))

    def _planted(self, part: Play) -> Mapping[str, Any]:
        """Send a planted model through the study's own first round."""
        attack, captured = ATTACKS[part.what], self._captured[part.rung]
        target = self._targets[part.rung, part.round, "coordinator"]
        aim = replace(target.aim(part.rung), attacker=part.attacker)
        granted = (*target.exposure.granted, ("model", "planted by the attacker"))
        try:
            model, read = plant(part.what, captured, target.exposure.examples, self._seed(part))
        except UnsupportedError as error:
            return {"findings": [finding(attack, aim, Outcome(status="not applicable", why=error.message))]}
        try:
            taken = capture(
                captured.study, self.cohorts, (1,), self.folder / f"{part.rung}-{part.what}", planted=lambda *_: model
            )
        except PeerError as error:
            sent = unguarded(captured, self.cohorts, target.exposure.members, model)
            records = read(sent)
            return {"findings": [finding(attack, aim, refused(error.message, target.judge, records, granted))]}
        (exposed,) = [
            each
            for each in exposures(taken, 1, target=self._site(captured))
            if isinstance(each, Exposure) and each.attacker == part.attacker
        ]
        rebuilt = target.judge.reconstruction(attack.name, read(exposed.update.astype(np.float32)))
        judgement = target.judge.judge(rebuilt)
        outcome = outcome_of(rebuilt, judgement, "done", granted, np.random.default_rng(self._seed(part)))
        return {"findings": [finding(attack, aim, outcome)]}

    def _wants(self, attack: str) -> bool:
        return self.wishes.attacks is None or attack in self.wishes.attacks

    def _seed(self, part: Play) -> int:
        """Return a seed of its own for each part, whatever was played before it."""
        text = f"{self.wishes.seed}\x00{part.words}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:6])

    @property
    def kind(self) -> Kind:
        """What an example is."""
        return self._captured[self._here.key].inputs.kind

    @property
    def captured(self) -> Captured:
        """The training of the study as written."""
        return self._captured[self._here.key]
