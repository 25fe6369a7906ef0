"""The metrics the page knows: how each is called, which way is better, and what it means in two lines."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["METRICS", "Metric"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric in words.

    Attributes:
        label: As in a table's head.
        sentence: As in the middle of a sentence, with its article where it takes one.
        higher_is_better: Which way is better.
        chance: What guessing gives, drawn as a reference line; ``None`` where that depends on the patients.
        meaning: Two lines for the glossary.
    """

    label: str
    sentence: str
    higher_is_better: bool
    chance: float | None
    meaning: str


METRICS = {
    "auroc": Metric(
        label="AUROC",
        sentence="an AUROC",
        higher_is_better=True,
        chance=0.5,
        meaning=(
            "Area under the ROC curve: the chance that a randomly drawn patient with the condition is given a higher "
            "risk than a randomly drawn patient without it. 0.5 is guessing, 1 is perfect; it says nothing about "
            "whether the predicted risks are right in size."
        ),
    ),
    "auprc": Metric(
        label="AUPRC",
        sentence="an AUPRC",
        higher_is_better=True,
        chance=None,
        meaning=(
            "Area under the precision-recall curve: how many of the patients called positive truly are, averaged over "
            "all thresholds. Guessing gives the share of patients with the condition, so compare it only within one "
            "site."
        ),
    ),
    "accuracy": Metric(
        label="Accuracy",
        sentence="an accuracy",
        higher_is_better=True,
        chance=None,
        meaning=(
            "Share of patients called correctly at the decision threshold. Where the condition is rare, calling "
            "everyone healthy already scores high."
        ),
    ),
    "balanced_accuracy": Metric(
        label="Balanced accuracy",
        sentence="a balanced accuracy",
        higher_is_better=True,
        chance=0.5,
        meaning=(
            "The mean of sensitivity and specificity: accuracy as if half of the patients had the condition. 0.5 is "
            "guessing."
        ),
    ),
    "sensitivity": Metric(
        label="Sensitivity",
        sentence="a sensitivity",
        higher_is_better=True,
        chance=None,
        meaning=(
            "Of the patients with the condition, the share called positive at the decision threshold (true-positive "
            "rate). Its complement is the share that is missed."
        ),
    ),
    "specificity": Metric(
        label="Specificity",
        sentence="a specificity",
        higher_is_better=True,
        chance=None,
        meaning=(
            "Of the patients without the condition, the share called negative at the decision threshold (true- "
            "negative rate). Its complement is the share of false alarms."
        ),
    ),
    "brier": Metric(
        label="Brier score",
        sentence="a Brier score",
        higher_is_better=False,
        chance=None,
        meaning=(
            "Mean squared distance between the predicted risk and what happened (0 or 1). 0 is perfect; always saying "
            "50 % gives 0.25. Lower is better."
        ),
    ),
    "ece": Metric(
        label="Calibration error",
        sentence="a calibration error",
        higher_is_better=False,
        chance=None,
        meaning=(
            "Expected calibration error: the mean distance between predicted risk and observed share over groups of "
            "patients with similar risk. 0 is perfect; few patients make it look worse than it is. Lower is better."
        ),
    ),
    "c_index": Metric(
        label="C-index",
        sentence="a c-index",
        higher_is_better=True,
        chance=0.5,
        meaning=(
            "Harrell's concordance: of the pairs of patients in which one is known to have had the event first, the "
            "share in which the model gave that one the higher risk. 0.5 is guessing, 1 is perfect."
        ),
    ),
}
