from __future__ import annotations

import json

from click.testing import CliRunner

from sealround.cli.schema import schema
from sealround.study.schema import render_reference, site_schema, study_schema


def test_the_study_schema_is_printed_as_json() -> None:
    assert json.loads(CliRunner().invoke(schema).output) == study_schema()


def test_the_site_schema_is_printed_as_json() -> None:
    assert json.loads(CliRunner().invoke(schema, ["--site"]).output) == site_schema()


def test_the_reference_page_is_printed_byte_for_byte() -> None:
    assert CliRunner().invoke(schema, ["--markdown"]).output == render_reference()
