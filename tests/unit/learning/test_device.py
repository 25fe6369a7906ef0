from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sealround.learning import device_name
from sealround.learning.device import device_for, prepare
from sealround.study.sections import Cnn, FrozenBackbone, Logistic, Mlp, Resnet, Vgg16
from sealround.testing import small_study

GPU = torch.cuda.is_available()


def test_preparing_makes_sums_repeatable() -> None:
    prepare()
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.allow_tf32


def test_only_convolutions_go_to_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for model in (Cnn(kind="cnn"), Resnet(kind="resnet"), Vgg16(kind="vgg16")):
        assert device_for(model).type == device_name(model) == "cuda"
    head = FrozenBackbone(kind="frozen-backbone", backbone="efficientnet-lite0")
    for other in (Logistic(kind="logistic"), Mlp(kind="mlp"), head):
        assert device_for(other).type == "cpu"
    assert device_name() == "cuda"


def test_without_a_gpu_everything_is_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_for(Cnn(kind="cnn")).type == device_name() == "cpu"


@pytest.mark.skipif(not GPU, reason="no GPU here")
def test_a_gpus_first_update_is_the_cpus_up_to_the_stated_tolerance(
    images: Callable[..., Any], ready: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study(model={"kind": "resnet", "depth": 10, "width": 8}, training={"local_epochs": 2})
    updates = []
    for available in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        site = ready(study, images(60, 32))
        updates.append(site.work.train(site.train_order()).update)
    assert np.linalg.norm(updates[0] - updates[1]) < 1e-3 * np.linalg.norm(updates[1])
