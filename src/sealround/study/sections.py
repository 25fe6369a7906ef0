"""The study file's sections as frozen, strictly validated records: all that can be said in ``study.toml``.

Each class is one section; each field's description is its documentation (the JSON schema and the reference page are
made from here). From a section to code leads an exhaustive ``match`` in the layer that implements it, never an import
path in a file. What sealround knows but does not build yet is absent here and refused by `sealround.study.loading`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "Adam",
    "Augmentation",
    "BuiltinSource",
    "CategoricalFeature",
    "Cnn",
    "Cohort",
    "Column",
    "ColumnSites",
    "ColumnSplit",
    "Cox",
    "CsvSource",
    "DataPath",
    "DirichletSites",
    "Evaluation",
    "EventColumn",
    "FeatureColumn",
    "FedAdam",
    "FedAvg",
    "FedProx",
    "FedYogi",
    "FineTune",
    "FixedThreshold",
    "FlambySplit",
    "FrozenBackbone",
    "IgnoredColumn",
    "IidSites",
    "ImageFolderSource",
    "LabelColumn",
    "LocalAlgorithm",
    "LocalIntercept",
    "LocalOptimizer",
    "Logistic",
    "MedmnistSource",
    "MetricName",
    "Mlp",
    "Model",
    "ModelKind",
    "NoPersonalisation",
    "NoPrivacy",
    "NoRobustness",
    "NoSecureAggregation",
    "NpzSource",
    "NumericFeature",
    "ParquetSource",
    "PatientColumn",
    "Personalisation",
    "PlainLocal",
    "Protection",
    "QuantitySites",
    "RandomSplit",
    "Resnet",
    "Scaffold",
    "Section",
    "SensitiveColumn",
    "SensitivityThreshold",
    "ServerOptimizer",
    "Sgd",
    "SiteColumn",
    "Sites",
    "Source",
    "Split",
    "Standardisation",
    "Study",
    "StudyHeader",
    "Threshold",
    "TimeColumn",
    "Training",
    "Vgg16",
    "YoudenThreshold",
]

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Part = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, examples=[0.1])]
NonNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1, le=1_000_000, examples=[32])]
Code: TypeAlias = str | int | float
Name = Annotated[str, Field(min_length=1, max_length=120, pattern=r"^[^\x00-\x1f]+$")]

DataPath = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00-\x1f]+$", examples=["cohort.csv"])]


class Section(BaseModel):
    """Base of every section: unknown words are refused, values are not coerced, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


# --- [study] ----------------------------------------------------------------------------------------------------------


class StudyHeader(Section):
    """What the study is called, what it asks, and how long it runs."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,79}$")] = Field(
        description="A short name of lower-case letters, digits and hyphens, 80 at most; names the run folder.",
        examples=["heart-disease"],
    )
    question: str = Field(default="", max_length=500, description="The clinical question, for the report.")
    rounds: Annotated[int, Field(ge=1, le=100_000)] = Field(description="Training rounds.", examples=[30])
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(
        description="Seed of every random choice of a simulation: the same seed gives the same bytes.",
        examples=[42],
    )


# --- [cohort] ---------------------------------------------------------------------------------------------------------


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


# --- [standardisation] ------------------------------------------------------------------------------------------------


class Standardisation(Section):
    """How features are brought to mean 0 and variance 1."""

    kind: Literal["federated", "local", "none"] = Field(
        default="federated", description="From sums over all sites, from each site alone, or not at all."
    )
    min_cell_count: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=5, description="A site never reports a count of patients smaller than this, except 0."
    )


# --- [model] ----------------------------------------------------------------------------------------------------------


class Logistic(Section):
    """Logistic regression."""

    kind: Literal["logistic"]
    init: Literal["zeros", "uniform"] = Field(
        default="zeros", description="`uniform`: within 1 / sqrt(features), where torch starts with this seed."
    )


class Mlp(Section):
    """Multi-layer perceptron with ReLU."""

    kind: Literal["mlp"]
    hidden: tuple[Count, ...] = Field(default=(32,), description="Width of each hidden layer.")
    dropout: Part = Field(default=0.0, description="Share of hidden units dropped in training.")


class Cnn(Section):
    """Small convolutional network: blocks of conv 3x3, GroupNorm, ReLU, a pool by 2 between; mean pool; linear head."""

    kind: Literal["cnn"]
    channels: tuple[Count, ...] = Field(default=(16, 32, 64), min_length=1, description="Width of each block.")
    stem: Literal["pooled", "strided"] = Field(
        default="pooled",
        description="`strided`: the first block is a conv 5x5 with stride 2, without a pool; a quarter of the cost.",
    )
    dropout: Part = Field(default=0.0, description="Before the head.")


class Resnet(Section):
    """Residual network with GroupNorm (He et al. 2016; Wu and He 2018)."""

    kind: Literal["resnet"]
    depth: Literal[10, 18] = Field(default=18, description="10 = one basic block a stage, 18 = two.")
    width: Count = Field(default=64, description="Channels of the first stage; doubles at each of the four.")


class Vgg16(Section):
    """VGG-16 (Simonyan and Zisserman 2015, configuration D), any input size from 32 pixels."""

    kind: Literal["vgg16"]
    width: Count = Field(default=64, description="Channels of the first block; 64 is the published network.")
    group_norm: bool = Field(default=False, description="GroupNorm after each convolution.")
    hidden: Count = Field(default=4096, description="Width of the two fully connected layers.")
    dropout: Part = Field(default=0.5, description="Between the fully connected layers.")


class Cox(Section):
    """Cox proportional hazards, partial likelihood by Breslow; linear, or an MLP when `hidden` is given."""

    kind: Literal["cox"]
    hidden: tuple[Count, ...] = Field(default=(), description="Width of each hidden layer; empty for linear.")
    dropout: Part = Field(default=0.0, description="Share of hidden units dropped in training.")


class FrozenBackbone(Section):
    """A public pre-trained network that stays fixed, and a trained head on its pooled features."""

    kind: Literal["frozen-backbone"]
    backbone: Literal["efficientnet-lite0"] = Field(description="Which network (ImageNet weights).")
    size: Annotated[int, Field(ge=32, le=512)] = Field(default=224, description="Input size in pixels.")
    hidden: tuple[Count, ...] = Field(default=(), description="Hidden layers of the head; empty for linear.")
    dropout: Part = Field(default=0.0, description="Share of features dropped in training.")


Model: TypeAlias = Annotated[Logistic | Mlp | Cnn | Resnet | Vgg16 | Cox | FrozenBackbone, Field(discriminator="kind")]

ModelKind: TypeAlias = Literal["logistic", "mlp", "cnn", "resnet", "vgg16", "cox", "frozen-backbone"]


# --- [training] -------------------------------------------------------------------------------------------------------


class Sgd(Section):
    """Stochastic gradient descent."""

    kind: Literal["sgd"]
    learning_rate: Positive = Field(description="Size of a step.")
    momentum: Part = Field(default=0.0, description="Share of the last step that is kept.")
    weight_decay: NonNegative = Field(default=0.0, description="L2 penalty of the weights.")


class Adam(Section):
    """Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019)."""

    kind: Literal["adam"]
    learning_rate: Positive = Field(description="Size of a step.")
    weight_decay: NonNegative = Field(default=0.0, description="Share of the weights taken off, times learning rate.")


LocalOptimizer: TypeAlias = Annotated[Sgd | Adam, Field(discriminator="kind")]


class PlainLocal(Section):
    """Plain local training (McMahan et al. 2017)."""

    kind: Literal["plain"]


class FedProx(Section):
    """Pulls local weights towards the global ones: + mu/2 * squared distance (Li et al. 2020)."""

    kind: Literal["fedprox"]
    mu: Positive = Field(description="Strength of the pull.")


class Scaffold(Section):
    """Control variates against client drift (Karimireddy et al. 2020, option II); needs SGD without momentum."""

    kind: Literal["scaffold"]


LocalAlgorithm: TypeAlias = Annotated[PlainLocal | FedProx | Scaffold, Field(discriminator="kind")]


class FedAvg(Section):
    """Server adds the mean update, with optional momentum (McMahan et al. 2017; Hsu et al. 2019)."""

    kind: Literal["fedavg"]
    learning_rate: Positive = Field(default=1.0, description="Share of the mean update that is added.")
    momentum: Part = Field(default=0.0, description="Share of the last change that is kept.")


class FedAdam(Section):
    """Adam at the server (Reddi et al. 2021, Algorithm 2)."""

    kind: Literal["fedadam"]
    learning_rate: Positive = Field(default=0.01, description="Size of a step.")
    beta1: Part = Field(default=0.9, description="Decay of the first moment.")
    beta2: Part = Field(default=0.99, description="Decay of the second moment.")
    tau: Positive = Field(default=0.001, description="Adaptivity: added to the root of the second moment.")


class FedYogi(Section):
    """Yogi at the server (Reddi et al. 2021, Algorithm 2)."""

    kind: Literal["fedyogi"]
    learning_rate: Positive = Field(default=0.01, description="Size of a step.")
    beta1: Part = Field(default=0.9, description="Decay of the first moment.")
    beta2: Part = Field(default=0.99, description="Decay of the second moment.")
    tau: Positive = Field(default=0.001, description="Adaptivity: added to the root of the second moment.")


ServerOptimizer: TypeAlias = Annotated[FedAvg | FedAdam | FedYogi, Field(discriminator="kind")]


class Augmentation(Section):
    """Random changes of training images; what they uncover is filled with the nearest edge."""

    shift: Annotated[int, Field(ge=0, le=64)] = Field(default=0, description="Up to so many pixels each way.")
    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = Field(default=0.0, description="Up to so many degrees.")
    scale: Part = Field(default=0.0, description="Larger or smaller by up to this share.")
    flip: bool = Field(default=False, description="Mirror left and right.")
    brightness: Fraction = Field(default=0.0, description="Up to this share of the standard deviation.")
    contrast: Fraction = Field(default=0.0, description="Scale by 1 +- up to this share.")


class NoPersonalisation(Section):
    """Every site uses the global model as it is."""

    kind: Literal["none"]


class LocalIntercept(Section):
    """The output bias stays at the site: prevalence differs, the rest is shared."""

    kind: Literal["local-intercept"]


class FineTune(Section):
    """Each site continues training on its own data before it uses the model."""

    kind: Literal["fine-tune"]
    epochs: Annotated[int, Field(ge=1, le=1000)] = Field(default=1, description="Local epochs after the last round.")


Personalisation: TypeAlias = Annotated[NoPersonalisation | LocalIntercept | FineTune, Field(discriminator="kind")]


class Training(Section):
    """How sites train and how the server combines their updates."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"optimizer": {"kind": "sgd", "learning_rate": 0.1}, "local_epochs": 1}]}
    )

    optimizer: LocalOptimizer = Field(description="How a site takes its steps.")
    batch_size: Count = Field(default=32, description="Examples a step; a larger batch than the site has is all of it.")
    local_epochs: Annotated[int, Field(ge=1, le=1000)] | None = Field(default=None, description="Passes a round.")
    local_steps: Annotated[int, Field(ge=1, le=100_000)] | None = Field(default=None, description="Or steps a round.")
    schedule: Literal["constant", "cosine"] = Field(default="constant", description="Learning rate over the rounds.")
    class_balance: Literal["none", "weighted", "logit-adjusted"] = Field(
        default="none",
        description="`weighted`: each class counts the same in the loss, by the federated counts. `logit-adjusted`: a "
        "site adds the log odds of its own mix to logits in training, so that sites with different mixes learn one "
        "model of balanced classes (Menon et al. 2021). Risks of both are for balanced classes; see `recalibration`.",
    )
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = Field(default=0.0, description="Towards 1/2.")
    augmentation: Augmentation = Augmentation()
    algorithm: LocalAlgorithm = Field(default=PlainLocal(kind="plain"), description="What local training minimises.")
    server: ServerOptimizer = Field(default=FedAvg(kind="fedavg"), description="How the mean update is applied.")
    ema: Part = Field(
        default=0.0, description="Decay of the running mean of global models that is evaluated and released; 0 = off."
    )
    weighting: Literal["examples", "uniform"] = Field(default="examples", description="Weight of a site's update.")
    participation: Annotated[float, Field(gt=0.0, le=1.0)] = Field(default=1.0, description="Share of sites a round.")
    personalisation: Personalisation = Field(
        default=NoPersonalisation(kind="none"), description="What each site makes its own."
    )
    on_divergence: Literal["stop", "drop-site"] = Field(
        default="stop", description="When a site's training diverges: end the study, or go on without the site."
    )

    @model_validator(mode="after")
    def _one_length(self) -> Training:
        if self.local_epochs is not None and self.local_steps is not None:
            msg = "give local_epochs or local_steps, not both"
            raise ValueError(msg)
        if self.local_epochs is None and self.local_steps is None:
            msg = "give local_epochs (passes a round) or local_steps (steps a round)"
            raise ValueError(msg)
        if isinstance(self.algorithm, Scaffold) and not (
            isinstance(self.optimizer, Sgd) and self.optimizer.momentum == 0.0
        ):
            msg = 'algorithm "scaffold" needs optimizer kind "sgd" without momentum'
            raise ValueError(msg)
        return self


# --- [evaluation] -----------------------------------------------------------------------------------------------------


class FixedThreshold(Section):
    """Positive when the predicted risk is at least `value`."""

    kind: Literal["fixed"]
    value: Fraction = Field(default=0.5, description="Risk from which on a patient counts as positive.")


class YoudenThreshold(Section):
    """Largest sensitivity + specificity on the validation data of all sites together (Youden 1950)."""

    kind: Literal["youden"]


class SensitivityThreshold(Section):
    """Highest threshold with at least this sensitivity on the validation data of all sites together."""

    kind: Literal["sensitivity"]
    at_least: Fraction = Field(default=0.9, description="Share of the patients with the outcome that must be found.")


Threshold: TypeAlias = Annotated[FixedThreshold | YoudenThreshold | SensitivityThreshold, Field(discriminator="kind")]

MetricName: TypeAlias = Literal[
    "auroc", "auprc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "brier", "ece", "c_index"
]


class Evaluation(Section):
    """What is measured, and against what."""

    primary: MetricName | None = Field(default=None, description="Leading metric; else auroc, or c_index for survival.")
    threshold: Threshold = Field(
        default=FixedThreshold(kind="fixed"), description="Predicted risk from which on a patient counts as positive."
    )
    recalibration: Literal["none", "platt"] = Field(
        default="none", description="`platt`: slope and intercept fitted on validation data (Platt 1999)."
    )
    selection: Literal["last", "best-validation"] = Field(
        default="last", description="Which round's model is released."
    )
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = Field(default=0.95, description="Of every interval.")
    bootstrap: Annotated[int, Field(ge=100, le=20_000)] = Field(default=1000, description="Resamples of patients.")
    compare: tuple[Literal["alone", "pooled"], ...] = Field(
        default=("alone", "pooled"), description="Baselines: each hospital alone, all data in one place (simulation)."
    )


# --- [protection] -----------------------------------------------------------------------------------------------------

Reason = Annotated[str, Field(min_length=10, max_length=500, examples=["simulation on public data, on one computer"])]


class NoSecureAggregation(Section):
    """Updates reach the coordinator in clear."""

    mode: Literal["none"]
    reason: Reason = Field(description="Why that is acceptable here; printed in every report.")


class NoRobustness(Section):
    """A plain mean: one lying site can steer the model."""

    rule: Literal["mean"]
    reason: Reason = Field(description="Why that is acceptable here; printed in every report.")


class NoPrivacy(Section):
    """No differential privacy."""

    unit: Literal["none"]
    reason: Reason = Field(description="Why that is acceptable here; printed in every report.")


class Protection(Section):
    """What protects the study. Each is stated: switching one off takes a reason."""

    secure_aggregation: NoSecureAggregation = Field(description="What hides each site's update from the coordinator.")
    robustness: NoRobustness = Field(description="What keeps a lying site from steering the model.")
    privacy: NoPrivacy = Field(description="What bounds how much the model reveals about one patient.")


# --- the whole --------------------------------------------------------------------------------------------------------


class Study(Section):
    """One study, as every site agreed to it."""

    study: StudyHeader
    cohort: Cohort
    standardisation: Standardisation = Standardisation()
    model: Model = Field(description="What is trained.")
    training: Training
    evaluation: Evaluation = Evaluation()
    protection: Protection

    @property
    def task(self) -> Literal["binary", "survival"]:
        """What is predicted: two classes, or time to event."""
        return "survival" if self.model.kind == "cox" else "binary"

    @property
    def primary_metric(self) -> str:
        """The leading metric."""
        return self.evaluation.primary or ("c_index" if self.task == "survival" else "auroc")
