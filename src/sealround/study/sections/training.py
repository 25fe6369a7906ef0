"""``[training]``: how sites train, and how the server combines their updates."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field, model_validator

from sealround.study.sections.base import Count, Fraction, NonNegative, Part, Positive, Section

__all__ = [
    "Adam",
    "Augmentation",
    "FedAdam",
    "FedAvg",
    "FedProx",
    "FedYogi",
    "FineTune",
    "LocalAlgorithm",
    "LocalIntercept",
    "LocalOptimizer",
    "NoPersonalisation",
    "Personalisation",
    "PlainLocal",
    "Scaffold",
    "ServerOptimizer",
    "Sgd",
    "Training",
]


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
