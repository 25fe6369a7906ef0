"""What can be rebuilt of photographs of the fundus from the updates of a study on diabetic retinopathy.

    OMP_NUM_THREADS=2 python benchmarks/fundus_inversion.py [--out FILE] [--figure FILE] [--full]

One photograph of each of so many patients of the Rahim data set (600 of 300 patients, `$SEALROUND_DATA`) is behind the
updates; the other patients' photographs train the network (where it is trained) and stand behind the baselines. Where
the data set is not there, views of scikit-image's photograph of a retina take its place: they show that the attacks
run, and are of one single eye. Without either there is nothing to do.

How to read it: "1 - MAE" is what some papers call pixel-wise accuracy, and a flat disc of the mean colour scores 92 to
95 % of it. "Within 8/255" counts the pixels of the field of view that are right to the eye in every channel; the flat
disc has some 5 to 20 % there. A figure means something by how far it is above the baselines that need no update, which
are printed below it. Intervals are of 95 %, over images or, where several are in an update, over updates. Worst is the
image of which most was rebuilt. An attack that fails shows that this attack failed.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path

import numpy as np
import torch

from inversion_grid import main
from inversion_scene import Pictures, pairs_of, resized


@functools.cache
def pictures(size: int) -> Pictures:
    """Return the photographs at a size of at most 64 pixels."""
    file = Path(os.environ.get("SEALROUND_DATA", "../shared/data")) / "fundus_dr_rahim" / "fundus_64.npz"
    if not file.is_file():
        return _views(size)
    stored = np.load(file)
    pixels = torch.from_numpy(stored["images"]).permute(0, 3, 1, 2).double() / 255
    # Patients 299 and 300 are one pair of photographs with two grades.
    kept = np.flatnonzero(stored["patient"] != 300)
    patient = stored["patient"][kept]
    labels = torch.from_numpy(stored["any_dr"][kept]).double()
    return Pictures("fundus (Rahim)", resized(pixels[kept], size), labels, patient, pairs_of(patient))


def _views(size: int) -> Pictures:
    """Turned and lit views of one photograph."""
    try:
        from skimage.data import retina
    except ImportError:
        print(
            "no photographs: set SEALROUND_DATA to a folder with fundus_dr_rahim/fundus_64.npz, "
            "or install scikit-image, whose wheel has one"
        )
        sys.exit(0)  # nothing went wrong
    whole = torch.from_numpy(np.ascontiguousarray(retina())).permute(2, 0, 1).double() / 255
    small = resized(whole[None, :, : 1411 // size * size, : 1411 // size * size], size)
    draw = torch.Generator().manual_seed(0)
    views = []
    for _ in range(300):
        turned = torch.rot90(small, int(torch.randint(0, 4, (), generator=draw)), (2, 3))
        turned = turned.flip(3) if torch.rand((), generator=draw) < 0.5 else turned
        views.append((turned * (0.7 + 0.3 * torch.rand(1, 3, 1, 1, generator=draw, dtype=torch.float64))).clamp(0, 1))
    labels = torch.randint(0, 2, (300,), generator=draw).double()
    return Pictures("one retina (scikit-image)", torch.cat(views), labels, np.arange(300), np.full(300, -1))


if __name__ == "__main__":
    main(__doc__, pictures)
