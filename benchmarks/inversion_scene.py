"""Images, networks, updates and protections of `fundus_inversion.py` and `chest_xray_inversion.py`.

What a site sends is made here, by plain steps of SGD in float64 and then what a protection makes of it; attacks see
nothing else. Granted to every attacker: the network, the model the site started from, the learning rate, the number of
images and steps, that images are pixels in [0, 1], and the labels unless they are to be recovered.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from sealround.audit.identity.gallery import Gallery, pixels
from sealround.audit.identity.ridges import vessel_map
from sealround.audit.inversion.baselines import Auxiliary, image_baselines
from sealround.audit.inversion.objectives import Binary
from sealround.audit.inversion.observation import Domain, LocalPlan, Observation, Victims
from sealround.audit.inversion.simulation import flat_gradient, played_update
from sealround.learning.models import Network, build_model, initialised
from sealround.privacy.planning import Plan, solve
from sealround.study.sections import Cnn, Resnet, Vgg16

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sealround.audit.inversion.baselines import Baseline

MODELS = ("lenet", "cnn", "cnn-gelu", "resnet18", "vgg16", "vgg16-gelu", "vgg16-bn")
UPDATES = ("gradient", "fedsgd4", "fedsgd8", "fedsgd16", "fedavg1", "fedavg5")
DEFENCES = ("none", "clip", "dp1", "dp3", "dp8", "sum2", "sum5", "sum10", "prune")
STATES = ("random", "epoch", "converged")
RATE, KEPT, FEDAVG = 0.01, 0.1, 4
"""Learning rate of the site; share of coordinates that pruning leaves; images of a site that trains for a round."""

FEATURES = {"reidentified": lambda images: vessel_map(images.float()), "reidentified_pixels": pixels}
"""By what a rebuilt image is looked up: vessels (dark lines; of radiographs, ribs and their shadows), and all of it."""

GALLERY = 100
"""Patients among whom a rebuilt image is looked up: the victims, and others up to this number."""

DELTA, ROUNDS = 1e-5, 100
"""Of the private training whose noise is attacked."""


@dataclass(frozen=True)
class Pictures:
    """A data set at one size.

    Attributes:
        name: For the table.
        pixels: Grey values in [0, 1], float64 ``(n, channels, size, size)``.
        labels: 0 or 1, float64 ``(n,)``.
        patient: A number for each image's patient.
        pair: Row of the same patient's other eye, or -1, ``(n,)``.
    """

    name: str
    pixels: torch.Tensor
    labels: torch.Tensor
    patient: np.ndarray
    pair: np.ndarray

    def split(self, victims: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return one image of each of so many patients, and all images of all others."""
        draw = np.random.default_rng(seed)
        chosen = draw.permutation(np.unique(self.patient))[:victims]
        first = np.array([draw.choice(np.flatnonzero(self.patient == patient)) for patient in chosen])
        return first, np.flatnonzero(~np.isin(self.patient, chosen))


@dataclass(frozen=True)
class Setting:
    """One cell of the grid.

    Attributes:
        model: Of `MODELS`.
        size: Pixels a side.
        update: Of `UPDATES`.
        defence: Of `DEFENCES`.
        state: Of `STATES`: how far the model was trained before the round.
        labels: ``known``, or ``recovered`` by the attack.
        norms: ``train`` or ``eval``: how batch normalisation runs at the site.
        width: Channels of the first block of VGG-16 and ResNet-18; 64 is the published network.
    """

    model: str
    size: int
    update: str = "gradient"
    defence: str = "none"
    state: str = "random"
    labels: str = "known"
    norms: str = "train"
    width: int = 16

    @property
    def key(self) -> str:
        """One word for the file of results."""
        return "/".join(
            map(
                str, (self.model, self.size, self.update, self.defence, self.state, self.labels, self.norms, self.width)
            )
        )

    @property
    def sites(self) -> int:
        """How many sites' updates are added up."""
        return int(self.defence[3:]) if self.defence.startswith("sum") else 1

    @property
    def images(self) -> int:
        """How many images are behind one site's update."""
        if self.update.startswith("fedavg"):
            return FEDAVG
        return int(self.update[6:]) if self.update.startswith("fedsgd") else 1

    @property
    def steps(self) -> int:
        """Local steps, each with all images."""
        return int(self.update[6:]) if self.update.startswith("fedavg") else 1


# Networks


class LeNet(nn.Module):
    """The network of DLG (Zhu, Liu, Han, NeurIPS 2019): three convolutions 5x5 of 12 channels, sigmoid, one layer."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        body: list[nn.Module] = []
        for into, stride in ((channels, 2), (12, 2), (12, 1)):
            body += [nn.Conv2d(into, 12, 5, stride=stride, padding=2), nn.Sigmoid()]
        self.features = nn.Sequential(*body, nn.Flatten())
        self.head = nn.Linear(12 * (size // 4) ** 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.head(self.features(x))
        return output.squeeze(1)


def network(setting: Setting, channels: int, seed: int) -> nn.Module:
    """Build a network in float64 with its first values. Nothing is dropped: the attacker's best case."""
    shape = (channels, setting.size, setting.size)
    kind, _, variant = setting.model.partition("-")
    if kind == "lenet":
        module: nn.Module = LeNet(channels, setting.size)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.uniform_(-0.5, 0.5, generator=generator)
        return module.double()
    section: Any = {
        "cnn": Cnn(kind="cnn"),
        "resnet18": Resnet(kind="resnet", width=setting.width),
        "vgg16": Vgg16(kind="vgg16", width=setting.width, hidden=64 * setting.width, dropout=0.0),
    }[kind]
    built = initialised(build_model(section, shape), seed, linear=False)
    if variant == "gelu":
        _exchange(built, nn.ReLU, lambda _: nn.GELU())
    if variant == "bn":
        _normalise(built)
    # torch.func's derivatives read what an inplace activation would have overwritten.
    _exchange(built, nn.ReLU, lambda _: nn.ReLU())
    return built.double().train(setting.norms == "train")


def _exchange(module: nn.Module, kind: type[nn.Module], make: Any) -> None:
    for name, child in module.named_children():
        if isinstance(child, kind):
            setattr(module, name, make(child))
        else:
            _exchange(child, kind, make)


def _normalise(built: Network) -> None:
    layers: list[nn.Module] = []
    for layer in built.features.children():
        layers.append(layer)
        if isinstance(layer, nn.Conv2d):
            layers.append(nn.BatchNorm2d(layer.out_channels))
    built.features = nn.Sequential(*layers)


def trained(module: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, state: str, seed: int) -> nn.Module:
    """Train for no epoch, one, or thirty: Adam, batches of 16, in float32."""
    epochs = {"random": 0, "epoch": 1, "converged": 30}[state]
    if not epochs:
        return module
    mode = module.training
    module = module.float().train()
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs), generator=generator).split(16):
            if len(rows) == 1:
                continue
            optimizer.zero_grad()
            outputs = module(inputs[rows].float())
            nn.functional.binary_cross_entropy_with_logits(outputs, labels[rows].float()).backward()
            optimizer.step()
    return module.double().train(mode)


# Scenes


@dataclass(frozen=True)
class Scene:
    """One update, whose it is, and what can be said without it.

    Attributes:
        seen: What an attacker has.
        victims: The images behind it.
        baselines: For the judge.
        gallery: Those among whom a rebuilt image is to be recognised: by what of it, and the same of each of them.
        places: Rows of the victims in the gallery.
        others: Encoded images of other patients, which an attacker may learn from.
    """

    seen: Observation
    victims: Victims
    baselines: tuple[Baseline, ...]
    gallery: dict[str, Gallery]
    places: np.ndarray
    others: torch.Tensor


def scenes(pictures: Pictures, setting: Setting, images: int, seed: int) -> Iterator[Scene]:
    """Yield updates until so many images are behind them (fewer, if the last would not be whole)."""
    victims, others = pictures.split(images, seed)
    mean = pictures.pixels[others].mean((0, 2, 3)).view(-1, 1, 1)
    scale = pictures.pixels[others].std((0, 2, 3)).view(-1, 1, 1)
    domain = Domain(lower=(0.0 - mean) / scale, upper=(1.0 - mean) / scale, mean=mean, scale=scale)
    encoded = (pictures.pixels - mean) / scale
    module = network(setting, pictures.pixels.shape[1], seed)
    module = trained(module, encoded[others], pictures.labels[others], setting.state, seed)
    together = setting.images * setting.sites
    auxiliary = Auxiliary(encoded[others], pictures.labels[others])
    crowd = np.concatenate([victims, _one_each(pictures.patient, others)])[: max(GALLERY, len(victims))]
    archive = {
        name: Gallery(features(pictures.pixels[crowd]), np.arange(len(crowd))) for name, features in FEATURES.items()
    }
    for number, start in enumerate(range(0, len(victims) - together + 1, together)):
        rows = victims[start : start + together]
        mine = Victims(encoded[rows], pictures.labels[rows])
        generator = torch.Generator().manual_seed(1000 * seed + number)
        seen = _observed(module, mine, setting, domain, (len(others), generator))
        eyes = encoded[pictures.pair[rows]] if (pictures.pair[rows] >= 0).all() else None
        found = image_baselines(mine, auxiliary, domain, np.random.default_rng(1000 * seed + number), eyes)
        yield Scene(seen, mine, found, archive, np.arange(start, start + together), auxiliary.inputs)


def _one_each(patient: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return rows[np.unique(patient[rows], return_index=True)[1]]


def _observed(
    module: nn.Module, mine: Victims, setting: Setting, domain: Domain, site: tuple[int, torch.Generator]
) -> Observation:
    """Play the sites' round, and what their protection makes of it."""
    start = torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
    examples = len(mine.inputs)
    plan = LocalPlan(RATE, examples, steps=setting.steps)
    seen = Observation(
        module=module,
        objective=Binary(),
        model=start,
        update=start,
        plan=plan,
        examples=examples,
        shape=tuple(mine.inputs.shape[1:]),
        domain=domain,
        labels=mine.labels if setting.labels == "known" else None,
        sites=setting.sites,
    )
    with torch.no_grad():
        if setting.defence.startswith("dp"):
            update, blur = _private(seen, mine, float(setting.defence[2:]), *site)
        else:
            update, blur = played_update(seen, mine.inputs, mine.labels, [torch.arange(examples)] * setting.steps), 0.0
    if setting.defence == "clip":
        update = update * 0.5  # The bound is half of what this update's length is.
    if setting.defence == "prune":
        least = update.abs().quantile(1.0 - KEPT) if update.numel() < 1 << 24 else _quantile(update.abs(), 1.0 - KEPT)
        update = torch.where(update.abs() >= least, update, 0.0)
    return replace(seen, update=update.detach(), blur=blur)


def _private(
    seen: Observation, mine: Victims, epsilon: float, patients: int, generator: torch.Generator
) -> tuple[torch.Tensor, float]:
    """DP-SGD's step (Abadi et al., CCS 2016, Algorithm 1): each image's gradient clipped to the median length."""
    if seen.plan.steps > 1:
        raise SystemExit("private local training of several steps is not in this grid: its noise is that of each step")
    gradient = flat_gradient(seen)
    each = torch.stack([gradient(mine.inputs[[row]], mine.labels[[row]]) for row in range(seen.examples)])
    norms = each.norm(dim=1)
    bound = float(norms.median())
    total = (each * (bound / norms).clamp_max(1.0).unsqueeze(1)).sum(0)
    deviation = noise_multiplier(epsilon, min(1.0, seen.examples / patients)) * bound
    noise = torch.randn(total.shape, dtype=total.dtype, generator=generator) * deviation
    rate = seen.plan.learning_rate / seen.examples
    return -rate * (total + noise), rate * deviation


@functools.cache
def noise_multiplier(epsilon: float, sampling: float) -> float:
    """Return the noise that 100 rounds of such batches need, of the patients that are not attacked here."""
    plan = Plan(epsilon, DELTA, None, sampling, ROUNDS, l2_clip_norm=1.0, patients=1)
    multiplier = solve(plan, "add-or-remove-one", accountant="rdp").noise_multiplier
    if multiplier is None:
        raise SystemExit(f"no noise reaches an epsilon of {epsilon:g}")
    return multiplier


def _quantile(values: torch.Tensor, share: float) -> torch.Tensor:
    return values.kthvalue(max(1, round(share * values.numel()))).values


def resized(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Average images down to another size."""
    if pixels.shape[-1] == size:
        return pixels
    return nn.functional.interpolate(pixels, size=(size, size), mode="area")


def pairs_of(patient: Sequence[int]) -> np.ndarray:
    """Return for each image the row of the only other one of the same patient, or -1."""
    patients = np.asarray(patient)
    found = [np.flatnonzero((patients == one) & (np.arange(patients.size) != row)) for row, one in enumerate(patients)]
    return np.array([rows[0] if rows.size == 1 else -1 for rows in found])
