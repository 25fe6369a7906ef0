from __future__ import annotations

import numpy as np
import pytest
import torch

from sealround.errors import UnsupportedError
from sealround.federation.interfaces import InputShape
from sealround.federation.statistics import Layout, Statistics
from sealround.learning import describe_model, initial_model, model_card_description, model_tensors, parameter_count
from sealround.learning.models import build_model, initialised, is_linear
from sealround.learning.vector import bind
from sealround.study.sections import Cnn, Cox, FrozenBackbone, Logistic, Mlp, Model, Resnet, Vgg16
from sealround.testing import small_study

FROZEN = FrozenBackbone(kind="frozen-backbone", backbone="efficientnet-lite0", hidden=(4,), dropout=0.5)
CASES: list[tuple[Model, tuple[int, ...]]] = [
    (Logistic(kind="logistic"), (13,)),
    (Mlp(kind="mlp", hidden=(8, 4), dropout=0.2), (13,)),
    (Cox(kind="cox"), (5,)),
    (Cox(kind="cox", hidden=(6,)), (5,)),
    (FROZEN, (1280,)),
    (Cnn(kind="cnn"), (1, 28, 28)),
    (Cnn(kind="cnn", channels=(4, 6, 5), stem="strided", dropout=0.1), (3, 17, 23)),
    (Cnn(kind="cnn", channels=(3,)), (1, 8, 8)),
    (Resnet(kind="resnet", depth=10, width=8), (1, 28, 28)),
    (Resnet(kind="resnet", depth=18, width=8), (3, 64, 48)),
    (Resnet(kind="resnet", depth=10, width=4), (1, 128, 128)),
    (Vgg16(kind="vgg16", width=8, hidden=16), (1, 32, 32)),
    (Vgg16(kind="vgg16", width=8, hidden=16, group_norm=True), (3, 48, 48)),
    (Vgg16(kind="vgg16", width=2, hidden=16), (1, 256, 288)),
]


def _name(value: object) -> str:
    return getattr(value, "kind", None) or "x".join(map(str, value))


@pytest.mark.parametrize(("model", "shape"), CASES, ids=_name)
def test_every_model_gives_one_finite_number_for_each_example(model: Model, shape: tuple[int, ...]) -> None:
    network = initialised(build_model(model, shape), 1, linear=is_linear(model)).eval()
    outputs = network(torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)))
    assert outputs.shape == (3,)
    assert bool(torch.isfinite(outputs).all())


@pytest.mark.parametrize(("model", "shape"), CASES, ids=_name)
def test_the_gradient_reaches_every_layer(model: Model, shape: tuple[int, ...]) -> None:
    flat = bind(initialised(build_model(model, shape), 1, linear=False).eval(), torch.device("cpu"))
    flat.module(torch.randn(8, *shape, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    assert all(bool((parameter.grad != 0).any()) for parameter in flat.module.parameters())


@pytest.mark.parametrize(("model", "shape"), CASES, ids=_name)
def test_the_output_bias_is_the_last_parameter_and_cox_has_none(model: Model, shape: tuple[int, ...]) -> None:
    *_, (name, parameter) = build_model(model, shape).named_parameters()
    if isinstance(model, Cox):
        assert name == "head.weight"
    else:
        assert (name, tuple(parameter.shape)) == ("head.bias", (1,))


def test_published_networks_have_their_published_sizes() -> None:
    def size(model: Model) -> int:
        return sum(parameter.numel() for parameter in build_model(model, (3, 224, 224)).parameters())

    # 138 357 544 (VGG-16) and 11 689 512 (ResNet-18) with 1000 outputs: 999 outputs fewer here.
    assert size(Vgg16(kind="vgg16")) == 138_357_544 - 999 * 4097
    assert size(Resnet(kind="resnet", depth=18)) == 11_689_512 - 999 * 513


def test_the_stem_keeps_the_resolution_below_128_pixels_only() -> None:
    strides = [
        build_model(Resnet(kind="resnet", depth=10, width=8), (1, size, size)).features[0].stride for size in (127, 128)
    ]
    assert strides == [(1, 1), (2, 2)]


@pytest.mark.parametrize("size", [(32, 32), (64, 200), (224, 224), (256, 300), (448, 479)])
def test_vgg_has_at_most_seven_by_seven_cells_whatever_the_image(size: tuple[int, int]) -> None:
    network = build_model(Vgg16(kind="vgg16", width=2, hidden=16), (1, *size)).eval()
    first = next(layer for layer in network.features if isinstance(layer, torch.nn.Linear))
    assert first.in_features == 16 * min(size[0] // 32, 7) * min(size[1] // 32, 7)
    assert network(torch.zeros(1, 1, *size, device="meta")).shape == (1,)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Logistic(kind="logistic"), (1, 28, 28)),
        (Mlp(kind="mlp"), (1, 28, 28)),
        (Cnn(kind="cnn"), (13,)),
        (Vgg16(kind="vgg16"), (1, 31, 64)),
        (Resnet(kind="resnet"), (1, 7, 7)),
        (Cnn(kind="cnn", channels=(2, 2, 2, 2)), (1, 7, 7)),
    ],
)
def test_a_model_that_does_not_fit_the_inputs_is_refused(model: Model, shape: tuple[int, ...]) -> None:
    with pytest.raises(UnsupportedError) as caught:
        build_model(model, shape)
    assert caught.value.hint


def _vector_statistics(width: int) -> tuple[InputShape, Statistics]:
    layout = Layout(tuple(f"v{number}" for number in range(width)), ())
    return InputShape("vector", (width,)), Statistics.from_counts(layout, np.zeros(layout.size))


def test_the_initial_model_depends_on_the_studys_seed_only() -> None:
    inputs, statistics = _vector_statistics(4)
    model = {"kind": "mlp", "hidden": [6]}
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = initial_model(small_study(model=model))(inputs, statistics)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert np.array_equal(first, initial_model(small_study(model=model))(inputs, statistics))
    other = small_study(model=model, study={"seed": 8})
    assert not np.array_equal(first, initial_model(other)(inputs, statistics))
    assert first.dtype == np.float32


def test_hidden_weights_start_with_the_variance_of_he_2015() -> None:
    inputs, statistics = _vector_statistics(200)
    study = small_study(model={"kind": "mlp", "hidden": [300]})
    weights = model_tensors(study, inputs, statistics, initial_model(study)(inputs, statistics))
    hidden = weights["features.0.weight"]
    # 60 000 draws: the standard error of the variance is 0.6 %.
    assert hidden.var() == pytest.approx(2 / 200, rel=0.03)
    assert np.abs(weights["head.weight"]).max() <= 1 / np.sqrt(300)
    assert not weights["features.0.bias"].any()


@pytest.mark.parametrize("model", [{"kind": "logistic"}, {"kind": "cox"}])
def test_linear_models_start_at_zero(model: dict[str, str]) -> None:
    inputs, statistics = _vector_statistics(4)
    assert not initial_model(small_study(model=model))(inputs, statistics).any()


def test_a_uniform_start_is_torchs_own_for_the_seed() -> None:
    inputs, statistics = _vector_statistics(13)
    study = small_study(model={"kind": "logistic", "init": "uniform"}, study={"seed": 42})
    with torch.random.fork_rng():
        torch.manual_seed(42)
        layer = torch.nn.Linear(13, 1)
    expected = torch.cat([layer.weight.detach()[0], layer.bias.detach()]).numpy()
    assert np.array_equal(initial_model(study)(inputs, statistics), expected)


def test_a_model_is_described_in_one_line() -> None:
    inputs, statistics = _vector_statistics(4)
    image = InputShape("image", (1, 28, 28))
    lines = {
        describe_model(small_study(model=model), shape, statistics)
        for model, shape in [
            ({"kind": "logistic"}, inputs),
            ({"kind": "mlp", "hidden": [8, 4]}, inputs),
            ({"kind": "cox"}, inputs),
            ({"kind": "cox", "hidden": [3]}, inputs),
            ({"kind": "cnn"}, image),
            ({"kind": "resnet", "depth": 10}, image),
            ({"kind": "vgg16", "group_norm": True}, image),
            ({"kind": "frozen-backbone", "backbone": "efficientnet-lite0"}, inputs),
        ]
    }
    assert lines == {
        "logistic regression on 4 features",
        "perceptron (8-4) on 4 features",
        "Cox proportional hazards, linear, on 4 features",
        "Cox proportional hazards, perceptron (3), on 4 features",
        "convolutional network (16-32-64, GroupNorm) on 28x28 pixels",
        "ResNet-10 (width 64, GroupNorm) on 28x28 pixels",
        "VGG-16 (width 64, GroupNorm) on 28x28 pixels",
        "linear head on 4 features of a frozen efficientnet-lite0",
    }


def test_the_model_card_names_parameters_and_features() -> None:
    inputs, statistics = _vector_statistics(3)
    study = small_study(model={"kind": "mlp", "hidden": [2]})
    card = model_card_description(study, inputs, statistics)
    assert card["parameters"].splitlines() == [
        "features.0.weight 2x3",
        "features.0.bias 2",
        "head.weight 1x2",
        "head.bias 1",
    ]
    assert card["features"].splitlines() == ["v0", "v1", "v2"]
    assert card["output"] == "logit of the risk"
    assert parameter_count(study, inputs, statistics) == 6 + 2 + 2 + 1
    assert all(isinstance(value, str) for value in card.values())
