"""The page of a private study: what was spent, what that means, and nothing that was not noised."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from sealround.errors import ConsistencyError, UnsupportedError, VerificationError
from sealround.report import diagnostics, render, statements
from sealround.report.answer import answer
from sealround.report.comparison import comparison
from sealround.report.decisions import decisions
from sealround.report.patients import patients
from sealround.report.privacy import PrivacySection, privacy_section
from sealround.report.reading import read_evidence
from sealround.report.sealing import sealing
from sealround.report.typography import upward
from sealround.report.voice import Voice

if TYPE_CHECKING:
    from types import ModuleType

Tree = dict[str, Any]


def _voice(tree: Tree) -> Voice:
    return Voice(read_evidence(tree))


def _section(tree: Tree) -> PrivacySection:
    found = privacy_section(_voice(tree))
    assert found is not None
    return found


def _say(tree: Tree) -> str:
    text = " ".join(re.sub(r"<[^>]+>", "", sentence) for sentence in answer(_voice(tree)).sentences)
    return text.replace("\u202f%\xa0", " % ").replace("\xa0", " ")


def _words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.split("</style>", 1)[1]))


@pytest.fixture
def kept(synthetic: ModuleType) -> Tree:
    tree: Tree = synthetic.private(synthetic.four_hospitals(), metrics="kept")
    return tree


@pytest.fixture
def local(synthetic: ModuleType) -> Tree:
    tree: Tree = synthetic.private(synthetic.four_hospitals(), "local")
    return tree


# --- the rest of the page ---------------------------------------------------------------------------------------------


def test_a_study_without_it_has_no_such_section(four: Tree) -> None:
    assert privacy_section(_voice(four)) is None
    page = render(four)
    assert 'id="privacy"' not in page
    assert ".not-covered" not in page


def test_the_answer_is_of_all_patients_and_says_it_has_noise(private: Tree) -> None:
    private["models"]["federated"]["all"]["auroc"] = {"value": 0.88, "low": 0.83, "high": 0.94}
    said = _say(private)
    assert said.startswith("Trained together, with noise on all that left them, the four hospitals reach an AUROC of")
    assert "0.88 (95 % CI 0.83–0.94) over all test patients together, about 262 of them." in said
    assert "Results have noise too" in said
    assert "on average" not in said
    assert said.endswith("by an epsilon of 3 (delta 1 × 10⁻⁴).")


def test_a_metric_that_noise_does_not_leave_is_owned_up_to(private: Tree) -> None:
    private["study"]["primary"] = "accuracy"
    assert "The study asked for accuracy; of a noised histogram only AUROC is known." in _say(private)
    assert answer(_voice(private)).tiles[0].label == "Together, AUROC"


def test_noise_that_drowns_the_result_is_said(private: Tree) -> None:
    private["models"]["federated"]["all"]["auroc"] = {"value": None, "low": None, "high": None}
    assert "drowns those of so few test patients" in _say(private)
    assert answer(_voice(private)).means == ()


def test_results_that_were_kept_are_not_missed(kept: Tree) -> None:
    assert "no result leaves a hospital, and each has its own" in _say(kept)
    assert [tile.label for tile in answer(_voice(kept)).tiles] == ["Epsilon", "Hospitals in the smallest sum"]
    assert 'id="figure-means"' not in render(kept)
    assert [row[0] for row in patients(_voice(kept)).table.rows] == ["Patients trained on"]
    assert not any("Intervals" in one for one in statements.limits(_voice(kept)))
    assert "Test results left no hospital." in _section(kept).released.note


def test_there_is_no_table_or_curve_that_nobody_may_see(private: Tree) -> None:
    voice = _voice(private)
    assert comparison(voice) is None
    assert decisions(voice) is None
    assert diagnostics.learning_figure(voice) is None
    page = render(private)
    for anchor in ("sites", "learning", "roc", "calibration", "decision", "groups"):
        assert f'id="{anchor}"' not in page
        assert f'href="#{anchor}"' not in page
    assert "mean over hospitals" not in _words(page)


def test_patients_are_declared_or_counted_with_noise(private: Tree) -> None:
    made = patients(_voice(private))
    assert made.said == "About 480 patients of four hospitals to train on, as the study declares"
    assert [row[1:] for row in made.table.rows] == [
        ("about 480", "declared by the study"),
        ("about 262", "counted with noise"),
        ("about 121", "counted with noise"),
    ]


def test_who_saw_what_tells_of_no_spread_of_inputs(private: Tree) -> None:
    made = sealing(_voice(private))
    assert made is not None
    assert "spread of the inputs" not in made.seen[0][1]
    assert [what for what, _ in made.facts] == ["Mode", "Smallest sum opened", "Drop-outs survived", "Rounding"]


def test_limits_and_words_fit(private: Tree) -> None:
    said = " ".join(statements.limits(_voice(private)))
    assert "come from drawing patients and noise anew" in said
    assert "This run protects nobody: the noise follows from the study's seed." in said
    assert "Sums carry no noise" not in said
    assert "Nothing on this page shows that records stayed private" not in said
    words = dict(statements.glossary(_voice(private)))
    assert {"Epsilon, delta", "Unit of privacy", "AUROC"} <= words.keys()
    assert "Mean, worst, gap" not in words
    assert "Accuracy" not in words


# --- the section ------------------------------------------------------------------------------------------------------


def test_the_bound_is_said_as_what_an_attacker_finds(private: Tree) -> None:
    said = " ".join(_section(private).said).replace("\xa0", " ")
    assert "Take any one patient, with all records, and think of the same run with this patient left out." in said
    assert "at most 20.1 times as large or small (e to the power of epsilon, 3)" in said
    assert (
        "Of 100 patients who were not in the data, an attacker who calls 1 of them in finds at most 6.6 of 100 who "
        "were. Guessing finds 1." in said
    )
    assert "from 10 in 100 to at most 69.1. This reads epsilon by itself, as if delta were 0" in said


def test_a_bound_is_never_rounded_down(private: Tree) -> None:
    private["privacy"]["max_true_positive_rate"][1]["true_positive_rate"] = 0.06101
    assert "at most 6.2 of 100" in _section(private).said[1]
    assert _section(private).released.rows[0][-1] == "3"


def test_an_epsilon_too_large_to_be_said_as_a_factor(private: Tree) -> None:
    private["privacy"] |= {"epsilon": 40.0, "budget": None}
    assert "within a factor of e to the power of epsilon, 40" in _section(private).said[0]


def test_a_bound_that_rules_nothing_out_is_said_to(private: Tree) -> None:
    private["privacy"]["max_true_positive_rate"][1]["true_positive_rate"] = 0.9999
    assert "That rules out next to nothing" in _section(private).said[1]


def test_facts_are_in_the_words_of_the_standard(private: Tree) -> None:
    facts = {what: how.replace("\xa0", " ").replace("\u202f", " ") for what, how in _section(private).facts}
    assert facts["Unit of privacy"] == "a patient, with all records at one hospital"
    assert facts["Neighboring relation"] == "one patient more or less (add-or-remove-one)"
    assert facts["Trust model"].startswith("only sums are private")
    assert facts["Accountant"] == "privacy loss distributions; Rényi divergences alone give 3.35"
    assert facts["Epsilon"] == "3, of a budget of 3"
    assert facts["Delta"] == "1 × 10⁻⁴; one of about 480 patients is 0.002"
    assert facts["Noise"] == "2.57 clip norms on each sum, by four of four hospitals"
    assert facts["Steps"] == "30, into each of which a patient is drawn with a chance of 25 %"


def test_what_left_is_listed_with_what_it_spent(private: Tree) -> None:
    made = _section(private)
    assert [row[:3] for row in made.released.rows] == [
        ("Sums of clipped gradients", "trained on", "30"),
        ("Histogram of test predictions", "tested", "1"),
    ]
    assert "not the sum of all: 3 at the most" in made.released.note
    assert made.attacks.note.endswith("whichever split the patient was in.")
    assert [row[0] for row in made.by_site.rows] == list(private["privacy"]["by_site"])


def test_many_sites_that_spend_the_same_are_one_row(synthetic: ModuleType) -> None:
    ((who, *_),) = _section(synthetic.private(synthetic.many_sites())).by_site.rows
    assert who == "Each of 120 sites"


def test_a_site_that_takes_its_noise_off_is_warned_of(private: Tree, local: Tree) -> None:
    assert "with an epsilon of 3.63, not 3" in _section(private).warning
    assert _section(local).warning == ""
    assert "Less against a hospital" not in render(local)


def test_private_messages_rest_on_nobody(local: Tree) -> None:
    made = _section(local)
    facts = dict(made.facts)
    assert facts["Trust model"] == "nobody but the own hospital: each message is private by itself"
    assert "sites/<hospital>.json" in made.own
    assert made.by_site.head[1] == "Steps"
    page = render(local)
    assert 'id="sealing"' not in page
    assert "sites/&lt;hospital&gt;.json" in page


def test_of_private_hospitals_the_unit_is_a_hospital(synthetic: ModuleType) -> None:
    tree = synthetic.private(synthetic.four_hospitals(), metrics="kept", unit="site")
    tree["privacy"] |= {"patients": 4, "sampling_probability": 1.0, "clipping": "adaptive"}
    facts = dict(_section(tree).facts)
    assert facts["Unit of privacy"] == "a hospital, with all its patients"
    assert facts["Delta"] == "1\xa0×\xa010⁻⁴"
    assert facts["Steps"] == "30, each over all hospitals"
    assert facts["Clipping"].endswith("at first; then the norm follows, by a noised count")
    assert "can learn about any one hospital is bounded" in _say(tree)
    assert patients(_voice(tree)).table.rows == (("Hospitals trained on", "4", "declared by the study"),)


def test_of_records_it_is_said_who_is_hidden_less(synthetic: ModuleType) -> None:
    facts = dict(_section(synthetic.private(synthetic.four_hospitals(), unit="record")).facts)
    assert facts["Unit of privacy"] == "a record: a patient with several is hidden less"


def test_the_curve_and_its_numbers_are_there(private: Tree) -> None:
    figure = _section(private).figure
    assert [panel.title for panel in figure.panels] == [
        "What an attacker can do at most",
        "Epsilon spent by the training",
    ]
    assert 'class="line reference"' in figure.panels[0].svg
    assert "at most 6.6" in figure.panels[0].svg
    assert figure.tables[0].rows[0] == ("0", "0.000")
    assert figure.tables[1].rows[-1] == ("30", "2.999")


def test_the_section_stands_between_the_answer_and_the_patients(private: Tree) -> None:
    page = render(private)
    places = [page.index(f'<section id="{name}"') for name in ("privacy", "patients", "protection", "sealing")]
    assert places == sorted(places)
    words = _words(page)
    assert "A simulation hides nobody. The noise follows from the study&#39;s seed." in words
    for one in private["privacy"]["not_covered"]:
        assert one in words
    assert "{" not in words


def test_a_real_run_is_not_called_a_simulation(private: Tree) -> None:
    private["privacy"]["simulated"] = False
    assert "A simulation hides nobody" not in render(private)
    assert "protects nobody" not in " ".join(statements.limits(_voice(private)))


def test_what_is_not_covered_is_text(private: Tree) -> None:
    private["privacy"] |= {"not_covered": ["<b>x</b>"], "simulated_why": "<i>y</i>"}
    page = render(private)
    assert "<b>x" not in page
    assert "<i>y" not in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page


@pytest.mark.parametrize(
    ("value", "text"), [(2.9987, "3"), (2.991, "3"), (2.99, "2.99"), (0.0, "0"), (0.001, "0.01"), (10.0, "10")]
)
def test_a_bound_is_written_upward(value: float, text: str) -> None:
    assert upward(value) == text


# --- strict reading ---------------------------------------------------------------------------------------------------

_CHANGES: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "an unknown key": ({"colour": "red"}, UnsupportedError),
    "an unknown unit": ({"unit": "family"}, VerificationError),
    "an unknown relation": ({"relation": "swap"}, VerificationError),
    "an unknown accountant": ({"accountant": "moments"}, VerificationError),
    "a negative epsilon": ({"epsilon": -1.0}, VerificationError),
    "no epsilon": ({"epsilon": None}, VerificationError),
    "a delta above one": ({"delta": 1.5}, VerificationError),
    "a bound above one": ({"advantage": 1.1}, VerificationError),
    "no site": ({"by_site": None}, VerificationError),
    "a stranger": ({"by_site": {"nowhere": None}}, VerificationError),
    "curves of two lengths": ({"tradeoff": {"alpha": [0.0, 1.0], "beta": [1.0]}}, ConsistencyError),
    "a curve that turns": ({"tradeoff": {"alpha": [1.0, 0.0], "beta": [0.0, 1.0]}}, ConsistencyError),
    "less than one release": ({"epsilon": 1.0}, ConsistencyError),
    "more than its budget": ({"budget": 2.0}, ConsistencyError),
    "kept and released": ({"metrics": "kept"}, ConsistencyError),
    "a posterior of another reading": (
        {"posterior": [{"prior": 0.1, "posterior": 0.2, "reading": "hockey-stick"}]},
        VerificationError,
    ),
}


@pytest.mark.parametrize("change", _CHANGES)
def test_what_is_said_of_privacy_is_checked(private: Tree, change: str) -> None:
    more, error = _CHANGES[change]
    private["privacy"] |= more
    with pytest.raises(error):
        render(private)


def test_a_site_that_the_cohort_does_not_list_is_refused(private: Tree) -> None:
    private["privacy"]["by_site"]["nowhere"] = private["privacy"]["releases"][0]
    with pytest.raises(ConsistencyError, match="privacy lists a site"):
        render(private)


def test_trust_in_sums_that_were_not_sealed_is_refused(private: Tree) -> None:
    private["aggregation"] = None
    with pytest.raises(ConsistencyError, match="trust"):
        render(private)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("models/federated/sites", {"Cleveland": {"n": 9, "positives": 1, "metrics": {}}}),
        ("rounds/2/sites", {"Cleveland": {"validation": 0.7}}),
        ("cohort/sites", {"Cleveland": {"rows": 303}}),
        ("cohort/together", None),
    ],
)
def test_a_private_page_tells_no_site_even_where_sums_are_open(local: Tree, path: str, value: object) -> None:
    place: Any = local
    *steps, last = path.split("/")
    for step in steps:
        place = place[int(step) if step.isdigit() else step]
    place[last] = value
    with pytest.raises((ConsistencyError, VerificationError)):
        render(local)
