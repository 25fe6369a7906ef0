"""A study in a few plain lines: what is asked of which data, how, and what protects it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, assert_never

from sealround.study.sealed_sums import finest_scale, ring_bits
from sealround.study.sections import (
    Adam,
    BuiltinSource,
    Cnn,
    ColumnSites,
    ColumnSplit,
    Cox,
    CsvSource,
    DirichletSites,
    FedAdam,
    FedAvg,
    FedProx,
    FedYogi,
    FlambySplit,
    FrozenBackbone,
    IidSites,
    ImageFolderSource,
    Logistic,
    MedmnistSource,
    Mlp,
    NoPrivacy,
    NoRobustness,
    NoSecureAggregation,
    NpzSource,
    PairwiseAggregation,
    ParquetSource,
    PlainLocal,
    QuantitySites,
    RandomSplit,
    ReplicatedAggregation,
    Resnet,
    Scaffold,
    Sgd,
    Vgg16,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sealround.study.sections import (
        Cohort,
        Fairness,
        Model,
        Privacy,
        Robustness,
        SecureAggregation,
        Study,
        Training,
    )

__all__ = [
    "ProtectionState",
    "describe_model",
    "describe_sites",
    "describe_source",
    "describe_split",
    "describe_sums",
    "describe_training",
    "describe_weighing",
    "protection_states",
]


@dataclass(frozen=True, slots=True)
class ProtectionState:
    """One protection, as every report states it.

    Attributes:
        name: What it is called.
        state: Whether it is in force.
        reason: Why it is off, in the words of the study's authors; empty where it is on.
        meaning: What that means for patients, in one sentence.
    """

    name: str
    state: Literal["on", "off"]
    reason: str
    meaning: str


def protection_states(study: Study) -> tuple[ProtectionState, ...]:
    """Return every protection and whether it is in force, in the order of the study file."""
    protection = study.protection
    return (
        _secure_aggregation(protection.secure_aggregation, private=protection.private),
        _robustness(protection.robustness),
        _privacy(protection.privacy),
    )


def _privacy(options: Privacy) -> ProtectionState:
    name = "Differential privacy"
    if isinstance(options, NoPrivacy):
        meaning = "Nothing bounds what updates and the released model reveal about one patient."
        return ProtectionState(name, "off", options.reason, meaning)
    whom = {
        "record": "one record, not of a patient who has several",
        "patient": "one patient, with all records",
        "site": "one hospital, with all its patients",
    }[options.unit]
    who = {
        "sealed": "whoever sees sums or the model, as long as the sums are sealed and enough sites add their noise",
        "local": "everybody but the own site",
    }[options.trust]
    how_much = "" if options.epsilon is None else f" (epsilon {options.epsilon:g}, delta {options.delta:g})"
    return ProtectionState(name, "on", "", f"Bounds what {who} can learn about {whom}{how_much}.")


def _secure_aggregation(options: SecureAggregation, *, private: bool) -> ProtectionState:
    match options:
        case NoSecureAggregation(reason=reason):
            meaning = "The coordinator sees each site's counts and its updates, from which records may be rebuilt."
            if private:
                meaning = "The coordinator sees each site's updates, with the noise that hides who is in them."
            return ProtectionState("Secure aggregation", "off", reason, meaning)
        case PairwiseAggregation(n_min=n_min):
            meaning = (
                f"The coordinator sees sums over {_summed(n_min)} and no site's own numbers, unless it colludes with "
                f"a third of the sites{_lying(n_min)}."
            )
        case ReplicatedAggregation(n_min=n_min):
            meaning = (
                f"The coordinator and each of the three aggregators see sums over {_summed(n_min)} and no site's own "
                f"numbers, unless two of the aggregators collude{_lying(n_min)}."
            )
        case _ as other:
            assert_never(other)
    return ProtectionState("Secure aggregation", "on", "", meaning)


def _summed(n_min: int | None) -> str:
    return "all sites of a round" if n_min is None else f"{n_min} sites or more"


def _lying(n_min: int | None) -> str:
    return "" if n_min is None else ", or the coordinator lies about who dropped out"


def _robustness(options: Robustness) -> ProtectionState:
    if isinstance(options, NoRobustness):
        meaning = "One site that lies or errs can steer the model."
        return ProtectionState("Robust aggregation", "off", options.reason, meaning)
    number, rule = options.num_byzantine, f"The rule {options.rule}{' after mixing' if options.mixing else ''}"
    if options.root is not None:
        meaning = (
            f"{rule} trusts each site as far as its update points the way of {options.root}'s, and makes it as long: "
            f"it is as good as the records of {options.root}."
        )
    elif options.rule == "foolsgold":
        meaning = (
            f"{rule} takes weight from sites whose updates point the same way as another's: from copies of one liar, "
            "and from honest sites that are alike. One liar alone can steer the model."
        )
    elif number:
        sites = "site" if number == 1 else "sites"
        meaning = (
            f"{rule} bounds what {number} lying {sites} in a round can do, if the others are alike; a harm aimed at "
            "few patients can stay below that bound."
        )
    else:
        meaning = f"{rule} lets no site move the model much further than others; several can still steer it."
    return ProtectionState("Robust aggregation", "on", "", meaning)


def describe_sums(study: Study) -> str:
    """Say how the sums of a sealed study are written and opened, as far as it is known before the data is seen."""
    options = study.protection.secure_aggregation
    if isinstance(options, NoSecureAggregation):
        return "in clear"
    sites = study.cohort.sites
    scale = options.scale_bits
    if scale is None and not isinstance(sites, ColumnSites):
        scale = finest_scale(sites.number, options.max_abs, ring_bits(options))
    steps = "in the finest steps that the number of sites allows" if scale is None else f"in steps of 2^-{scale}"
    norm = "" if options.clip_norm is None else f", of norm {options.clip_norm:g} at the most"
    return f"{options.mode}; of {_summed(options.n_min)}; changes within ±{options.max_abs:g} {steps}{norm}"


def describe_source(cohort: Cohort) -> str:
    """Say where the records are."""
    match cohort.source:
        case BuiltinSource(name=name):
            return f"built-in data set {name}"
        case CsvSource(path=path):
            return f"CSV file {path}"
        case ParquetSource(path=path):
            return f"Parquet file {path}"
        case NpzSource(path=path, array=array):
            return f'array "{array}" of {path}'
        case MedmnistSource(path=path):
            return f"MedMNIST archive {path}"
        case ImageFolderSource(path=path, size=size):
            return f"images of {path} at {size}x{size} pixels"
        case _ as other:
            assert_never(other)


def describe_sites(cohort: Cohort) -> str:
    """Say where sites come from."""
    match cohort.sites:
        case ColumnSites():
            return "as the data names them"
        case IidSites(number=number):
            return f"{number} simulated, alike"
        case DirichletSites(number=number, alpha=alpha):
            return f"{number} simulated, classes skewed by Dirichlet({alpha:g})"
        case QuantitySites(number=number, alpha=alpha):
            return f"{number} simulated, sizes skewed by Dirichlet({alpha:g})"
        case _ as other:
            assert_never(other)


def describe_split(cohort: Cohort) -> str:
    """Say who trains, validates and tests."""
    match cohort.split:
        case RandomSplit(validation=validation, test=test):
            train = 1 - validation - test
            return f"{train:.0%} training, {validation:.0%} validation, {test:.0%} test, by patient"
        case ColumnSplit(column=column, carve_validation=carved):
            return f'as column "{column}" says{_carved(carved)}'
        case FlambySplit(carve_validation=carved):
            return f"FLamby's{_carved(carved)}"
        case _ as other:
            assert_never(other)


def _carved(share: float) -> str:
    return f", {share:.0%} of training moved to validation" if share else ""


def describe_model(model: Model) -> str:  # noqa: PLR0911  (one return per kind)
    """Say what is trained, as far as it is known before the data is seen."""
    match model:
        case Logistic():
            return "logistic regression"
        case Mlp(hidden=hidden):
            return f"perceptron ({_dashes(hidden)})"
        case Cnn(channels=channels):
            return f"convolutional network ({_dashes(channels)})"
        case Resnet(depth=depth, width=width):
            return f"ResNet-{depth} (width {width})"
        case Vgg16(width=width):
            return f"VGG-16 (width {width})"
        case Cox(hidden=hidden):
            return "Cox proportional hazards, " + (f"perceptron ({_dashes(hidden)})" if hidden else "linear")
        case FrozenBackbone(backbone=backbone, hidden=hidden):
            return f"frozen {backbone} with " + (f"a head ({_dashes(hidden)})" if hidden else "a linear head")
        case _ as other:
            assert_never(other)


def describe_training(training: Training) -> str:
    """Say how sites train and how their updates are combined."""
    local = f"{training.local_epochs} epochs" if training.local_epochs else f"{training.local_steps} steps"
    local = local.removesuffix("s") if local.startswith("1 ") else local
    return f"{local} of {_optimizer(training)} a round{_algorithm(training)}; {_server(training)}"


def describe_weighing(fairness: Fairness) -> str:
    """Say how much patients count by group and outcome, as an end to `describe_training`; nothing if all the same."""
    match fairness.training:
        case "plain":
            return ""
        case "reweighted":
            return "; patients count so that group and outcome are independent"
        case "minimax":
            return "; patients of the group and outcome with the largest loss count more"
        case _ as other:
            assert_never(other)


def _optimizer(training: Training) -> str:
    match training.optimizer:
        case Sgd(learning_rate=rate):
            return f"SGD at {rate:g}"
        case Adam(learning_rate=rate):
            return f"Adam at {rate:g}"
        case _ as other:
            assert_never(other)


def _algorithm(training: Training) -> str:
    match training.algorithm:
        case PlainLocal():
            return ""
        case FedProx(mu=mu):
            return f", FedProx ({mu:g})"
        case Scaffold():
            return ", SCAFFOLD"
        case _ as other:
            assert_never(other)


def _server(training: Training) -> str:
    match training.server:
        case FedAvg():
            return "combined by FedAvg"
        case FedAdam(learning_rate=rate):
            return f"combined by FedAdam at {rate:g}"
        case FedYogi(learning_rate=rate):
            return f"combined by FedYogi at {rate:g}"
        case _ as other:
            assert_never(other)


def _dashes(numbers: Iterable[int]) -> str:
    return "-".join(map(str, numbers))
