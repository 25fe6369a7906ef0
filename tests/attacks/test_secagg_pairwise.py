"""Attacks on a pairwise round, each played twice: refused as things are, and a success once its countermeasure is out.

The attacker is the server (it forges what it relays) or a site. What it must not get is a share of both seeds of one
site, the key of a mask, or a site's word on something it did not agree to.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sealround.crypto import Lagrange, OpeningKey, Secret, VerifyingKey, add_masks
from sealround.errors import MalformedMessageError, PeerError, PolicyDeniedError, ProtocolViolationError
from sealround.secagg import manifest as manifests
from sealround.secagg.manifest import RoundManifest
from sealround.secagg.pairwise import PairwiseServer, PairwiseSite, ServerStage, SiteState, site, statements
from sealround.secagg.pairwise import server as servers
from sealround.secagg.pairwise.keys import pair_mask_key, pair_seed, self_mask_key
from sealround.secagg.pairwise.messages import (
    ConsentList,
    KeyList,
    MaskedInput,
    Message,
    ShareKeys,
    Shares,
    Start,
    SurvivorSet,
    UnmaskShares,
    pack,
    unpack,
)
from sealround.secagg.pairwise.rehearsal import Rehearsal, rehearsed_manifest
from sealround.secagg.policy import SitePolicy, VolatileRecord
from sealround.vocabulary import COORDINATOR, PartyId

N = 4
SITES = [PartyId(f"site-{index:03d}") for index in range(N)]
VICTIM, OTHER = SITES[1], SITES[2]


def at(stage: ServerStage, plan: RoundManifest | None = None, policy: SitePolicy | None = None) -> Rehearsal:
    """A rehearsal that the server has brought to a stage, its messages not yet delivered."""
    rehearsal = Rehearsal(plan or rehearsed_manifest(N), policy)
    while rehearsal.round.server.stage is not stage:
        rehearsal.round.step()
    return rehearsal


def opened(payload: bytes) -> Any:
    return unpack(payload, sender="test", limit=2**24)[1]


def deliver(rehearsal: Rehearsal, message: Message, to: PartyId = VICTIM) -> Any:
    """Hand a forged message to a site; its decoded reply."""
    reply = rehearsal.round.sites[to].handle(pack(message, rehearsal.manifest.hash))
    return None if reply is None else opened(reply)


def refused(rehearsal: Rehearsal, message: Message, culprit: str, match: str) -> None:
    """The site refuses, names the culprit, and has erased everything."""
    with pytest.raises(PeerError, match=match) as caught:
        deliver(rehearsal, message)
    assert caught.value.party == culprit
    machine = rehearsal.round.sites[VICTIM]
    assert machine.state is SiteState.ABORTED
    assert machine._round is machine._entropy is None


def without_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VerifyingKey, "verify", lambda *_, **__: None)


# --- different models -------------------------------------------------------------------------------------------------


def two_models(rehearsal: Rehearsal) -> None:
    """The victim trains on a model of its own, and its manifest says so: it has no way to see it alone."""
    planted = dataclasses.replace(rehearsal.manifest, model_hash=hashlib.sha256(b"planted").digest())
    machine = rehearsal.round.sites[VICTIM]
    machine._expected = dataclasses.replace(machine._expected, model_hash=planted.model_hash)
    rehearsal.round.inbox[VICTIM] = pack(Start(planted.encoded), planted.hash)


def test_two_models_in_one_round_give_no_sum() -> None:
    rehearsal = Rehearsal(rehearsed_manifest(N))
    two_models(rehearsal)
    with pytest.raises(ProtocolViolationError, match="another round") as caught:
        rehearsal.round.run()
    assert caught.value.party == VICTIM


def test_two_models_in_one_round_give_no_sum_whatever_the_server_relays() -> None:
    """A server that rewrites the round's hash on every message still cannot make signatures verify."""
    rehearsal = at(ServerStage.SHARES)
    keys: KeyList = opened(rehearsal.round.inbox[VICTIM])
    rehearsal.records[VICTIM] = VolatileRecord()
    rehearsal.round.sites[VICTIM] = machine = rehearsal.machine(VICTIM)
    two_models(rehearsal)
    reply = machine.handle(rehearsal.round.inbox[VICTIM])
    assert reply is not None
    planted_hash = machine.manifest.hash
    with pytest.raises(PeerError, match="does not verify"):
        machine.handle(pack(KeyList({**keys.keys, VICTIM: opened(reply)}), planted_hash))
    assert machine.state is SiteState.ABORTED


def test_it_bites_without_the_model_in_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RoundManifest, "hash", property(lambda _: bytes(32)))
    rehearsal = Rehearsal(rehearsed_manifest(N))
    two_models(rehearsal)
    assert np.array_equal(rehearsal.round.run(), rehearsal.total())


def test_a_site_refuses_a_model_it_was_not_sent() -> None:
    rehearsal = Rehearsal(rehearsed_manifest(N))
    for changes in ({"model_hash": bytes(32)}, {"plan_hash": bytes(32)}, {"length": 99}):
        planted = dataclasses.replace(rehearsal.manifest, **changes)
        with pytest.raises(PolicyDeniedError, match="not the one this site trains for"):
            rehearsal.machine(VICTIM).handle(pack(Start(planted.encoded), planted.hash))


# --- alive to some, dead to others ------------------------------------------------------------------------------------


def split_view(rehearsal: Rehearsal, told_dead: PartyId, deceived: PartyId) -> UnmaskShares:
    """All but one are told that everybody is alive; that one, that a site is dead; it is shown the others' consents."""
    rest = tuple(site for site in SITES if site != told_dead)
    deliver(rehearsal, SurvivorSet(rest), to=deceived)
    consents = {s: deliver(rehearsal, opened(rehearsal.round.inbox[s]), to=s).signature for s in rest if s != deceived}
    own = consents[next(iter(consents))]
    reply: UnmaskShares = deliver(rehearsal, ConsentList({**consents, deceived: own}), to=deceived)
    return reply


def test_two_survivor_sets_get_no_share() -> None:
    rehearsal = at(ServerStage.CONSENTS)
    with pytest.raises(PeerError, match="survivors") as caught:
        split_view(rehearsal, told_dead=VICTIM, deceived=OTHER)
    assert caught.value.party in SITES
    assert rehearsal.round.sites[OTHER]._round is None


def test_it_bites_without_signatures_on_the_survivor_set(monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsal = at(ServerStage.CONSENTS)
    without_signatures(monkeypatch)
    assert VICTIM in split_view(rehearsal, told_dead=VICTIM, deceived=OTHER).master_shares


def test_too_few_consents_get_no_share() -> None:
    rehearsal = at(ServerStage.UNMASKING)
    consents = opened(rehearsal.round.inbox[VICTIM]).signatures
    few = dict(list(consents.items())[: rehearsal.manifest.threshold - 1])
    refused(rehearsal, ConsentList(few), COORDINATOR, "signatures on the survivor set")


# --- both shares of one site ------------------------------------------------------------------------------------------


def both_seeds(rehearsal: Rehearsal) -> np.ndarray:
    """Ask everybody for the shares of the self seed, then of the master seed of the victim; unmask its vector."""
    H, masked = rehearsal.manifest.hash, rehearsal.round._vectors[VICTIM].copy()
    sharings: dict[PartyId, ShareKeys] = rehearsal.round.server._sharings
    dead = tuple(site for site in SITES if site != VICTIM)
    seeds = []
    for survivors, kind in ((tuple(SITES), "self_shares"), (dead, "master_shares")):
        consents = {site: deliver(rehearsal, SurvivorSet(survivors), to=site).signature for site in survivors}
        answers = {s: deliver(rehearsal, ConsentList(consents), to=s) for s in survivors}
        shares = {SITES.index(s) + 1: Secret(getattr(answer, kind)[VICTIM]) for s, answer in answers.items()}
        threshold = rehearsal.manifest.share_threshold
        seeds.append(Lagrange(shares, threshold=threshold).reconstruct(shares))
    key = servers.seed_key(seeds[1], H, VICTIM)
    plus, minus = [self_mask_key(seeds[0], H, VICTIM)], []
    for other in dead:
        if other > VICTIM:
            plus.append(pair_mask_key(pair_seed(seeds[1], H, VICTIM, other), H, VICTIM, other))
        else:
            found = Secret(key.open(sharings[other].boxes[VICTIM].pair, H, "pair", other, VICTIM, sender=other))
            minus.append(pair_mask_key(found, H, other, VICTIM))
    add_masks(masked, plus=minus, minus=plus)
    return masked


def test_asking_for_both_seeds_in_two_messages_gets_one() -> None:
    rehearsal = at(ServerStage.CONSENTS)
    with pytest.raises(ProtocolViolationError, match="not allowed while done") as caught:
        both_seeds(rehearsal)
    assert caught.value.party == COORDINATOR


def test_it_bites_where_a_site_answers_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the whole vector of the victim is read."""
    answer_once = PairwiseSite._unmask

    def answer_again(machine: PairwiseSite, message: ConsentList) -> UnmaskShares:
        remembered = machine._round
        reply = answer_once(machine, message)
        machine._round, machine._state = remembered, SiteState.SUBMITTED
        return reply

    monkeypatch.setattr(PairwiseSite, "_unmask", answer_again)
    rehearsal = at(ServerStage.CONSENTS)
    assert np.array_equal(both_seeds(rehearsal), rehearsal.vectors[VICTIM])


def test_a_survivor_who_never_shared_is_refused() -> None:
    sharers = [*SITES, "site-004", "site-005"]
    for survivors in ([*sharers, "site-006"], ["mallory", *sharers]):
        rehearsal = Rehearsal(rehearsed_manifest(7))
        for _ in range(3):
            rehearsal.round.step(absent=[PartyId("site-006")])
        refused(rehearsal, SurvivorSet(tuple(map(PartyId, survivors))), COORDINATOR, "not there before")


def test_a_survivor_named_twice_does_not_decode() -> None:
    rehearsal = at(ServerStage.CONSENTS)
    with pytest.raises(MalformedMessageError, match="each once"):
        deliver(rehearsal, SurvivorSet((*SITES, SITES[-1])))
    assert rehearsal.round.sites[VICTIM].state is SiteState.SUBMITTED


# --- swapped keys, Sybil sites ----------------------------------------------------------------------------------------


def swapped_key(rehearsal: Rehearsal) -> tuple[KeyList, OpeningKey]:
    keys: KeyList = opened(rehearsal.round.inbox[VICTIM])
    mine = OpeningKey(bytes(96))
    return KeyList({**keys.keys, OTHER: dataclasses.replace(keys.keys[OTHER], share_key=mine.public)}), mine


def test_a_swapped_key_is_refused() -> None:
    rehearsal = at(ServerStage.SHARES)
    refused(rehearsal, swapped_key(rehearsal)[0], OTHER, "does not verify")


def test_it_bites_without_signatures_on_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsal = at(ServerStage.SHARES)
    without_signatures(monkeypatch)
    message, mine = swapped_key(rehearsal)
    reply: ShareKeys = deliver(rehearsal, message)
    shares = mine.open(reply.boxes[OTHER].shares, rehearsal.manifest.hash, "share", VICTIM, OTHER, sender=VICTIM)
    assert len(shares) == 64


def sybil(rehearsal: Rehearsal) -> RoundManifest:
    roster = (*rehearsal.manifest.roster[:-1], ("site-999", bytes(32)))
    return dataclasses.replace(rehearsal.manifest, roster=roster)


def test_a_site_nobody_registered_is_refused() -> None:
    rehearsal = Rehearsal(rehearsed_manifest(N))
    planted = sybil(rehearsal)
    with pytest.raises(ProtocolViolationError, match="not the registered one"):
        rehearsal.machine(VICTIM).handle(pack(Start(planted.encoded), planted.hash))


def test_it_bites_without_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairwiseSite, "_check_roster", lambda *_: None)
    rehearsal = Rehearsal(rehearsed_manifest(N))
    planted = sybil(rehearsal)
    assert rehearsal.machine(VICTIM).handle(pack(Start(planted.encoded), planted.hash))


# --- floors, replays, differencing ------------------------------------------------------------------------------------


def enter(rehearsal: Rehearsal, plan: RoundManifest) -> bytes | None:
    return rehearsal.machine(VICTIM, entropy=f"round {plan.round}").handle(pack(Start(plan.encoded), plan.hash))


FLOORS: list[tuple[dict[str, Any], SitePolicy, str]] = [
    ({"n_min": 2}, SitePolicy(n_min=3, threshold=2), "a sum of 2 sites"),
    ({}, SitePolicy(n_min=2, threshold=4), "the threshold is 3"),
    ({"degree": 2, "share_threshold": 2}, SitePolicy(n_min=2, threshold=2), "the complete graph only"),
    ({"degree": 2, "share_threshold": 2}, SitePolicy(2, 2, min_degree=3), "2 neighbours"),
]


@pytest.mark.parametrize(("changes", "policy", "rule"), FLOORS)
def test_the_coordinator_cannot_lower_a_floor(changes: dict[str, Any], policy: SitePolicy, rule: str) -> None:
    rehearsal = Rehearsal(rehearsed_manifest(N, **changes), policy)
    with pytest.raises(PolicyDeniedError, match=r"does not take part") as caught:
        enter(rehearsal, rehearsal.manifest)
    assert rule in " ".join(caught.value.decision)
    assert rehearsal.records[VICTIM].last_round("rehearsal", rehearsal.manifest.session) is None


@pytest.mark.parametrize(("changes", "policy", "_rule"), FLOORS)
def test_it_bites_without_floors(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], policy: SitePolicy, _rule: str
) -> None:
    monkeypatch.setattr(SitePolicy, "refusals", lambda *_: ())
    rehearsal = Rehearsal(rehearsed_manifest(N, **changes), policy)
    assert enter(rehearsal, rehearsal.manifest)


def low_threshold(monkeypatch: pytest.MonkeyPatch) -> bytes:
    with monkeypatch.context() as patched:
        patched.setattr(manifests, "quorum", lambda _: 2)
        return rehearsed_manifest(N, threshold=2, share_threshold=3, degree=2, n_min=2).encoded


def test_a_threshold_below_two_thirds_is_no_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MalformedMessageError, match="above two thirds"):
        RoundManifest.decode(low_threshold(monkeypatch), sender=COORDINATOR)


def test_it_bites_without_the_quorum(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = low_threshold(monkeypatch)
    monkeypatch.setattr(manifests, "quorum", lambda _: 2)
    assert RoundManifest.decode(encoded, sender=COORDINATOR).threshold == 2


def replay(rehearsal: Rehearsal) -> bytes | None:
    enter(rehearsal, dataclasses.replace(rehearsal.manifest, round=5))
    return enter(rehearsal, dataclasses.replace(rehearsal.manifest, round=4))


def test_a_round_number_does_not_come_back() -> None:
    rehearsal = Rehearsal(rehearsed_manifest(N))
    with pytest.raises(PolicyDeniedError) as caught:
        replay(rehearsal)
    assert "entered once" in caught.value.decision[0]
    with pytest.raises(PolicyDeniedError):
        enter(rehearsal, dataclasses.replace(rehearsal.manifest, round=5))


def test_it_bites_without_the_round_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VolatileRecord, "last_round", lambda *_: None)
    assert replay(Rehearsal(rehearsed_manifest(N)))


def test_the_round_is_written_down_before_anything_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(VolatileRecord, "enter", full_disk)
    monkeypatch.setattr(site.RoundSecrets, "of", lambda *_: pytest.fail("a secret was derived first"))
    rehearsal = Rehearsal(rehearsed_manifest(N))
    with pytest.raises(OSError, match="no space"):
        enter(rehearsal, rehearsal.manifest)


def differencing(rehearsal: Rehearsal) -> bytes | None:
    """A second round without one site: the difference of the sums is about that site."""
    enter(rehearsal, rehearsal.manifest)
    smaller = dataclasses.replace(rehearsal.manifest, round=2, roster=rehearsal.manifest.roster[:-1], degree=2)
    return enter(rehearsal, smaller)


def test_rosters_that_differ_by_one_site_are_refused() -> None:
    with pytest.raises(PolicyDeniedError) as caught:
        differencing(Rehearsal(rehearsed_manifest(N)))
    assert "differs from a past one by 1" in caught.value.decision[0]


def test_it_bites_without_past_rosters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VolatileRecord, "rosters", lambda *_: ())
    assert differencing(Rehearsal(rehearsed_manifest(N)))


# --- malicious sites --------------------------------------------------------------------------------------------------


def bad_share(rehearsal: Rehearsal) -> tuple[bytes, Callable[[], Any]]:
    """A site that answers with a share of its own making."""
    answer: UnmaskShares = opened(rehearsal.round.answer(VICTIM))
    forged = UnmaskShares({**answer.self_shares, OTHER: bytes(32)}, answer.master_shares)
    payload = pack(forged, rehearsal.manifest.hash)
    return payload, lambda: rehearsal.round.server.receive(VICTIM, payload)


def test_a_forged_share_is_refused_and_its_sender_named() -> None:
    rehearsal = at(ServerStage.UNMASKING)
    _, send = bad_share(rehearsal)
    with pytest.raises(PeerError, match=f"its share of {OTHER}") as caught:
        send()
    assert caught.value.party == VICTIM
    for other in SITES:
        if other != VICTIM:
            rehearsal.round.server.receive(other, rehearsal.round.answer(other))
    rehearsal.round.server.deadline()
    assert np.array_equal(rehearsal.round.server.total, rehearsal.total())


def test_it_bites_without_commitments_to_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed comes out wrong, and its owner would be blamed."""
    monkeypatch.setattr(PairwiseServer, "_check_answer", lambda *_: None)
    rehearsal = at(ServerStage.UNMASKING)
    bad_share(rehearsal)[1]()
    for honest in (SITES[0], OTHER):
        rehearsal.round.server.receive(honest, rehearsal.round.answer(honest))
    with pytest.raises(PeerError, match="not the one it committed to") as caught:
        rehearsal.round.server.deadline()
    assert caught.value.party == OTHER


def test_a_dealer_whose_shares_are_not_what_it_committed_to_is_named() -> None:
    rehearsal = at(ServerStage.INPUTS)
    message: Shares = opened(rehearsal.round.inbox[VICTIM])
    relayed = message.boxes[OTHER]
    dealer = rehearsal.identities[OTHER].key
    statement = statements.box(
        rehearsal.manifest.hash, OTHER, VICTIM, (relayed.box.shares, relayed.box.pair), bytes(64)
    )
    box = dataclasses.replace(relayed.box, signature=dealer.sign(statements.BOX, statement))
    forged = dataclasses.replace(relayed, box=box, commitments=bytes(64))
    refused(rehearsal, Shares(message.sharers, {**message.boxes, OTHER: forged}), OTHER, "do not open its commitments")


def test_a_box_moved_to_another_place_is_refused() -> None:
    rehearsal = at(ServerStage.INPUTS)
    message: Shares = opened(rehearsal.round.inbox[VICTIM])
    swapped = {**message.boxes, SITES[2]: message.boxes[SITES[3]], SITES[3]: message.boxes[SITES[2]]}
    refused(rehearsal, Shares(message.sharers, swapped), SITES[2], "does not verify")


def test_a_withheld_box_is_refused() -> None:
    rehearsal = at(ServerStage.INPUTS)
    message: Shares = opened(rehearsal.round.inbox[VICTIM])
    fewer = {sender: relayed for sender, relayed in message.boxes.items() if sender != OTHER}
    refused(rehearsal, Shares(message.sharers, fewer), COORDINATOR, "not those of this site's neighbours")


# --- malformed vectors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forge", ["short", "long", "float", "trailing", "foreign signature"])
def test_a_vector_that_is_not_one_is_refused_and_its_sender_named(forge: str) -> None:
    rehearsal = at(ServerStage.INPUTS)
    H, payload = rehearsal.manifest.hash, rehearsal.round.answer(VICTIM)
    good: MaskedInput = opened(payload)
    forged = {
        "short": lambda: pack(dataclasses.replace(good, vector=good.vector[:-1]), H),
        "long": lambda: pack(dataclasses.replace(good, vector=np.append(good.vector, np.uint32(0))), H),
        "float": lambda: pack(dataclasses.replace(good, vector=np.full(23, np.nan, dtype=np.float32)), H),
        "trailing": lambda: payload + b"\x00",
        "foreign signature": lambda: pack(opened(rehearsal.round.answer(OTHER)), H),
    }[forge]()
    before = rehearsal.round.server._total.copy()
    with pytest.raises(PeerError) as caught:
        rehearsal.round.server.receive(VICTIM, forged)
    assert caught.value.party == VICTIM
    assert np.array_equal(rehearsal.round.server._total, before)
    assert VICTIM in rehearsal.round.server.pending


def test_no_number_travels_beside_the_vector() -> None:
    assert {entry.name for entry in dataclasses.fields(MaskedInput)} == {"vector", "signature"}
