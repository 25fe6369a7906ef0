"""What a site file says of differential privacy: the studies it refuses, and the budget of its patients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sealround.errors import PolicyDeniedError, StudyError
from sealround.study import apply_site, parse_site_file, parse_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.study import SiteFile, Study

    Changed = Callable[[dict[str, str]], str]

OFF = 'privacy = { unit = "none", reason = "simulation on public data" }'
LOCAL = {
    "unit": '"patient"',
    "neighboring_relation": '"add-or-remove-one"',
    "trust": '"local"',
    "delta": "1e-5",
    "epsilon": "8.0",
    "sampling_probability": "0.1",
    "l2_clip_norm": "1.0",
    "patients": "1000",
}
DECLARED = {
    'kind = "numeric" }': 'kind = "numeric", range = [18, 100] }',
    "bootstrap = 200": "compare = []",
    "local_epochs = 1": 'local_steps = 1\n\n[standardisation]\nkind = "declared"',
}


def site_file(text: str = "") -> SiteFile:
    return parse_site_file('[site]\nname = "cleveland"\n' + text, "site.toml")


def private(changed: Changed, **options: str) -> Study:
    """The small study with differential privacy."""
    wanted = {key: value for key, value in {**LOCAL, **options}.items() if value}
    line = ", ".join(f"{key} = {value}" for key, value in wanted.items())
    return parse_study(changed({**DECLARED, OFF: f"privacy = {{ {line} }}"}), "study.toml")


def refusals(study: Study, floors: str) -> tuple[str, ...]:
    with pytest.raises(PolicyDeniedError) as caught:
        apply_site(study, site_file(f"[floors.privacy]\n{floors}"))
    return caught.value.decision


def test_a_study_that_keeps_to_the_floors_is_run_as_it_is(changed: Changed) -> None:
    study = private(changed)
    floors = 'max_epsilon = 8.0\nmax_delta = 1e-5\nunits = ["patient"]\ntrusts = ["local"]'
    assert apply_site(study, site_file(f"[floors.privacy]\n{floors}")) == study
    assert apply_site(study, site_file()) == study


@pytest.mark.parametrize(
    ("options", "floors", "reason"),
    [
        ({}, "max_epsilon = 4.0", "floors.privacy.max_epsilon: 8 is more than 4"),
        ({}, "max_delta = 1e-6", "floors.privacy.max_delta: 1e-05 is more than 1e-06"),
        ({"unit": '"record"'}, 'units = ["patient"]', 'floors.privacy.units: "record" is not among patient'),
        ({}, "units = []", 'floors.privacy.units: "patient" is not among them: the list is empty'),
        ({}, 'trusts = ["sealed"]', 'floors.privacy.trusts: "local" is not among sealed'),
        (
            {"epsilon": "", "noise_multiplier": "9.0"},
            "max_epsilon = 1000.0",
            "floors.privacy.max_epsilon: the study names its noise and no epsilon",
        ),
    ],
)
def test_a_study_that_is_laxer_is_refused_with_the_reason(
    changed: Changed, options: dict[str, str], floors: str, reason: str
) -> None:
    assert refusals(private(changed, **options), floors) == (reason,)


def test_every_reason_is_given_at_once(changed: Changed) -> None:
    floors = 'max_epsilon = 1.0\nmax_delta = 1e-9\nunits = ["record"]\ntrusts = ["sealed"]'
    assert len(refusals(private(changed), floors)) == 4


def test_a_study_without_privacy_is_for_require(small: str) -> None:
    study = parse_study(small, "study.toml")
    assert apply_site(study, site_file("[floors.privacy]\nmax_epsilon = 1.0")) == study
    with pytest.raises(PolicyDeniedError, match="privacy is switched off"):
        apply_site(study, site_file('[floors]\nrequire = ["privacy"]'))


def test_the_budget_of_a_site_is_whole_or_not_there() -> None:
    assert site_file().privacy is None
    budget = site_file('[privacy]\nledger = "privacy.ledger"\nepsilon = 12.0\ndelta = 1e-6').privacy
    assert budget is not None
    assert (budget.ledger, budget.epsilon, budget.delta, budget.records) == ("privacy.ledger", 12.0, 1e-6, "all")
    with pytest.raises(StudyError) as caught:
        site_file('[privacy]\nledger = "privacy.ledger"\nepsilon = 0.0\n')
    assert {problem.path for problem in caught.value.problems} == {"privacy.epsilon", "privacy.delta"}


def test_a_mistake_in_the_floors_is_named_with_what_was_meant() -> None:
    with pytest.raises(StudyError) as caught:
        site_file('[floors.privacy]\nmax_epsilom = 1.0\nunits = ["patients"]')
    assert [(problem.path, problem.suggestion) for problem in caught.value.problems] == [
        ("floors.privacy.max_epsilom", "max_epsilon"),
        ("floors.privacy.units[0]", "patient"),
    ]
