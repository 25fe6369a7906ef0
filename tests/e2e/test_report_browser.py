"""Pages of runs, drills and audits in a real browser, offline: nothing refused or cut off, dark where that is asked."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sealround.report import render, render_audit, render_drill

if TYPE_CHECKING:
    from types import ModuleType

pytestmark = pytest.mark.browser

_SYNTHETIC = Path(__file__).resolve().parents[1] / "unit" / "report"
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # Offline, whatever the machine.
    "--enable-logging=stderr",
)
_DARK, _LIGHT = 0, 1
_LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitänsherzinfarktvorhersage"
_LONG_NAME = "Universitätsklinikum-Großhadern-Kardiologie-und-Angiologie-Abteilung-für-Innere-Medizin"

# Opens every fold, measures, and leaves the result in the document for --dump-dom.
_MEASURE = """<script>addEventListener("load", () => {
  document.querySelectorAll("details").forEach((fold) => { fold.open = true; });
  const wide = [...document.querySelectorAll("main *")].filter((one) =>
    !one.closest(".scroll, pre") && (!one.closest("svg") || one.localName === "text") &&
    (one.getBoundingClientRect().right > innerWidth + 0.5 || one.getBoundingClientRect().left < -0.5));
  const texts = [...document.querySelectorAll("svg text")].map((one) => parseFloat(getComputedStyle(one).fontSize));
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (rgb) => {
    const linear = (one) => one <= .04045 ? one / 12.92 : ((one + .055) / 1.055) ** 2.4;
    const [r, g, b] = rgb.map((one) => linear(one / 255));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const [r, g, b, alpha = 1] = channels(getComputedStyle(one).backgroundColor);
      if (alpha > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const contrast = (one) => {
    const front = channels(getComputedStyle(one).color).slice(0, 3);
    const [low, high] = [front, behind(one)].map(luminance).sort((a, b) => a - b);
    return (high + .05) / (low + .05);
  };
  const faint = [...document.querySelectorAll("main *")].filter((one) => !one.closest("svg") && contrast(one) < 4.5 &&
    [...one.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
  const result = document.createElement("output");
  result.id = "measured";
  result.textContent = JSON.stringify({
    width: innerWidth, scroll: document.documentElement.scrollWidth,
    wide: wide.map((one) => one.localName + "." + (one.getAttribute("class") || "")), smallest: Math.min(...texts),
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    faint: faint.map((one) => one.localName + "." + one.className + " " + contrast(one).toFixed(2)),
    drawn: [...document.querySelectorAll("svg.plot")].every((one) => one.getBoundingClientRect().height > 80),
  });
  document.body.append(result);
});</script>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium here (Debian: apt-get install chromium)")
    return found


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{Path(name).name}_in_a_browser", _SYNTHETIC / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _drills() -> dict[str, Any]:
    drills = _load("synthetic_drill")
    small = drills.drill(drills.Shape())
    large = drills.drill(drills.Shape(sites=120, num_byzantine=24, attacks=20, rules=12, kinds=3))
    long = json.loads(json.dumps(small).replace("Switzerland", _LONG_NAME).replace("sex = female", _LONG_WORD))
    long["rules"][0]["title"] = long["attacks"][2]["title"] = _LONG_WORD
    return {"drill": small, "drill-large": large, "drill-long": long}


def _audits() -> dict[str, Any]:
    audits = _load("audit/synthetic_audit")
    long = json.loads(json.dumps(audits.table()).replace("cholesterol", _LONG_WORD).replace("SPEAR", _LONG_WORD))
    return {"audit": audits.table(), "audit-image": audits.image(), "audit-own": audits.own(), "audit-long": long}


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    synthetic = _load("synthetic")
    four = synthetic.four_hospitals()
    long = json.loads(json.dumps(four).replace("Switzerland", _LONG_NAME))
    long["study"]["question"] = _LONG_WORD * 2
    trees = {"four": four, "six": synthetic.six_regions(), "many": synthetic.many_sites(), "long": long}
    trees["private"] = synthetic.private(json.loads(json.dumps(long)))
    pages = {name: render(tree) for name, tree in trees.items()}
    pages |= {name: render_drill(tree) for name, tree in _drills().items()}
    return pages | {name: render_audit(tree) for name, tree in _audits().items()}


def _browse(chromium: str, page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    profile = page.parent / "profile"
    done = subprocess.run(
        [chromium, *_FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def _write(folder: Path, text: str) -> Path:
    page = folder / "report.html"
    page.write_text(text, encoding="utf-8")
    return page


def _console(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def _with_script(page: str) -> str:
    """Return the page with a measuring script let in, which its own policy would refuse."""
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    assert policy.search(page)
    return policy.sub("", page).replace("</body>", f"{_MEASURE}</body>")


@pytest.mark.parametrize(
    "which", ["four", "six", "many", "private", "drill", "drill-large", "audit", "audit-image", "audit-own"]
)
def test_renders_whole_and_offline_without_a_complaint(
    chromium: str, pages: dict[str, str], which: str, tmp_path: Path
) -> None:
    done = _browse(chromium, _write(tmp_path, pages[which]), "--dump-dom")
    assert _console(done) == []
    assert "Not for clinical use" in done.stdout
    assert done.stdout.count("<section") == pages[which].count("<section")
    assert done.stdout.count("<svg") == pages[which].count("<svg")
    assert "</html>" in done.stdout


def test_the_browser_does_complain_of_what_the_policy_refuses(
    chromium: str, pages: dict[str, str], tmp_path: Path
) -> None:
    spoiled = pages["four"].replace("</body>", '<p style="color:red">x</p><script>1</script></body>')
    complaints = _console(_browse(chromium, _write(tmp_path, spoiled), "--dump-dom"))
    assert sum("Content Security Policy" in line for line in complaints) == 2


def _measure(chromium: str, page: str, folder: Path, widths: tuple[int, ...], scheme: int = 1) -> list[dict[str, Any]]:
    """Lay the page out at each width: in frames, because a window may refuse to be as narrow as a phone."""
    (folder / "inner.html").write_text(_with_script(page), encoding="utf-8")
    frames = "".join(
        f'<iframe src="inner.html" width="{width}" height="900" style="border:0"></iframe>' for width in widths
    )
    collect = """<script>addEventListener("load", () => {
      document.title = "[" + [...document.querySelectorAll("iframe")].map(
        (frame) => frame.contentDocument.getElementById("measured").textContent).join() + "]";
    });</script>"""
    outer = _write(folder, f"<!DOCTYPE html>{frames}{collect}")
    asked = f"--blink-settings=preferredColorScheme={scheme}"
    done = _browse(chromium, outer, "--dump-dom", "--window-size=1400,1000", "--allow-file-access-from-files", asked)
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None, _console(done)
    measured: list[dict[str, Any]] = json.loads(html.unescape(title[1]))
    assert [one["width"] for one in measured] == list(widths)
    return measured


@pytest.mark.parametrize(
    "which",
    [
        "four",
        "six",
        "many",
        "long",
        "private",
        "drill",
        "drill-large",
        "drill-long",
        "audit",
        "audit-image",
        "audit-long",
    ],
)
def test_nothing_reaches_over_the_edge_and_text_stays_legible(
    chromium: str, pages: dict[str, str], which: str, tmp_path: Path
) -> None:
    for measured in _measure(chromium, pages[which], tmp_path, (360, 390, 768, 1280)):
        assert measured["wide"] == []
        assert measured["scroll"] <= measured["width"]
        assert measured["smallest"] >= 12
        assert measured["drawn"]


@pytest.mark.parametrize("scheme", [_DARK, _LIGHT])
@pytest.mark.parametrize("which", ["four", "private", "drill", "drill-large", "audit", "audit-image"])
def test_text_stands_out_from_what_is_behind_it(
    chromium: str, pages: dict[str, str], which: str, scheme: int, tmp_path: Path
) -> None:
    (measured,) = _measure(chromium, pages[which], tmp_path, (1280,), scheme)
    assert measured["dark"] == (scheme == _DARK)
    assert measured["faint"] == []


def test_the_measure_does_see_what_is_faint(chromium: str, pages: dict[str, str], tmp_path: Path) -> None:
    css = ".grid .heat-0 { color: var(--heat-b) }"
    (measured,) = _measure(chromium, pages["drill"].replace("</style>", f"{css}</style>"), tmp_path, (1280,))
    assert any(one.startswith("td.heat-0") for one in measured["faint"])


def test_the_measure_does_see_what_reaches_over(chromium: str, pages: dict[str, str], tmp_path: Path) -> None:
    spoiled = pages["four"].replace(
        "</main>", '<p class="spoiled"><svg width="900"><text x="800">x</text></svg></p></main>'
    )
    (measured,) = _measure(chromium, spoiled, tmp_path, (390,))
    assert "text." in measured["wide"]


@pytest.mark.parametrize("which", ["four", "drill", "audit"])
@pytest.mark.parametrize(("scheme", "dark"), [(_DARK, True), (_LIGHT, False)])
def test_the_page_is_dark_where_dark_is_asked_for(
    chromium: str, pages: dict[str, str], which: str, scheme: int, dark: bool, tmp_path: Path
) -> None:
    image = pytest.importorskip("PIL.Image", reason="no Pillow to look at a picture with")
    shot = tmp_path / "page.png"
    page = _write(tmp_path, pages[which])
    _browse(
        chromium,
        page,
        f"--blink-settings=preferredColorScheme={scheme}",
        "--window-size=1280,900",
        f"--screenshot={shot}",
    )
    with image.open(shot) as picture:
        grey = picture.convert("L")
        counts = grey.histogram()
    pixels = sum(counts)
    if dark:
        assert sum(counts[:48]) / pixels > 0.85
        assert sum(counts[200:]) / pixels > 0.005  # And there is something to read on it.
    else:
        assert sum(counts[240:]) / pixels > 0.85
        assert sum(counts[:80]) / pixels > 0.005
