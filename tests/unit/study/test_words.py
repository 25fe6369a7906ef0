from __future__ import annotations

import pytest

from sealround.study.words import nearest

MODELS = ["logistic", "mlp", "cnn", "resnet", "vgg16", "cox", "frozen-backbone"]
TRAINING = ["optimizer", "batch_size", "local_epochs", "local_steps", "server"]


@pytest.mark.parametrize(
    ("word", "valid", "meant"),
    [
        ("logstic", MODELS, "logistic"),
        ("Frozen_Backbone", MODELS, "frozen-backbone"),
        ("CNN", MODELS, "cnn"),
        ("logreg", MODELS, "logistic"),
        ("resnet18", MODELS, "resnet"),
        ("epochs", TRAINING, "local_epochs"),
        ("batch-size", TRAINING, "batch_size"),
        ("optimiser", TRAINING, "optimizer"),
        ("standardization", ["study", "standardisation"], "standardisation"),
        ("zebra", MODELS, None),
        ("anything", [], None),
    ],
)
def test_nearest(word: str, valid: list[str], meant: str | None) -> None:
    assert nearest(word, valid) == meant


def test_another_tools_name_counts_only_where_it_is_valid() -> None:
    assert nearest("epochs", ["kind", "epochs"]) == "epochs"
    assert nearest("epochs", ["momentum", "weight_decay"]) is None
