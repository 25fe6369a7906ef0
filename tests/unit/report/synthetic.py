"""Evidence of invented runs, consistent in itself: scores are drawn, everything else is computed from them."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

MIN_CELL = 5
_Z = 1.96

Tree = dict[str, Any]


@dataclass(frozen=True)
class Site:
    """What one invented site is like."""

    rows: int
    prevalence: float
    strength: dict[str, float]  # Distance of the classes' scores, for each model.


def cell(count: int) -> int | None:
    return None if 0 < count < MIN_CELL else int(count)


def part(count: int, of: int) -> int | None:
    return None if cell(count) is None or cell(of - count) is None else int(count)


def estimate(value: float, error: float) -> Tree:
    return {
        "value": float(value),
        "low": float(max(0.0, value - _Z * error)),
        "high": float(min(1.0, value + _Z * error)),
    }


def proportion(part: int, whole: int) -> Tree:
    if whole == 0:
        return {"value": None, "low": None, "high": None}
    share = part / whole
    return estimate(share, math.sqrt(max(share * (1 - share), 0.02) / whole))


def auroc(score: np.ndarray, outcome: np.ndarray) -> float | None:
    positive, negative = score[outcome], score[~outcome]
    if not positive.size or not negative.size:
        return None
    return float((positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean())


def binary_result(rng: np.random.Generator, site: Site, model: str, threshold: float) -> Tree:
    n = max(4, round(site.rows * 0.3))
    outcome = np.arange(n) < round(n * site.prevalence)
    logit = rng.normal(np.where(outcome, 1, -1) * site.strength[model] / 2, 1.0) * site.strength[model]
    logit += math.log((site.prevalence + 0.02) / (1.02 - site.prevalence))
    risk = 1 / (1 + np.exp(-logit))
    area = auroc(logit, outcome)
    positives = int(outcome.sum())
    error = (
        None if area is None else math.sqrt(max(area * (1 - area), 0.03) / max(min(positives, n - positives), 1)) / 1.6
    )
    called = risk >= threshold
    grid = np.linspace(0, 1, 101)
    order = np.argsort(-logit)
    tpr = np.r_[0, np.cumsum(outcome[order])] / max(positives, 1)
    fpr = np.r_[0, np.cumsum(~outcome[order])] / max(n - positives, 1)
    bins = np.array_split(np.argsort(risk), min(8, max(1, n // 10)))
    none = {"value": None, "low": None, "high": None}
    return {
        "n": cell(n),
        "positives": part(positives, n),
        "metrics": {
            "auroc": none if area is None else estimate(area, error),
            "auprc": none if area is None else estimate(min(0.99, area * 0.95), error),
            "accuracy": proportion(int((called == outcome).sum()), n),
            "balanced_accuracy": proportion(int((called == outcome).sum()), n),
            "sensitivity": proportion(int(called[outcome].sum()), positives),
            "specificity": proportion(int((~called[~outcome]).sum()), n - positives),
            "brier": estimate(float(np.mean((risk - outcome) ** 2)), 0.02),
            "ece": estimate(0.06 + 0.4 / math.sqrt(n), 0.02),
        },
        "roc": None if area is None else {"fpr": grid.tolist(), "tpr": np.interp(grid, fpr, tpr).tolist()},
        "calibration": [
            {"predicted": float(risk[rows].mean()), "observed": float(outcome[rows].mean()), "count": int(rows.size)}
            for rows in bins
            if rows.size >= MIN_CELL and part(positives, n) is not None
        ],
        "threshold": threshold,
    }


def survival_result(rng: np.random.Generator, site: Site, model: str) -> Tree:
    n = round(site.rows * 0.3)
    groups = []
    for name, rate in (("low", 0.00012), ("middle", 0.0003), ("high", 0.0008)):
        time = np.sort(rng.exponential(1 / rate, max(n // 3, 2)))
        time = time[time < 4200]
        share = np.cumprod(1 - 1 / (max(n // 3, 2) - np.arange(time.size)))
        groups.append({"group": name, "time": time.tolist(), "survival": share.tolist()})
    value = min(0.97, 0.5 + site.strength[model] * 0.16)
    return {
        "n": n,
        "positives": part(round(n * site.prevalence), n),
        "metrics": {"c_index": estimate(value, 0.4 / math.sqrt(n))},
        "risk_groups": groups,
    }


def over_sites(sites: dict[str, Tree], metric: str, part: str) -> Tree:
    found = {
        name: entry["metrics"][metric] for name, entry in sites.items() if entry["metrics"][metric]["value"] is not None
    }
    values = np.array([entry["value"] for entry in found.values()])
    error = math.sqrt(sum(((entry["high"] - entry["low"]) / 2 / _Z) ** 2 for entry in found.values())) / max(
        len(found), 1
    )
    if not found:
        return {"value": None, "low": None, "high": None}
    if part == "mean":
        return estimate(values.mean(), error)
    if part == "gap":
        return estimate(values.max() - values.min(), error * 2)
    pick = max if metric in {"brier", "ece"} else min
    name = pick(found, key=lambda site: found[site]["value"])
    return found[name] | {"site": name}


def model(sites: dict[str, Tree], *, shared: bool, released: int, threshold: float | None) -> Tree:
    metrics = list(next(iter(sites.values()))["metrics"])
    summary = {part: {name: over_sites(sites, name, part) for name in metrics} for part in ("mean", "worst", "gap")}
    everyone = {name: over_sites(sites, name, "mean") for name in metrics}
    return {
        "sites": sites,
        **summary,
        "all": everyone if shared else None,
        "released_round": released,
        "threshold": threshold if shared else None,
        "calibration": [1.08, -0.04] if shared else None,
    }


def features(rng: np.random.Generator, site: Site, *, all_missing: bool) -> list[Tree]:
    rows = site.rows
    numeric = [
        ("age", "years", 54, 9), ("resting blood pressure", "mmHg", 132, 18),
        ("cholesterol", "mg/dL", 246, 52), ("maximum heart rate", "1/min", 138, 25), ("ST depression", "mm", 0.9, 1.1),
    ]  # fmt: skip
    table: list[Tree] = []
    for name, unit, mean, sd in numeric:
        gone = all_missing and name == "cholesterol"
        missing = rows if gone else int(rng.integers(0, rows // 8 + 1))
        table.append({
            "name": name, "unit": unit, "kind": "numeric",
            "n": part(rows - missing, rows), "missing": part(missing, rows),
            "mean": None if gone else float(mean * rng.uniform(0.95, 1.08)),
            "sd": None if gone else float(sd * rng.uniform(0.9, 1.15)),
        })  # fmt: skip
    for name, levels in (
        ("sex", ("female", "male")),
        ("chest pain", ("typical angina", "atypical angina", "non-anginal pain", "asymptomatic")),
    ):
        counts = rng.multinomial(rows, rng.dirichlet(np.ones(len(levels)) * 1.5))
        table.append({
            "name": name, "kind": "categorical", "missing": 0,
            "levels": {level: cell(int(count)) for level, count in zip(levels, counts, strict=True)},
        })  # fmt: skip
    return table


def rounds(rng: np.random.Generator, names: list[str], count: int, metric: str, top: float) -> list[Tree]:
    offset = {name: rng.normal(0, 0.05) for name in names}
    found = []
    for number in range(1, count + 1):
        decay = math.exp(-number / max(count / 5, 1))

        def measured(shift: float, decay: float = decay) -> Tree:
            return {
                "train_loss": 0.38 + 0.32 * decay + shift + rng.normal(0, 0.004),
                "validation_loss": 0.43 + 0.27 * decay + shift + rng.normal(0, 0.008),
                "validation": float(np.clip(top - 0.2 * decay - shift + rng.normal(0, 0.008), 0, 1)),
            }

        found.append({
            "round": number, **measured(0.0), "sites": {name: measured(offset[name]) for name in names},
            "bytes_up": 2_400 * len(names), "bytes_down": 2_100 * len(names), "seconds": 0.11, "absent": [],
        })  # fmt: skip
    assert metric
    return found


PROTECTION = [
    {
        "name": "Secure aggregation", "state": "off",
        "reason": "public data, one machine, nothing to hide",
        "meaning": "The coordinator sees each site's update in the clear and could try to rebuild records from it.",
    },
    {
        "name": "Robust aggregation", "state": "off",
        "reason": "all sites are simulated by one trusted program",
        "meaning": "Updates are averaged as they are: a single lying or broken site can steer the model.",
    },
    {
        "name": "Differential privacy", "state": "off",
        "reason": "public data, published since 1988",
        "meaning": "Nothing limits what the released model can give away about one patient.",
    },
]  # fmt: skip


def difference(value: float, margin: float) -> Tree:
    return {"value": value, "low": value - margin, "high": value + margin}


def frame(study: Tree, cohort: Tree, models: Tree, history: list[Tree]) -> Tree:
    seconds = 0.13 * len(history) + 1.7
    return {
        "format": "sealround-evidence/1",
        "sealround": "0.1.0",
        "study": {
            "digest": hashlib.sha256(study["name"].encode()).hexdigest(), "seed": 42, "rounds": len(history),
            "confidence": 0.95, "min_cell_count": MIN_CELL, **study,
        },
        "cohort": cohort,
        "rounds": history,
        "models": models,
        "differences": {
            f"federated-{other}": {
                name: difference(models["federated"]["mean"][name]["value"] - found["value"], margin)
                for name, found in models[other]["mean"].items()
                if found["value"] is not None
            }
            for other, margin in (("alone", 0.035), ("pooled", 0.02))
        },
        "protection": [dict(entry) for entry in PROTECTION],
        "excluded": [],
        "cost": {
            "seconds": seconds, "training_seconds": seconds * 0.6,
            "bytes_up": sum(entry["bytes_up"] for entry in history),
            "bytes_down": sum(entry["bytes_down"] for entry in history), "peak_rss_bytes": 412_000_000,
            "workers": 2, "device": "cpu",
        },
        "environment": {
            "python": "3.11.7", "platform": "Linux-6.1-x86_64", "numpy": "2.4.6", "torch": "2.13.0+cpu",
            "packages": {"jinja2": "3.1.6", "polars": "2.1.0", "pydantic": "2.14.0"},
        },
    }  # fmt: skip


def cohort_site(rng: np.random.Generator, site: Site, *, tabular: bool = True, all_missing: bool = False) -> Tree:
    test = max(4, round(site.rows * 0.3))
    validation = round(site.rows * 0.1)
    return {
        "rows": site.rows, "patients": site.rows, "train": site.rows - test - validation,
        "validation": cell(validation),
        "test": cell(test), "positives": part(round(site.rows * site.prevalence), site.rows),
        "features": features(rng, site, all_missing=all_missing) if tabular else [],
    }  # fmt: skip


def binary_models(rng: np.random.Generator, sites: dict[str, Site], released: int) -> Tree:
    return {
        name: model(
            {site: binary_result(rng, facts, name, 0.42) for site, facts in sites.items()},
            shared=name != "alone", released=released, threshold=0.42,
        )
        for name in ("federated", "pooled", "alone")
    }  # fmt: skip


def four_hospitals(count: int = 30) -> Tree:
    """Return a run on four hospitals of very different size."""
    rng = np.random.default_rng(11)
    sites = {
        "Cleveland": Site(303, 0.46, {"federated": 1.75, "pooled": 1.8, "alone": 1.5}),
        "Hungary": Site(294, 0.36, {"federated": 1.8, "pooled": 1.8, "alone": 1.45}),
        "Switzerland": Site(123, 0.70, {"federated": 1.2, "pooled": 1.25, "alone": 0.6}),
        "V.A. Long Beach": Site(200, 0.74, {"federated": 1.25, "pooled": 1.35, "alone": 0.8}),
    }
    study = {
        "name": "heart-disease-four-hospitals", "task": "binary", "primary": "auroc", "parameters": 21,
        "question": "Does a patient sent for coronary angiography have a narrowed coronary artery?",
        "model": "logistic regression", "outcome": "coronary artery disease",
    }  # fmt: skip
    cohort = {
        "source": "UCI Heart Disease, 14 columns, four hospitals, 1988", "site_term": "hospital", "simulated": False,
        "attribution": "Janosi, Steinbrunn, Pfisterer, Detrano. Heart Disease. UCI Machine Learning Repository, "
        "doi:10.24432/C52P4X. CC BY 4.0.",
        "sites": {
            name: cohort_site(rng, facts, all_missing=name == "Switzerland") for name, facts in sites.items()
        },
    }  # fmt: skip
    models = binary_models(rng, sites, max(1, count - 3))
    return frame(study, cohort, models, rounds(rng, list(sites), count, "auroc", 0.86))


def six_regions() -> Tree:
    """Return a survival study of six regions."""
    rng = np.random.default_rng(5)
    sizes = {"Northeast": 311, "South": 196, "West": 206, "Midwest": 162, "Europe": 162, "Canada": 51}
    sites = {
        name: Site(rows, 0.14, dict(zip(("federated", "pooled", "alone"), rng.uniform(1.5, 2.1, 3), strict=True)))
        for name, rows in sizes.items()
    }
    study = {
        "name": "breast-cancer-six-regions", "task": "survival", "primary": "c_index", "parameters": 40,
        "question": "How long will a patient with invasive breast cancer live?",
        "model": "Cox proportional hazards, linear",
        "outcome": "death", "time_unit": "days",
    }  # fmt: skip
    cohort = {
        "source": "TCGA-BRCA, 38 features, six regions", "attribution": None, "site_term": "region",
        "sites": {name: cohort_site(rng, facts) for name, facts in sites.items()},
    }  # fmt: skip
    models = {
        name: model(
            {site: survival_result(rng, facts, name) for site, facts in sites.items()},
            shared=name != "alone", released=40, threshold=None,
        )
        for name in ("federated", "pooled", "alone")
    }  # fmt: skip
    return frame(study, cohort, models, rounds(rng, list(sites), 40, "c_index", 0.78))


def many_sites(sites_count: int = 120, count: int = 60) -> Tree:
    """Return an image study of many simulated sites, some of them dropped or absent."""
    rng = np.random.default_rng(3)
    sites = {}
    for number in range(1, sites_count + 1):
        strength = rng.normal(2.1, 0.28)
        sites[f"site-{number:03d}"] = Site(
            int(rng.integers(28, 90)), float(rng.beta(3, 1.6)),
            {"federated": strength, "pooled": strength * 1.05, "alone": max(0.3, strength - abs(rng.normal(0.9, 0.5)))},
        )  # fmt: skip
    study = {
        "name": "chest-x-ray-120-sites", "task": "binary", "primary": "auroc", "parameters": 1281,
        "question": "Does this child's chest X-ray show pneumonia?", "outcome": "pneumonia",
        "model": "EfficientNet-Lite0 (frozen) and a linear head",
    }  # fmt: skip
    cohort = {
        "source": "Kermany chest X-rays, 5 856 images at 224 pixels", "attribution": "CC BY 4.0", "simulated": True,
        "partition": "one data set divided into 120 sites, Dirichlet 0.5 over the label",
        "sites": {name: cohort_site(rng, facts, tabular=False) for name, facts in sites.items()},
    }  # fmt: skip
    models = binary_models(rng, sites, count)
    evidence = frame(study, cohort, models, rounds(rng, list(sites), count, "auroc", 0.95))
    for found in evidence["models"].values():
        del found["sites"]["site-007"]
    evidence["excluded"] = [{"site": "site-007", "round": 4, "why": "training diverged: the loss became infinite"}]
    for entry in evidence["rounds"][10:14]:
        entry["absent"] = ["site-019", "site-044"]
        for site in entry["absent"]:
            entry["sites"].pop(site)
    return evidence


def _heap(model: Tree) -> Tree:
    """Return a site-like result of everybody from the sites' own."""
    sites = [entry for entry in model["sites"].values() if entry["n"] is not None]
    number = sum(entry["n"] for entry in sites)
    positives = sum(entry["positives"] or 0 for entry in sites)
    curves = [entry["roc"]["tpr"] for entry in sites if entry.get("roc")]
    survival = not any("roc" in entry for entry in sites)
    grid = np.linspace(0, 1, 101).tolist()
    observed = np.linspace(0.08, 0.9, 8)
    return {
        "n": number,
        "positives": None if survival else positives,
        "roc": {"fpr": grid, "tpr": np.mean(curves, axis=0).tolist()} if curves else None,
        "calibration": []
        if survival
        else [
            {"predicted": float(risk + 0.03 * math.sin(9 * risk)), "observed": float(risk), "count": number // 8}
            for risk in observed
        ],
    }


def _all_features(cohort: Tree) -> list[Tree]:
    """Add the sites' features up; what a site does not show is not in the sum."""
    found: dict[str, Tree] = {}
    for site in cohort["sites"].values():
        for one in site["features"]:
            if one["kind"] == "numeric":
                row = found.setdefault(one["name"], {**one, "n": 0, "missing": None})
                row["n"] += one["n"] or 0
            else:
                row = found.setdefault(one["name"], {"name": one["name"], "kind": "categorical", "levels": {}})
                for level, count in one["levels"].items():
                    row["levels"][level] = (row["levels"].get(level) or 0) + (count or 0)
    for row in found.values():
        row.pop("missing", None)
        if "levels" in row:
            row["levels"] = {level: count or None for level, count in row["levels"].items()}
    return list(found.values())


def sealed(evidence: Tree, mode: str = "pairwise") -> Tree:
    """Turn the evidence of an open run into what sums would tell of the same one, in place."""
    cohort, names = evidence["cohort"], list(evidence["cohort"]["sites"])
    for model in evidence["models"].values():
        metrics = model["mean"]
        model["defined"] = {
            name: sum(entry["metrics"][name]["value"] is not None for entry in model["sites"].values())
            for name in metrics
        }
        model |= {"together": _heap(model), "tested": len(model["sites"]), "all": model["all"] or metrics}
        model |= {"sites": {}, "worst": {}, "gap": {}}
    cohort["together"] = {
        "roster": names,
        "examples": sum(site["rows"] for site in cohort["sites"].values()),
        "positives": sum(site["positives"] or 0 for site in cohort["sites"].values()),
        "features": _all_features(cohort),
    }
    cohort["sites"] = {}
    for entry in evidence["rounds"]:
        entry |= {"sites": {}, "clipped": 0, "error_bound": 2.0**-24}
    pairwise = mode == "pairwise"
    gone = len(evidence["excluded"]) + max(len(entry["absent"]) for entry in evidence["rounds"])
    evidence["aggregation"] = {
        "mode": mode, "sites": len(names), "n_min": 3, "smallest_sum": len(names) - gone,
        "threshold": 2 * len(names) // 3 + 1 if pairwise else None,
        "aggregators": [] if pairwise else ["University of Fribourg", "Registry office", "Patients' trust"],
        "ring_bits": 32 if pairwise else 64, "scale_bits": 27, "max_abs": 4.0, "clip_norm": None,
        "error_bound": 2.0**-24, "clipped": [0] * len(evidence["rounds"]),
        "in_clear": ["which hospitals take part, drop out or diverge, and when", "the sizes and times of messages"],
    }  # fmt: skip
    evidence["protection"][0] |= {
        "state": "on",
        "reason": "",
        "meaning": "The coordinator sees sums over 3 sites or more.",
    }
    return evidence


def private(evidence: Tree, trust: str = "sealed", metrics: str = "noised", unit: str = "patient") -> Tree:
    """Turn the evidence of an open run into what a private one would tell, in place."""
    names = list(evidence["cohort"]["sites"])
    federated = sealed(evidence)["models"]["federated"]
    none = {"value": None, "low": None, "high": None}
    area = federated["all"]["auroc"] if metrics == "noised" else none
    federated |= {
        "mean": dict.fromkeys(federated["mean"], none),
        "all": dict.fromkeys(federated["mean"], none) | {"auroc": area},
        "defined": dict.fromkeys(federated["defined"], 0),
        "together": {"n": 262, "positives": 121, "roc": None, "calibration": []},
        "calibration": [1.0, 0.0],
    }
    if metrics == "kept":
        federated["together"] |= {"n": None, "positives": None}
    evidence["models"] = {"federated": federated}
    evidence["differences"] = {}
    evidence["cohort"]["together"] = {"roster": names, "examples": None, "positives": None, "features": []}
    for entry in evidence["rounds"]:
        entry |= {"train_loss": None, "validation_loss": None, "validation": None}
    if trust == "local":
        evidence["aggregation"] = None
        evidence["protection"][0] |= {"state": "off", "reason": "each message is private by itself"}
    evidence["protection"][2] |= {"state": "on", "reason": "", "meaning": "Bounds what can be learned."}
    evidence["privacy"] = _privacy(names, len(evidence["rounds"]), trust, metrics, unit)
    return evidence


def _privacy(names: list[str], count: int, trust: str, metrics: str, unit: str) -> Tree:
    training = _release("training", 2.572, 0.25, count, 2.9987)
    releases = [training, _release("metrics", 1.224, 1.0, 1, 2.9986)]
    alpha = np.r_[0.0, np.geomspace(1e-6, 0.1, 10), np.linspace(0.1, 1.0, 10)[1:]]
    rounds = list(range(count + 1))
    return {
        "unit": unit, "relation": "add-or-remove-one", "trust": trust, "budget": 3.0, "epsilon": 2.9987, "delta": 1e-4,
        "accountant": "pld", "epsilon_rdp": 3.346, "epsilon_seen_by_site": 3.63 if trust == "sealed" else None,
        "l2_clip_norm": 1.0, "clipping": "fixed", "noise_multiplier": 2.572, "sampling_probability": 0.25,
        "steps": count, "patients": 480, "sites": len(names), "honest": len(names) if trust == "sealed" else 1,
        "dishonest_sites": 0, "metrics": metrics, "noise_in_results": 1.224 if metrics == "noised" else 0.0,
        "releases": releases if metrics == "noised" else releases[:1],
        "over_rounds": {"rounds": rounds, "epsilon": [2.9987 * math.sqrt(one / count) for one in rounds]},
        "tradeoff": {"alpha": alpha.tolist(), "beta": ((1 - alpha**0.5) ** 2).tolist()},
        "max_true_positive_rate": [
            {"false_positive_rate": rate, "true_positive_rate": found}
            for rate, found in ((0.001, 0.01151), (0.01, 0.06561), (0.1, 0.32113))
        ],
        "advantage": 0.317,
        "posterior": [{"prior": 0.1, "posterior": 0.6903, "reading": "pure-epsilon"}],
        "by_site": {name: dict(training) for name in names},
        "simulated": True, "simulated_why": "the noise follows from the study's seed",
        "not_covered": ["What is true of everybody.", "The hospital itself."],
    }  # fmt: skip


def _release(what: str, noise: float, drawn: float, count: int, epsilon: float) -> Tree:
    return {
        "what": what, "noise_multiplier": noise, "sampling_probability": drawn, "count": count, "epsilon": epsilon,
    }  # fmt: skip
