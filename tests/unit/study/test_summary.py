from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sealround.study import parse_study
from sealround.study.summary import (
    describe_model,
    describe_sites,
    describe_source,
    describe_split,
    describe_sums,
    describe_training,
    protection_states,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Changed = Callable[[dict[str, str]], str]

SOURCE = '{ kind = "csv", path = "cohort.csv" }'
NO_COLUMNS = {
    'age = { role = "feature", kind = "numeric" }': "",
    'disease = { role = "label", positive = [1] }': 'disease = { role = "label", positive = [1] }',
}


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({}, "logistic regression"),
        ({'kind = "logistic"': 'kind = "mlp"\nhidden = [8, 4]'}, "perceptron (8-4)"),
        (
            {
                'disease = { role = "label", positive = [1] }': 't = { role = "time" }\ne = { role = "event" }',
                'kind = "logistic"': 'kind = "cox"',
            },
            "Cox proportional hazards, linear",
        ),
    ],
)
def test_model(changed: Changed, edits: dict[str, str], words: str) -> None:
    assert describe_model(parse_study(changed(edits), "study.toml").model) == words


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ('kind = "cnn"\nchannels = [8, 16]', "convolutional network (8-16)"),
        ('kind = "resnet"\ndepth = 10', "ResNet-10 (width 64)"),
        ('kind = "vgg16"', "VGG-16 (width 64)"),
        ('kind = "frozen-backbone"\nbackbone = "efficientnet-lite0"', "frozen efficientnet-lite0 with a linear head"),
        (
            'kind = "frozen-backbone"\nbackbone = "efficientnet-lite0"\nhidden = [9]',
            "frozen efficientnet-lite0 with a head (9)",
        ),
    ],
)
def test_image_model(changed: Changed, model: str, words: str) -> None:
    edits = {**NO_COLUMNS, SOURCE: '{ kind = "medmnist", path = "x.npz" }', 'kind = "logistic"': model}
    study = parse_study(changed(edits), "study.toml")
    assert describe_model(study.model) == words
    assert describe_source(study.cohort) == "MedMNIST archive x.npz"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('{ kind = "csv", path = "a.csv" }', "CSV file a.csv"),
        ('{ kind = "parquet", path = "a.parquet" }', "Parquet file a.parquet"),
        ('{ kind = "builtin", name = "heart-disease" }', "built-in data set heart-disease"),
    ],
)
def test_source(changed: Changed, source: str, words: str) -> None:
    edits = {SOURCE: source}
    if "builtin" in source:
        edits |= {'disease = { role = "label", positive = [1] }': "", 'hospital = { role = "site" }': ""}
    assert describe_source(parse_study(changed(edits), "study.toml").cohort) == words


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ('{ kind = "npz", path = "a.npz", array = "x" }', 'array "x" of a.npz'),
        (
            '{ kind = "image-folder", path = "a.zip", table = "a.csv", size = 64 }',
            "images of a.zip at 64x64 pixels",
        ),
    ],
)
def test_source_of_arrays(changed: Changed, source: str, words: str) -> None:
    study = parse_study(changed({**NO_COLUMNS, SOURCE: source, 'kind = "logistic"': 'kind = "cnn"'}), "study.toml")
    assert describe_source(study.cohort) == words


def test_flambys_split(changed: Changed) -> None:
    edits = {
        SOURCE: '{ kind = "builtin", name = "heart-disease" }',
        'disease = { role = "label", positive = [1] }': "",
        'hospital = { role = "site" }': "",
        'sites = { kind = "column" }': 'sites = { kind = "column" }\nsplit = { kind = "flamby-heart" }',
    }
    assert describe_split(parse_study(changed(edits), "study.toml").cohort) == "FLamby's"


@pytest.mark.parametrize(
    ("sites", "words"),
    [
        ('{ kind = "column" }', "as the data names them"),
        ('{ kind = "iid", number = 4 }', "4 simulated, alike"),
        ('{ kind = "dirichlet", number = 5, alpha = 0.5 }', "5 simulated, classes skewed by Dirichlet(0.5)"),
        ('{ kind = "quantity", number = 5, alpha = 2 }', "5 simulated, sizes skewed by Dirichlet(2)"),
    ],
)
def test_sites(changed: Changed, sites: str, words: str) -> None:
    study = parse_study(changed({'sites = { kind = "column" }': f"sites = {sites}"}), "study.toml")
    assert describe_sites(study.cohort) == words


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ('{ kind = "random" }', "65% training, 15% validation, 20% test, by patient"),
        ('{ kind = "column", column = "part" }', 'as column "part" says'),
        (
            '{ kind = "column", column = "part", carve_validation = 0.1 }',
            'as column "part" says, 10% of training moved to validation',
        ),
    ],
)
def test_split(changed: Changed, split: str, words: str) -> None:
    sites = 'sites = { kind = "column" }'
    study = parse_study(changed({sites: f"{sites}\nsplit = {split}"}), "study.toml")
    assert describe_split(study.cohort) == words


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({}, "1 epoch of SGD at 0.1 a round; combined by FedAvg"),
        (
            {"local_epochs = 1": 'local_steps = 20\nalgorithm = { kind = "fedprox", mu = 0.01 }'},
            "20 steps of SGD at 0.1 a round, FedProx (0.01); combined by FedAvg",
        ),
        (
            {"local_epochs = 1": 'local_epochs = 2\nalgorithm = { kind = "scaffold" }\nserver = { kind = "fedadam" }'},
            "2 epochs of SGD at 0.1 a round, SCAFFOLD; combined by FedAdam at 0.01",
        ),
        (
            {'"sgd"': '"adam"', "local_epochs = 1": 'local_epochs = 1\nserver = { kind = "fedyogi" }'},
            "1 epoch of Adam at 0.1 a round; combined by FedYogi at 0.01",
        ),
    ],
)
def test_training(changed: Changed, edits: dict[str, str], words: str) -> None:
    assert describe_training(parse_study(changed(edits), "study.toml").training) == words


def test_every_protection_is_stated_with_its_reason_and_what_it_means(small: str) -> None:
    states = protection_states(parse_study(small, "study.toml"))
    assert [state.name for state in states] == ["Secure aggregation", "Robust aggregation", "Differential privacy"]
    for state in states:
        assert (state.state, state.reason) == ("off", "simulation on public data")
        assert state.meaning.endswith(".")


OPEN = 'secure_aggregation = { mode = "none", reason = "simulation on public data" }'
IID = {'sites = { kind = "column" }': 'sites = { kind = "iid", number = 8 }', 'hospital = { role = "site" }': ""}


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ({}, "in clear"),
        (
            {OPEN: 'secure_aggregation = { mode = "pairwise" }'},
            "pairwise; of all sites of a round; changes within ±4 in the finest steps that the number of sites allows",
        ),
        (
            {OPEN: 'secure_aggregation = { mode = "pairwise", n_min = 5, clip_norm = 2.5 }'} | IID,
            "pairwise; of 5 sites or more; changes within ±4 in steps of 2^-25, of norm 2.5 at the most",
        ),
        (
            {OPEN: 'secure_aggregation = { mode = "replicated", max_abs = 1.5, scale_bits = 30 }'},
            "replicated; of all sites of a round; changes within ±1.5 in steps of 2^-30",
        ),
    ],
)
def test_sums(changed: Changed, edits: dict[str, str], words: str) -> None:
    assert describe_sums(parse_study(changed(edits), "study.toml")) == words


@pytest.mark.parametrize(
    ("mode", "condition"), [("pairwise", "a third of the sites"), ("replicated", "two of the aggregators")]
)
def test_sealed_sums_are_a_protection_with_its_condition(changed: Changed, mode: str, condition: str) -> None:
    study = parse_study(changed({OPEN: f'secure_aggregation = {{ mode = "{mode}" }}'}), "study.toml")
    first, *others = protection_states(study)
    assert (first.name, first.state, first.reason) == ("Secure aggregation", "on", "")
    assert condition in first.meaning
    assert {state.state for state in others} == {"off"}


@pytest.mark.parametrize(
    ("rule", "meaning"),
    [
        ('rule = "median", num_byzantine = 1', "The rule median bounds what 1 lying site in a round can do"),
        ('rule = "dnc", num_byzantine = 2, mixing = true', "The rule dnc after mixing bounds what 2 lying sites"),
        (
            'rule = "norm-clipping", num_byzantine = 0',
            "The rule norm-clipping lets no site move the model much further",
        ),
        ('rule = "foolsgold", num_byzantine = 0', "The rule foolsgold takes weight from sites whose updates point"),
        (
            'rule = "fltrust", num_byzantine = 0, root = "Basel"',
            "The rule fltrust trusts each site as far as its update points the way of Basel's",
        ),
    ],
)
def test_a_rule_is_a_protection_with_its_condition(changed: Changed, rule: str, meaning: str) -> None:
    mean = 'robustness = { rule = "mean", reason = "simulation on public data" }'
    state = protection_states(parse_study(changed({mean: f"robustness = {{ {rule} }}"}), "study.toml"))[1]
    assert (state.name, state.state, state.reason) == ("Robust aggregation", "on", "")
    assert state.meaning.startswith(meaning)
