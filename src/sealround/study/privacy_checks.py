"""Whether everything that leaves a site can be private, as the study says."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from sealround.study.sections import (
    Augmentation,
    CategoricalFeature,
    ColumnSites,
    DifferentialPrivacy,
    NoSecureAggregation,
    Sgd,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sealround.study.sections import Study

    Problems: TypeAlias = Iterator[tuple[tuple[str, ...], str]]

__all__ = ["privacy_problems"]

_HERE = ("protection", "privacy")


def privacy_problems(study: Study) -> Problems:
    """Yield the place of each thing that does not go together with differential privacy, and what to change."""
    options = study.protection.privacy
    if not isinstance(options, DifferentialPrivacy):
        return
    for check in _CHECKS:
        yield from check(study, options)


def _budget(_: Study, options: DifferentialPrivacy) -> Problems:
    if options.epsilon is None and options.noise_multiplier is None:
        yield (*_HERE, "epsilon"), "neither the budget nor the noise is given; say epsilon, or noise_multiplier"
    if options.neighboring_relation == "replace-one":
        # Who takes another's place may be in another split, where other noise is: parts would have to be added up.
        why = "is known, and a study's parts and the sites' ledgers are added up for one more or less only; say"
        yield (*_HERE, "neighboring_relation"), f'{why} "add-or-remove-one"'
    if options.unit != "site" and options.delta >= 1.0 / options.patients:
        why = (
            f"lets one of {options.patients} patients be published outright; take less than {1 / options.patients:.1g}"
        )
        yield (*_HERE, "delta"), why


def _trust(study: Study, options: DifferentialPrivacy) -> Problems:
    aggregation, training = study.protection.secure_aggregation, study.training
    if options.clipping.kind == "adaptive" and (options.trust == "local" or options.unit == "site"):
        why = "counts how many are within the norm, which takes many patients in one sum"
        yield (*_HERE, "clipping"), f'{why}; say {{ kind = "fixed" }}'
    if options.trust == "local":
        if training.local_steps is None:
            yield ("training", "local_steps"), "private training counts steps, not passes; say local_steps"
        if not isinstance(training.optimizer, Sgd) or training.optimizer.momentum or training.optimizer.weight_decay:
            why = "private local steps are plain gradient descent; say"
            yield ("training", "optimizer"), f'{why} {{ kind = "sgd", learning_rate = … }} and no more'
        if options.dishonest_sites:
            yield (*_HERE, "dishonest_sites"), 'counts on nobody else\'s noise with trust = "local"; leave it out'
        return
    if isinstance(aggregation, NoSecureAggregation):
        why = "splits the noise over sites, and only a sealed sum hides each part; say"
        how = 'secure_aggregation = { mode = "pairwise" }, or trust = "local"'
        yield (*_HERE, "trust"), f"{why} {how}"
        return
    for key in ("clip_norm", "scale_bits"):
        if getattr(aggregation, key) is not None:
            yield (
                ("protection", "secure_aggregation", key),
                "would change sums after their noise; leave it out, privacy sets its own",
            )


def _site(study: Study, options: DifferentialPrivacy) -> Problems:
    if options.unit != "site":
        return
    if options.trust != "sealed":
        yield (*_HERE, "trust"), 'a hospital that hides from everybody by itself sends noise alone; say "sealed"'
    if options.sampling_probability < 1.0:
        why = "hospitals are not drawn in secret: everybody sees who takes part"
        yield (*_HERE, "sampling_probability"), f"{why}; say 1.0"
    if options.metrics != "kept":
        yield (*_HERE, "metrics"), 'a hospital\'s results have no bound that noise could hide; say "kept"'
    sites = study.cohort.sites
    if not isinstance(sites, ColumnSites) and options.patients != sites.number:
        yield (*_HERE, "patients"), f"units are sites, and there are {sites.number}; say {sites.number}"


def _inputs(study: Study, _: DifferentialPrivacy) -> Problems:
    kind, source = study.standardisation.kind, study.cohort.source.kind
    if kind in ("federated", "local"):
        how = '"declared"' if source in ("csv", "parquet", "builtin") else '"example"'
        yield ("standardisation", "kind"), f"is computed from records, which has to be paid for and is not; say {how}"
    for name, column in study.cohort.columns.items():
        if isinstance(column, CategoricalFeature) and column.levels is None:
            yield ("cohort", "columns", name, "levels"), "a level is told by whoever has it; say which levels there are"


def _training(study: Study, options: DifferentialPrivacy) -> Problems:
    training = study.training
    if study.task == "survival":
        yield (
            ("model", "kind"),
            "a Cox loss compares patients with each other, so that none can be clipped alone; say logistic",
        )
    if training.participation < 1.0:
        yield ("training", "participation"), "patients are drawn, and sites are not; say participation = 1.0"
    if training.algorithm.kind != "plain":
        yield ("training", "algorithm"), f'"{training.algorithm.kind}" sends more than has noise; say kind = "plain"'
    if training.personalisation.kind != "none":
        yield ("training", "personalisation"), "what a site makes its own is trained without noise; leave it out"
    if training.class_balance != "none":
        yield ("training", "class_balance"), 'counts who has the outcome, without noise; say "none"'
    if training.augmentation != Augmentation() and options.unit != "site":
        yield ("training", "augmentation"), "is not clipped with the patient in this version; leave it out"


def _results(study: Study, options: DifferentialPrivacy) -> Problems:
    evaluation, fairness = study.evaluation, study.fairness
    if evaluation.selection != "last":
        yield ("evaluation", "selection"), 'validates every round, which nobody has paid for; say "last"'
    if evaluation.compare:
        yield ("evaluation", "compare"), "trains on the same patients without noise, and shows it; say compare = []"
    if evaluation.primary not in (None, "auroc"):
        why = f'"{evaluation.primary}" cannot be computed of what is released with noise'
        yield ("evaluation", "primary"), f'{why}; say "auroc", or leave it out'
    if options.metrics == "kept" and (evaluation.threshold.kind != "fixed" or evaluation.recalibration != "none"):
        why = 'is chosen by validation results, which stay at the sites with metrics = "kept"; say'
        yield ("evaluation", "threshold"), f'{why} {{ kind = "fixed" }} and recalibration = "none", or "noised"'
    for key, off in (("gate", None), ("group_thresholds", None), ("training", "plain")):
        if getattr(fairness, key) != off:
            yield (
                ("fairness", key),
                "rests on counts by group, which are not released with noise in this version; leave it out",
            )


_CHECKS: tuple[Callable[[Study, DifferentialPrivacy], Problems], ...] = (
    _budget,
    _trust,
    _site,
    _inputs,
    _training,
    _results,
)
