"""The page of an audit as a document: self-contained, accessible, escaped, the same bytes, and never a reassurance."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import unescape
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import pytest

from sealround.report import render_audit

Tree = dict[str, Any]
HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;{{7*7}}{% raw %}"
_VOID = {"meta", "img"}
_REASSURING = re.compile(
    r"\b(safe\w*|unsafe|harmless|anonym\w*|impossible|unbreakable|guarantee\w*|no leak\w*|leak-free|"
    r"cannot be (rebuilt|recovered|reconstructed)|withstands?|no risk|secure(?![ _]aggregation)\w*)\b",
    re.IGNORECASE,
)


class Document(HTMLParser):
    """Elements of a page; fails on tags that do not nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
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

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def words(page: str) -> str:
    body = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", body)).split())


# --- document ---------------------------------------------------------------------------------------------------------


def test_same_evidence_gives_the_same_bytes_and_is_left_as_it_was(any_audit: Tree) -> None:
    before = json.dumps(any_audit)
    assert render_audit(any_audit) == render_audit(json.loads(before))
    assert json.dumps(any_audit) == before


def test_loads_nothing_and_runs_nothing(any_audit: Tree) -> None:
    page = render_audit(any_audit)
    document = Document(page)
    assert not document.named("script")
    assert not document.named("link")
    assert not re.search(r"url\(|@import|@font-face", page)
    for tag, attributes in document.elements:
        assert not any(name.startswith("on") for name in attributes), tag
        assert "style" not in attributes, f"{tag}: refused by the page's own policy"
        assert (attributes.get("href") or "#").startswith("#")
        assert "src" not in attributes or (attributes["src"] or "").startswith("data:image/png;base64,")


def test_the_policy_lets_in_pictures_only_where_there_are_some(table: Tree, image: Tree) -> None:
    for tree, pictures in ((table, ""), (image, "; img-src data:")):
        page = render_audit(tree)
        css = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
        assert css is not None
        digest = base64.b64encode(hashlib.sha256(css[1].encode()).digest()).decode()
        policies = [meta["content"] for meta in Document(page).named("meta") if "http-equiv" in meta]
        wanted = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'{pictures}"
        assert policies == [wanted]


def test_nests_and_identifies_uniquely(any_audit: Tree) -> None:
    document = Document(render_audit(any_audit))
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {(link["href"] or "")[1:] for link in (*document.named("a"), *document.named("use"))}
    assert targets <= set(ids)
    assert len(document.named("h1")) == 1


def test_tables_pictures_and_drawings_are_labelled(any_audit: Tree) -> None:
    page = render_audit(any_audit)
    document = Document(page)
    assert page.count("<table") == page.count("<caption>") > 0
    assert all("scope" in head for head in document.named("th"))
    assert all(picture["alt"] and picture["width"] and picture["height"] for picture in document.named("img"))
    figures = re.findall(r"<figure.*?</figure>", page, re.DOTALL)
    assert all("<figcaption>" in figure for figure in figures)
    for svg in document.named("svg"):  # Every drawing stands beside its numbers as text.
        assert svg.get("aria-hidden") == "true" or svg.get("class") == "over"


def test_the_contents_list_the_sections_there_are(any_audit: Tree) -> None:
    page = render_audit(any_audit)
    sections = [section["id"] for section in Document(page).named("section") if section.get("id")]
    listed = re.findall(r'<li><a href="#([a-z-]+)">', page)
    assert listed == ["answer", *sections]
    assert sections[0] == "attackers"
    assert sections[-2:] == ["limits", "words"]


def test_size_is_kept_small(any_audit: Tree) -> None:
    assert len(render_audit(any_audit).encode()) < 200_000


# --- words ------------------------------------------------------------------------------------------------------------


def test_the_page_never_reassures(any_audit: Tree) -> None:
    found = _REASSURING.search(words(render_audit(any_audit)))
    assert found is None, found


def test_what_would_reassure_is_found_by_the_test_above() -> None:
    for said in ("This study is safe.", "It is impossible.", "a secure study", "The data are anonymous."):
        assert _REASSURING.search(said)
    assert not _REASSURING.search("+ secure aggregation over 4 sites")


def test_nothing_is_green(any_audit: Tree) -> None:
    page = render_audit(any_audit)
    css = (resources.files("sealround.report") / "templates" / "audit.css").read_text(encoding="utf-8")
    assert "--good" not in css
    assert not re.search(r'class="[^"]*\b(good|yes|on)\b', page)


def test_no_word_of_the_programs_own_is_left(any_audit: Tree) -> None:
    text = words(render_audit(any_audit))
    assert not re.search(r"\b(None(?! of the)|nan|inf|True|False)\b", text)
    assert "exact_cells" not in text
    assert "psnr_db" not in text


def test_colours_are_those_of_the_report() -> None:
    folder = resources.files("sealround.report") / "templates"
    report = (folder / "report.css").read_text(encoding="utf-8")
    css = (folder / "audit.css").read_text(encoding="utf-8")
    assert not re.search(r"#[0-9a-f]{3,8}\b(?![^{]*\{)|rgb\(|hsl\(", css)
    known = set(re.findall(r"--([a-z-]+):", report))
    assert set(re.findall(r"var\(--([a-z-]+)", css)) <= known


# --- names are hostile until escaped ----------------------------------------------------------------------------------


def _set(tree: Any, path: str, value: object) -> None:
    *steps, last = path.split("/")
    for step in steps:
        tree = tree[int(step) if isinstance(tree, list) else step]
    tree[int(last) if isinstance(tree, list) else last] = value


def _assert_inert(page: str) -> None:
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "{{7*7}}" in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "&amp;amp;" in page  # Shown as it was written, not decoded.


@pytest.mark.parametrize(
    "path",
    [
        "study/name", "study/digest", "study/task", "study/model", "study/inputs", "study/local", "plan/why_public",
        "attackers/0/name", "attackers/0/sees", "attackers/0/assumes", "rungs/0/label", "rungs/1/label",
        "rungs/2/label", "rungs/2/switch", "rungs/1/accuracy/metric", "findings/1/name", "findings/1/source",
        "findings/1/granted/0/0", "findings/1/granted/0/1", "findings/1/site", "findings/1/note", "findings/5/why",
        "findings/2/name", "findings/3/name", "findings/6/name", "bounds/0/note", "bounds/0/site",
        "showcase/0/cells/0/column", "showcase/0/cells/0/unit", "showcase/0/cells/0/original",
        "showcase/0/cells/0/rebuilt", "showcase/0/cells/0/baseline", "skipped/0/0", "skipped/0/1",
        "environment/platform", "environment/sealround",
    ],
)  # fmt: skip
def test_every_text_of_the_evidence_is_text(table: Tree, path: str) -> None:
    _set(table, path, HOSTILE)
    _assert_inert(render_audit(table))


@pytest.mark.parametrize("key", ["coalition", "worlds", "statistic"])
def test_the_two_worlds_are_text(own: Tree, key: str) -> None:
    own["two_worlds"][key] = HOSTILE
    _assert_inert(render_audit(own))


def test_the_name_of_an_attack_is_text_in_what_is_said_of_its_picture(image: Tree) -> None:
    image["findings"][0]["name"] = HOSTILE
    page = render_audit(image)
    _assert_inert(page)
    assert len(Document(page).named("img")) == 6
