"""Where tensors live and how they are added up: decided here, once.

On the CPU the same study gives the same bytes, on any number of worker processes: one thread of torch, deterministic
kernels, and no product of numpy's BLAS, which has threads of its own, unless it is exact or tiny.
On a GPU sums are taken in another order; full float32 is kept (no TF32), and results are expected to agree with the
CPU's to

* 1e-3 of the norm of a site's first update, and
* 0.01 in every metric of a finished study,

which is what rounding does to training, not an error of it. To get the CPU's bytes on a machine with a GPU, hide the
GPU (``CUDA_VISIBLE_DEVICES=""``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from sealround.study.sections import Model

__all__ = ["device_for", "device_name", "fastest", "prepare"]


def fastest() -> torch.device:
    """Return the GPU if there is one, else the CPU: for convolutions."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_for(model: Model) -> torch.device:
    """Return where a model is trained: convolutional networks on the fastest device, all else on the CPU.

    A step of a linear model, a head or a small perceptron takes less time than starting one GPU kernel.
    """
    return fastest() if model.kind in {"cnn", "resnet", "vgg16"} else torch.device("cpu")


def device_name(model: Model | None = None) -> str:
    """Return ``"cpu"`` or ``"cuda"``: where ``model`` is trained, or without it the fastest device there is."""
    return (fastest() if model is None else device_for(model)).type


def prepare() -> None:
    """Make this process compute reproducibly; harmless when repeated."""
    torch.set_num_threads(1)
    # cuBLAS reads it when it starts; without it deterministic matrix products are refused.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # As `torch.use_deterministic_algorithms`, which also imports torch's compiler: seconds, for what is not used here.
    torch.set_deterministic_debug_mode("error")
    # Filling uninitialised memory with NaN is for debugging, and costs a pass over every new tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # not in the stub
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
