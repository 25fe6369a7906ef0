"""A released model, read back as what a gate compares with; anything else is refused with its reason."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround.engines.gate_reference import check_gate, reference_hash
from sealround.engines.model_file import model_file, read_reference
from sealround.errors import CohortError, StudyError
from sealround.federation import TrainedModel
from sealround.federation.interfaces import InputShape
from sealround.federation.statistics import Layout, Statistics
from sealround.testing import small_study
from sealround.vocabulary import PartyId, RoundId

if TYPE_CHECKING:
    from sealround.study import Study

COLUMNS: dict[str, Any] = {
    "age": {"role": "feature", "kind": "numeric", "sensitive": True, "bands": [50.0]},
    "sex": {"role": "feature", "kind": "categorical", "levels": ["f", "m"]},
    "ill": {"role": "label", "positive": [1]},
}
STATISTICS = Statistics(
    Layout(("age",), (("sex", ("f", "m")),)),
    9.0,
    4.0,
    np.array([9.0]),
    np.array([51.5]),
    np.array([7.25]),
    np.array([6.0, 3.0]),
)
TABLE = InputShape("table")


def study_of(**sections: Any) -> Study:
    cohort = {"columns": COLUMNS, **sections.pop("cohort", {})}
    return small_study(cohort=cohort, **sections)


def written(study: Study, size: int = 4) -> bytes:
    vector = np.linspace(-1, 1, size, dtype=np.float32)
    return model_file(study, TrainedModel(vector, TABLE, STATISTICS, RoundId(3), 0.37, (1.5, -0.25)))


def test_a_released_model_is_read_back_as_it_was() -> None:
    read = read_reference(written(study_of()), study_of(), TABLE)
    assert read.model.tobytes() == np.linspace(-1, 1, 4, dtype=np.float32).tobytes()
    assert (read.threshold, read.slope, read.intercept) == (0.37, 1.5, -0.25)
    assert read.statistics is not None
    assert read.statistics.layout == STATISTICS.layout
    assert (read.statistics.mean.tolist(), read.statistics.scale.tolist()) == ([51.5], [7.25])


def test_parameters_come_back_in_their_own_order() -> None:
    deep = study_of(model={"kind": "mlp", "hidden": [3, 2]})
    size = 3 * 3 + 3 + 2 * 3 + 2 + 2 + 1
    read = read_reference(written(deep, size), deep, TABLE)
    assert read.model.tobytes() == np.linspace(-1, 1, size, dtype=np.float32).tobytes()


@pytest.mark.parametrize(
    ("theirs", "why"),
    [
        pytest.param(study_of(model={"kind": "mlp", "hidden": [1]}), "another model", id="model"),
        pytest.param(study_of(standardisation={"kind": "local"}), "standardises inputs", id="standardisation"),
        pytest.param(
            study_of(training={"personalisation": {"kind": "local-intercept"}}), "lacks its intercept", id="personal"
        ),
    ],
)
def test_a_model_of_another_kind_of_study_is_refused(theirs: Study, why: str) -> None:
    size = 6 if theirs.model.kind == "mlp" else 4
    with pytest.raises(StudyError) as caught:
        read_reference(written(theirs, size), study_of(), TABLE)
    (problem,) = caught.value.problems
    assert problem.path == "fairness.gate.reference.path"
    assert why in problem.message


def test_a_model_of_other_inputs_is_refused() -> None:
    ours = study_of(cohort={"columns": {**COLUMNS, "sex": {"role": "feature", "kind": "numeric"}}})
    with pytest.raises(StudyError, match="takes other inputs"):
        read_reference(written(study_of()), ours, TABLE)


def _with_header(data: bytes, change: Any) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


DAMAGES: dict[str, Any] = {
    "no metadata": lambda header: header.pop("__metadata__"),
    "no encoding": lambda header: header["__metadata__"].pop("encoding"),
    "not a number": lambda header: header["__metadata__"].update(threshold="nan"),
    "another format": lambda header: header["__metadata__"].update(format="sealround-model/2"),
    "a missing level": lambda header: header["__metadata__"].update(
        encoding=header["__metadata__"]["encoding"].replace("7.25", "NaN")
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_description_is_refused(damage: str) -> None:
    with pytest.raises(StudyError, match=r"is not a model\.safetensors"):
        read_reference(_with_header(written(study_of()), DAMAGES[damage]), study_of(), TABLE)


@pytest.mark.parametrize("data", [b"", b"x" * 7, b"\xff" * 64, b"\x00" * 64], ids=["empty", "short", "ones", "zeros"])
def test_what_is_no_model_file_is_refused(data: bytes) -> None:
    with pytest.raises(StudyError, match=r"is not a model\.safetensors"):
        read_reference(data, study_of(), TABLE)


def test_a_parameter_that_is_not_a_number_is_refused() -> None:
    data = bytearray(written(study_of()))
    data[-4:] = struct.pack("<f", np.nan)
    with pytest.raises(StudyError, match="not a finite number"):
        read_reference(bytes(data), study_of(), TABLE)


def test_whatever_decides_how_it_judges_is_in_its_hash() -> None:
    data = written(study_of())
    read = read_reference(data, study_of(), TABLE)
    assert reference_hash(read) == reference_hash(read_reference(data, study_of(), TABLE))
    other = read_reference(data.replace(b"51.5", b"51.6"), study_of(), TABLE)
    assert reference_hash(read) != reference_hash(other)


def test_a_gate_without_groups_or_validation_patients_is_refused_before_anything_is_trained() -> None:
    gated = {"gate": {}}
    with pytest.raises(StudyError, match="the study has none"):
        check_gate(small_study(fairness=gated), {})
    with pytest.raises(CohortError, match="at 3 sites or more, and 0 have validation patients"):
        check_gate(study_of(fairness=gated), {PartyId("none"): _NoValidation()})  # type: ignore[dict-item]
    check_gate(study_of(), {})


class _NoValidation:
    def where(self, split: object) -> np.ndarray:
        del split
        return np.zeros(0, dtype=np.int64)
