from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sealround.errors import UnsupportedError, UsageError
from sealround.learning import clipped_gradients
from sealround.learning.clipped import passes
from sealround.learning.clipped.layers import parts_of_layer
from sealround.learning.clipped.parts import Batch, Outer, Patches, Written, squares_of
from sealround.learning.clipped_gradients import ClippedSum, check_separable, clipped_sum
from sealround.learning.device import prepare
from sealround.learning.examples import Examples, Features, Images
from sealround.learning.losses import BinaryLoss, CoxLoss, Targets
from sealround.learning.models import Network, build_model, initialised, is_linear
from sealround.learning.predictors import LinearPredictor, NetworkPredictor, Predictor
from sealround.learning.vector import bind
from sealround.study.sections import Cnn, FrozenBackbone, Logistic, Mlp, Model, Resnet, Vgg16

CPU = torch.device("cpu")
LOSS = BinaryLoss(weights=(0.6, 1.7), smoothing=0.1, offset=0.4)
CASES: list[tuple[Model, tuple[int, ...]]] = [
    (Logistic(kind="logistic"), (5,)),
    (Mlp(kind="mlp", hidden=(8, 4)), (5,)),
    (FrozenBackbone(kind="frozen-backbone", backbone="efficientnet-lite0"), (20,)),
    (FrozenBackbone(kind="frozen-backbone", backbone="efficientnet-lite0", hidden=(6,)), (20,)),
    (Cnn(kind="cnn", channels=(4, 6)), (1, 9, 9)),
    (Cnn(kind="cnn", channels=(4, 6, 5), stem="strided"), (3, 9, 11)),
    (Resnet(kind="resnet", depth=10, width=4), (1, 16, 16)),
    (Vgg16(kind="vgg16", width=2, hidden=8, dropout=0.0), (1, 32, 32)),
]
MLP, CNN = CASES[1], CASES[4]
PATIENTS = {
    "one row each": torch.arange(14),
    "several rows": torch.tensor([3, 0, 3, 1, 4, 4, 0, 5, 3, 2, 6, 7, 4, 3]),
}


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    prepare()


def _name(value: object) -> str:
    return getattr(value, "kind", "")


def _predictor(model: Model, shape: tuple[int, ...]) -> Predictor:
    flat = bind(initialised(build_model(model, shape), 1, linear=False), CPU)
    return LinearPredictor(flat) if is_linear(model) else NetworkPredictor(flat)


def _wrapped(features: nn.Module, width: int = 3) -> NetworkPredictor:
    torch.manual_seed(0)
    network = Network(features, width, bias=True)
    return NetworkPredictor(bind(network, CPU))


def _examples(shape: tuple[int, ...], number: int = 20, *, weighted: bool = True, seed: int = 0) -> Examples:
    draw = torch.Generator().manual_seed(seed)
    event = (torch.rand(number, generator=draw) < 0.5).float()
    weight = torch.rand(number, generator=draw) + 0.5 if weighted else None
    return Examples(Features(torch.randn(number, *shape, generator=draw)), Targets(event, None, weight))


def _gradients(predictor: Predictor, examples: Examples, rows: torch.Tensor, patients: torch.Tensor) -> torch.Tensor:
    """The gradient of each patient, by autograd on his rows alone, float64."""
    found = []
    for patient in patients.unique():
        chosen = rows[patients == patient]
        ((inputs, targets),) = examples.batches(chosen, len(chosen))
        with torch.enable_grad():
            outputs = NetworkPredictor(predictor.flat).outputs(inputs)
        NetworkPredictor(predictor.flat).backward(inputs, outputs, LOSS.derivative(outputs.detach(), targets))
        found.append(predictor.flat.gradient.double().clone())
    return torch.stack(found)


def _clipped(gradients: torch.Tensor, norm: float) -> tuple[torch.Tensor, int]:
    lengths = gradients.norm(dim=1)
    return (gradients * (norm / lengths).clamp(max=1.0).unsqueeze(1)).sum(0), int((lengths > norm).sum())


def _assert_same(found: torch.Tensor, wanted: torch.Tensor) -> None:
    assert float((found.double() - wanted).norm()) <= 3e-6 * float(wanted.norm())


def _middling(gradients: torch.Tensor) -> float:
    """A norm that clips half of the patients."""
    return float(gradients.norm(dim=1).median()) * 1.0001


@pytest.fixture(params=["taped", "alone"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "alone":
        monkeypatch.setattr(passes, "is_taped", lambda _: False)
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("patients", PATIENTS.values(), ids=PATIENTS.keys())
@pytest.mark.parametrize(("model", "shape"), CASES, ids=_name)
def test_the_sum_is_that_of_each_patient_alone(model: Model, shape: tuple[int, ...], patients: torch.Tensor) -> None:
    predictor, examples = _predictor(model, shape), _examples(shape)
    rows = torch.randperm(20, generator=torch.Generator().manual_seed(1))[:14]
    gradients = _gradients(predictor, examples, rows, patients)
    norm = _middling(gradients)
    wanted, clipped = _clipped(gradients, norm)
    found = clipped_sum(predictor, examples, rows, patients, LOSS, norm)
    _assert_same(found.gradient, wanted)
    assert found.gradient.dtype == torch.float32
    assert (found.patients, found.clipped, found.unusable) == (len(gradients), clipped, 0)
    assert 0 < clipped < len(gradients)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("chunk", [1, 3, 5, 1000])
@pytest.mark.parametrize(("model", "shape"), [CASES[0], MLP, CNN], ids=_name)
def test_how_many_are_taken_at_a_time_does_not_matter(model: Model, shape: tuple[int, ...], chunk: int) -> None:
    predictor, examples = _predictor(model, shape), _examples(shape)
    ask = partial(clipped_sum, predictor, examples, torch.arange(14), PATIENTS["several rows"], LOSS, 0.3)
    found, wanted = ask(chunk=chunk), ask()
    _assert_same(found.gradient, wanted.gradient.double())
    assert (found.patients, found.clipped) == (wanted.patients, wanted.clipped)


@pytest.mark.parametrize(("model", "shape"), [CASES[0], MLP, CNN], ids=_name)
def test_neither_order_nor_numbers_of_patients_matter(model: Model, shape: tuple[int, ...]) -> None:
    predictor, examples, patients = _predictor(model, shape), _examples(shape), PATIENTS["several rows"]
    wanted = clipped_sum(predictor, examples, torch.arange(14), patients, LOSS, 0.3)
    order = torch.randperm(14, generator=torch.Generator().manual_seed(2))
    found = clipped_sum(predictor, examples, order, 1000 - 7 * patients[order], LOSS, 0.3)
    _assert_same(found.gradient, wanted.gradient.double())
    assert (found.patients, found.clipped) == (wanted.patients, wanted.clipped)


def test_images_are_taken_as_the_model_sees_them() -> None:
    predictor, draw = _predictor(*CNN), torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (9, 9, 9), generator=draw, dtype=torch.uint8)
    scale = torch.full((1, 1, 1), 70.0)
    images = Images(pixels, torch.arange(9), torch.full((1, 1, 1), 128.0), scale)
    seen = Features(torch.cat(list(images.batches(torch.arange(9), 9))))
    targets = Targets((torch.rand(9, generator=draw) < 0.5).float())
    rows = torch.arange(9)
    found, wanted = (clipped_sum(predictor, Examples(x, targets), rows, rows // 2, LOSS, 0.1) for x in (images, seen))
    assert torch.equal(found.gradient, wanted.gradient)


@pytest.mark.parametrize(("model", "shape"), [CASES[0], MLP, CNN], ids=_name)
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    norm=st.sampled_from([1e-9, 1e-3, 0.3, 1.0, 50.0]),
    size=st.sampled_from([1e-3, 1.0, 1e4]),
    gone=st.integers(0, 7),
)
def test_a_patient_more_or_less_changes_the_sum_by_the_clip_norm_at_most(
    model: Model, shape: tuple[int, ...], seed: int, norm: float, size: float, gone: int
) -> None:
    predictor, examples, patients = _predictor(model, shape), _examples(shape, seed=seed), PATIENTS["several rows"]
    examples = replace(examples, inputs=Features(examples.inputs.matrix * size))
    rows, left = torch.arange(14), patients != gone
    whole = clipped_sum(predictor, examples, rows, patients, LOSS, norm).gradient
    rest = clipped_sum(predictor, examples, rows[left], patients[left], LOSS, norm).gradient
    assert float((whole.double() - rest.double()).norm()) <= norm * (1.0 + 2.0**-20 * 8)


@pytest.mark.parametrize(("model", "shape"), [CASES[0], MLP, CNN], ids=_name)
def test_without_clipping_a_patient_changes_it_by_more(model: Model, shape: tuple[int, ...]) -> None:
    predictor, examples, rows = _predictor(model, shape), _examples(shape), torch.arange(14)
    examples.inputs.matrix[3] *= 1e4
    changes = []
    for norm in (0.01, 1e9):
        whole, rest = (
            clipped_sum(predictor, examples, chosen, chosen, LOSS, norm) for chosen in (rows, rows[rows != 3])
        )
        changes.append(float((whole.gradient.double() - rest.gradient.double()).norm()))
    assert changes[0] == pytest.approx(0.01, rel=1e-4)
    assert changes[1] > 0.02


@pytest.mark.parametrize(("model", "shape"), CASES, ids=_name)
def test_one_patient_is_clipped_to_the_norm_and_not_beyond(model: Model, shape: tuple[int, ...]) -> None:
    predictor, examples, rows = _predictor(model, shape), _examples(shape), torch.arange(3)
    for norm in (1e-12, 1e-6, 1e-3):
        length = float(clipped_sum(predictor, examples, rows, 0 * rows, LOSS, norm).gradient.double().norm())
        assert norm * (1.0 - 3e-6) < length <= norm


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("model", "shape"), [CASES[0], MLP, CNN], ids=_name)
def test_a_huge_norm_clips_nobody(model: Model, shape: tuple[int, ...]) -> None:
    predictor, examples, rows = _predictor(model, shape), _examples(shape), torch.arange(14)
    found = clipped_sum(predictor, examples, rows, PATIENTS["several rows"], LOSS, 1e12)
    _assert_same(found.gradient, _gradients(predictor, examples, rows, PATIENTS["several rows"]).sum(0))
    assert found.clipped == 0


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("model", "shape"), [CASES[0], MLP, CNN], ids=_name)
def test_a_gradient_of_zero_adds_nothing_and_is_not_clipped(model: Model, shape: tuple[int, ...]) -> None:
    predictor, examples, rows = _predictor(model, shape), _examples(shape), torch.arange(4)
    examples.targets.weight[:4] = 0.0
    found = clipped_sum(predictor, examples, rows, rows, LOSS, 1e-12)
    assert not found.gradient.any()
    assert (found.patients, found.clipped, found.unusable) == (4, 0, 0)


@pytest.mark.parametrize(("model", "shape"), [CASES[0], MLP, CNN], ids=_name)
def test_no_rows_are_a_sum_of_zeros(model: Model, shape: tuple[int, ...]) -> None:
    none = torch.zeros(0, dtype=torch.int64)
    predictor = _predictor(model, shape)
    found = clipped_sum(predictor, _examples(shape), none, none, LOSS, 1.0)
    assert found.gradient.shape == predictor.flat.values.shape
    assert not found.gradient.any()
    assert (found.patients, found.clipped, found.unusable) == (0, 0, 0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 3e38])
@pytest.mark.parametrize("patients", PATIENTS.values(), ids=PATIENTS.keys())
@pytest.mark.parametrize(("model", "shape"), [CASES[0], MLP, CNN, CASES[7]], ids=_name)
def test_a_gradient_that_is_no_number_does_not_poison_the_sum(
    model: Model, shape: tuple[int, ...], patients: torch.Tensor, value: float
) -> None:
    predictor, examples, rows = _predictor(model, shape), _examples(shape), torch.arange(14)
    gone = int(patients[8])
    left = patients != gone
    wanted = clipped_sum(predictor, examples, rows[left], patients[left], LOSS, 0.5)
    # Under all of an image, or a net would look beside it.
    examples.inputs.matrix[8] = value
    found = clipped_sum(predictor, examples, rows, patients, LOSS, 0.5)
    if found.unusable:
        _assert_same(found.gradient, wanted.gradient.double())
        assert (found.unusable, found.clipped) == (1, wanted.clipped)
    else:
        # GroupNorm takes even that apart, and sigmoid has no slope left: a patient like others.
        assert value == 3e38
        assert float((found.gradient - wanted.gradient).norm()) <= 0.5 * (1.0 + 1e-5)
    assert found.patients == wanted.patients + 1
    assert bool(torch.isfinite(found.gradient).all())


@pytest.mark.parametrize(("size", "unusable"), [(1e14, 0), (1e20, 1)])
def test_a_long_gradient_is_clipped_until_its_square_would_not_fit(size: float, unusable: int) -> None:
    predictor = _predictor(*CASES[0])
    predictor.flat.values.zero_()
    examples = _examples((5,), 1, weighted=False)
    examples.inputs.matrix.mul_(size)
    found = clipped_sum(predictor, examples, torch.tensor([0]), torch.tensor([0]), LOSS, 1.0)
    assert (found.clipped, found.unusable) == (1 - unusable, unusable)
    assert float(found.gradient.norm()) == pytest.approx(1.0 - unusable, abs=1e-5)


def test_a_loss_over_risk_sets_is_refused() -> None:
    rows = torch.arange(3)
    with pytest.raises(UnsupportedError, match="CoxLoss") as caught:
        clipped_sum(_predictor(*MLP), _examples((5,)), rows, rows, CoxLoss(), 1.0)
    assert caught.value.hint


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm1d(3), nn.BatchNorm2d(3), nn.SyncBatchNorm(3), nn.InstanceNorm2d(3, track_running_stats=True)]
)
def test_a_layer_that_mixes_patients_is_refused_by_name(layer: nn.Module) -> None:
    predictor = _wrapped(nn.Sequential(nn.Linear(5, 3), nn.Sequential(layer)))
    with pytest.raises(UnsupportedError, match=rf"features\.1\.0 \({type(layer).__name__}\)") as caught:
        clipped_sum(predictor, _examples((5,)), torch.arange(3), torch.arange(3), LOSS, 1.0)
    assert "GroupNorm" in caught.value.hint


@pytest.mark.parametrize("layer", [nn.GroupNorm(1, 3), nn.LayerNorm(3), nn.InstanceNorm2d(3)])
def test_norms_of_one_patient_are_not_refused(layer: nn.Module) -> None:
    check_separable(nn.Sequential(layer))


@pytest.mark.parametrize("norm", [0.0, -1.0, 1e-13, 1e13, float("nan"), float("inf")])
def test_a_norm_that_cannot_be_clipped_to_is_refused(norm: float) -> None:
    with pytest.raises(UsageError, match="clip norm"):
        clipped_sum(_predictor(*MLP), _examples((5,)), torch.arange(3), torch.arange(3), LOSS, norm)


def test_rows_without_a_patient_and_empty_chunks_are_refused() -> None:
    ask = partial(clipped_sum, _predictor(*MLP), _examples((5,)), torch.arange(3))
    with pytest.raises(UsageError, match="patients"):
        ask(torch.arange(4), LOSS, 1.0)
    with pytest.raises(UsageError, match="chunk"):
        ask(torch.arange(3), LOSS, 1.0, chunk=0)


class _Cube(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x**3


class _Unequal(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if float(x.sum()) > 0 else -x


def test_a_layer_nobody_knows_is_taken_the_slow_way_with_the_same_result() -> None:
    shared = nn.Linear(5, 5)
    for features in (nn.Sequential(nn.Linear(5, 3), _Cube()), nn.Sequential(shared, _Cube(), shared, nn.Linear(5, 3))):
        predictor, examples, patients = _wrapped(features), _examples((5,)), PATIENTS["several rows"]
        assert not passes.is_taped(predictor.flat.module)
        gradients = _gradients(predictor, examples, torch.arange(14), patients)
        norm = _middling(gradients)
        found = clipped_sum(predictor, examples, torch.arange(14), patients, LOSS, norm)
        _assert_same(found.gradient, _clipped(gradients, norm)[0])


def test_a_layer_used_twice_is_not_taped() -> None:
    shared = nn.Linear(5, 5)
    assert not passes.is_taped(nn.Sequential(shared, nn.ReLU(), shared))
    tied = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5))
    assert passes.is_taped(tied)
    tied[1].weight = tied[0].weight
    assert not passes.is_taped(tied)


class _Doubled(nn.Conv2d):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2.0 * super().forward(x)


@pytest.mark.parametrize(
    "layer",
    [
        _Doubled(1, 3, 3),
        nn.Conv2d(1, 3, 3, padding="same"),
        nn.Conv2d(1, 3, 3, padding=1, padding_mode="circular"),
        nn.Sequential(nn.Conv2d(1, 3, 1), nn.Conv2d(3, 3, 3, groups=3)),
        nn.utils.parametrize.register_parametrization(nn.Conv2d(1, 3, 3), "weight", _Cube()),
    ],
)
def test_a_kind_of_a_layer_without_a_rule_is_taken_the_slow_way(layer: nn.Module) -> None:
    predictor = _wrapped(nn.Sequential(layer, nn.AvgPool2d(3), nn.Flatten(), nn.Linear(3, 3)))
    assert not passes.is_taped(predictor.flat.module)
    examples, patients = _examples((1, 5, 5)), PATIENTS["several rows"]
    gradients = _gradients(predictor, examples, torch.arange(14), patients)
    norm = _middling(gradients)
    found = clipped_sum(predictor, examples, torch.arange(14), patients, LOSS, norm)
    _assert_same(found.gradient, _clipped(gradients, norm)[0])


def test_a_model_that_torch_cannot_take_apart_is_refused() -> None:
    predictor = _wrapped(nn.Sequential(nn.Linear(5, 3), _Unequal()))
    with pytest.raises(UnsupportedError, match="single patients"):
        clipped_sum(predictor, _examples((5,)), torch.arange(3), torch.arange(3), LOSS, 1.0)


def test_the_slow_way_writes_only_so_much_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = _wrapped(nn.Sequential(nn.Linear(5, 3), _Cube()))
    wanted = clipped_sum(predictor, _examples((5,)), torch.arange(9), torch.arange(9), LOSS, 1.0)
    monkeypatch.setattr(passes, "_WRITTEN", 50)
    assert passes.PatientGradients(predictor).at_a_time(1, 64) == 2
    found = clipped_sum(predictor, _examples((5,)), torch.arange(9), torch.arange(9), LOSS, 1.0)
    _assert_same(found.gradient, wanted.gradient.double())


@pytest.mark.usefixtures("way")
def test_the_predictor_is_left_as_it_was_also_after_an_error() -> None:
    predictor = _predictor(*CNN)
    predictor.flat.gradient.fill_(7.0)
    values = predictor.flat.values.clone()
    rows = torch.arange(3)
    clipped_sum(predictor, _examples(CNN[1]), rows, rows, LOSS, 1.0)
    with pytest.raises((RuntimeError, UnsupportedError)):
        clipped_sum(predictor, _examples((5, 9, 9)), rows, rows, LOSS, 1.0)
    assert torch.equal(predictor.flat.values, values)
    assert bool((predictor.flat.gradient == 7.0).all())
    for layer in predictor.flat.module.modules():
        assert not layer._forward_hooks
    assert all(parameter.requires_grad for parameter in predictor.flat.module.parameters())


@pytest.mark.usefixtures("way")
def test_dropout_draws_for_each_example_anew() -> None:
    model = FrozenBackbone(kind="frozen-backbone", backbone="efficientnet-lite0", dropout=0.5)
    predictor = _predictor(model, (40,))
    predictor.flat.values.zero_()
    predictor.seed(torch.Generator().manual_seed(0))
    examples = Examples(Features(torch.ones(30, 40)), Targets(torch.ones(30)))
    found = clipped_sum(predictor, examples, torch.arange(30), torch.arange(30), BinaryLoss(), 1e6).gradient
    # Each input was kept about 15 times of 30, twice as large, at a slope of -1/2.
    kept = -found[:40]
    assert len(kept.unique()) > 3
    assert torch.equal(kept, kept.round())
    assert 5 < float(kept.min()) < float(kept.max()) < 25


def test_the_taped_way_drops_what_training_would() -> None:
    model = Mlp(kind="mlp", hidden=(8,), dropout=0.5)
    predictor, examples, rows = _predictor(model, (5,)), _examples((5,)), torch.arange(14)
    predictor.seed(torch.Generator().manual_seed(3))
    found = clipped_sum(predictor, examples, rows, rows, LOSS, 1e6).gradient
    predictor.seed(torch.Generator().manual_seed(3))
    ((inputs, targets),) = examples.batches(rows, 14)
    outputs = predictor.outputs(inputs)
    predictor.backward(inputs, outputs, 14 * LOSS.derivative(outputs.detach(), targets))
    _assert_same(found, predictor.flat.gradient.double())


@pytest.mark.parametrize(
    ("shape", "chunk"), [((5,), 256), ((1, 28, 28), 64), ((3, 224, 224), 8), ((1, 4, 4), 256), ((1, 56, 28), 32)]
)
def test_larger_images_are_taken_fewer_at_a_time(shape: tuple[int, ...], chunk: int) -> None:
    assert clipped_gradients._fitting(_predictor(*MLP), shape) == chunk
    if len(shape) == 1:
        assert clipped_gradients._fitting(_predictor(*CASES[0]), shape) == 1024


# --- layers -----------------------------------------------------------------------------------------------------------

LAYERS: list[tuple[Callable[[], nn.Module], tuple[int, ...]]] = [
    (lambda: nn.Linear(5, 3), (5,)),
    (lambda: nn.Linear(5, 3, bias=False), (4, 5)),
    (lambda: nn.Linear(50, 40), (2, 50)),
    (lambda: nn.GroupNorm(2, 4), (4, 5, 3)),
    (lambda: nn.GroupNorm(1, 4), (4,)),
    (lambda: nn.GroupNorm(2, 4, affine=False), (4, 5, 3)),
    (lambda: nn.LayerNorm(5), (5,)),
    (lambda: nn.LayerNorm((3, 5)), (4, 3, 5)),
    (lambda: nn.LayerNorm(5, bias=False), (2, 5)),
    (lambda: nn.Conv2d(2, 3, 3), (2, 6, 7)),
    (lambda: nn.Conv2d(2, 3, 3, padding=1, bias=False), (2, 6, 7)),
    (lambda: nn.Conv2d(2, 3, (3, 2), stride=(2, 3), padding=(1, 2)), (2, 8, 9)),
    (lambda: nn.Conv2d(2, 3, (2, 3), stride=(3, 2), dilation=(3, 2), padding=2), (2, 9, 8)),
    (lambda: nn.Conv2d(2, 3, 2, stride=2, dilation=2), (2, 9, 8)),
    (lambda: nn.Conv2d(2, 3, 1, stride=2), (2, 7, 8)),
    (lambda: nn.Conv2d(20, 30, 3, padding=1), (20, 2, 3)),
    (lambda: nn.Conv2d(2, 3, 5, stride=2, padding=2), (2, 4, 4)),
]


@pytest.fixture(params=["as it is quicker", "written", "kept"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    cost = {"written": 1e9, "kept": 0.0}.get(request.param)
    if cost is not None:
        monkeypatch.setattr("sealround.learning.clipped.layers._PRODUCT_COST", cost)
        monkeypatch.setattr("sealround.learning.clipped.parts._BLOCK", 1)
    return str(request.param)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(("make", "shape"), LAYERS)
def test_a_layers_gradients_are_autograds(
    make: Callable[[], nn.Module], shape: tuple[int, ...], rows: int, form: str
) -> None:
    torch.manual_seed(0)
    layer, patients = make(), 4
    x = torch.randn(patients * rows, *shape)
    output = layer(x)
    g = torch.randn_like(output)
    names = dict(layer.named_parameters())
    ends = torch.tensor([0, *(parameter.numel() for parameter in names.values())]).cumsum(0).tolist()
    where = {name: slice(start, stop) for name, start, stop in zip(names, ends, ends[1:], strict=False)}
    alone = torch.zeros(patients, ends[-1])
    for patient in range(patients):
        mine = slice(patient * rows, patient * rows + rows)
        if names:
            slopes = torch.autograd.grad(layer(x[mine]), list(names.values()), g[mine])
            alone[patient] = torch.cat([slope.reshape(-1) for slope in slopes])
    with torch.no_grad():
        parts = parts_of_layer(layer, where, Batch(patients, rows), x, g)
        if names:
            squares = torch.stack([part.squares() for part in parts]).sum(0)
            assert torch.allclose(squares, alone.double().square().sum(1), rtol=1e-5)
        scale, total = torch.rand(patients), torch.ones(ends[-1])
        for part in parts:
            part.add(total, scale)
        assert torch.allclose(total, 1.0 + scale @ alone, rtol=1e-4, atol=1e-4)
        unusable = torch.tensor([False, True, False, False])
        for part in parts:
            part.forget(unusable)
            part.add(total, -scale)
        assert torch.allclose(total, 1.0 + scale[1] * alone[1], rtol=1e-4, atol=1e-4)
    if isinstance(layer, nn.Conv2d) and form != "as it is quicker":
        assert type(parts[0]) is (Written if form == "written" else Patches)


def test_products_are_kept_where_a_kernel_is_large_and_written_where_an_image_is() -> None:
    for channels, size, kind in ((4, 20, Written), (256, 4, Patches)):
        layer = nn.Conv2d(channels, channels, 3, padding=1)
        x = torch.randn(2, channels, size, size)
        with torch.no_grad():
            parts = parts_of_layer(layer, {"weight": slice(0, 9)}, Batch(2, 1), x, torch.randn_like(x))
        assert [type(part) for part in parts] == [kind]


def test_lengths_are_right_where_positions_cancel() -> None:
    draw = torch.Generator().manual_seed(0)
    x, g = torch.randn(1, 1, 40, generator=draw), torch.randn(1, 1, 30, generator=draw)
    # Two positions of opposite sign: float32 products would see nothing of what is left, a 10 000th.
    x = torch.cat([x, x + 1e-4 * torch.randn(1, 1, 40, generator=draw)], 1)
    part = Outer(slice(0, 1200), x, torch.cat([g, -g], 1))
    written = torch.einsum("qtp,qtk->qkp", part.inputs.double(), part.derivatives.double())
    assert float(part.squares()) == pytest.approx(float(written.square().sum()), rel=1e-6)
    single = (x @ x.mT * (part.derivatives @ part.derivatives.mT)).sum()
    assert float(single) != pytest.approx(float(written.square().sum()), rel=1e-2)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 3000])
def test_squares_are_summed_in_lines_to_float64(size: int) -> None:
    numbers = torch.randn(3, 2, size, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(squares_of(numbers), numbers.double().square().sum(-1), rtol=1e-6)


def test_a_sum_shows_no_numbers_of_single_patients() -> None:
    assert set(ClippedSum.__slots__) == {"gradient", "patients", "clipped", "unusable"}
