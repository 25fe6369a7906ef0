"""Shares at known points, the RFC's numbers, and what is refused."""

from __future__ import annotations

import pytest

from sealround.crypto.secret import Secret
from sealround.crypto.shamir import PRIME, Lagrange, field_element, is_field_element, share
from sealround.errors import UsageError

# RFC 9591, appendix E.1, FROST(Ed25519, SHA-512): numbers modulo the order of the group, little endian.
ED25519_ORDER = 2**252 + 27742317777372353535851937790883648493
GROUP_KEY = "7b1c33d3f5291d85de664833beb1ad469f7fb6025a0ec78b3a790c6e13a98304"
COEFFICIENT = "178199860edd8c62f5212ee91eff1295d0d670ab4ed4506866bae57e7030b204"
RFC_SHARES = {
    1: "929dcc590407aae7d388761cddb0c0db6f5627aea8e217f4a033f2ec83d93509",
    2: "a91e66e012e4364ac9aaa405fcafd370402d9859f7b6685c07eed76bf409e80d",
    3: "d3cb090a075eb154e82fdb4b3cb507f110040905468bb9c46da8bdea643a9a02",
}


def big_endian(little: str) -> Secret:
    return Secret(bytes.fromhex(little)[::-1])


def test_the_shares_of_rfc_9591_come_out() -> None:
    shares = share(
        big_endian(GROUP_KEY),
        threshold=2,
        points=[1, 2, 3],
        randomness=bytes(16) + big_endian(COEFFICIENT).reveal(),
        prime=ED25519_ORDER,
    )
    assert {x: found.reveal()[::-1].hex() for x, found in shares.items()} == RFC_SHARES


@pytest.mark.parametrize("points", [(1, 2), (1, 3), (2, 3)])
def test_the_secret_of_rfc_9591_comes_back(points: tuple[int, ...]) -> None:
    lagrange = Lagrange(points, threshold=2, prime=ED25519_ORDER)
    assert lagrange.reconstruct({x: big_endian(RFC_SHARES[x]) for x in points}) == big_endian(GROUP_KEY)


def test_a_line_through_known_points() -> None:
    secret = Secret((5).to_bytes(32, "big"))
    shares = share(secret, threshold=2, points=[1, 2], randomness=(7).to_bytes(48, "big"))
    assert [int.from_bytes(shares[x].reveal(), "big") for x in (1, 2)] == [12, 19]


def test_a_threshold_of_one_hands_out_the_secret() -> None:
    secret = Secret(bytes(31) + b"\x09")
    assert share(secret, threshold=1, points=[4], randomness=b"") == {4: secret}


def test_more_shares_than_needed_are_left_alone() -> None:
    lagrange = Lagrange([9, 4, 7], threshold=2)
    assert lagrange.points == (4, 7)


def test_a_batch_is_each_of_its_secrets() -> None:
    secrets = [Secret(bytes(31) + bytes([number])) for number in range(3)]
    batches = [share(secret, threshold=2, points=[1, 2, 3], randomness=bytes([1]) * 48) for secret in secrets]
    assert Lagrange([2, 3], threshold=2).reconstruct_all(batches) == secrets


@pytest.mark.parametrize("value", [0, 1, PRIME - 1])
def test_field_elements_have_one_encoding(value: int) -> None:
    assert is_field_element(value.to_bytes(32, "big"))
    assert not is_field_element((value + PRIME).to_bytes(32, "big"))
    assert not is_field_element(value.to_bytes(32, "big") + b"\x00")
    assert field_element((value + PRIME).to_bytes(48, "big")) == value.to_bytes(32, "big")


@pytest.mark.parametrize(
    ("threshold", "points", "randomness", "phrase"),
    [
        (0, [1], b"", "threshold of 0"),
        (3, [1, 2], bytes(96), "threshold of 3"),
        (2, [0, 1], bytes(48), "the secret itself"),
        (2, [1, 2**32], bytes(48), "the secret itself"),
        (2, [1, 1], bytes(48), "repeated"),
        (2, [1, 2], bytes(47), "48 bytes of randomness"),
    ],
)
def test_what_cannot_be_shared_is_refused(threshold: int, points: list[int], randomness: bytes, phrase: str) -> None:
    with pytest.raises(UsageError, match=phrase):
        share(Secret(bytes(32)), threshold=threshold, points=points, randomness=randomness)


def test_what_is_not_a_field_element_is_refused() -> None:
    too_large = Secret(b"\xff" * 32)
    with pytest.raises(UsageError, match="not a field element"):
        share(too_large, threshold=1, points=[1], randomness=b"")
    with pytest.raises(UsageError, match="not a field element"):
        Lagrange([1], threshold=1).reconstruct({1: too_large})
    with pytest.raises(UsageError, match="48 bytes"):
        field_element(bytes(32))


def test_too_few_shares_are_refused() -> None:
    with pytest.raises(UsageError, match="2 shares do not reach a threshold of 3"):
        Lagrange([1, 2], threshold=3)
    with pytest.raises(UsageError, match="no share at point 2"):
        Lagrange([1, 2], threshold=2).reconstruct({1: Secret(bytes(32))})
