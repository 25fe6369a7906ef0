"""Evidence of invented drills: how an attack fares against a rule is drawn, everything else follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Tree = dict[str, Any]

HOLDS, DEGRADES = 0.02, 0.10
ROUNDS = 30
STOPPED = 20

_RULES = (
    ("geometric-median", "geometric median", 0.9), ("mean", "Mean", 0.0), ("median", "Coordinate median", 0.8),
    ("trimmed-mean", "Trimmed mean", 0.75), ("meamed", "MeaMed", 0.75), ("multi-krum", "Multi-Krum", 0.7),
    ("bulyan", "Bulyan", 0.8), ("centered-clipping", "Centred clipping", 0.85), ("dnc", "DnC", 0.6),
    ("flame", "FLAME", 0.55), ("geometric-median-nnm", "Geometric median after mixing", 0.97),
    ("adaptive", "Adaptive", 1.0),
)  # fmt: skip
_ATTACKS = (
    ("sign-flip", "Sign flip", ("own",), "Li et al. 2019, section 3", 0.6, False),
    ("alie", "A little is enough (ALIE)", ("honest",), "Baruch et al. NeurIPS 2019, algorithm 3", 2.2, False),
    ("relabel-group", "Relabelled group", ("data",), "Kulkarni et al. MIDL 2024", 0.05, True),
    ("trigger", "Hidden trigger", ("data",), "Gu et al. 2017 (BadNets)", 0.03, True),
    ("ipm", "Inner-product manipulation", ("honest",), "Xie et al. UAI 2020", 0.2, False),
    ("min-max", "Min-Max", ("honest",), "Shejwalkar and Houmansadr NDSS 2021, section IV-B", 0.7, False),
    ("min-sum", "Min-Sum", ("honest",), "Shejwalkar and Houmansadr NDSS 2021, section IV-B", 0.6, False),
    ("gaussian", "Noise", (), "Blanchard et al. NeurIPS 2017, section 5", 0.02, False),
    ("fang-krum", "Fang, against Krum", ("honest",), "Fang et al. USENIX Security 2020, section 4", 0.4, False),
    ("fang-trimmed-mean", "Fang, against the trimmed mean", ("honest",), "Fang et al. 2020, section 4", 0.6, False),
    ("mimic", "Mimic", ("honest",), "Karimireddy et al. ICLR 2022, section 3", 0.15, False),
    ("opt-alie", "ALIE, searched against the rule", ("honest", "rule"), "Shejwalkar and Houmansadr 2021", 1.1, False),
    ("opt-ipm", "IPM, searched against the rule", ("honest", "rule"), "Allouah et al. AISTATS 2023", 0.8, False),
    ("label-flip", "Flipped labels", ("data",), "Tolpegin et al. ESORICS 2020", 0.35, False),
    ("free-rider", "Free rider", (), "Fraboni et al. AISTATS 2021", 0.02, False),
    ("model-replacement", "Model replacement", ("target",), "Bagdasaryan et al. AISTATS 2020", 0.1, True),
    ("dba", "Trigger in parts (DBA)", ("data",), "Xie et al. ICLR 2020", 0.04, True),
    ("neurotoxin", "Neurotoxin", ("data", "honest"), "Zhang et al. ICML 2022", 0.04, True),
    ("sample-inflation", "Inflated counts", ("own", "examples"), "Blanchard et al. 2017", 0.1, False),
    ("not-finite", "NaN and infinity", (), "", 0.0, False),
)  # fmt: skip
_KNOWS = {
    "own": "its own update", "honest": "what honest sites send", "rule": "the study's rule and its constants",
    "data": "its own records", "target": "the model that it wants", "examples": "how many examples honest sites have",
}  # fmt: skip
_KINDS = (
    ("as-is", "The study's own hospitals"), ("iid", "Patients dealt out evenly"),
    ("dirichlet-0.1", "Very different hospitals (Dirichlet 0.1)"),
)  # fmt: skip
GROUPS = (("sex = female", 412, 0.11), ("sex = male", 388, 0.12), ("age < 50", 141, 0.17), ("age 50 to 65", 402, 0.1),
          ("sex = female, age < 50", 9, 0.2))  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """How large the invented drill is."""

    sites: int = 4
    num_byzantine: int = 1
    attacks: int = 8
    rules: int = 6
    kinds: int = 1
    seeds: int = 3
    own: str = "geometric-median"
    survival: bool = False
    groups: bool = True
    strength: float = 1.0


def estimate(value: float, error: float, low: float = 0.0) -> Tree:
    value = min(max(value, low), 1.0)
    return {"value": value, "low": max(low, value - error), "high": min(1.0, value + error)}


def judge(loss: float, success: float | None) -> str:
    if loss > DEGRADES or (success or 0.0) > 0.5:
        return "fails"
    return "degrades" if loss > HOLDS or (success or 0.0) > 0.1 else "holds"


def _curve(rng: np.random.Generator, top: float, end: float) -> list[float]:
    rounds = np.arange(1, ROUNDS + 1)
    fall = np.clip((rounds - 4) / 8, 0, 1) * (top - end)
    return np.clip(top - 0.3 * np.exp(-rounds / 4) - fall + rng.normal(0, 0.006, ROUNDS), 0.02, 0.99).tolist()


def _groups(rng: np.random.Generator, extra: float) -> list[Tree]:
    found = []
    for place, (name, n, fnr) in enumerate(GROUPS):
        assessable = n >= 11
        hurt = extra if place in {0, 2} else 0.15 * extra
        found.append(
            {
                "group": name,
                "n": n if assessable else None,
                "assessable": assessable,
                "fnr": estimate(fnr + hurt, 1.2 / n**0.5) if assessable else None,
                "fpr": estimate(0.14 + float(rng.normal(0, 0.01)), 1.2 / n**0.5) if assessable else None,
                "rise": estimate(hurt, 1.0 / n**0.5, -1.0) if assessable else None,
            }
        )
    return found


def _exclusion(names: list[str], liars: set[str], skill: float) -> Tree:
    sites = {}
    for place, name in enumerate(names):
        lies = name in liars
        out = skill if lies else (0.4 if place == 3 else 0.05) * (1 - 0.5 * skill)
        sites[name] = {"lies": lies, "part": (1 - out) / len(names), "left_out": round(float(out), 3)}
    caught, wronged = skill * len(liars), sum(entry["left_out"] for entry in sites.values() if not entry["lies"])
    precision = caught / (caught + wronged) if caught + wronged else None
    return {"precision": precision, "recall": skill if liars else None, "sites": sites}


def _success(value: float | None) -> tuple[list[float] | None, Tree | None]:
    """Return success over rounds, and what becomes of it once nobody lies any more."""
    if value is None:
        return None, None
    rounds = list(range(1, ROUNDS + 1))
    faded = [value * 0.8 ** (place + 1) for place in range(ROUNDS - STOPPED)]
    reached = [min(value, 0.06 * place) for place in rounds[:STOPPED]]
    return [*reached, *faded], {
        "stopped_after": STOPPED,
        "rounds": rounds[STOPPED:],
        "success": faded,
        "half_life": 4,
    }


def _cell(rng: np.random.Generator, shape: Shape, key: tuple[Any, Any, Any], base: float) -> Tree:
    (attack, rule, kind), names = key, site_names(shape.sites)
    none, weakness = attack is None, 1.02 - rule[2]
    spread = {"as-is": 1.0, "iid": 0.5, "dirichlet-0.1": 1.6}[kind[0]]
    harm = 0.0 if none else 0.55 * attack[4] * weakness * spread * shape.strength
    value = max(0.1, base - harm)
    success = float(np.clip((0.03 + weakness) * 0.9 * spread, 0.02, 0.98)) if not none and attack[5] else None
    course, durability = _success(success)
    hurt = 0.0 if none else 0.3 * (success or 0.2 * attack[4]) * weakness
    liars = set() if none else set(names[: shape.num_byzantine])
    label = "C-index" if shape.survival else "AUROC"
    return {
        "attack": "none" if none else attack[0],
        "rule": rule[0],
        "heterogeneity": kind[0],
        "seeds": shape.seeds,
        "metric": {**estimate(value, 0.012), "worst": value - 0.015},
        "baseline": base,
        "loss": None if none else estimate(base - value, 0.011, -1.0),
        "success": None if success is None else estimate(success, 0.06),
        "durability": durability,
        "groups": _groups(rng, hurt) if shape.groups else [],
        "exclusion": None if rule[0] == "mean" else _exclusion(names, liars, 0.95 if rule[2] > 0.8 else 0.6),
        "curve": {"round": list(range(1, ROUNDS + 1)), "metric": _curve(rng, base, value), "success": course},
        "verdict": judge(base - value, success),
        "sentence": f"{label} {value:.2f} instead of {base:.2f}.",
        "stopped": None,
    }


def site_names(count: int) -> list[str]:
    four = ["Cleveland", "Hungary", "Switzerland", "VA Long Beach"]
    return four if count == 4 else [f"site-{place:03}" for place in range(count)]


def _listed(attacks: tuple[Any, ...]) -> list[Tree]:
    aims = ("a model that is of no use", "a model that does what the attacker wants")
    found = [
        {
            "key": key,
            "title": title,
            "aim": aims[targeted],
            "knows": [_KNOWS[word] for word in knows],
            "source": source,
            "applicable": True,
            "why_not": None,
            "what": f"The lying hospitals send what {title} says, in every round.",
        }
        for key, title, knows, source, _, targeted in attacks
    ]
    common: Tree = {"knows": [], "source": "", "applicable": True, "why_not": None}
    none = {"key": "none", "title": "No attack", "aim": "", "what": "Nobody lies."} | common
    elsewhere = {"key": "image-trigger", "title": "Mark on images", "aim": aims[1], "source": "Gu et al. 2017"}
    elsewhere |= {"what": "The lying hospitals put a mark on images.", "knows": [_KNOWS["data"]]}
    return [none, *found, elsewhere | {"applicable": False, "why_not": "this study has no images"}]


def _worst(cells: list[Tree]) -> list[Tree]:
    columns: dict[tuple[str, str], list[Tree]] = {}
    for cell in cells:
        columns.setdefault((cell["rule"], cell["heterogeneity"]), []).append(cell)
    lowest = {key: min(column, key=lambda cell: cell["metric"]["value"]) for key, column in columns.items()}
    return [
        {"rule": rule, "heterogeneity": kind, "attack": low["attack"], "value": low["metric"]["value"]}
        for (rule, kind), low in lowest.items()
    ]


def _study(*, survival: bool) -> Tree:
    return {
        "name": "heart-disease-four-hospitals",
        "question": "Who has coronary disease?",
        "digest": "ab" * 32,
        "rounds": ROUNDS,
        "seed": 42,
        "task": "survival" if survival else "binary",
        "primary": "c_index" if survival else "auroc",
        "model": "Multilayer perceptron, 16 hidden units",
        "parameters": 337,
        "confidence": 0.95,
        "site_term": "hospital",
        "outcome": None if survival else "coronary disease",
    }


def _verdicts(cells: list[Tree], rule: str) -> list[Tree]:
    own = [cell for cell in cells if (cell["rule"], cell["heterogeneity"]) == (rule, "as-is")]
    judged = [
        {"attack": cell["attack"], "verdict": cell["verdict"], "sentence": cell["sentence"]}
        for cell in own
        if cell["attack"] != "none"
    ]
    elsewhere = {"attack": "image-trigger", "verdict": "not applicable", "sentence": "This study has no images."}
    return [*judged, elsewhere]


_SUGGESTIONS = (
    ('Take rule = "geometric-median" with mixing = true.', "Its worst case is 0.84, the study's own rule's 0.79."),
    ("Declare sex and age as sensitive columns.", "One attack harmed one group without moving the AUROC."),
)
_PROTECTION = (
    ("Secure aggregation", "off", "rules see updates", "The coordinator sees every update."),
    ("Robust aggregation", "on", "", "The rule geometric-median looks at every update."),
)


def _cells(shape: Shape, rules: list[Any], kinds: tuple[Any, ...]) -> list[Tree]:
    rng = np.random.default_rng(20261122)
    cells = []
    for kind in kinds:
        for rule in rules:
            base = 0.87 + 0.01 * float(rng.normal()) - (0.03 if kind[0] == "dirichlet-0.1" else 0.0)
            attacks = (None, *_ATTACKS[: shape.attacks])
            cells += [_cell(rng, shape, (attack, rule, kind), base) for attack in attacks]
    return cells


def drill(shape: Shape) -> Tree:
    """Invent the evidence of one drill."""
    rules = sorted(_RULES[: shape.rules], key=lambda rule: rule[0] != shape.own)
    names, kinds = site_names(shape.sites), _KINDS[: shape.kinds]
    refused = {"bulyan"} if shape.sites < 4 * shape.num_byzantine + 3 else set()
    why = "bulyan needs 7 sites to withstand 1, and there are 4"
    cells = _cells(shape, [rule for rule in rules if rule[0] not in refused], kinds)
    return {
        "format": "sealround-drill/1",
        "sealround": "0.1.0",
        "study": _study(survival=shape.survival),
        "sites": names,
        "num_byzantine": shape.num_byzantine,
        "liars": {str(seed): names[: shape.num_byzantine] for seed in range(shape.seeds)},
        "protection": [dict(zip(("name", "state", "reason", "meaning"), one, strict=True)) for one in _PROTECTION],
        "rules": [
            {"key": key, "title": title, "own": key == shape.own, "refused": why if key in refused else None}
            for key, title, _ in rules
        ],
        "heterogeneity": [{"key": key, "title": title, "own": key == "as-is"} for key, title in kinds],
        "attacks": _listed(_ATTACKS[: shape.attacks]),
        "seeds": list(range(shape.seeds)),
        "metric": "c_index" if shape.survival else "auroc",
        "limits": {"holds": HOLDS, "degrades": DEGRADES},
        "cells": cells,
        "worst": _worst(cells),
        "verdicts": _verdicts(cells, shape.own),
        "suggestions": [{"text": text, "why": because} for text, because in _SUGGESTIONS],
        "left_out": ["Image attacks: this study has no images.", "Seeds beyond three: one more takes four minutes."],
        "cost": {"seconds": 512.4, "cells": len(cells), "workers": 2},
        "environment": {"python": "3.11.2", "platform": "Linux", "numpy": "2.4.1", "torch": "2.13.0+cpu"},
    }
