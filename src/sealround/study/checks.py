"""What has to fit between the sections of a study: a list of small functions, all run, all problems reported together.

Each check names what it reads, and is left out where one of these was wrong already: no report rests on a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from sealround.study.gate_checks import gate_problems
from sealround.study.group_checks import group_problems
from sealround.study.privacy_checks import privacy_problems
from sealround.study.robust_rules import root_misplaced, rule_unfit
from sealround.study.sealed_sums import unfit
from sealround.study.sections import (
    BuiltinSource,
    CategoricalFeature,
    Code,
    ColumnSites,
    ColumnSplit,
    CsvSource,
    FixedThreshold,
    FlambySplit,
    ImageFolderSource,
    MedmnistSource,
    NumericFeature,
    PatientColumn,
    RandomSplit,
    ReplicatedAggregation,
    RobustRule,
    Scaffold,
)
from sealround.study.weighing_checks import weighing_problems
from sealround.study.words import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sealround.study.places import KeyPath
    from sealround.study.recovery import Recovery
    from sealround.study.sections import Study

__all__ = ["Finding", "run_checks"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not fit.

    Attributes:
        path: Where to mend it.
        message: What does not fit, and what to do.
        suggestion: The nearest valid word.
    """

    path: KeyPath
    message: str
    suggestion: str | None = None


Check: TypeAlias = "Callable[[Study], Iterator[Finding]]"

_COLUMNS = ("cohort", "columns")
_IMAGE_MODELS = frozenset({"cnn", "resnet", "vgg16", "frozen-backbone"})
_SINGLE_ROLES = ("label", "time", "event", "patient", "site")
# What the data sets that come with sealround already declare (`sealround.clinical.builtin`).
_BUILTIN_ROLES = {
    "heart-disease": {"hospital": "site", "num": "label"},
    "breast-cancer": {"diagnosis": "label"},
}


def run_checks(study: Study, recovery: Recovery) -> None:
    """Run every check that does not rest on something already reported.

    Args:
        study: The study as read, after mending.
        recovery: Collects what is found.
    """
    for reads, check in _CHECKS:
        if recovery.sound(reads):
            for finding in check(study):
                recovery.report(finding.path, finding.message, finding.suggestion)


# --- columns ----------------------------------------------------------------------------------------------------------


def _roles(study: Study) -> dict[str, str]:
    source = study.cohort.source
    known = _BUILTIN_ROLES[source.name] if isinstance(source, BuiltinSource) else {}
    return {**known, **{name: column.role for name, column in study.cohort.columns.items()}}


def _playing(study: Study, role: str) -> list[str]:
    return sorted(name for name, played in _roles(study).items() if played == role)


def _one_column_a_role(study: Study) -> Iterator[Finding]:
    for role in _SINGLE_ROLES:
        names = _playing(study, role)
        for name in names[1:]:
            why = f'only one column can be the {role}, and "{names[0]}" is; say role = "ignore" for one of them'
            yield Finding((*_COLUMNS, name, "role"), why)


def _outcome_fits_model(study: Study) -> Iterator[Finding]:
    needed, useless = (("time", "event"), ("label",)) if study.task == "survival" else (("label",), ("time", "event"))
    example = {
        "label": '{ role = "label", positive = [1] }',
        "time": '{ role = "time", unit = "days" }',
        "event": '{ role = "event", positive = [1] }',
    }
    outcome = "time to event" if study.task == "survival" else "two classes"
    for role in needed:
        if not _playing(study, role):
            why = f'model "{study.model.kind}" predicts {outcome} and needs a column with role "{role}"'
            yield Finding(_COLUMNS, f"{why}; say, for example: <its name> = {example[role]}")
    for role in useless:
        for name in _playing(study, role):
            if name in study.cohort.columns:
                other = 'model kind "cox"' if study.task == "binary" else 'model kind "logistic" or "mlp"'
                why = f'model "{study.model.kind}" predicts {outcome} and has no use for role "{role}"'
                yield Finding((*_COLUMNS, name, "role"), f'{why}; say role = "ignore", or take {other}')


def _features_fit_source(study: Study) -> Iterator[Finding]:
    source, names = study.cohort.source, _playing(study, "feature")
    if source.kind in {"csv", "parquet"} and not names:
        example = 'age = { role = "feature", kind = "numeric" }'
        yield Finding(_COLUMNS, f'a table needs a column with role "feature"; say, for example: {example}')
    if source.kind in {"npz", "medmnist", "image-folder"}:
        for name in names:
            why = f'a source of kind "{source.kind}" feeds its array to the model and no columns beside it'
            yield Finding((*_COLUMNS, name, "role"), f'{why}; say role = "sensitive" (report by subgroup) or "ignore"')


def _columns_are_in_header(study: Study) -> Iterator[Finding]:
    source = study.cohort.source
    if not isinstance(source, CsvSource) or source.header is None:
        return
    for name in sorted({name for name in source.header if source.header.count(name) > 1}):
        yield Finding(("cohort", "source", "header"), f'names the column "{name}" twice')
    wanted: list[tuple[KeyPath, str]] = [((*_COLUMNS, name), name) for name in study.cohort.columns]
    if isinstance(study.cohort.split, ColumnSplit):
        wanted.append((("cohort", "split", "column"), study.cohort.split.column))
    for path, name in wanted:
        if name not in source.header:
            yield Finding(path, f'there is no column "{name}" in cohort.source.header', nearest(name, source.header))


def _codes_make_sense(study: Study) -> Iterator[Finding]:
    missing = _texts(study.cohort.missing_codes)
    for name, column in study.cohort.columns.items():
        path = (*_COLUMNS, name)
        if column.role in {"label", "event"}:
            positive, negative = _texts(column.positive), _texts(getattr(column, "negative", None) or ())
            for code in sorted(positive & negative):
                yield Finding((*path, "negative"), f'"{code}" is in both positive and negative')
            for key, codes in (("positive", positive), ("negative", negative)):
                for code in sorted(codes & missing):
                    why = f'"{code}" means missing (cohort.missing_codes) and so never {key}; take it out of one'
                    yield Finding((*path, key), why)
        elif isinstance(column, NumericFeature) and column.range is not None and column.range[0] >= column.range[1]:
            yield Finding((*path, "range"), "expected [low, high] with low less than high")
        elif isinstance(column, CategoricalFeature) and column.levels is not None:
            yield from _levels_make_sense(column, column.levels, path, missing)


def _levels_make_sense(
    column: CategoricalFeature, levels: tuple[str, ...], path: KeyPath, missing: frozenset[str]
) -> Iterator[Finding]:
    for level in sorted({level for level in levels if levels.count(level) > 1}):
        yield Finding((*path, "levels"), f'names the level "{level}" twice')
    for level in sorted(set(levels) & (missing | _texts(column.missing))):
        yield Finding((*path, "levels"), f'"{level}" means missing and so is no level')
    if len(set(levels)) < 2:  # noqa: PLR2004  (one level tells patients apart by nothing)
        yield Finding((*path, "levels"), "expected two levels or more; leave levels out to have them found")


def _texts(codes: Iterable[Code]) -> frozenset[str]:
    """Cells are read as text, so codes are compared as text."""
    return frozenset(str(code) for code in codes)


def _groups_are_declared(study: Study) -> Iterator[Finding]:
    for key, why in group_problems(study):
        yield Finding((*_COLUMNS, *key), why)


def _gate_can_work(study: Study) -> Iterator[Finding]:
    for key, why in gate_problems(study):
        yield Finding(("fairness", "gate", *key), why)


def _patients_can_be_weighed(study: Study) -> Iterator[Finding]:
    for key, why in weighing_problems(study):
        yield Finding(("fairness", *key), why)


# --- sites and splits -------------------------------------------------------------------------------------------------


def _sites_are_known(study: Study) -> Iterator[Finding]:
    if isinstance(study.cohort.sites, ColumnSites) and not _playing(study, "site"):
        how = 'say <its name> = { role = "site" } in [cohort.columns]'
        why = 'sites of kind "column" need a column with role "site"'
        yield Finding(("cohort", "sites", "kind"), f'{why}; {how}, or simulate sites with kind = "iid"')


def _a_round_has_a_site(study: Study) -> Iterator[Finding]:
    sites, share = study.cohort.sites, study.training.participation
    if not isinstance(sites, ColumnSites) and share * sites.number < 1:
        why = f"{share:g} of {sites.number} sites is less than one site"
        yield Finding(("training", "participation"), f"{why}; expected at least {1 / sites.number:.3g}")


def _split_leaves_training_data(study: Study) -> Iterator[Finding]:
    split, path = study.cohort.split, ("cohort", "split")
    if isinstance(split, RandomSplit):
        if split.validation + split.test >= 1:
            yield Finding((*path, "test"), "validation and test together take everybody; expected a sum less than 1")
        if split.test == 0:
            yield Finding((*path, "test"), "without test patients there is nothing to report; expected more than 0")
    elif isinstance(split, ColumnSplit):
        parts = {"train": split.train, "validation": split.validation, "test": split.test}
        for part in ("train", "test"):
            if not parts[part]:
                yield Finding((*path, part), f"expected the values that mean {part}, at least one")
        for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
            for code in sorted(_texts(parts[first]) & _texts(parts[second])):
                yield Finding((*path, second), f'"{code}" is in both {first} and {second}')


def _split_column_feeds_nothing(study: Study) -> Iterator[Finding]:
    split = study.cohort.split
    if not isinstance(split, ColumnSplit):
        return
    column = study.cohort.columns.get(split.column)
    if column is not None and column.role != "ignore":
        why = f'column "{split.column}" says who is tested (cohort.split), so it can play no other role'
        yield Finding((*_COLUMNS, split.column, "role"), why, "ignore")


def _flamby_split_is_of_its_data(study: Study) -> Iterator[Finding]:
    cohort = study.cohort
    if not isinstance(cohort.split, FlambySplit):
        return
    if not (isinstance(cohort.source, BuiltinSource) and cohort.source.name == "heart-disease"):
        why = 'this split is defined for source = { kind = "builtin", name = "heart-disease" } only'
        yield Finding(("cohort", "split", "kind"), f'{why}; take kind = "random"')
    elif not isinstance(cohort.sites, ColumnSites):
        yield Finding(("cohort", "split", "kind"), 'this split is made per hospital; say sites = { kind = "column" }')


def _per_split_ids_have_a_split(study: Study) -> Iterator[Finding]:
    if isinstance(study.cohort.split, ColumnSplit):
        return
    for name, column in study.cohort.columns.items():
        if isinstance(column, PatientColumn) and column.per_split:
            why = 'ids can start anew in each split only where the data is split already: split kind "column"'
            yield Finding((*_COLUMNS, name, "per_split"), why)


def _validation_data_exists(study: Study) -> Iterator[Finding]:
    split, evaluation = study.cohort.split, study.evaluation
    if isinstance(split, RandomSplit):
        has, how = split.validation > 0, "give cohort.split.validation a share"
    else:
        has = split.carve_validation > 0 or (isinstance(split, ColumnSplit) and bool(split.validation))
        how = "give cohort.split.carve_validation a share"
    needs = {
        ("evaluation", "selection"): evaluation.selection == "best-validation",
        ("evaluation", "threshold", "kind"): not isinstance(evaluation.threshold, FixedThreshold),
        ("evaluation", "recalibration"): evaluation.recalibration != "none",
        ("fairness", "gate"): study.fairness.gate is not None,
    }
    for path, needed in needs.items():
        if needed and not has:
            yield Finding(path, f"needs validation data, and the split has none; {how}")


# --- model, training, evaluation --------------------------------------------------------------------------------------


def _model_fits_source(study: Study) -> Iterator[Finding]:
    source, kind = study.cohort.source, study.model.kind
    is_image, is_table = (
        isinstance(source, MedmnistSource | ImageFolderSource),
        source.kind
        in {
            "builtin",
            "csv",
            "parquet",
        },
    )
    if kind in _IMAGE_MODELS and is_table:
        why = f'model "{kind}" takes images, and a source of kind "{source.kind}" is a table'
        yield Finding(("model", "kind"), f'{why}; take "logistic", "mlp" or "cox"')
    if kind not in _IMAGE_MODELS and is_image:
        why = f'model "{kind}" takes features, and a source of kind "{source.kind}" holds images'
        yield Finding(("model", "kind"), f'{why}; take "cnn", "resnet", "vgg16" or "frozen-backbone"')


def _images_are_large_enough(study: Study) -> Iterator[Finding]:
    source, model = study.cohort.source, study.model
    if not isinstance(source, ImageFolderSource):
        return
    match model.kind:
        case "cnn":
            least = 2 ** max(len(model.channels) - 1, int(model.stem == "strided"))
        case "vgg16":
            least = 32
        case _:
            return
    if source.size < least:
        why = f'model "{model.kind}" as described halves images until they need {least} pixels or more'
        yield Finding(("cohort", "source", "size"), f"{why}; expected at least {least}")


def _augmentation_has_images(study: Study) -> Iterator[Finding]:
    if study.training.augmentation != type(study.training.augmentation)() and study.model.kind not in _IMAGE_MODELS:
        why = f'changes images, and model "{study.model.kind}" takes none; leave it out'
        yield Finding(("training", "augmentation"), why)


def _metric_fits_task(study: Study) -> Iterator[Finding]:
    primary = study.evaluation.primary
    if primary is None or (primary == "c_index") == (study.task == "survival"):
        return
    if study.task == "survival":
        why = f'"{primary}" measures two classes, and model "cox" predicts time to event'
        yield Finding(("evaluation", "primary"), why, "c_index")
    else:
        why = f'"c_index" measures time to event, and model "{study.model.kind}" predicts two classes'
        yield Finding(("evaluation", "primary"), why, "auroc")


def _only_for_two_classes(study: Study) -> Iterator[Finding]:
    if study.task == "binary":
        return
    training, evaluation = study.training, study.evaluation
    binary_only = {
        ("evaluation", "threshold"): evaluation.threshold != FixedThreshold(kind="fixed"),
        ("evaluation", "recalibration"): evaluation.recalibration != "none",
        ("training", "class_balance"): training.class_balance != "none",
        ("training", "label_smoothing"): training.label_smoothing > 0,
        ("training", "personalisation", "kind"): training.personalisation.kind == "local-intercept",
        ("fairness", "gate"): study.fairness.gate is not None,
    }
    for path, asked in binary_only.items():
        if asked:
            yield Finding(path, 'is for two classes, and model "cox" predicts time to event; leave it out')


def _selection_compares_alike(study: Study) -> Iterator[Finding]:
    """Rounds can only be compared on the same patients, and by the model that would be used."""
    if study.evaluation.selection != "best-validation":
        return
    path = ("evaluation", "selection")
    if study.training.participation < 1.0:
        yield Finding(
            path, "compares rounds, whose scores come from different sites while participation is below 1", "last"
        )
    if study.training.personalisation.kind != "none":
        yield Finding(path, "compares global models, and this study uses them personalised", "last")


def _baselines_once(study: Study) -> Iterator[Finding]:
    compare = study.evaluation.compare
    if len(set(compare)) < len(compare):
        yield Finding(("evaluation", "compare"), "names the same baseline twice")


# --- protection -------------------------------------------------------------------------------------------------------


def _sums_can_be_sealed(study: Study) -> Iterator[Finding]:
    sites, share = study.cohort.sites, study.training.participation
    if not study.protection.sealed:
        return
    if 0.5 < share < 1.0:  # noqa: PLR2004  (then there is one group)
        why = "sealed sums are over fixed groups of sites, so that no two differ by a few"
        yield Finding(("training", "participation"), f"{why}; expected 1.0, or 0.5 and less")
    elif not isinstance(sites, ColumnSites):  # How many sites a column names is known once the data is read.
        for key, why in unfit(study.protection.secure_aggregation, max(1, round(share * sites.number))):
            yield Finding(("protection", "secure_aggregation", key), why)


def _rule_withstands_its_liars(study: Study) -> Iterator[Finding]:
    sites, options = study.cohort.sites, study.protection.robustness
    if why := root_misplaced(options):
        yield Finding(("protection", "robustness", "root"), why)
    elif not isinstance(sites, ColumnSites):
        # The root of trust trains in every round, whoever else is drawn.
        roots = int(isinstance(options, RobustRule) and options.root is not None)
        a_round = roots + max(1, round(study.training.participation * (sites.number - roots)))
        if why := rule_unfit(options, a_round):
            yield Finding(("protection", "robustness", "num_byzantine"), why)


def _rule_sees_updates(study: Study) -> Iterator[Finding]:
    if not isinstance(study.protection.robustness, RobustRule):
        return
    if study.protection.sealed:
        mode = study.protection.secure_aggregation.mode
        how = (
            'instead: clip_norm in secure_aggregation, which each site keeps to by itself, and rule = "mean" with a '
            'reason; or mode = "none" with one'
        )
        why = f'looks at each site\'s update, which mode "{mode}" hides; {how}'
        yield Finding(("protection", "robustness", "rule"), why)
    if isinstance(study.training.algorithm, Scaffold):
        why = "is for updates, and SCAFFOLD's control variates would go round it; take another algorithm"
        yield Finding(("protection", "robustness", "rule"), why)


def _aggregators_are_three(study: Study) -> Iterator[Finding]:
    options = study.protection.secure_aggregation
    if isinstance(options, ReplicatedAggregation) and len(set(options.aggregators)) < len(options.aggregators):
        why = "names an institution twice; shares are hidden from each only while they are three"
        yield Finding(("protection", "secure_aggregation", "aggregators"), why)


def _answers_can_be_private(study: Study) -> Iterator[Finding]:
    for path, why in privacy_problems(study):
        yield Finding(path, why)


_ROLES = "cohort.columns.*.role"
_CHECKS: tuple[tuple[tuple[str, ...], Check], ...] = (
    ((_ROLES, "cohort.source.kind"), _one_column_a_role),
    ((_ROLES, "cohort.source.kind", "model.kind"), _outcome_fits_model),
    ((_ROLES, "cohort.source.kind"), _features_fit_source),
    (("cohort.columns", "cohort.source", "cohort.split"), _columns_are_in_header),
    (("cohort.columns", "cohort.missing_codes"), _codes_make_sense),
    (("cohort.columns", "model.kind", "fairness.intersections"), _groups_are_declared),
    ((_ROLES, "cohort.source.kind", "cohort.sites.kind"), _sites_are_known),
    (("cohort.sites", "training.participation"), _a_round_has_a_site),
    (("cohort.split",), _split_leaves_training_data),
    ((_ROLES, "cohort.split"), _split_column_feeds_nothing),
    (("cohort.source", "cohort.split.kind", "cohort.sites.kind"), _flamby_split_is_of_its_data),
    (("cohort.columns", "cohort.split.kind"), _per_split_ids_have_a_split),
    (
        (
            "cohort.split",
            "evaluation.selection",
            "evaluation.threshold.kind",
            "evaluation.recalibration",
            "fairness.gate",
        ),
        _validation_data_exists,
    ),
    (("cohort.source.kind", "model.kind"), _model_fits_source),
    (("cohort.source", "model"), _images_are_large_enough),
    (("training.augmentation", "model.kind"), _augmentation_has_images),
    (("evaluation.primary", "model.kind"), _metric_fits_task),
    (("training", "evaluation", "model.kind", "fairness.gate"), _only_for_two_classes),
    (("evaluation.selection", "training.participation", "training.personalisation.kind"), _selection_compares_alike),
    (("evaluation.compare",), _baselines_once),
    (
        (_ROLES, "cohort.source.kind", "cohort.sites", "fairness.gate", "protection.secure_aggregation.mode"),
        _gate_can_work,
    ),
    (("cohort.columns", "cohort.source.kind", "model.kind", "fairness"), _patients_can_be_weighed),
    (("protection.secure_aggregation", "cohort.sites", "training.participation"), _sums_can_be_sealed),
    (("protection.secure_aggregation",), _aggregators_are_three),
    (
        ("protection", "standardisation", "training", "evaluation", "fairness", "cohort.columns", "model.kind"),
        _answers_can_be_private,
    ),
    (("protection.robustness", "cohort.sites", "training.participation"), _rule_withstands_its_liars),
    (("protection.robustness", "protection.secure_aggregation.mode", "training.algorithm"), _rule_sees_updates),
)
