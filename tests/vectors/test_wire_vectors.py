"""Every file of ``vectors/wire``: what must encode so, and what must be refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sealround import wire
from sealround.errors import MalformedMessageError

FOLDER = Path(__file__).parents[2] / "vectors" / "wire"


def vectors(pattern: str, *, bad: bool) -> list[Any]:
    return [
        pytest.param(vector, id=f"{path.stem}-{number}")
        for path in sorted(FOLDER.glob(pattern))
        if ("_bad_" in path.stem) is bad
        for number, vector in enumerate(json.loads(path.read_text(encoding="utf-8"))["vectors"])
    ]


def value_of(notation: Any) -> Any:
    """Read the notation of the vector files: JSON, with ``bytes`` in hexadecimal, ``map`` and ``array``."""
    match notation:
        case {"bytes": hexadecimal}:
            return bytes.fromhex(hexadecimal)
        case {"map": pairs}:
            return {key: value_of(item) for key, item in pairs.items()}
        case {"array": {"dtype": dtype, "shape": shape, "data": data}}:
            return np.array([float(item) if isinstance(item, str) else item for item in data], dtype=dtype).reshape(
                shape
            )
        case list():
            return tuple(value_of(item) for item in notation)
        case _:
            return notation


@pytest.mark.parametrize("vector", vectors("*.json", bad=False))
def test_a_value_has_this_encoding_and_comes_back(vector: dict[str, Any]) -> None:
    value, encoding = value_of(vector["value"]), bytes.fromhex(vector["encoding"])
    assert wire.encode(value).hex() == encoding.hex()
    decoded = wire.decode(encoding, sender="test")
    assert type(decoded) is type(value)
    if isinstance(value, np.ndarray):
        assert isinstance(decoded, np.ndarray)
        assert decoded.dtype == value.dtype
        np.testing.assert_array_equal(decoded, value)
        assert decoded.shape == value.shape
    else:
        assert decoded == value


@pytest.mark.parametrize("vector", vectors("*.json", bad=True))
def test_a_broken_encoding_is_refused_and_its_sender_named(vector: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessageError, match=r"^somebody: ") as caught:
        wire.decode(bytes.fromhex(vector["encoding"]), sender="somebody")
    assert caught.value.party == "somebody"
    assert vector["refusal"] in str(caught.value)


def test_the_folder_holds_what_this_file_reads() -> None:
    assert len(vectors("values*.json", bad=False)) > 50
    assert len(vectors("arrays*.json", bad=False)) > 10
    assert len(vectors("*.json", bad=True)) > 100
    for path in FOLDER.glob("*.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        assert document["what"]
        assert document["source"]
