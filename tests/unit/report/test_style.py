"""The style sheets keep contrast AA (WCAG 2.2, 1.4.3 and 1.4.11) in both themes and on paper."""

from __future__ import annotations

import re
from importlib import resources

import pytest

TEMPLATES = resources.files("sealround.report") / "templates"
CSS = (TEMPLATES / "report.css").read_text(encoding="utf-8")
DRILL = (TEMPLATES / "drill.css").read_text(encoding="utf-8")


def _colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))


def _themes(css: str = CSS) -> dict[str, dict[str, str]]:
    light = _colours(css[: css.index("@media")])
    dark = _colours(css[css.index("prefers-color-scheme: dark") :].split("\n}\n", maxsplit=1)[0])
    paper = _colours(css[css.index("@media print") :])
    assert light.keys() >= dark.keys() == paper.keys()
    return {"light": light, "dark": dark, "print": paper}


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
@pytest.mark.parametrize(
    ("front", "back"),
    [
        *((front, "paper") for front in ("ink", "muted", "federated", "alone", "pooled", "warn", "good")),
        *((front, "wash") for front in ("ink", "muted", "good")),
        *((front, "warn-wash") for front in ("ink", "muted", "warn")),
    ],
)
def test_text_reaches_aa(theme: str, front: str, back: str) -> None:
    colours = _themes()[theme]
    assert _contrast(colours[front], colours[back]) >= 4.5


def test_no_colour_is_written_outside_the_themes() -> None:
    rest = re.sub(r"--[a-z-]+: #[0-9a-f]{6};", "", CSS)
    assert not re.search(r"#[0-9a-f]{3,8}\b(?![^{]*\{)|rgb\(|hsl\(", rest)
    assert set(re.findall(r"var\(--([a-z-]+)\)", CSS)) <= set(_themes()["light"]) | {"serif", "sans", "mono"}


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
@pytest.mark.parametrize("shade", "abcdef")
def test_numbers_on_a_heat_map_reach_aa(theme: str, shade: str) -> None:
    colours = _themes(DRILL)[theme]
    ink = colours["on-hot" if shade in "ef" else "on-heat"]
    assert _contrast(ink, colours[f"heat-{shade}"]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark", "print"])
def test_shades_of_a_heat_map_go_one_way(theme: str) -> None:
    found = [_luminance(_themes(DRILL)[theme][f"heat-{shade}"]) for shade in "bcdef"]
    assert found == sorted(found, reverse=theme != "dark")


def test_the_sheet_of_drills_has_no_colours_but_these() -> None:
    rest = re.sub(r"--[a-z-]+: #[0-9a-f]{6};", "", DRILL)
    assert not re.search(r"#[0-9a-f]{3,8}\b(?![^{]*\{)|rgb\(|hsl\(", rest)
    known = set(_themes()["light"]) | set(_themes(DRILL)["light"]) | {"serif", "sans", "mono", "cut"}
    assert set(re.findall(r"var\(--([a-z-]+)", DRILL)) <= known
