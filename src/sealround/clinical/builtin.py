"""Public data sets that come with sealround or its dependencies, with who made them and under which licence."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Literal, TypeAlias

import polars as pl

from sealround.errors import UnsupportedError
from sealround.study.sections import CategoricalFeature, IgnoredColumn, LabelColumn, NumericFeature, SiteColumn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.study.sections import Column

__all__ = ["BUILTIN", "Builtin", "BuiltinName", "builtin_columns", "read_builtin"]

BuiltinName: TypeAlias = Literal["heart-disease", "breast-cancer"]


@dataclass(frozen=True, slots=True)
class Builtin:
    """One built-in data set.

    Attributes:
        name: What a study calls it.
        title: One line for a report.
        attribution: Who made it, and where it is published.
        licence: Its terms.
        columns: The role of each column, unless the study declares it otherwise.
    """

    name: BuiltinName
    title: str
    attribution: str
    licence: str
    columns: Mapping[str, Column] = field(repr=False)


def _numeric(unit: str = "", low: float | None = None, high: float | None = None) -> NumericFeature:
    plausible = None if low is None or high is None else (low, high)
    return NumericFeature(role="feature", kind="numeric", unit=unit, range=plausible)


def _coded(*levels: str) -> CategoricalFeature:
    """Declare levels; a yes or no becomes one column."""
    return CategoricalFeature(role="feature", kind="categorical", levels=levels, drop_first=levels == ("0", "1"))


# As heart-disease.names has them.
_CHEST_PAIN = {"1": "typical angina", "2": "atypical angina", "3": "non-anginal pain", "4": "asymptomatic"}
_RESTING_ECG = {"0": "normal", "1": "ST-T wave abnormality", "2": "left ventricular hypertrophy"}

# Features as in FLamby: slope, ca and thal are almost empty outside Cleveland; their absence would name the hospital.
_HEART_COLUMNS: dict[str, Column] = {
    "hospital": SiteColumn(role="site"),
    "age": _numeric("years", 18, 110),
    "sex": _coded("0", "1").model_copy(update={"sensitive": True, "names": {"0": "female", "1": "male"}}),
    "cp": _coded("1", "2", "3", "4").model_copy(update={"names": _CHEST_PAIN, "drop_first": True}),
    "trestbps": _numeric("mmHg", 50, 260).model_copy(update={"missing": (0,)}),
    "chol": _numeric("mg/dl", 50, 700).model_copy(update={"missing": (0,)}),
    "fbs": _coded("0", "1").model_copy(update={"names": {"0": "up to 120 mg/dl", "1": "above 120 mg/dl"}}),
    "restecg": _coded("0", "1", "2").model_copy(update={"names": _RESTING_ECG, "drop_first": True}),
    "thalach": _numeric("beats/min", 40, 220),
    "exang": _coded("0", "1").model_copy(update={"names": {"0": "no", "1": "yes"}}),
    "oldpeak": _numeric("mm", -3, 7),
    "slope": IgnoredColumn(role="ignore"),
    "ca": IgnoredColumn(role="ignore"),
    "thal": IgnoredColumn(role="ignore"),
    "num": LabelColumn(role="label", positive=(1, 2, 3, 4), negative=(0,), outcome="coronary artery disease"),
}

_NUCLEUS = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)  # Of cell nuclei in a fine-needle aspirate; lengths in pixels, which is all the publication says.


def _breast_columns() -> dict[str, Column]:
    names = [pattern.format(name) for pattern in ("mean {}", "{} error", "worst {}") for name in _NUCLEUS]
    columns: dict[str, Column] = {name: _numeric() for name in names}
    columns["diagnosis"] = LabelColumn(role="label", positive=("malignant",), negative=("benign",))
    return columns


BUILTIN: dict[str, Builtin] = {
    "heart-disease": Builtin(
        "heart-disease",
        "Coronary artery disease at four hospitals (UCI Heart Disease, 920 patients, 1988)",
        "Janosi, A., Steinbrunn, W., Pfisterer, M., Detrano, R. (1989). Heart Disease. "
        "UCI Machine Learning Repository. doi:10.24432/C52P4X",
        "CC BY 4.0",
        _HEART_COLUMNS,
    ),
    "breast-cancer": Builtin(
        "breast-cancer",
        "Breast masses, malignant or benign (Breast Cancer Wisconsin Diagnostic, 569 patients, 1995)",
        "Wolberg, W., Mangasarian, O., Street, N., Street, W. (1995). Breast Cancer Wisconsin (Diagnostic). "
        "UCI Machine Learning Repository. doi:10.24432/C5DW2B",
        "CC BY 4.0",
        _breast_columns(),
    ),
}


def builtin_columns(name: str) -> dict[str, Column]:
    """Return the role of each column of a built-in data set."""
    return dict(BUILTIN[name].columns)


def read_builtin(name: BuiltinName) -> pl.DataFrame:
    """Read a built-in data set: every cell as text, null where missing.

    Raises:
        UnsupportedError: If the package that carries it is not installed.
    """
    match name:
        case "heart-disease":
            return _read_heart_disease()
        case "breast-cancer":
            return _read_breast_cancer()


def _read_heart_disease() -> pl.DataFrame:
    file = resources.files("sealround.clinical") / "data" / "heart_disease" / "heart_disease.csv"
    return pl.read_csv(file.read_bytes(), infer_schema=False)


def _read_breast_cancer() -> pl.DataFrame:
    try:
        from sklearn.datasets import load_breast_cancer  # noqa: PLC0415 - optional
    except ImportError:
        raise UnsupportedError(
            "the breast-cancer data comes with scikit-learn, which is not installed",
            hint='pip install "sealround[learning]"',
        ) from None
    bunch = load_breast_cancer()
    columns = {str(name): bunch.data[:, number] for number, name in enumerate(bunch.feature_names)}
    diagnosis = pl.Series([str(bunch.target_names[target]) for target in bunch.target])
    return pl.DataFrame(columns).with_columns(diagnosis.alias("diagnosis")).select(pl.all().cast(pl.String))
