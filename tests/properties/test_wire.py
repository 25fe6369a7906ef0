"""One value, one encoding, both ways; and nothing a hostile sender writes makes the reader work for long."""

from __future__ import annotations

import sys
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sealround import wire
from sealround.errors import MalformedMessageError

if TYPE_CHECKING:
    from collections.abc import Callable

DTYPES = ["|u1", "<u2", "<u4", "<u8", "<i4", "<i8", "<f4", "<f8"]

arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.binary(max_size=8)
)
values = st.recursive(
    scalars | arrays,
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


def same(left: wire.Value, right: wire.Value) -> bool:
    """Whether two values are the same value of the same type."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return type(left) is type(right) and left == right


@given(values)
def test_what_is_encoded_comes_back(value: wire.Value) -> None:
    assert same(wire.decode(wire.encode(value), sender="test"), value)


@given(values, values)
def test_different_values_have_different_encodings(left: wire.Value, right: wire.Value) -> None:
    assert (wire.encode(left) == wire.encode(right)) is same(left, right)


@given(st.binary(max_size=64))
@example(bytes.fromhex("d8288282001b8000000000000000d84040"))
def test_bytes_are_refused_or_are_the_encoding_of_their_value(message: bytes) -> None:
    try:
        value = wire.decode(message, sender="test")
    except MalformedMessageError:
        return
    assert wire.encode(value) == message


@given(values, st.data())
def test_any_changed_byte_is_refused_or_makes_another_value(value: wire.Value, data: st.DataObject) -> None:
    message = bytearray(wire.encode(value))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))
    try:
        changed = wire.decode(bytes(message), sender="test")
    except MalformedMessageError:
        return
    assert wire.encode(changed) == message
    assert not same(changed, value)


SAMPLE: wire.Value = {
    "array": np.arange(6, dtype="<f4").reshape(2, 3),
    "bytes": b"\x00\xff",
    "flag": True,
    "list": (1, -1, 2.5, None, "é"),
    "vector": np.arange(3, dtype="<u2"),
}


def test_every_change_of_every_byte_is_refused_or_makes_another_value() -> None:
    message, refused = wire.encode(SAMPLE), 0
    for at in range(len(message)):
        for byte in range(256):
            if byte == message[at]:
                continue
            changed = message[:at] + bytes([byte]) + message[at + 1 :]
            try:
                value = wire.decode(changed, sender="test")
            except MalformedMessageError:
                refused += 1
            else:
                assert wire.encode(value) == changed
    assert refused > len(message) * 100


def test_every_shorter_or_longer_message_is_refused() -> None:
    message = wire.encode(SAMPLE)
    for size in range(len(message)):
        with pytest.raises(MalformedMessageError):
            wire.decode(message[:size], sender="test")
    with pytest.raises(MalformedMessageError):
        wire.decode(message + b"\x00", sender="test")


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x9b" + b"\xff" * 8, id="array of 2^64 - 1"),
        pytest.param(b"\xbb" + b"\xff" * 8, id="map of 2^64 - 1"),
        pytest.param(b"\x5b" + b"\xff" * 8, id="bytes of 2^64 - 1"),
        pytest.param(b"\x9a\x00\x10\x00\x00" + b"\x9a\x00\x0f\xff\x00" * 200_000, id="arrays that promise arrays"),
        pytest.param(b"\x81" * 1_000_000, id="depth"),
        pytest.param(b"\xa1" * 1_000_000, id="maps as keys"),
        pytest.param(b"\xd8\x28" * 500_000, id="tags upon tags"),
        pytest.param(bytes.fromhex("d82882901bffffffffffffffff") * 80_000, id="an array of any size"),
    ],
)
def test_a_hostile_message_costs_no_more_than_its_own_length(message: bytes) -> None:
    """Counted in calls of Python functions and in bytes allocated: a clock would make this test flaky."""
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> Callable[..., object] | None:
        nonlocal calls
        calls += event == "call"
        return None

    tracemalloc.start()
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        with pytest.raises(MalformedMessageError):
            wire.decode(message, sender="test")
    finally:
        sys.setprofile(before)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert calls <= 4 * len(message) + 200
    assert peak <= 64 * len(message) + 100_000
