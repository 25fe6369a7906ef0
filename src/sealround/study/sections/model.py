"""``[model]``: what is trained."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from sealround.study.sections.base import Count, Part, Section

__all__ = ["Cnn", "Cox", "FrozenBackbone", "Logistic", "Mlp", "Model", "ModelKind", "Resnet", "Vgg16"]


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
