"""What can be rebuilt of children's chest radiographs from the updates of a study on pneumonia.

    OMP_NUM_THREADS=2 python benchmarks/chest_xray_inversion.py [--out FILE] [--figure FILE] [--full]

One radiograph of each of so many children of the Kermany data set (`$SEALROUND_DATA`, grey, 64 pixels and less) is
behind the updates; 600 radiographs of other children train the network (where it is trained) and stand behind the
baselines. Without the data set there is nothing to do.

How to read it: as `fundus_inversion.py` says; radiographs have no field of view, so that all pixels count.
"""

from __future__ import annotations

import csv
import functools
import os
import sys
from pathlib import Path

import numpy as np
import torch

from inversion_grid import main
from inversion_scene import Pictures, resized

CHILDREN = 900  # of some thousand, one radiograph each, drawn once


@functools.cache
def pictures(size: int) -> Pictures:
    """Return the radiographs at a size of at most 64 pixels."""
    folder = Path(os.environ.get("SEALROUND_DATA", "../shared/data")) / "cxr_pneumonia_kermany"
    if not (folder / "cxr_64.npz").is_file():
        print("no radiographs: set SEALROUND_DATA to a folder with cxr_pneumonia_kermany/cxr_64.npz")
        sys.exit(0)  # nothing went wrong
    stored = np.load(folder / "cxr_64.npz")
    with (folder / "labels.csv").open(newline="") as file:
        # Numbers of children in training and test files are different numberings.
        child = np.array([f"{row['split']} {row['label']} {row['patient']}" for row in csv.DictReader(file)])
    draw = np.random.default_rng(0)
    order = draw.permutation(len(child))
    _, first = np.unique(child[order], return_index=True)
    rows = order[draw.permutation(first)[:CHILDREN]]
    pixels = torch.from_numpy(stored["images"][rows]).unsqueeze(1).double() / 255
    labels = torch.from_numpy((stored["label3"][rows] > 0).astype(np.float64))
    none = np.full(len(rows), -1)
    return Pictures("chest X-ray (Kermany)", resized(pixels, size), labels, np.arange(len(rows)), none)


if __name__ == "__main__":
    main(__doc__, pictures)
