"""Pages as documents: whole, self-contained, accessible, the same bytes for the same evidence."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from sealround.report import render

Tree = dict[str, Any]
_VOID = {"meta", "link", "br", "hr", "img", "input"}


class Document(HTMLParser):
    """Elements and text of a page; fails on tags that do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def test_same_evidence_gives_the_same_bytes_and_is_left_as_it_was(evidence: Tree) -> None:
    before = json.dumps(evidence)
    assert render(evidence) == render(json.loads(before))
    assert json.dumps(evidence) == before


def test_loads_nothing_and_runs_nothing(page: str) -> None:
    document = Document(page)
    assert not document.named("script")
    assert not document.named("link")
    assert not document.named("img")
    assert not re.search(r"url\(|@import|@font-face", page)
    for tag, attributes in document.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        assert "style" not in attributes, f"{tag}: refused by the page's own policy"
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")


def test_policy_lets_in_the_style_sheet_and_nothing_else(page: str) -> None:
    css = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert css is not None
    digest = base64.b64encode(hashlib.sha256(css[1].encode()).digest()).decode()
    policies = [meta["content"] for meta in Document(page).named("meta") if "http-equiv" in meta]
    assert policies == [f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"]


def test_nests_and_identifies_uniquely(page: str) -> None:
    document = Document(page)
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {(link["href"] or "")[1:] for link in (*document.named("a"), *document.named("use"))}
    assert targets <= set(ids)
    assert len(document.named("h1")) == 1
    assert len(document.named("main")) == 1


def test_every_figure_says_what_it_is_and_every_table_is_labelled(page: str) -> None:
    document = Document(page)
    ids = {attributes.get("id") for _, attributes in document.elements}
    for svg in document.named("svg"):
        if svg.get("role") == "img":
            assert set((svg["aria-labelledby"] or "").split()) <= ids
        else:
            # Hidden ones stand beside their numbers; a nested one is part of its figure.
            assert svg.get("aria-hidden") == "true" or svg.get("class") == "over"
    assert page.count("<table") == page.count("<caption>") > 0
    assert all("scope" in head for head in document.named("th"))
    figures = re.findall(r"<figure .*?</figure>", page, re.DOTALL)
    assert all("<figcaption>" in figure for figure in figures)
    charts = [figure for figure in figures if 'role="img"' in figure]
    assert charts
    assert all("<details" in figure and "<table" in figure for figure in charts)


@pytest.mark.parametrize(
    ("which", "present", "absent"),
    [
        ("four", ["sites", "learning", "roc", "calibration", "patients", "decision", "protection"], ["survival"]),
        ("six", ["sites", "learning", "survival", "patients", "protection"], ["roc", "calibration", "decision"]),
        ("many", ["sites", "learning", "roc", "calibration", "patients", "decision"], ["survival"]),
    ],
)
def test_sections_stand_in_a_readers_order(
    which: str, present: list[str], absent: list[str], request: pytest.FixtureRequest
) -> None:
    document = Document(render(request.getfixturevalue(which)))
    sections = [section["id"] for section in document.named("section") if section.get("id")]
    assert [section for section in sections if section in present] == present
    assert not set(sections) & set(absent)
    assert sections[-5:] == ["left-out", "cost", "reproduce", "limits", "words"]


def test_top_is_question_then_answer_then_key_numbers(four: Tree) -> None:
    words = Document(render(four)).words
    places = [words.index(part) for part in (four["study"]["question"], "Trained together", "Worst hospital")]
    assert places == sorted(places)
    assert words.index("Not for clinical use") < places[0]


def test_without_a_question_the_study_is_the_title(four: Tree) -> None:
    four["study"]["question"] = ""
    assert "<h1>heart-disease-four-hospitals</h1>" in render(four)


def test_size_is_kept_small(four: Tree, many: Tree) -> None:
    assert len(render(four).encode()) < 400_000
    assert len(render(many).encode()) < 1_500_000


def test_reproduction_and_cost_are_on_the_page(four: Tree) -> None:
    words = Document(render(four)).words
    for part in (four["study"]["digest"], "sealround run study.toml", "2.13.0+cpu", "412 MB", "Seed 42"):
        assert part in words


def test_a_protection_that_is_off_is_said_at_the_top_and_in_full(four: Tree) -> None:
    four["protection"][1]["state"] = "on"
    words = Document(render(four)).words
    assert "2 of 3 protections were off : Secure aggregation, Differential privacy." in words
    assert words.index("2 of 3 protections") < words.index("By its point estimate")
    for entry in four["protection"]:
        assert entry["meaning"] in words
        assert f"“{entry['reason']}”" in words


def test_no_named_protection_counts_as_none(four: Tree) -> None:
    four["protection"] = []
    assert "Treat this run as unprotected" in render(four)
