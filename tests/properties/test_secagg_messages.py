"""Nothing but a message decodes as one, and no byte of a message can change unnoticed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealround.errors import MalformedMessageError, PeerError, SealroundError
from sealround.secagg.manifest import RoundManifest
from sealround.secagg.pairwise import ServerStage
from sealround.secagg.pairwise.messages import max_bytes, pack, unpack
from sealround.secagg.pairwise.rehearsal import Rehearsal, rehearsed_manifest

PLAN = rehearsed_manifest(3, length=5)


def transcript() -> list[tuple[ServerStage, bytes, bytes]]:
    """Every message of a round to and from one site."""
    round_, found = Rehearsal(PLAN).round, []
    while (stage := round_.server.stage) is not ServerStage.DONE:
        received = dict(round_.inbox)
        round_.step()
        found += [(stage, received[site], round_.sent[site]) for site in list(received)[:1]]
    return found


MESSAGES = [payload for _, received, sent in transcript() for payload in (received, sent)]


@pytest.mark.parametrize("payload", MESSAGES, ids=lambda payload: str(len(payload)))
def test_what_is_packed_is_unpacked(payload: bytes) -> None:
    H, message = unpack(payload, sender="a", limit=max_bytes(PLAN.length))
    assert PLAN.hash == H
    assert pack(message, H) == payload


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_noise_is_refused_with_its_sender(data: bytes) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        unpack(data, sender="mallory", limit=1000)
    assert caught.value.party == "mallory"
    with pytest.raises(MalformedMessageError):
        RoundManifest.decode(data, sender="mallory")


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_message_is_refused_or_is_another_canonical_message(data: st.DataObject) -> None:
    payload = bytearray(data.draw(st.sampled_from(MESSAGES)))
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        H, message = unpack(bytes(payload), sender="mallory", limit=max_bytes(PLAN.length))
    except MalformedMessageError:  # any other exception fails the test
        return
    assert pack(message, H) == payload


@settings(max_examples=100)
@given(st.data())
def test_a_site_takes_no_changed_message(data: st.DataObject) -> None:
    """One bit of what the server relays is changed; the site refuses, or the relayed roster of names still holds."""
    rehearsal = Rehearsal(PLAN)
    steps = data.draw(st.sampled_from([0, 1, 2, 4]))  # the survivor set (3) is the server's own word, signed by nobody
    for _ in range(steps):
        rehearsal.round.step()
    site = next(iter(rehearsal.round.inbox))
    payload = bytearray(rehearsal.round.inbox[site])
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SealroundError):
        rehearsal.round.sites[site].handle(bytes(payload))


@settings(max_examples=100)
@given(st.data())
def test_the_server_takes_no_changed_message(data: st.DataObject) -> None:
    rehearsal = Rehearsal(PLAN)
    for _ in range(data.draw(st.integers(0, 4))):
        rehearsal.round.step()
    site = next(iter(rehearsal.round.inbox))
    payload = bytearray(rehearsal.round.answer(site))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(PeerError) as caught:
        rehearsal.round.server.receive(site, bytes(payload))
    assert caught.value.party == site
    assert site in rehearsal.round.server.pending
