from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sealround.study import parse_site_file, parse_study
from sealround.study.schema import render_reference, site_schema, study_schema

REFERENCE = Path(__file__).parents[3] / "docs" / "reference"


def every_node(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for item in node for found in every_node(item)]
    if not isinstance(node, dict):
        return []
    return [node, *(found for item in node.values() for found in every_node(item))]


def test_the_committed_reference_page_is_the_generated_one() -> None:
    committed = (REFERENCE / "study-file.md").read_text(encoding="utf-8")
    assert committed == render_reference(), "run: make generated"


def test_the_committed_schema_is_the_generated_one() -> None:
    committed = json.loads((REFERENCE / "study.schema.json").read_text(encoding="utf-8"))
    assert committed == study_schema(), "run: make generated"


@pytest.mark.parametrize("schema", [study_schema(), site_schema()], ids=["study", "site"])
def test_a_schema_names_itself_and_speaks_of_toml_only(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"].startswith("urn:sealround:")
    for node in every_node(schema):
        assert node.get("type") != "null"
        assert node.get("default", ...) is not None
        assert not ("discriminator" in node and "oneOf" in node)


def test_every_table_refuses_unknown_words_and_every_key_says_what_it_means() -> None:
    silent = []
    for name, table in study_schema()["$defs"].items():
        assert table["additionalProperties"] is False, name
        assert table["description"], name
        silent += [
            f"{name}.{key}"
            for key, node in table["properties"].items()
            if "const" not in node and "description" not in node and "$ref" not in node
        ]
    assert silent == []


def test_every_reference_in_the_schema_leads_somewhere() -> None:
    schema = study_schema()
    targets = {node["$ref"].rpartition("/")[2] for node in every_node(schema) if "$ref" in node}
    assert targets <= set(schema["$defs"])
    assert len(targets) > 20


def test_the_page_describes_every_key_of_every_table() -> None:
    page = render_reference()
    for schema in (study_schema(), site_schema()):
        for table in schema["$defs"].values():
            for key in table["properties"]:
                assert f"| `{key}` |" in page


def test_the_examples_on_the_page_are_valid() -> None:
    blocks = [part.partition("```")[0] for part in render_reference().split("```toml\n")[1:]]
    study, site = blocks
    assert parse_study(study, "study.toml").study.name == "heart-disease"
    assert parse_site_file(site, "site.toml").floors.min_sites == 3


def test_the_page_says_what_has_no_default() -> None:
    page = render_reference()
    assert "| `reason` | text of 10 to 500 characters | required |" in page
    assert '| `split` | a table with kind = one of "random", "column", "flamby-heart" |' in page


def test_a_table_that_many_words_choose_is_there_once() -> None:
    page = render_reference()
    assert page.count("#### `protection.robustness` with") == 2
    assert "#### `protection.robustness` with any other `rule`" in page
    assert page.count("| `num_byzantine` |") == 1
