"""Each check of the two machines that no scenario or attack comes by: refused, and who is named."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

from sealround.crypto import Secret, VerifyingKey, share
from sealround.errors import PeerError, ProtocolViolationError, SealroundError, ThresholdError, UsageError
from sealround.secagg import RoundManifest
from sealround.secagg.pairwise import PairwiseServer, ServerStage, SiteState
from sealround.secagg.pairwise.keys import RoundSecrets
from sealround.secagg.pairwise.messages import (
    ConsentList,
    KeyList,
    ShareKeys,
    Shares,
    Start,
    SurvivorSet,
    UnmaskShares,
    pack,
    unpack,
)
from sealround.secagg.pairwise.rehearsal import Rehearsal, rehearsed_manifest
from sealround.vocabulary import COORDINATOR, PartyId

SITES = [PartyId(f"site-{index:03d}") for index in range(4)]
VICTIM, OTHER = SITES[1], SITES[2]


def at(stage: ServerStage, plan: RoundManifest | None = None) -> Rehearsal:
    rehearsal = Rehearsal(plan or rehearsed_manifest(4))
    while rehearsal.round.server.stage is not stage:
        rehearsal.round.step()
    return rehearsal


def opened(payload: bytes) -> Any:
    return unpack(payload, sender="test", limit=2**24)[1]


def site_refuses(rehearsal: Rehearsal, message: Any, match: str, culprit: str = COORDINATOR) -> None:
    machine = rehearsal.round.sites[VICTIM]
    with pytest.raises(PeerError, match=match) as caught:
        machine.handle(pack(message, rehearsal.manifest.hash))
    assert caught.value.party == culprit
    assert machine.state is SiteState.ABORTED


def server_refuses(rehearsal: Rehearsal, message: Any, match: str) -> None:
    server = rehearsal.round.server
    with pytest.raises(PeerError, match=match) as caught:
        server.receive(VICTIM, pack(message, rehearsal.manifest.hash))
    assert caught.value.party == VICTIM
    assert VICTIM in server.pending


def without(mapping: Any, key: PartyId) -> dict[PartyId, Any]:
    return {name: value for name, value in mapping.items() if name != key}


# --- the site


def test_a_manifest_under_another_hash_is_refused() -> None:
    rehearsal = Rehearsal(rehearsed_manifest(4))
    with pytest.raises(ProtocolViolationError, match="not the one its hash says"):
        rehearsal.round.sites[VICTIM].handle(pack(Start(rehearsal.manifest.encoded), bytes(32)))


def test_a_message_of_another_round_changes_nothing() -> None:
    rehearsal = at(ServerStage.SHARES)
    machine = rehearsal.round.sites[VICTIM]
    with pytest.raises(ProtocolViolationError, match="another round"):
        machine.handle(pack(opened(rehearsal.round.inbox[VICTIM]), bytes(32)))
    assert machine.state is SiteState.ADVERTISED


def test_a_roster_without_the_site_is_refused() -> None:
    rehearsal = Rehearsal(rehearsed_manifest(4))
    smaller = dataclasses.replace(
        rehearsal.manifest,
        roster=tuple(pair for pair in rehearsal.manifest.roster if pair[0] != VICTIM),
        degree=2,
    )
    with pytest.raises(ProtocolViolationError, match="not in the roster"):
        rehearsal.machine(VICTIM).handle(pack(Start(smaller.encoded), smaller.hash))


def test_key_lists_that_are_short_foreign_or_repeat_a_key_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = opened(at(ServerStage.SHARES).round.inbox[VICTIM]).keys
    site_refuses(at(ServerStage.SHARES), KeyList(without(keys, VICTIM)), "leaves this site out")
    few = {site: keys[site] for site in (VICTIM, OTHER)}
    site_refuses(at(ServerStage.SHARES), KeyList(few), "U1 has 2 sites, 3 are needed")
    stranger = KeyList({**keys, PartyId("stranger"): keys[OTHER]})
    site_refuses(at(ServerStage.SHARES), stranger, "not there before")
    monkeypatch.setattr(VerifyingKey, "verify", lambda *_, **__: None)
    twice = KeyList({**keys, SITES[3]: keys[OTHER]})
    site_refuses(at(ServerStage.SHARES), twice, "somebody else's", culprit=SITES[3])
    changed = dataclasses.replace(keys[VICTIM], seed_key=bytes(1216))
    site_refuses(at(ServerStage.SHARES), KeyList({**keys, VICTIM: changed}), "came back changed")


def test_a_box_without_its_pair_seed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsal = at(ServerStage.INPUTS)
    monkeypatch.setattr(VerifyingKey, "verify", lambda *_, **__: None)
    message: Shares = opened(rehearsal.round.inbox[VICTIM])
    first = message.boxes[SITES[0]]
    bare = dataclasses.replace(first, box=dataclasses.replace(first.box, pair=None))
    site_refuses(rehearsal, Shares(message.sharers, {**message.boxes, SITES[0]: bare}), "pair seed", culprit=SITES[0])


def test_a_thin_neighbourhood_is_refused() -> None:
    """In a regular graph enough sites may be left in all, and too few around this one."""
    plan = rehearsed_manifest(12, degree=4, share_threshold=4, threshold=9)
    rehearsal = at(ServerStage.CONSENTS, plan)
    around = rehearsal.round.server._neighbours[VICTIM][:2]
    survivors = tuple(site for site in plan.sites if site not in around)
    site_refuses(rehearsal, SurvivorSet(survivors), "3 sites are left in this one's neighbourhood, 4 are needed")


def test_a_consent_from_outside_the_survivors_is_refused() -> None:
    rehearsal = at(ServerStage.UNMASKING)
    consents = opened(rehearsal.round.inbox[VICTIM]).signatures
    site_refuses(rehearsal, ConsentList({**consents, PartyId("stranger"): bytes(64)}), "outside U3")


def test_a_vector_of_another_length_is_not_masked() -> None:
    rehearsal = at(ServerStage.INPUTS)
    machine = rehearsal.round.sites[VICTIM]
    with pytest.raises(UsageError, match="submitted once, when ready"):
        machine.submit(np.zeros(23, dtype="<u4"))
    assert machine.handle(rehearsal.round.inbox[VICTIM]) is None
    with pytest.raises(UsageError, match="22 elements"):
        machine.submit(np.zeros(22, dtype="<u4"))
    assert machine.state is SiteState.READY
    assert machine.rounding_seed() == machine.rounding_seed()
    assert machine.manifest == rehearsal.manifest


def test_a_rounds_secrets_print_as_nothing_and_stay() -> None:
    secrets = RoundSecrets.of(Secret(bytes(32)), bytes(32), VICTIM)
    assert repr(secrets) == "RoundSecrets(...)"
    assert repr(UnmaskShares({VICTIM: bytes(32)}, {})) == "UnmaskShares(...)"
    with pytest.raises(UsageError):
        pickle.dumps(secrets)


# --- the server


def test_a_roster_of_unregistered_keys_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="not the registered one"):
        PairwiseServer(rehearsed_manifest(4), {})


def test_events_out_of_order_are_usage_errors() -> None:
    rehearsal = Rehearsal(rehearsed_manifest(4))
    with pytest.raises(UsageError, match="begins once"):
        rehearsal.round.server.begin()
    rehearsal.round.run()
    with pytest.raises(UsageError, match="no deadline runs"):
        rehearsal.round.server.deadline()


def test_sharings_that_do_not_fit_are_refused() -> None:
    rehearsal = at(ServerStage.SHARES)
    good: ShareKeys = opened(rehearsal.round.answer(VICTIM))
    server_refuses(rehearsal, dataclasses.replace(good, boxes=without(good.boxes, OTHER)), "neighbours in U1")
    server_refuses(rehearsal, dataclasses.replace(good, commitments=without(good.commitments, OTHER)), "neighbourhood")
    server_refuses(rehearsal, dataclasses.replace(good, self_commitment=bytes(32)), "does not verify")


def test_shares_that_were_not_asked_for_are_refused() -> None:
    rehearsal = at(ServerStage.UNMASKING)
    good: UnmaskShares = opened(rehearsal.round.answer(VICTIM))
    server_refuses(rehearsal, UnmaskShares(without(good.self_shares, OTHER), {}), "not those it was asked for")
    server_refuses(rehearsal, UnmaskShares(good.self_shares, {OTHER: bytes(32)}), "not those it was asked for")


def test_a_dealer_that_shares_another_secret_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares that open their commitments, of a secret that is not the one committed to."""
    honest = RoundSecrets.shares

    def other_secret(secrets: RoundSecrets, holders: dict[PartyId, int], threshold: int) -> Any:
        if secrets.master_seed != dishonest:
            return honest(secrets, holders, threshold)
        zeros = bytes(48 * (threshold - 1))
        found = share(Secret(bytes(32)), threshold=threshold, points=holders.values(), randomness=zeros)
        return {holder: (found[point], found[point]) for holder, point in holders.items()}

    for absent, what in (((), "self seed"), ((VICTIM,), "master seed")):
        rehearsal = at(ServerStage.SHARES)
        dishonest = rehearsal.round.sites[VICTIM]._running.secrets.master_seed
        monkeypatch.setattr(RoundSecrets, "shares", other_secret)
        rehearsal.round.step()
        for _ in range(2):
            rehearsal.round.step(absent=absent)
        with pytest.raises(PeerError, match=f"the {what} it shared") as caught:
            rehearsal.round.step()
        assert caught.value.party == VICTIM
        assert rehearsal.round.server.stage is ServerStage.FAILED


def test_too_few_shares_around_one_site_end_the_round() -> None:
    """In a regular graph T sites may answer, and still too few of one site's holders."""
    plan = rehearsed_manifest(12, degree=4, share_threshold=4, threshold=9)
    rehearsal = at(ServerStage.UNMASKING, plan)
    silent = rehearsal.round.server._neighbours[VICTIM][:2]
    with pytest.raises(ThresholdError, match="shares of the seed"):
        rehearsal.round.step(absent=silent)
    with pytest.raises(SealroundError):
        _ = rehearsal.round.server.total
