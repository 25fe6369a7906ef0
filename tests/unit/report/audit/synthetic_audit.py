"""Evidence of invented audits: of tables and pictures, public and not, sealed, cut short, with nothing found."""

from __future__ import annotations

import base64
import copy
import struct
import zlib
from typing import Any

Tree = dict[str, Any]

SEALED = '[protection]\nsecure_aggregation = "replicated"\n'
NOISE = '[protection.differential_privacy]\nepsilon = 3.0\nunit = "patient"\n'

ATTACKERS = (
    ("coordinator", "The coordinator, curious", "each hospital's update, one by one", "keeps to the protocol"),
    (
        "coordinator+site",
        "The coordinator and one hospital",
        "the same, and one hospital's own update",
        "one is bribed",
    ),
    ("site", "A curious hospital", "the model of each round, and its own update", "costs it nothing"),
    (
        "malicious-coordinator",
        "The coordinator, malicious",
        "each update, for a model that it made up",
        "plants a model",
    ),
    ("reader", "Whoever has the released model", "the model that the study ends in", "knows some records"),
)
COLUMNS = (
    ("age", "years", "63", "63", "54", True), ("resting blood pressure", "mmHg", "145", "145", "132", True),
    ("cholesterol", "mg/dl", "233", "233", "247", True), ("chest pain", None, "typical", "typical", "none", True),
    ("maximum heart rate", "/min", "150", "150", "149", True),
    ("fasting blood sugar", None, "high", "high", "low", True),
    ("ST depression", "mm", "2.3", "2.3", "1.1", True), ("sex", None, "male", "male", "male", True),
)  # fmt: skip
GRANTED = [
    ["labels", "recovered from the update"],
    ["batch size", "known"], ["batch order", "not known"], ["model", "initial"],
]  # fmt: skip


def picture(size: int = 16, phase: int = 0) -> str:
    """Return a grey PNG of a disc with stripes, base64."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    half = size / 2
    rows = b"".join(
        b"\0"
        + bytes(
            (40 + (phase + 9 * x * (y + 3)) % 180) if (x - half) ** 2 + (y - half) ** 2 < half * half else 0
            for x in range(size)
        )
        for y in range(size)
    )
    head = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


def number(value: float, low: float | None = None, high: float | None = None, baseline: float | None = None) -> Tree:
    return {"value": value, "low": low, "high": high, "baseline": baseline}


def finding(rung: str, attacker: str, attack: str, family: str, name: str, **more: Any) -> Tree:
    played = {
        "rung": rung, "attacker": attacker, "attack": attack, "family": family, "name": name,
        "source": f"{name}, the paper", "granted": GRANTED, "round": 1, "site": "Cleveland", "sites_in_sum": 1,
        "examples": 8, "unknowns": 104, "status": "done", "why": None, "patients": 40, "certified": 0, "measures": {},
        "worst": {}, "beyond": {}, "mismatch": None, "seconds": 1.5, "note": None,
    }  # fmt: skip
    return copy.deepcopy(played | more)  # No two findings share what a test may change.


def idle(rung: str, attacker: str, attack: str, family: str, name: str, status: str, why: str) -> Tree:
    return finding(rung, attacker, attack, family, name, status=status, why=why, patients=0, seconds=0.0)


def cells(worst: float, mean: float, half: float, guess: float = 0.21, records: float | None = None) -> Tree:
    """Return what an attack on a table measured: exact cells of the worst-off patient and of all."""
    records = (0.9 if worst == 1.0 else 0.0) if records is None else records
    return {
        "measures": {
            "exact_cells": number(mean, max(0.0, mean - half), min(1.0, mean + half), guess),
            "exact_records": number(records, max(0.0, records - 0.05), min(1.0, records + 0.05), 0.0),
        },
        "worst": {
            "exact_cells": worst, "exact_records": float(worst == 1.0), "patient": 7,
            "baseline": {"exact_cells": guess + 0.04, "exact_records": 0.0},
        },
        "beyond": {"exact_cells": max(0.0, worst - guess - 0.04), "exact_records": records},
    }  # fmt: skip


def patients(share: float, crb: float | None = None) -> list[Tree]:
    return [
        {
            "numbers": 13, "determined": round(13 * share) - (place % 2), "smallest_singular": 2.1e-6 * (place + 1),
            "largest_singular": 0.41, "crb_sd": None if crb is None else crb * (1 + place),
            "fil": 1234.5, "i2f": 0.0031,
        }
        for place in range(4)
    ]  # fmt: skip


def bound(rung: str, share: float, crb: float | None = None, **more: Any) -> Tree:
    return {
        "rung": rung, "attacker": "coordinator", "round": 1, "site": "Cleveland", "sites_in_sum": 1, "examples": 8,
        "unknowns": 104, "equations": 1410, "rank": round(104 * share), "precision": 1.2e-9 if crb is None else 0.02,
        "patients": patients(share, crb), "note": "no noise: rounding of typical coordinates to float32",
    } | more  # fmt: skip


def _frame(kind: str, rungs: list[Tree]) -> Tree:
    return {
        "format": "sealround-audit/1",
        "study": {
            "name": "heart-disease-four-hospitals", "digest": "0f" * 32, "task": "binary",
            "model": "perceptron 13-64-32-1, ReLU", "inputs": "13 values of a table", "sites": 4, "rounds": 30,
            "batch_size": 8, "local": "1 step", "learning_rate": 0.05,
        },
        "plan": {
            "seed": 7, "budget_s": 120.0, "seconds": 84.2, "finished": True, "data": "public",
            "why_public": "UCI heart disease, published with names removed", "kind": kind,
        },
        "attackers": [dict(zip(("key", "name", "sees", "assumes"), one, strict=True)) for one in ATTACKERS],
        "rungs": rungs,
        "findings": [],
        "bounds": [],
        "two_worlds": None,
        "showcase": [],
        "require": {},
        "passed": None,
        "skipped": [["generative-prior", "no pictures in this study"]],
        "environment": {
            "sealround": "0.9.0", "python": "3.11.9", "platform": "Linux", "cores": 2,
            "packages": {"torch": "2.13.0+cpu"},
        },
    }  # fmt: skip


def rung(key: str, label: str, auroc: float | None = 0.86, **more: Any) -> Tree:
    accuracy = None if auroc is None else {"metric": "AUROC", "value": auroc, "low": auroc - 0.03, "high": auroc + 0.03}
    return {"key": key, "label": label, "here": False, "beyond": False, "accuracy": accuracy, "switch": None} | more


def _ladder(here: str) -> list[Tree]:
    """Return the ladder of a study that has what is up to ``here``."""
    steps = [
        ("none", "no protection", 0.871, None),
        ("clip", "+ clipping to norm 1", 0.868, "[training]\nclip = 1.0\n"),
        ("sealed", "+ secure aggregation over 4 sites", 0.868, SEALED),
        ("noise", "+ noise, ε = 3 for each patient", 0.823, NOISE),
    ]
    place = [key for key, *_ in steps].index(here)
    return [
        rung(key, label, auroc, here=number == place, beyond=number > place, switch=switch)
        for number, (key, label, auroc, switch) in enumerate(steps)
    ]


def table() -> Tree:
    """A table, public, one update at a time: SPEAR rebuilds every record."""
    tree = _frame("table", _ladder("clip"))
    identity = {"reidentified": number(0.92, 0.81, 0.97, 0.03)}
    spear, sums = ("coordinator", "spear", "exact", "SPEAR"), {"site": None, "sites_in_sum": 4, "examples": 32}
    tree["findings"] = [
        finding("none", *spear, certified=8, mismatch=1.2e-14, **cells(1.0, 0.99, 0.01)),
        finding("clip", *spear, certified=8, mismatch=3.1e-14, **cells(1.0, 0.98, 0.02)),
        finding("clip", "coordinator", "tableak", "optimisation", "TabLeak", seconds=31.0, **cells(0.69, 0.48, 0.05)),
        finding(
            "clip", "coordinator", "linkage", "identity", "Linkage", measures=identity, beyond={"reidentified": 0.89}
        ),
        finding(
            "clip", "coordinator+site", "tableak", "optimisation", "TabLeak", site=None, sites_in_sum=3, examples=24,
            granted=[*GRANTED[:2], ["colluding site's records", "known"]], status="stopped", **cells(0.38, 0.2, 0.04),
        ),
        idle(
            "clip", "malicious-coordinator", "imprint", "malicious", "Robbing the Fed", "refused by the site",
            "a layer with 64 equal rows",
        ),
        finding(
            "clip", "reader", "lira", "membership", "LiRA", round=None, site=None, sites_in_sum=0, examples=303,
            measures={"auc": number(0.58, 0.53, 0.63, 0.5), "tpr_at_fpr_1": number(0.04, 0.01, 0.09, 0.01)},
            beyond={"membership_auc": 0.58},
        ),
        finding(
            "clip", "coordinator", "property", "property", "Property inference", site="Cleveland",
            measures={"share_error": number(0.06, 0.03, 0.09, 0.14)},
        ),
        finding("sealed", *spear, **sums, **cells(0.31, 0.2, 0.03)),
        idle("sealed", "coordinator", "r-gap", "exact", "R-GAP", "not applicable", "the batch has several records"),
    ]  # fmt: skip
    tree["bounds"] = [bound("clip", 1.0), bound("sealed", 0.55, **sums)]
    row = [
        {"column": column, "unit": unit, "original": original, "rebuilt": rebuilt, "baseline": guess, "recovered": hit}
        for column, unit, original, rebuilt, guess, hit in COLUMNS
    ]
    tree["showcase"] = [{"finding": 1, "kind": "table", "cells": row}]
    tree["require"] = {
        "exact_cells": {"limit": 0.1, "found": 0.75, "passed": False},
        "membership_auc": {"limit": 0.6, "found": 0.58, "passed": True},
        "psnr_db": {"limit": 20.0, "found": None, "passed": False},
    }
    tree["passed"] = False
    return tree


def image() -> Tree:
    """Pictures, public: a search rebuilds them in part; some rungs were not played."""
    tree = _frame("image", _ladder("clip"))
    tree["study"] |= {"name": "fundus", "model": "ResNet-18 without batch norm", "inputs": "3 × 32 × 32 pictures"}

    def shown(worst: float, mean: float, half: float, guess: float = 14.1) -> Tree:
        return {
            "measures": {
                "psnr_db": number(mean, mean - half, mean + half, guess),
                "ssim": number(0.71, 0.66, 0.75, 0.22),
                "pixels_within_8": number(0.61, 0.55, 0.68, 0.19),
            },
            "worst": {"psnr_db": worst, "ssim": 0.94, "pixels_within_8": 0.95, "patient": 3},
            "beyond": {"psnr_db": worst if worst > guess else 0.0},
        }

    tree["findings"] = [
        finding("clip", "coordinator", "inverting-gradients", "optimisation", "Inverting Gradients", unknowns=3072,
                examples=1, mismatch=4.4e-3, **shown(31.4, 24.2, 1.6)),
        finding("none", "coordinator", "inverting-gradients", "optimisation", "Inverting Gradients", unknowns=3072,
                examples=1, **shown(33.0, 26.0, 1.5)),
        finding("clip", "coordinator", "retrieval", "identity", "Retrieval from a gallery",
                measures={"reidentified": number(0.63, 0.53, 0.72, 0.04)}, worst={"reidentified": 1.0, "patient": 3}),
        finding("clip", "malicious-coordinator", "imprint", "malicious", "Robbing the Fed", certified=2,
                **shown(131.0, 88.0, 30.0)),
        idle("clip", "reader", "rmia", "membership", "RMIA", "failed", "the reference models did not train"),
    ]  # fmt: skip
    tree["showcase"] = [
        {
            "finding": place, "kind": "image", "original": picture(), "reconstruction": picture(phase=shift),
            "baseline": picture(phase=60), "psnr_db": reached, "baseline_db": 14.4,
        }
        for place, shift, reached in ((0, 6, 31.4), (3, 0, 131.0))
    ]  # fmt: skip
    tree["bounds"] = [bound("clip", 1.0, 0.4)]
    return tree


def own() -> Tree:
    """A table of the sites' own, sealed, with noise: nobody gets more than a guess."""
    tree = _frame("table", _ladder("noise"))
    tree["plan"] |= {"data": "own", "why_public": None, "budget_s": None}
    sums: Tree = {"site": None, "sites_in_sum": 4, "examples": 32}
    tree["findings"] = [
        finding("none", "coordinator", "spear", "exact", "SPEAR", certified=8, **cells(1.0, 0.99, 0.01)),
        finding("sealed", "coordinator", "spear", "exact", "SPEAR", **sums, **cells(0.31, 0.2, 0.03)),
        finding("noise", "coordinator", "spear", "exact", "SPEAR", **sums, **cells(0.23, 0.19, 0.03)),
        finding("noise", "coordinator+site", "tableak", "optimisation", "TabLeak", **sums, **cells(0.23, 0.2, 0.03)),
        finding("noise", "reader", "lira", "membership", "LiRA", round=None, site=None, sites_in_sum=0, examples=303,
                measures={"auc": number(0.51, 0.46, 0.56, 0.5)}, beyond={"membership_auc": 0.5}),
    ]  # fmt: skip
    tree["bounds"] = [bound("noise", 0.4, 0.8, **sums)]
    tree["two_worlds"] = {
        "coalition": "the coordinator and one site", "worlds": "two sites hold each other's records",
        "statistic": "distance of the masked updates", "p_value": 0.61, "false_alarm": 0.01, "views": 400,
        "verdict": "not told apart",
    }  # fmt: skip
    tree["require"] = {"exact_cells": {"limit": 0.1, "found": 0.0, "passed": True}}
    tree["passed"] = True
    return tree


def perhaps() -> Tree:
    """Nothing that is certain, and one patient of whom more than a guess was found."""
    tree = own()
    tree["findings"][2] |= cells(0.54, 0.22, 0.04)
    return tree


def unfinished() -> Tree:
    """The budget ended at once: one attack was cut short before it came to anything, the rest did not start."""
    tree = _frame("table", [rung("none", "no protection", None, here=True)])
    tree["plan"] |= {"budget_s": 5.0, "seconds": 5.1, "finished": False}
    tree["findings"] = [
        finding("none", "coordinator", "spear", "exact", "SPEAR", status="stopped", patients=0, why="the budget ended")
    ]
    tree["skipped"] = [["tableak", "the budget ended before it"]]
    return tree


def vector() -> Tree:
    """Vectors, one rung, only membership, two worlds told apart."""
    tree = _frame("vector", [rung("none", "no protection", None, here=True)])
    tree["findings"] = [
        finding("none", "reader", "rmia", "membership", "RMIA", measures={"auc": number(0.71, 0.64, 0.77)}),
        idle("none", "coordinator", "spear", "exact", "SPEAR", "not applicable", "the model is linear"),
    ]
    tree["two_worlds"] = own()["two_worlds"] | {"verdict": "told apart", "p_value": 1e-9, "false_alarm": 0.001}
    tree["skipped"] = []
    return tree


AUDITS = {
    "table": table, "image": image, "own": own, "perhaps": perhaps, "unfinished": unfinished, "vector": vector,
}  # fmt: skip
"""One of each kind."""
