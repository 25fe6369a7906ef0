"""``sealround privacy``: a plan with one number missing, and what a ledger says."""

from __future__ import annotations

import hashlib
import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from sealround.cli.main import privacy
from sealround.errors import ConsistencyError, ServiceError, StudyError, UsageError
from sealround.privacy.accounting import epsilon_of
from sealround.privacy.events import PrivacyEvent
from sealround.storage import PrivacyBudget, PrivacyLimit, budget_entries

if TYPE_CHECKING:
    from pathlib import Path

STUDY = """\
[study]
name = "small"
rounds = 10
seed = 7

[cohort]
source = { kind = "builtin", name = "heart-disease" }
sites = { kind = "iid", number = 4 }

[model]
kind = "logistic"

[training]
optimizer = { kind = "sgd", learning_rate = 0.1 }
local_steps = 2

[standardisation]
kind = "declared"

[evaluation]
compare = []

[protection]
secure_aggregation = { mode = "none", reason = "simulation on public data" }
robustness = { rule = "mean", reason = "simulation on public data" }
privacy = { PRIVACY }
"""
GIVEN = {
    "unit": '"patient"',
    "neighboring_relation": '"add-or-remove-one"',
    "trust": '"local"',
    "delta": "1e-4",
    "epsilon": "4.0",
    "sampling_probability": "0.1",
    "l2_clip_norm": "1.0",
    "patients": "500",
}
OFF = 'unit = "none", reason = "simulation on public data"'
DELTA = 1e-4


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(privacy, [str(argument) for argument in arguments])


def plan(study: Path, *arguments: str | Path) -> dict[str, Any]:
    result = run("plan", study, "--json", *arguments)
    assert result.exit_code == 0, result.output or result.exception
    return dict(json.loads(result.stdout))


def refusal(*arguments: str | Path) -> UsageError:
    result = run(*arguments)
    assert isinstance(result.exception, UsageError), result.output
    return result.exception


def write(path: Path, **options: str) -> Path:
    wanted = {key: value for key, value in {**GIVEN, **options}.items() if value}
    path.write_text(STUDY.replace("PRIVACY", ", ".join(f"{key} = {value}" for key, value in wanted.items())))
    return path


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write(tmp_path / "study.toml")


def words(result: Result) -> str:
    assert result.exit_code == 0, result.output or result.exception
    return " ".join(result.output.split())


# --- plan -------------------------------------------------------------------------------------------------------------


def test_a_study_with_a_budget_is_solved_for_its_noise(study: Path) -> None:
    found = plan(study)
    assert found["solved"] == "noise_multiplier"
    training = PrivacyEvent("training", found["noise_multiplier"], 0.1, 20)
    assert found["epsilon_pld"] == pytest.approx(epsilon_of((training,), DELTA, "add-or-remove-one"))
    assert 3.9 < found["epsilon_pld"] <= 4.0 < found["epsilon_rdp"]
    assert (found["rounds"], found["steps_per_round"]) == (10, 2)


def test_a_study_with_noise_is_solved_for_its_epsilon(tmp_path: Path) -> None:
    found = plan(write(tmp_path / "study.toml", epsilon="", noise_multiplier="1.5"))
    assert found["solved"] == "epsilon"
    assert found["noise_multiplier"] == 1.5
    training = PrivacyEvent("training", 1.5, 0.1, 20)
    assert found["epsilon"] == pytest.approx(epsilon_of((training,), DELTA, "add-or-remove-one"))


@pytest.mark.parametrize(
    ("arguments", "solved"),
    [
        (("--noise-multiplier", "1.5"), "epsilon"),
        (("--epsilon", "8"), "noise_multiplier"),
        (("--noise-multiplier", "1.5", "--rounds", "?"), "rounds"),
        (("--noise-multiplier", "1.5", "--epsilon", "1", "--sampling-probability", "?"), "sampling_probability"),
        (("--noise-multiplier", "1.5", "--delta", "?"), "delta"),
        (("--noise-multiplier", "?"), "noise_multiplier"),
        (("--epsilon", "?", "--noise-multiplier", "2"), "epsilon"),
    ],
)
def test_the_number_that_is_asked_for_is_solved_for_and_keeps_to_the_rest(
    study: Path, arguments: tuple[str, ...], solved: str
) -> None:
    found = plan(study, *arguments)
    assert found["solved"] == solved
    assert found["epsilon_pld"] <= found["epsilon"] + 1e-9
    steps = found["rounds"] * found["steps_per_round"]
    event = PrivacyEvent("training", found["noise_multiplier"], found["sampling_probability"], steps)
    spent = epsilon_of((event,), found["delta"], "add-or-remove-one")
    assert found["epsilon_pld"] == pytest.approx(spent)


def test_of_rounds_it_is_the_most_that_fit(study: Path) -> None:
    found = plan(study, "--noise-multiplier", "1.0", "--rounds", "?")
    one_more = PrivacyEvent("training", 1.0, 0.1, (found["rounds"] + 1) * 2)
    assert epsilon_of((one_more,), DELTA, "add-or-remove-one") > 4.0


def test_options_take_the_place_of_what_the_study_says(study: Path) -> None:
    found = plan(study, "--delta", "1e-5", "--rounds", "5", "--clip", "2.5", "--patients", "900")
    assert (found["delta"], found["rounds"], found["l2_clip_norm"], found["patients"]) == (1e-5, 5, 2.5, 900)


def test_noise_is_compared_with_the_gradient_of_the_studys_model(study: Path) -> None:
    found = plan(study)
    features = 12  # a number of this study; the model has one weight for each, and a bias
    assert found["parameters"] > features
    # Each of four sites adds noise for itself: the mean of their means has twice that of one sum over all.
    one_sum = found["noise_multiplier"] * found["parameters"] ** 0.5 / (0.1 * 500)
    assert found["noise_to_signal"] == pytest.approx(2.0 * one_sum)
    needed = found["patients_needed"]
    assert plan(study, "--patients", str(needed))["noise_to_signal"] <= 1.0
    assert plan(study, "--patients", str(needed - 1))["noise_to_signal"] > 1.0


def test_what_cannot_be_told_without_the_data_can_be_given(tmp_path: Path) -> None:
    study = write(tmp_path / "study.toml")
    study.write_text(study.read_text().replace('{ kind = "iid", number = 4 }', '{ kind = "column" }'))
    assert plan(study)["noise_to_signal"] is None
    assert "depends on the data; give --sites" in words(run("plan", study))
    assert plan(study, "--sites", "9")["noise_to_signal"] > 0.0
    assert plan(study, "--parameters", "77")["parameters"] == 77


def test_what_leaves_besides_is_named_with_what_it_spends(study: Path, tmp_path: Path) -> None:
    (metrics,) = plan(study)["releases"]
    assert metrics["what"] == "metrics"
    assert 3.9 < metrics["epsilon"] <= 4.0
    kept = write(tmp_path / "kept.toml", metrics='"kept"')
    kept.write_text(
        kept.read_text().replace("[evaluation]", '[evaluation]\nthreshold = { kind = "fixed", value = 0.5 }')
    )
    assert plan(kept)["releases"] == []


def test_it_is_printed_for_people(study: Path) -> None:
    said = words(run("plan", study))
    for text in (
        "small each patient is hidden; each site's message is private",
        "given epsilon 4, delta 0.0001, sampling_probability 0.1, 10 rounds of 2 steps, l2_clip_norm 1, 500 patients",
        "solved for noise_multiplier",
        "by PLD",
        "by RDP, which is looser",
        "leaves too test results of all sites: noise of",
        "noise to signal",
        "for a ratio of 1",
        "epsilon over the rounds",
        "█",
    ):
        assert text in said


def test_the_curve_is_drawn_to_a_file(study: Path, tmp_path: Path) -> None:
    target = tmp_path / "epsilon.svg"
    assert run("plan", study, "--plot", target).exit_code == 0
    drawing = ET.parse(target).getroot()  # noqa: S314  (our own file)
    assert drawing.tag.endswith("svg")
    text = target.read_text()
    assert "Epsilon over the rounds of small" in text
    assert 'class="line federated"' in text
    assert isinstance(run("plan", study, "--plot", tmp_path / "nowhere" / "x.svg").exception, ServiceError)


def test_a_study_without_privacy_is_planned_from_options(tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text(STUDY.replace("PRIVACY", OFF))
    error = refusal("plan", study)
    assert "has no differential privacy yet" in error.message
    assert error.hint == "give --delta and --sampling-probability and --patients as well"
    numbers = ("--delta", "1e-4", "--sampling-probability", "0.1", "--patients", "500")
    assert "give --epsilon as well" in refusal("plan", study, *numbers).hint
    found = plan(study, *numbers, "--epsilon", "4")
    assert found["noise_multiplier"] == plan(write(tmp_path / "on.toml"))["noise_multiplier"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rounds", "?", "--delta", "?"), "--delta and --rounds are asked for"),
        (("--rounds", "?"), "everything else has to be known"),
        (("--rounds", "2.5"), "whole number"),
        (("--epsilon", "-1"), "epsilon"),
        (("--delta", "2"), "delta"),
        (("--epsilon", "0.0001", "--noise-multiplier", "0.5", "--rounds", "?"), "epsilon"),
    ],
)
def test_a_plan_that_cannot_be_solved_is_refused(study: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in str(refusal("plan", study, *arguments))


def test_mistakes_are_told_as_by_other_verbs(tmp_path: Path, study: Path) -> None:
    assert isinstance(run("plan", tmp_path / "missing.toml").exception, StudyError)
    assert run("plan", study, "--epsilon", "much").exit_code == 2


# --- budget -----------------------------------------------------------------------------------------------------------


def digest(word: str) -> bytes:
    return hashlib.sha256(word.encode()).digest()


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A settled study, and one that broke off, on the same records."""
    path = tmp_path / "site.privacy"
    step, metrics = PrivacyEvent("training", 2.0, 0.1, 1), PrivacyEvent("metrics", 5.0, 1.0, 1)
    whole = (PrivacyEvent("training", 2.0, 0.1, 4), metrics)
    with PrivacyBudget(
        path, digest("records"), "patient", PrivacyLimit(6.0, DELTA), now=lambda: 1_700_000_000
    ) as books:
        for study, made in (("done", 4), ("broken off", 1)):
            books.reserve(digest(study), whole)
            for number in range(made):
                books.spend(step, digest(f"{study} {number}"))
        books.settle(digest("done"))
    return path


def test_a_ledger_tells_what_was_spent_on_what_and_what_is_left(ledger: Path) -> None:
    (data,) = json.loads(run("budget", ledger, "--json").stdout)["data"]
    together = (PrivacyEvent("training", 2.0, 0.1, 8),)
    assert (data["data"], data["unit"], data["limit"], data["delta"]) == (
        digest("records").hex(),
        "patient",
        6.0,
        DELTA,
    )
    assert data["epsilon"] >= epsilon_of(together, DELTA, "add-or-remove-one")
    assert data["left"] == pytest.approx(6.0 - data["epsilon"])
    done, broken = data["studies"]
    assert (done["settled"], broken["settled"]) == (True, False)
    assert done["since"] == "2023-11-14T22:13:20+00:00"
    assert [(event["what"], event["count"]) for event in done["releases"]] == [("training", 4)]
    assert done["set_aside"] == []
    assert [(event["what"], event["count"]) for event in broken["set_aside"]] == [("metrics", 1), ("training", 3)]


def test_a_ledger_is_printed_for_people(ledger: Path) -> None:
    said = words(run("budget", ledger))
    assert f"records {digest('records').hex()[:16]} each patient: epsilon" in said
    assert "of 6," in said
    assert "left, at a delta of 0.0001" in said
    assert f"{digest('done').hex()[:16]} 2023-11-14 settled epsilon" in said
    assert "training 4" in said
    assert "metrics 0 of 1, training 1 of 4" in said


def test_what_was_set_aside_for_a_study_that_is_over_can_be_given_back(ledger: Path) -> None:
    before = json.loads(run("budget", ledger, "--json").stdout)["data"][0]["epsilon"]
    result = run("budget", ledger, "--json", "--settle", digest("broken off").hex()[:12].upper())
    (data,) = json.loads(result.stdout)["data"]
    assert data["epsilon"] < before
    assert [study["settled"] for study in data["studies"]] == [True, True]
    assert [entry.spent[0].count for entry in budget_entries(ledger)] == [4, 1]
    assert "no study" in refusal("budget", ledger, "--settle", "00ff00ff").message
    assert "more than one study" in refusal("budget", ledger, "--settle", "").message


def test_no_limit_and_no_noise_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "site.privacy"
    with PrivacyBudget(path, digest("records"), "record", PrivacyLimit(None, DELTA)) as books:
        assert "Nothing was spent" in words(run("budget", path))
        books.reserve(digest("study"), (PrivacyEvent("statistics", 0.0, 1.0, 1),))
    assert "epsilon infinite no limit" in words(run("budget", path))
    assert json.loads(run("budget", path, "--json").stdout)["data"][0]["epsilon"] is None


def test_a_ledger_that_is_missing_or_damaged_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "site.privacy"
    assert isinstance(run("budget", path).exception, ServiceError)
    assert not path.exists()
    path.write_bytes(b"")
    assert isinstance(run("budget", path).exception, ConsistencyError)
