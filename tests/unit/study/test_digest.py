from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sealround import wire
from sealround.study import parse_study, study_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    Changed = Callable[[dict[str, str]], str]


def test_the_digest_is_over_a_label_and_every_value_defaults_included(small: str) -> None:
    study = parse_study(small, "study.toml")
    values = json.loads(study.model_dump_json())
    assert values["evaluation"]["confidence"] == 0.95  # a default
    assert study_digest(study) == wire.digest(["sealround study v1", values])


def test_defaults_are_part_of_the_digest(small: str, changed: Changed) -> None:
    spelt_out = changed({"local_epochs = 1": 'local_epochs = 1\nbatch_size = 32\nserver = { kind = "fedavg" }'})
    other = changed({"local_epochs = 1": "local_epochs = 1\nbatch_size = 33"})
    assert study_digest(parse_study(spelt_out, "a")) == study_digest(parse_study(small, "b"))
    assert study_digest(parse_study(other, "a")) != study_digest(parse_study(small, "b"))


def test_the_spelling_of_a_number_does_not_count_where_a_real_number_is_asked_for(changed: Changed) -> None:
    whole, real, long = (changed({"= 0.1": f"= {spelling}"}) for spelling in ("1", "1.0", "10.0e-1"))
    digests = {study_digest(parse_study(text, "study.toml")) for text in (whole, real, long)}
    assert len(digests) == 1


def test_a_code_of_another_type_is_another_code(changed: Changed) -> None:
    number, text = changed({"[1]": "[2]"}), changed({"[1]": '["2"]'})
    assert study_digest(parse_study(number, "a")) != study_digest(parse_study(text, "b"))
