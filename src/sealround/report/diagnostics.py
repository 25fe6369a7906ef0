"""How the model learned and how its risks behave: curves per round, ROC, calibration, Kaplan-Meier."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from sealround.report.comparison import worst_first
from sealround.report.evidence import Estimate
from sealround.report.figures.curves import Curve, calibration, kaplan_meier, roc, round_curves, wilson
from sealround.report.figures.plot import ticks
from sealround.report.typography import NONE, decimal, percent, plural, whole
from sealround.report.voice import LABELS, Figure, Panel, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sealround.report.evidence import RoundFacts, SiteResult
    from sealround.report.voice import Voice

__all__ = ["calibration_figure", "learning_figure", "roc_figure", "survival_figure"]

_MOST_POINTS = 300
_MOST_ROWS = 120
_WORST, _BEST = 6, 2
_LABELLED_SITES = 6
_GRID = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)
_RISK = {"low": "low risk", "middle": "middle", "high": "high risk"}


# --- rounds -----------------------------------------------------------------------------------------------------------


def _thin(rounds: Sequence[RoundFacts], most: int, keep: int | None) -> list[RoundFacts]:
    """Take ``most`` rounds evenly, the first, the last and ``keep`` among them."""
    if len(rounds) <= most:
        return list(rounds)
    places = {round(position * (len(rounds) - 1) / (most - 1)) for position in range(most)}
    return [entry for place, entry in enumerate(rounds) if place in places or entry.round == keep]


def learning_figure(voice: Voice) -> Figure | None:
    """Make the curves per round: loss on training and validation patients, and the leading metric on the latter."""
    evidence = voice.evidence
    if not evidence.rounds or voice.private:  # no loss leaves a site of a private study
        return None
    released = evidence.federated.released_round
    rounds = _thin(evidence.rounds, _MOST_POINTS, released)
    panels = [_loss_panel(rounds, released)]
    title = "Loss per round"
    note = "No patients were set aside for validation."
    if any(entry.validation is not None for entry in rounds):
        panels.append(_validation_panel(voice, rounds, released))
        title = f"Loss and {voice.followed.sentence.split(' ', 1)[1]} per round"
        note = f"Over all {voice.sites()} in bold." if len(evidence.cohort.sites) > 1 else ""
    if released is not None:
        note += f" The vertical line marks round {released}, whose model was released."
    if len(evidence.rounds) == 1:
        note += " A single round was run: there is no course to see."
    if len(rounds) < len(evidence.rounds):
        note += f" {whole(len(rounds))} of {whole(len(evidence.rounds))} rounds are drawn, evenly spaced."
    shape = "pair" if len(panels) > 1 else "single"
    return Figure("rounds", title, note.strip(), tuple(panels), (_rounds_table(voice, released),), shape)


def _course(css: str, label: str, rounds: Sequence[RoundFacts], pick: Callable[[RoundFacts], float | None]) -> Curve:
    return Curve(label, css, [(float(entry.round), pick(entry)) for entry in rounds])


def _says(curves: Sequence[Curve]) -> str:
    """Describe curves by their ends."""
    parts = []
    for curve in curves:
        there = [(x, y) for x, y in curve.points if y is not None]
        if there and curve.label:
            (first, start), (last, end) = there[0], there[-1]
            parts.append(f"{curve.label}: {start:.3f} in round {first:g}, {end:.3f} in round {last:g}")
    return f"{'; '.join(parts)}." if parts else "No values."


def _loss_panel(rounds: Sequence[RoundFacts], released: int | None) -> Panel:
    curves = [
        _course("train", "Training", rounds, lambda entry: entry.train_loss),
        _course("federated", "Validation", rounds, lambda entry: entry.validation_loss),
    ]
    title = "Loss (lower is better)"
    return Panel(title, round_curves("loss", "Loss per round", _says(curves), curves, released=released))


def _validation_panel(voice: Voice, rounds: Sequence[RoundFacts], released: int | None) -> Panel:
    everyone = _course("federated", "All", rounds, lambda entry: entry.validation)
    names = [site for site in voice.evidence.cohort.sites if any(site in entry.sites for entry in rounds)]
    curves: list[Curve] = []
    band: list[tuple[float, float, float]] = []
    if voice.many:
        band = _middle(rounds)
        note = f"The band holds the middle 80 % of the {voice.sites()}."
    elif len(names) > 1:
        crowded = len(names) > _LABELLED_SITES
        curves = [
            Curve("" if crowded else name, "site", [(float(one.round), _at_site(one, name)) for one in rounds])
            for name in names
        ]
        note = f"A thin line is a {voice.sites(1)}."
    else:
        note = ""
    curves.append(everyone)
    title = f"{voice.followed.label} on validation patients"
    text = f"{title}, per round"
    svg = round_curves("validation", text, _says(curves), curves, band=band, released=released, bounded=True)
    return Panel(title, svg, note)


def _at_site(entry: RoundFacts, site: str) -> float | None:
    found = entry.sites.get(site)
    return None if found is None else found.validation


def _middle(rounds: Sequence[RoundFacts]) -> list[tuple[float, float, float]]:
    """Return the middle 80 % over sites for each round with a value."""
    band = []
    for entry in rounds:
        values = sorted(site.validation for site in entry.sites.values() if site.validation is not None)
        if values:
            low, high = (values[round(share * (len(values) - 1))] for share in (0.1, 0.9))
            band.append((float(entry.round), low, high))
    return band


def _rounds_table(voice: Voice, released: int | None) -> Table:
    rounds = _thin(voice.evidence.rounds, _MOST_ROWS, released)
    sites = () if voice.many else tuple(voice.evidence.cohort.sites)
    rows = tuple(
        (
            f"{entry.round}{' (released)' if entry.round == released else ''}",
            decimal(entry.train_loss, 4),
            decimal(entry.validation_loss, 4),
            decimal(entry.validation, 3),
            *(decimal(_at_site(entry, site), 3) for site in sites),
        )
        for entry in rounds
    )
    label = voice.followed.label
    head = ("Round", "Training loss", "Validation loss", f"{label}, all", *(f"{label}, {site}" for site in sites))
    note = (
        f"{whole(len(rounds))} of {whole(len(voice.evidence.rounds))} rounds."
        if len(rounds) < len(voice.evidence.rounds)
        else ""
    )
    return Table("Loss and validation per round", head, rows, note)


# --- small multiples --------------------------------------------------------------------------------------------------


def _shown(voice: Voice) -> tuple[list[str], str]:
    """Choose the sites that get a panel, and say so where it is not all."""
    there = voice.results("federated")
    if not voice.many:
        return [site for site in voice.shown if site in there], ""
    ordered = [site for site in worst_first(voice) if site in there and voice.primary in there[site].metrics]
    defined = [site for site in ordered if there[site].metrics[voice.primary].value is not None]
    chosen = defined[:_WORST] + defined[_WORST:][-_BEST:]
    note = f"Shown: the {_WORST} {voice.sites()} with the lowest {voice.metric.label} and the {_BEST} with the highest"
    if not voice.metric.higher_is_better:
        note = (
            f"Shown: the {_WORST} {voice.sites()} with the highest {voice.metric.label} and the {_BEST} with the lowest"
        )
    return chosen, f"{note}, of {len(there)}."


def _operating_point(entry: SiteResult) -> tuple[float, float] | None:
    sensitivity = entry.metrics.get("sensitivity", Estimate()).value
    specificity = entry.metrics.get("specificity", Estimate()).value
    return None if sensitivity is None or specificity is None else (1 - specificity, sensitivity)


def roc_figure(voice: Voice) -> Figure | None:
    """Make an ROC panel for each site."""
    sites, note = _shown(voice)
    results = {name: voice.results(name) for name in voice.evidence.models}
    if not any(results["federated"][site].roc for site in sites):
        return None
    panels = []
    for place, site in enumerate(sites):
        entry = results["federated"][site]
        curves = {name: found[site].roc for name, found in results.items() if site in found and found[site].roc}
        areas = {name: results[name][site].metrics.get("auroc", Estimate()) for name in curves}
        says = "; ".join(f"{LABELS[name]}: AUROC {voice.estimate(area)}" for name, area in areas.items())
        says = f"{says}." if says else "Undefined: the test patients are all of one class."
        svg = roc(f"roc-{place}", f"ROC of {site}", says, curves, _operating_point(entry) if entry.roc else None)
        area = entry.metrics.get("auroc")
        under = f"AUROC {voice.estimate(area)}" if entry.roc else "undefined: one class only"
        panels.append(Panel(site, svg, under))
    note = f"Across: 1 − specificity. Up: sensitivity. The dot is the decision threshold. {note}"
    if voice.sealed and "alone" in results:
        note += f"Alone, each patient has the risk that its own {voice.sites(1)}'s model predicts."
    title = f"ROC curves {_of_whom(voice)}"
    return Figure("roc", title, note.strip(), tuple(panels), (_roc_table(voice, sites),), _shape(voice))


def _of_whom(voice: Voice) -> str:
    return "of all test patients together" if voice.sealed else f"by {voice.sites(1)}"


def _shape(voice: Voice) -> str:
    return "lone" if voice.sealed else "multiples"


def _height_at(curve: Sequence[tuple[float, float]], across: float) -> float | None:
    """Read a curve at ``across``, linearly between its points."""
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if x0 <= across <= x1:
            return y1 if x1 == x0 else y0 + (y1 - y0) * (across - x0) / (x1 - x0)
    return None


def _roc_table(voice: Voice, sites: Sequence[str]) -> Table:
    results = {name: voice.results(name) for name in voice.evidence.models}
    rows = tuple(
        (f"{site}, {LABELS[name].lower()}", *(decimal(_height_at(found[site].roc, across), 2) for across in _GRID))
        for site in sites
        for name, found in results.items()
        if site in found and found[site].roc
    )
    head = ("Sensitivity at 1 − specificity of", *(f"{across:g}" for across in _GRID))
    return Table("ROC curves, read at fixed false-positive rates", head, rows)


def calibration_figure(voice: Voice) -> Figure | None:
    """Make a calibration panel for each site of the federated model."""
    sites, note = _shown(voice)
    results = voice.results("federated")
    if not any(results[site].calibration for site in sites):
        return None
    panels, rows = [], []
    for place, site in enumerate(sites):
        bins = results[site].calibration
        says = "; ".join(
            f"predicted {one.predicted:.2f}, observed {one.observed:.2f}, {one.count} patients" for one in bins
        )
        svg = calibration(f"calibration-{place}", f"Calibration at {site}", f"{says or 'Too few patients'}.", bins)
        patients = sum(one.count for one in bins)
        under = f"{plural(patients, 'patient')} in {plural(len(bins), 'group')}" if bins else "too few patients to show"
        error = results[site].metrics.get("ece", Estimate()).value
        panels.append(Panel(site, svg, under if error is None else f"{under}; error {voice.number(error)}"))
        for one in bins:
            low, high = wilson(one.observed, one.count)
            ends = f"{percent(low)} to {percent(high)}"
            rows.append((site, whole(one.count), percent(one.predicted), percent(one.observed), ends))
    head = (voice.sites(1).capitalize(), "Patients", "Predicted risk", "Observed", "Wilson 95 % CI")
    note = (
        "Across: predicted risk. Up: share of patients in whom it came true. On the dashed line a predicted 30 % means "
        f"30 of 100. A larger dot is more patients; lines are Wilson 95 % intervals. {note}"
    )
    table = Table("Calibration groups of the model trained together", head, tuple(rows))
    return Figure("calibration", f"Calibration {_of_whom(voice)}", note.strip(), tuple(panels), (table,), _shape(voice))


def survival_figure(voice: Voice) -> Figure | None:
    """Make Kaplan-Meier panels by third of predicted risk for each site of the federated model."""
    sites, note = _shown(voice)
    results = voice.results("federated")
    if not any(results[site].risk_groups for site in sites):
        return None
    panels, rows = [], []
    unit = voice.evidence.study.time_unit
    for place, site in enumerate(sites):
        groups = results[site].risk_groups
        ends = {group.group: group.survival[-1] for group in groups if group.survival}
        says = "; ".join(f"{_RISK[name]} ends at {percent(end)}" for name, end in ends.items()) or "Too few patients"
        svg = kaplan_meier(f"km-{place}", f"Event-free share at {site} by predicted risk", f"{says}.", groups, _RISK)
        found = results[site].metrics.get("c_index")
        panels.append(Panel(site, svg, f"c-index {voice.estimate(found)}" if groups else "too few patients to show"))
        rows += [
            (
                f"{site}, {_RISK[group.group]}",
                *(percent(_still(group.time, group.survival, at)) or NONE for at in _times(voice)),
            )
            for group in groups
        ]
    head = ("Still without the event at", *(f"{at:g}{f' {unit}' if unit else ''}" for at in _times(voice)))
    across = f"Across: time{f' in {unit}' if unit else ''}."
    note = f"{across} Up: share still without the event (Kaplan-Meier). Patients in thirds by predicted risk. {note}"
    title = f"Survival by predicted risk and {voice.sites(1)}"
    return Figure("survival", title, note.strip(), tuple(panels), (Table(title, head, tuple(rows)),), "multiples-wide")


def _times(voice: Voice) -> list[float]:
    """Return a few round times within the follow-up."""
    results = voice.evidence.federated.sites.values()
    longest = max((time for entry in results for group in entry.risk_groups for time in group.time), default=0.0)
    return [at for at in ticks(0.0, longest, 4) if 0 < at <= longest]


def _still(time: Sequence[float], survival: Sequence[float], at: float) -> float | None:
    """Read a step curve; ``None`` after its last time."""
    if not time or at > time[-1]:
        return None
    return next((share for when, share in zip(reversed(time), reversed(survival), strict=True) if when <= at), 1.0)
