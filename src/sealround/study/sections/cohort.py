"""``[cohort]``: where records are, what their columns mean, who the sites are, who trains and who tests."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from sealround.study.sections.base import Code, DataPath, Name, Part, Positive, Section

__all__ = [
    "BuiltinSource",
    "CategoricalFeature",
    "Cohort",
    "Column",
    "ColumnSites",
    "ColumnSplit",
    "CsvSource",
    "DirichletSites",
    "EventColumn",
    "FeatureColumn",
    "FlambySplit",
    "IgnoredColumn",
    "IidSites",
    "ImageFolderSource",
    "LabelColumn",
    "MedmnistSource",
    "NpzSource",
    "NumericFeature",
    "ParquetSource",
    "PatientColumn",
    "QuantitySites",
    "RandomSplit",
    "SensitiveColumn",
    "SiteColumn",
    "Sites",
    "Source",
    "Split",
    "TimeColumn",
]


Bands: TypeAlias = Annotated[tuple[float, ...], Field(min_length=1, max_length=9, examples=[[50, 65]])]
"""Ascending cut points; a number that equals one belongs to the group above."""


class BuiltinSource(Section):
    """A public data set that comes with sealround or its dependencies."""

    kind: Literal["builtin"]
    name: Literal["heart-disease", "breast-cancer"] = Field(description="Which one.")


class CsvSource(Section):
    """One CSV file (optionally gzip-compressed), every cell read as text."""

    kind: Literal["csv"]
    path: DataPath = Field(description="The file, relative to the study file; `data:` starts at the data folder.")
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = Field(default=",", description="Cell separator.")
    header: tuple[Name, ...] | None = Field(default=None, description="Column names of a file without a header line.")


class ParquetSource(Section):
    """One Parquet file."""

    kind: Literal["parquet"]
    path: DataPath = Field(description="The file, relative to the study file; `data:` starts at the data folder.")


class NpzSource(Section):
    """A NumPy `.npz` archive with images or ready-made feature vectors, and a table beside it in the same row order."""

    kind: Literal["npz"]
    path: DataPath = Field(description="The file, relative to the study file; `data:` starts at the data folder.")
    array: Name = Field(description="Array of images (n,h,w) or (n,h,w,c), or of feature vectors (n,p).")
    table: DataPath | None = Field(
        default=None, description="CSV file in the same row order; else the archive's one-dimensional arrays."
    )


class MedmnistSource(Section):
    """A MedMNIST archive: `train_images`, `train_labels`, `val_…`, `test_…`; yields columns `label` and `split`."""

    kind: Literal["medmnist"]
    path: DataPath = Field(description="The file, relative to the study file; `data:` starts at the data folder.")


class ImageFolderSource(Section):
    """A folder or zip archive of image files, and a CSV table that names them."""

    kind: Literal["image-folder"]
    path: DataPath = Field(description="Folder or .zip, relative to the study file; `data:` starts at the data folder.")
    table: DataPath = Field(description="CSV file with a row for each image.")
    file_column: Name = Field(default="file", description="Column of the table with the file name.")
    size: Annotated[int, Field(ge=8, le=1024)] = Field(description="Images are resized to size x size pixels.")
    channels: Literal[1, 3] = Field(default=1, description="1 = grey, 3 = colour.")


Source: TypeAlias = Annotated[
    BuiltinSource | CsvSource | ParquetSource | NpzSource | MedmnistSource | ImageFolderSource,
    Field(discriminator="kind"),
]


class NumericFeature(Section):
    """A measured quantity."""

    role: Literal["feature"]
    kind: Literal["numeric"]
    unit: str = Field(default="", max_length=40, description="Unit of measurement, for reports.")
    range: tuple[float, float] | None = Field(default=None, description="Plausible [low, high]; outside is a defect.")
    missing: tuple[Code, ...] = Field(default=(), description="Codes that mean missing, besides `missing_codes`.")
    sensitive: bool = Field(default=False, description="A protected characteristic, reported by subgroup.")
    bands: Bands | None = Field(
        default=None, description="Where a sensitive number is cut into groups: [50, 65] makes three of them."
    )
    indicator: bool = Field(default=False, description="Add a feature that is 1 where the value is missing.")


class CategoricalFeature(Section):
    """One of a few levels."""

    role: Literal["feature"]
    kind: Literal["categorical"]
    levels: tuple[str, ...] | None = Field(
        default=None, description="Every level, as text; else found by the sites together."
    )
    names: dict[str, Name] = Field(
        default_factory=dict,
        description="What reports call the levels, where they are codes.",
        examples=[{"0": "female", "1": "male"}],
    )
    missing: tuple[Code, ...] = Field(default=(), description="Codes that mean missing, besides `missing_codes`.")
    sensitive: bool = Field(default=False, description="A protected characteristic, reported by subgroup.")
    drop_first: bool = Field(default=False, description="Leave the first level out of the encoding.")
    standardise: bool = Field(
        default=False, description="Bring the 0/1 column of each level to mean 0 and variance 1, as numbers are."
    )


class LabelColumn(Section):
    """The outcome to predict, as two classes."""

    role: Literal["label"]
    positive: tuple[Code, ...] = Field(
        min_length=1, description="Values that mean the outcome is present.", examples=[[1]]
    )
    negative: tuple[Code, ...] | None = Field(default=None, description="Values that mean absent; else every other.")
    outcome: str = Field(
        default="", max_length=80, description="What reports call the outcome.", examples=["pneumonia"]
    )


class TimeColumn(Section):
    """Time to event or censoring (survival)."""

    role: Literal["time"]
    unit: str = Field(default="days", max_length=40, description="Unit of time, for reports.")


class EventColumn(Section):
    """Whether the event happened (survival)."""

    role: Literal["event"]
    positive: tuple[Code, ...] = Field(default=(1,), description="Values that mean the event happened.")


class PatientColumn(Section):
    """Who a row is about: rows of one patient never cross a split."""

    role: Literal["patient"]
    per_split: bool = Field(default=False, description="Ids start anew in each split (separate name spaces).")


class SiteColumn(Section):
    """Which hospital a row is from."""

    role: Literal["site"]


class SensitiveColumn(Section):
    """A protected characteristic that is reported by subgroup but not fed to the model."""

    role: Literal["sensitive"]
    levels: tuple[str, ...] | None = Field(default=None, description="Every level, as text; or `bands` for a number.")
    names: dict[str, Name] = Field(
        default_factory=dict,
        description="What reports call the levels, where they are codes.",
        examples=[{"0": "female", "1": "male"}],
    )
    bands: Bands | None = Field(
        default=None, description="Where a number is cut into groups: [50, 65] makes three of them."
    )


class IgnoredColumn(Section):
    """Present in the file and deliberately not used."""

    role: Literal["ignore"]


FeatureColumn: TypeAlias = Annotated[NumericFeature | CategoricalFeature, Field(discriminator="kind")]
Column: TypeAlias = Annotated[
    FeatureColumn
    | LabelColumn
    | TimeColumn
    | EventColumn
    | PatientColumn
    | SiteColumn
    | SensitiveColumn
    | IgnoredColumn,
    Field(discriminator="role"),
]


class ColumnSites(Section):
    """Sites as the site column has them."""

    kind: Literal["column"]


class IidSites(Section):
    """Simulated sites of equal size and mix."""

    kind: Literal["iid"]
    number: Annotated[int, Field(ge=1, le=500)] = Field(description="How many sites.")


class DirichletSites(Section):
    """Simulated sites with label skew: each class is cut by Dirichlet(alpha) proportions (Yurochkin et al. 2019)."""

    kind: Literal["dirichlet"]
    number: Annotated[int, Field(ge=1, le=500)] = Field(description="How many sites.")
    alpha: Positive = Field(description="Concentration; smaller is more skewed.")


class QuantitySites(Section):
    """Simulated sites with size skew: sizes are Dirichlet(alpha) proportions, the mix is the same."""

    kind: Literal["quantity"]
    number: Annotated[int, Field(ge=1, le=500)] = Field(description="How many sites.")
    alpha: Positive = Field(description="Concentration; smaller is more unequal.")


Sites: TypeAlias = Annotated[ColumnSites | IidSites | DirichletSites | QuantitySites, Field(discriminator="kind")]


class RandomSplit(Section):
    """Train, validation and test drawn at each site, stratified by outcome, patients kept whole."""

    kind: Literal["random"]
    validation: Part = Field(default=0.15, description="Share of patients for validation.")
    test: Part = Field(default=0.2, description="Share of patients for the test.")
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = Field(default=None, description="Else the study's seed.")


class ColumnSplit(Section):
    """Split as a column of the table has it."""

    kind: Literal["column"]
    column: Name = Field(description="Column with the split's name.")
    train: tuple[Code, ...] = Field(default=("train",), description="Values that mean training.")
    validation: tuple[Code, ...] = Field(default=("validation", "val"), description="Values that mean validation.")
    test: tuple[Code, ...] = Field(default=("test",), description="Values that mean test.")
    carve_validation: Part = Field(
        default=0.0, description="Share of training patients moved to validation, at each site."
    )


class FlambySplit(Section):
    """FLamby's split of the heart data: complete rows, 34 % test per hospital, stratified, random state 43."""

    kind: Literal["flamby-heart"]
    carve_validation: Part = Field(
        default=0.0, description="Share of training patients moved to validation, at each site."
    )


Split: TypeAlias = Annotated[RandomSplit | ColumnSplit | FlambySplit, Field(discriminator="kind")]


class Cohort(Section):
    """What each site must provide."""

    source: Source = Field(description="Where the records are.")
    columns: dict[Name, Column] = Field(
        default_factory=dict,
        description="Role of each column, by name.",
        examples=[{"age": {"role": "feature", "kind": "numeric"}}],
    )
    sites: Sites = Field(description="Where sites come from.")
    site_term: Literal["site", "hospital", "region", "centre"] = Field(
        default="hospital", description="What reports call a site."
    )
    split: Split = Field(default=RandomSplit(kind="random"), description="Training, validation and test.")
    missing_codes: tuple[Code, ...] = Field(
        default=("", "?", "NA", "NaN"), description="Codes that mean missing anywhere."
    )
    drop_incomplete: bool = Field(default=False, description="Drop rows with a missing feature instead of imputing.")
