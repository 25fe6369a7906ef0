"""The nearest valid word: what somebody most likely meant."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["also_called", "nearest"]

# What other tools and papers call it; the first one that is valid at the place is meant.
_ALSO_CALLED: dict[str, tuple[str, ...]] = {
    "adamw": ("adam",),
    "aggregation": ("server",),
    "architecture": ("model",),
    "auc": ("auroc",),
    "average": ("mean",),
    "average-precision": ("auprc",),
    "batch": ("batch_size",),
    "c-statistic": ("c_index",),
    "category": ("categorical",),
    "center": ("site",),
    "centre": ("site",),
    "client": ("site",),
    "clients": ("sites", "number"),
    "concordance": ("c_index",),
    "continuous": ("numeric",),
    "convnet": ("cnn",),
    "coxph": ("cox",),
    "data": ("source", "cohort"),
    "dataset": ("source", "cohort"),
    "early-stopping": ("selection",),
    "epochs": ("local_epochs", "epochs"),
    "factor": ("categorical",),
    "file": ("path",),
    "filename": ("path",),
    "false": ("none",),
    "fedavg": ("mean", "plain"),
    "float": ("numeric",),
    "group": ("site",),
    "hospital": ("site",),
    "id": ("patient",),
    "int": ("numeric",),
    "layers": ("hidden",),
    "linear": ("logistic",),
    "local-rounds": ("local_epochs",),
    "logreg": ("logistic",),
    "loss-weights": ("class_balance",),
    "lr": ("learning_rate", "logistic"),
    "metric": ("primary",),
    "metrics": ("evaluation",),
    "network": ("model", "mlp"),
    "nn": ("mlp",),
    "no": ("none",),
    "normalization": ("standardisation",),
    "num-clients": ("number",),
    "num-rounds": ("rounds",),
    "off": ("none",),
    "outcome": ("label",),
    "random-state": ("seed",),
    "resnet18": ("resnet",),
    "roc-auc": ("auroc",),
    "scaling": ("standardisation",),
    "security": ("protection",),
    "status": ("event",),
    "steps": ("local_steps",),
    "strategy": ("server", "algorithm"),
    "subject": ("patient",),
    "target": ("label",),
    "val": ("validation",),
    "vgg": ("vgg16",),
    "y": ("label",),
}
_LIKENESS = 0.6


def _plain(word: str) -> str:
    return word.casefold().replace("_", "-").replace(" ", "-")


def also_called(word: str) -> tuple[str, ...]:
    """Return the words of a study file that other tools and papers call ``word``."""
    return _ALSO_CALLED.get(_plain(word), ())


def nearest(word: str, valid: Iterable[str]) -> str | None:
    """Return the valid word that ``word`` most likely stands for.

    Case and the choice between hyphen, underscore and blank do not count; then come the names other tools use, then
    the smallest edit.

    Args:
        word: What was written.
        valid: Words that are allowed there.

    Returns:
        One of ``valid``, or ``None`` if nothing is near.

    >>> from sealround.study.words import nearest
    >>> nearest("Learnig-Rate", ["learning_rate", "momentum"])
    'learning_rate'
    """
    by_plain = {_plain(candidate): candidate for candidate in valid}
    plain = _plain(word)
    if plain in by_plain:
        return by_plain[plain]
    for known in also_called(word):
        if _plain(known) in by_plain:
            return by_plain[_plain(known)]
    close = difflib.get_close_matches(plain, by_plain, n=1, cutoff=_LIKENESS)
    return by_plain[close[0]] if close else None
