"""The vectors of ``vectors/secagg``: a whole round, message by message, and what must be refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sealround.crypto import Secret, SigningKey
from sealround.errors import MalformedMessageError
from sealround.secagg.manifest import RoundManifest
from sealround.secagg.pairwise import Expected, Identity, PairwiseServer, PairwiseSite, ServerStage, SiteState
from sealround.secagg.pairwise.keys import RoundSecrets, pair_mask_key, pair_seed, self_mask_key
from sealround.secagg.pairwise.messages import ShareKeys, unpack
from sealround.secagg.policy import SitePolicy, VolatileRecord

FOLDER = Path(__file__).resolve().parents[2] / "vectors" / "secagg"
ROUND: dict[str, Any] = json.loads((FOLDER / "pairwise_round.json").read_text(encoding="utf-8"))
MANIFEST = RoundManifest.decode(bytes.fromhex(ROUND["manifest"]), sender="the vectors")
SITES = list(ROUND["sites"])
KEYS = {site: SigningKey(Secret(bytes.fromhex(given["identity_seed"]))) for site, given in ROUND["sites"].items()}
REGISTRY = {site: key.verifying_key for site, key in KEYS.items()}


def bad(name: str) -> list[dict[str, str]]:
    vectors: list[dict[str, str]] = json.loads((FOLDER / name).read_text(encoding="utf-8"))["vectors"]
    return vectors


def test_the_manifest_has_its_hash() -> None:
    assert MANIFEST.hash.hex() == ROUND["hash"]
    assert MANIFEST.encoded.hex() == ROUND["manifest"]
    assert {site: key.fingerprint.hex() for site, key in REGISTRY.items()} == {
        site: given["fingerprint"] for site, given in ROUND["sites"].items()
    }


@pytest.mark.parametrize("site", SITES)
def test_every_secret_follows_from_the_entropy(site: Any) -> None:
    given, H = ROUND["sites"][site], MANIFEST.hash
    secrets = RoundSecrets.of(Secret(bytes.fromhex(given["entropy"])), H, site)
    assert secrets.master_seed.reveal().hex() == given["master_seed"]
    assert secrets.self_seed.reveal().hex() == given["self_seed"]
    assert self_mask_key(secrets.self_seed, H, site).reveal().hex() == given["self_mask_key"]
    for other, expected in given["pair_seeds"].items():
        seed = pair_seed(secrets.master_seed, H, site, other)
        assert seed.reveal().hex() == expected
        assert pair_mask_key(seed, H, site, other).reveal().hex() == given["pair_mask_keys"][other]


@pytest.mark.parametrize("site", SITES)
def test_a_site_answers_as_recorded(site: Any) -> None:
    """To the byte, but for its boxes: sealing is randomised, so their places and the commitments must agree."""
    given = ROUND["sites"][site]
    machine = PairwiseSite(
        Identity(site, KEYS[site], REGISTRY),
        Expected(MANIFEST.model_hash, MANIFEST.plan_hash, MANIFEST.length),
        SitePolicy(),
        VolatileRecord(),
        Secret(bytes.fromhex(given["entropy"])),
    )
    answered = 0
    for phase in ROUND["phases"]:
        if site not in phase["sent"]:
            break
        reply = machine.handle(bytes.fromhex(phase["received"][site]))
        if machine.state is SiteState.READY:
            reply = machine.submit(np.array(given["vector"], dtype="<u4"))
        assert reply is not None
        recorded = bytes.fromhex(phase["sent"][site])
        if machine.state is SiteState.SHARED:
            fresh, past = (unpack(data, sender=site, limit=2**20)[1] for data in (reply, recorded))
            assert isinstance(fresh, ShareKeys)
            assert isinstance(past, ShareKeys)
            assert fresh.boxes.keys() == past.boxes.keys()
            assert (fresh.commitments, fresh.self_commitment) == (past.commitments, past.self_commitment)
        else:
            assert reply == recorded
        answered += 1
    assert answered == (2 if site == SITES[-1] else 5)


def test_the_server_relays_and_sums_as_recorded() -> None:
    server = PairwiseServer(MANIFEST, REGISTRY)
    outgoing = server.begin()
    for phase in ROUND["phases"]:
        assert {site: payload.hex() for site, payload in outgoing.items()} == phase["received"]
        stage = server.stage
        for site, payload in phase["sent"].items():
            outgoing = server.receive(site, bytes.fromhex(payload))
        if server.stage is stage:
            outgoing = server.deadline()
    assert server.stage is ServerStage.DONE
    assert list(server.survivors) == ROUND["survivors"]
    assert server.total.tolist() == ROUND["total"]


def test_the_recorded_total_is_the_sum_of_the_recorded_vectors() -> None:
    vectors = [ROUND["sites"][site]["vector"] for site in ROUND["survivors"]]
    assert [sum(column) % 2**32 for column in zip(*vectors, strict=True)] == ROUND["total"]


@pytest.mark.parametrize("vector", bad("messages_bad.json"), ids=lambda vector: vector["what"])
def test_a_broken_message_is_refused_and_its_sender_named(vector: dict[str, str]) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        unpack(bytes.fromhex(vector["encoding"]), sender="somebody", limit=2**20)
    assert caught.value.party == "somebody"
    assert vector["refusal"] in caught.value.message


@pytest.mark.parametrize("vector", bad("manifest_bad.json"), ids=lambda vector: vector["what"])
def test_a_broken_manifest_is_refused_and_its_sender_named(vector: dict[str, str]) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        RoundManifest.decode(bytes.fromhex(vector["encoding"]), sender="somebody")
    assert caught.value.party == "somebody"
    assert vector["refusal"] in caught.value.message


def test_the_folder_holds_what_this_file_reads() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == [
        "manifest_bad.json",
        "messages_bad.json",
        "pairwise_round.json",
    ]
    assert len(bad("messages_bad.json")) > 25
    assert len(bad("manifest_bad.json")) > 20
