"""What has to fit between sections: each check with a study that breaks it, and one that just does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sealround.study import parse_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.errors import Problem

    Problems = Callable[[dict[str, str]], tuple[Problem, ...]]
    Changed = Callable[[dict[str, str]], str]

MEAN = 'robustness = { rule = "mean", reason = "simulation on public data" }'
OPEN = 'secure_aggregation = { mode = "none", reason = "simulation on public data" }'
SOURCE = '{ kind = "csv", path = "cohort.csv" }'
SITES = 'sites = { kind = "column" }'
AGE = 'age = { role = "feature", kind = "numeric" }'
DISEASE = 'disease = { role = "label", positive = [1] }'
HOSPITAL = 'hospital = { role = "site" }'
MODEL = 'kind = "logistic"'
BUILTIN = '{ kind = "builtin", name = "heart-disease" }'
IMAGES = '{ kind = "image-folder", path = "x.zip", table = "x.csv", size = 64 }'
IMAGE_STUDY = {SOURCE: IMAGES, AGE: "", MODEL: 'kind = "cnn"'}
SURVIVAL = {DISEASE: 'time = { role = "time" }\nevent = { role = "event" }', MODEL: 'kind = "cox"'}


def split(text: str) -> dict[str, str]:
    return {SITES: f"{SITES}\nsplit = {text}"}


def evaluation(text: str) -> dict[str, str]:
    return {"bootstrap = 200": text}


def training(text: str) -> dict[str, str]:
    return {"local_epochs = 1": f"local_epochs = 1\n{text}"}


def sealed(text: str, sites: int | None = None) -> dict[str, str]:
    """Seal the sums, and simulate so many sites."""
    simulated = {} if sites is None else {SITES: f'sites = {{ kind = "iid", number = {sites} }}', HOSPITAL: ""}
    return simulated | {OPEN: f"secure_aggregation = {{ {text} }}"}


def robust(text: str, sites: int) -> dict[str, str]:
    """Take a rule, and simulate so many sites."""
    simulated = {SITES: f'sites = {{ kind = "iid", number = {sites} }}', HOSPITAL: ""}
    return simulated | {MEAN: f"robustness = {{ {text} }}"}


@pytest.mark.parametrize(
    ("edit", "path", "phrase"),
    [
        pytest.param(
            sealed('mode = "pairwise", scale_bits = 28', 120),
            "protection.secure_aggregation.scale_bits",
            "the sum of 120 sites does not fit 32 bits; lower it to 22 or leave it out, or lower max_abs below",
            id="sum overflows",
        ),
        pytest.param(
            sealed('mode = "pairwise", max_abs = 1e6', 20),
            "protection.secure_aggregation.max_abs",
            "lower it below",
            id="range too wide",
        ),
        pytest.param(
            sealed('mode = "replicated", scale_bits = 40, max_abs = 100.0', 20),
            "protection.secure_aggregation.scale_bits",
            "does not fit 43 bits",
            id="coordinate too wide",
        ),
        pytest.param(
            sealed('mode = "pairwise"', 2),
            "protection.secure_aggregation.n_min",
            "a round has 2 sites, and no sum of fewer than 3 is opened; a round needs at least 3",
            id="two sites",
        ),
        pytest.param(
            sealed('mode = "pairwise"', 10) | training("participation = 0.2"),
            "protection.secure_aggregation.n_min",
            "a round has 2 sites",
            id="two sites a round",
        ),
        pytest.param(
            sealed('mode = "replicated"', 10) | training("participation = 0.7"),
            "training.participation",
            "fixed groups",
            id="no fixed groups",
        ),
        pytest.param(
            robust('rule = "bulyan", num_byzantine = 2', 10),
            "protection.robustness.num_byzantine",
            "bulyan needs 11 sites to withstand 2 Byzantine ones, and there are 10; set num_byzantine to 1",
            id="too few for Bulyan",
        ),
        pytest.param(
            robust('rule = "multi-krum", num_byzantine = 1', 10) | training("participation = 0.4"),
            "protection.robustness.num_byzantine",
            "there are 4",
            id="too few in a round",
        ),
        pytest.param(
            robust('rule = "centered-clipping", num_byzantine = 1', 10),
            "protection.robustness.num_byzantine",
            "needs clip_norm",
            id="clipping to nothing",
        ),
        pytest.param(
            robust('rule = "median", num_byzantine = 1', 10) | sealed('mode = "pairwise"'),
            "protection.robustness.rule",
            'which mode "pairwise" hides; instead: clip_norm in secure_aggregation, which each site keeps to by itself',
            id="rule over hidden updates",
        ),
        pytest.param(
            robust('rule = "fltrust", num_byzantine = 0, root = "site-01"', 10) | sealed('mode = "replicated"'),
            "protection.robustness.rule",
            'which mode "replicated" hides; instead: clip_norm in secure_aggregation, which each site',
            id="trust in hidden updates",
        ),
        pytest.param(
            robust('rule = "fltrust", num_byzantine = 0', 10),
            "protection.robustness.root",
            'say root = "<its name>"',
            id="trust in nobody",
        ),
        pytest.param(
            robust('rule = "median", num_byzantine = 1, root = "site-01"', 10),
            "protection.robustness.root",
            "median measures no site by a trusted one; leave root out, or take fltrust",
            id="trust that nobody asks for",
        ),
        pytest.param(
            robust('rule = "fltrust", num_byzantine = 3, root = "site-01"', 10),
            "protection.robustness.num_byzantine",
            "fltrust assumes no number of Byzantine sites, and is not stronger for a larger one; say 0",
            id="a number that a rule does not have",
        ),
        pytest.param(
            robust('rule = "adaptive", num_byzantine = 2', 4),
            "protection.robustness.num_byzantine",
            "adaptive needs 5 sites to withstand 2 Byzantine ones, and there are 4",
            id="too few for adaptive",
        ),
        pytest.param(
            robust('rule = "foolsgold", num_byzantine = 0, mixing = true', 10),
            "protection.robustness.num_byzantine",
            "foolsgold looks for copies, and mixing makes them; leave mixing off",
            id="copies of one's own making",
        ),
        pytest.param(
            robust('rule = "median", num_byzantine = 1', 10) | training('algorithm = { kind = "scaffold" }'),
            "protection.robustness.rule",
            "SCAFFOLD's control variates would go round it",
            id="round the rule",
        ),
        pytest.param(
            sealed('mode = "replicated", aggregators = ["a", "b", "a"]'),
            "protection.secure_aggregation.aggregators",
            "names an institution twice",
            id="two aggregators",
        ),
        pytest.param(
            {DISEASE: f'{DISEASE}\nz = {{ role = "label", positive = [1] }}'},
            "cohort.columns.z.role",
            'only one column can be the label, and "disease" is',
            id="two labels",
        ),
        pytest.param(
            {HOSPITAL: f'{HOSPITAL}\nward = {{ role = "site" }}'},
            "cohort.columns.ward.role",
            "only one column can be the site",
            id="two sites",
        ),
        pytest.param({DISEASE: ""}, "cohort.columns", 'needs a column with role "label"', id="no label"),
        pytest.param(
            {DISEASE: 'disease = { role = "event" }', MODEL: 'kind = "cox"'},
            "cohort.columns",
            'needs a column with role "time"',
            id="no time",
        ),
        pytest.param(
            SURVIVAL | {AGE: f"{AGE}\n{DISEASE}"},
            "cohort.columns.disease.role",
            'has no use for role "label"',
            id="label for cox",
        ),
        pytest.param(
            {AGE: f'{AGE}\ndays = {{ role = "time" }}'},
            "cohort.columns.days.role",
            'model kind "cox"',
            id="time for logistic",
        ),
        pytest.param({AGE: ""}, "cohort.columns", 'needs a column with role "feature"', id="no feature"),
        pytest.param(
            {SOURCE: IMAGES, MODEL: 'kind = "cnn"'},
            "cohort.columns.age.role",
            'say role = "sensitive"',
            id="feature beside images",
        ),
        pytest.param(
            {SOURCE: '{ kind = "csv", path = "c.csv", header = ["agee", "disease", "hospital"] }'},
            "cohort.columns.age",
            'no column "age"',
            id="not in header",
        ),
        pytest.param(
            {SOURCE: '{ kind = "csv", path = "c.csv", header = ["age", "disease", "hospital", "age"] }'},
            "cohort.source.header",
            'names the column "age" twice',
            id="header twice",
        ),
        pytest.param(
            {SOURCE: '{ kind = "csv", path = "c.csv", header = ["age", "disease", "hospital"] }'}
            | split('{ kind = "column", column = "part" }'),
            "cohort.split.column",
            'no column "part"',
            id="split not in header",
        ),
        pytest.param(
            {"positive = [1]": "positive = [1], negative = [0, 1]"},
            "cohort.columns.disease.negative",
            "in both positive and negative",
            id="both classes",
        ),
        pytest.param(
            {"positive = [1]": 'positive = ["?"]'},
            "cohort.columns.disease.positive",
            "means missing",
            id="positive is missing",
        ),
        pytest.param(
            {'kind = "numeric"': 'kind = "numeric", range = [5, 5]'},
            "cohort.columns.age.range",
            "low less than high",
            id="empty range",
        ),
        pytest.param(
            {'kind = "numeric"': 'kind = "categorical", levels = ["a", "b", "a"]'},
            "cohort.columns.age.levels",
            'names the level "a" twice',
            id="level twice",
        ),
        pytest.param(
            {'kind = "numeric"': 'kind = "categorical", levels = ["a", "b", "9"], missing = [9]'},
            "cohort.columns.age.levels",
            '"9" means missing',
            id="level is missing",
        ),
        pytest.param(
            {'kind = "numeric"': 'kind = "categorical", levels = ["a"]'},
            "cohort.columns.age.levels",
            "two levels or more",
            id="one level",
        ),
        pytest.param({HOSPITAL: ""}, "cohort.sites.kind", 'need a column with role "site"', id="no site column"),
        pytest.param(
            {SITES: 'sites = { kind = "iid", number = 4 }'} | training("participation = 0.2"),
            "training.participation",
            "0.2 of 4 sites is less than one site; expected at least 0.25",
            id="no site in a round",
        ),
        pytest.param(
            split('{ kind = "random", validation = 0.5, test = 0.5 }'),
            "cohort.split.test",
            "sum less than 1",
            id="nobody left",
        ),
        pytest.param(split('{ kind = "random", test = 0 }'), "cohort.split.test", "nothing to report", id="no test"),
        pytest.param(
            split('{ kind = "column", column = "part", train = [] }'),
            "cohort.split.train",
            "values that mean train",
            id="no train value",
        ),
        pytest.param(
            split('{ kind = "column", column = "part", validation = ["test"] }'),
            "cohort.split.test",
            '"test" is in both validation and test',
            id="split twice",
        ),
        pytest.param(
            split('{ kind = "column", column = "age" }'),
            "cohort.columns.age.role",
            "can play no other role",
            id="split is a feature",
        ),
        pytest.param(split('{ kind = "flamby-heart" }'), "cohort.split.kind", "heart-disease", id="FLamby elsewhere"),
        pytest.param(
            {
                SOURCE: BUILTIN,
                AGE: "",
                DISEASE: "",
                HOSPITAL: "",
                SITES: 'sites = { kind = "iid", number = 3 }\nsplit = { kind = "flamby-heart" }',
            },
            "cohort.split.kind",
            "made per hospital",
            id="FLamby without its hospitals",
        ),
        pytest.param(
            {AGE: f'{AGE}\nid = {{ role = "patient", per_split = true }}'},
            "cohort.columns.id.per_split",
            'split kind "column"',
            id="ids per split",
        ),
        pytest.param(
            split('{ kind = "random", validation = 0 }') | evaluation('selection = "best-validation"'),
            "evaluation.selection",
            "give cohort.split.validation a share",
            id="selection without validation",
        ),
        pytest.param(
            split('{ kind = "column", column = "part", validation = [] }')
            | evaluation('threshold = { kind = "youden" }'),
            "evaluation.threshold.kind",
            "give cohort.split.carve_validation a share",
            id="threshold without validation",
        ),
        pytest.param(
            split('{ kind = "random", validation = 0 }') | evaluation('recalibration = "platt"'),
            "evaluation.recalibration",
            "needs validation data",
            id="recalibration without validation",
        ),
        pytest.param(
            {MODEL: 'kind = "resnet"'},
            "model.kind",
            'takes images, and a source of kind "csv" is a table',
            id="images wanted",
        ),
        pytest.param(
            IMAGE_STUDY | {MODEL: MODEL + " "},
            "model.kind",
            'takes features, and a source of kind "image-folder"',
            id="features wanted",
        ),
        pytest.param(
            IMAGE_STUDY | {SOURCE: IMAGES.replace("64", "16"), MODEL: 'kind = "vgg16"'},
            "cohort.source.size",
            "at least 32",
            id="small for vgg",
        ),
        pytest.param(
            IMAGE_STUDY | {SOURCE: IMAGES.replace("64", "8"), MODEL: 'kind = "cnn"\nchannels = [4, 4, 4, 4, 4]'},
            "cohort.source.size",
            "at least 16",
            id="small for cnn",
        ),
        pytest.param(
            training("augmentation = { flip = true }"),
            "training.augmentation",
            "takes none; leave it out",
            id="augmented table",
        ),
        pytest.param(
            evaluation('selection = "best-validation"') | training("participation = 0.5"),
            "evaluation.selection",
            "different sites",
            id="rounds of different sites compared",
        ),
        pytest.param(
            evaluation('selection = "best-validation"') | training('personalisation = { kind = "fine-tune" }'),
            "evaluation.selection",
            "personalised",
            id="global models compared, personal ones used",
        ),
        pytest.param(evaluation('primary = "c_index"'), "evaluation.primary", "time to event", id="c-index of classes"),
        pytest.param(
            SURVIVAL | evaluation('primary = "auroc"'), "evaluation.primary", "two classes", id="auroc of survival"
        ),
        pytest.param(
            SURVIVAL | evaluation('threshold = { kind = "youden" }'),
            "evaluation.threshold",
            "is for two classes",
            id="threshold of survival",
        ),
        pytest.param(
            SURVIVAL | evaluation('recalibration = "platt"'),
            "evaluation.recalibration",
            "two classes",
            id="platt of survival",
        ),
        pytest.param(
            SURVIVAL | training('class_balance = "weighted"'),
            "training.class_balance",
            "two classes",
            id="balance of survival",
        ),
        pytest.param(
            SURVIVAL | training("label_smoothing = 0.1"),
            "training.label_smoothing",
            "two classes",
            id="smoothing of survival",
        ),
        pytest.param(
            SURVIVAL | training('personalisation = { kind = "local-intercept" }'),
            "training.personalisation.kind",
            "two classes",
            id="intercept of survival",
        ),
        pytest.param(evaluation('compare = ["alone", "alone"]'), "evaluation.compare", "twice", id="baseline twice"),
        pytest.param(
            {SOURCE: '{ kind = "builtin", name = "breast-cancer" }', AGE: "", DISEASE: "", HOSPITAL: ""},
            "cohort.sites.kind",
            'need a column with role "site"',
            id="breast cancer has no sites",
        ),
    ],
)
def test_what_does_not_fit_is_told_where_to_mend_it(
    problems: Problems, edit: dict[str, str], path: str, phrase: str
) -> None:
    (problem,) = problems(edit)
    assert problem.path == path
    assert phrase in problem.message
    assert problem.line is not None


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(SURVIVAL, id="survival"),
        pytest.param(IMAGE_STUDY, id="images"),
        pytest.param(IMAGE_STUDY | training("augmentation = { flip = true }"), id="augmented images"),
        pytest.param(
            {SOURCE: BUILTIN, AGE: "", DISEASE: "", HOSPITAL: "", SITES: SITES + '\nsplit = { kind = "flamby-heart" }'},
            id="FLamby",
        ),
        pytest.param(
            {SITES: 'sites = { kind = "iid", number = 4 }'} | training("participation = 0.25"), id="one site a round"
        ),
        pytest.param(split('{ kind = "random", validation = 0.5, test = 0.4 }'), id="somebody left"),
        pytest.param(split('{ kind = "random", validation = 0 }'), id="no validation needed"),
        pytest.param(
            split('{ kind = "column", column = "part", validation = [], carve_validation = 0.1 }')
            | evaluation('selection = "best-validation"'),
            id="carved validation",
        ),
        pytest.param(
            split('{ kind = "column", column = "age" }')
            | {
                '"feature", kind = "numeric"': '"ignore"',
                HOSPITAL: HOSPITAL + '\nbmi = { role = "feature", kind = "numeric" }',
            },
            id="split column ignored",
        ),
        pytest.param(
            {SOURCE: '{ kind = "npz", path = "x.npz", array = "features", table = "x.csv" }', AGE: ""}, id="vectors"
        ),
        pytest.param({SOURCE: BUILTIN, AGE: "", DISEASE: "", HOSPITAL: ""}, id="built-in roles"),
        pytest.param(sealed('mode = "pairwise", scale_bits = 22', 120), id="finest sum"),
        pytest.param(sealed('mode = "pairwise"', 3), id="three sites"),
        pytest.param(robust('rule = "bulyan", num_byzantine = 2', 11), id="enough for Bulyan"),
        pytest.param(robust('rule = "norm-clipping", num_byzantine = 0', 2), id="no liars assumed"),
        pytest.param(robust('rule = "fltrust", num_byzantine = 0, root = "site-1"', 2), id="a root and one other"),
        pytest.param(sealed('mode = "pairwise", clip_norm = 0.5', 10), id="a bound that sites keep to"),
        pytest.param(
            robust('rule = "fltrust", num_byzantine = 0, root = "site-1"', 4) | training("participation = 0.25"),
            id="a root in every round",
        ),
        pytest.param(sealed('mode = "pairwise"', 6) | training("participation = 0.5"), id="two groups of three"),
        pytest.param(sealed('mode = "replicated"'), id="sites not known yet"),
    ],
)
def test_what_fits_is_left_alone(changed: Changed, edit: dict[str, str]) -> None:
    assert parse_study(changed(edit), "study.toml").study.name == "small"


def test_no_check_rests_on_what_was_wrong_already(problems: Problems) -> None:
    found = problems({DISEASE: 'disease = { role = "zebra" }', MODEL: 'kind = "resnet"'})
    assert [problem.path for problem in found] == ["cohort.columns.disease.role", "model.kind"]


def test_a_mended_word_is_good_enough_to_check_with(problems: Problems) -> None:
    found = problems({MODEL: 'kind = "resnt"'})
    assert [problem.path for problem in found] == ["model.kind", "model.kind"]
    assert found[0].suggestion == "resnet"
    assert "takes images" in found[1].message
