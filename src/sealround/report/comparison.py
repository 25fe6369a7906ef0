"""Site by site: every model's leading metric with its interval, and all other metrics as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report.answer import IntervalRow, verdict
from sealround.report.evidence import Estimate
from sealround.report.figures.intervals import Axis, interval_axis, interval_row, scatter, swarm
from sealround.report.metrics import METRICS
from sealround.report.typography import NONE, decimal, listing, plural, whole
from sealround.report.voice import LABELS, Figure, Panel, Table

if TYPE_CHECKING:
    from markupsafe import Markup

    from sealround.report.evidence import SiteResult
    from sealround.report.voice import Voice

__all__ = ["Comparison", "comparison", "worst_first"]

_NAMED = 4


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison section: a forest plot of all sites, for many sites their spread, and the tables."""

    rows: tuple[IntervalRow, ...]
    axis: Markup
    chance: bool
    spread: Figure | None
    wins: str
    thin: str
    tables: tuple[Table, ...]


def comparison(voice: Voice) -> Comparison | None:
    """Make the comparison section; ``None`` where results have noise: the answer has said all there is."""
    if voice.private:
        return None
    if voice.sealed:
        return _of_sums(voice)
    values = [estimate for name in voice.evidence.models for estimate in _of_sites(voice, name).values()]
    axis = Axis.around(values, voice.metric.chance)
    return Comparison(
        rows=_compact_rows(voice, axis) if voice.many else _rows(voice, axis),
        axis=interval_axis(axis),
        chance=axis.reference is not None,
        spread=_spread(voice) if voice.many else None,
        wins=_wins(voice),
        thin=_thin(voice),
        tables=(_by_site(voice), _all_metrics(voice), _federated_by_site(voice)),
    )


def _of_sums(voice: Voice) -> Comparison:
    """Make the section where no site's own result is known: the mean over sites, and all test patients together."""
    models = voice.evidence.models.values()
    both = [found.get(voice.primary, Estimate()) for model in models for found in (model.mean, model.everyone)]
    axis = Axis.around([estimate for estimate in both if estimate.value is not None], voice.metric.chance)
    return Comparison(
        rows=_rows(voice, axis),
        axis=interval_axis(axis),
        chance=axis.reference is not None,
        spread=None,
        wins="",
        thin="",
        tables=(_by_part(voice), _all_metrics(voice), _everyone(voice)),
    )


def _of_sites(voice: Voice, model: str) -> dict[str, Estimate]:
    """Return a model's leading metric at each site where it is defined."""
    found = voice.evidence.models.get(model)
    sites = {} if found is None else found.sites
    metrics = {site: entry.metrics.get(voice.primary, Estimate()) for site, entry in sites.items()}
    return {site: estimate for site, estimate in metrics.items() if estimate.value is not None}


def worst_first(voice: Voice) -> list[str]:
    """Return the sites of the federated model, the worst of its leading metric first, undefined ones last."""
    sign = 1 if voice.metric.higher_is_better else -1
    found = _of_sites(voice, "federated")
    ordered = sorted(found, key=lambda site: sign * (found[site].value or 0.0))
    return ordered + [site for site in voice.evidence.cohort.sites if site not in found]


def _patients(voice: Voice, entry: SiteResult | None) -> str:
    """Say how many test patients, and how many of them with the outcome."""
    if entry is None:
        return "left out"
    tested = "number of test patients not shown" if entry.n is None else plural(entry.n, "test patient")
    survival = voice.evidence.study.task == "survival"
    part = voice.part(entry.positives, entry.n)
    if part == NONE:
        return tested if entry.n is None else f"{tested}, {'events' if survival else 'positives'} not shown"
    return f"{tested}, {part} {'with an event' if survival else 'positive'}"


def _row(voice: Voice, axis: Axis, name: str, note: str, found: dict[str, Estimate]) -> IntervalRow:
    texts = {series: voice.estimate(estimate) for series, estimate in found.items()}
    marks = [(series, found[series], f"{name}, {LABELS[series].lower()}: {texts[series]}") for series in found]
    values = tuple((series, LABELS[series], texts[series]) for series in found)
    return IntervalRow(name=name, note=note, svg=interval_row(axis, marks), values=values)


def _rows(voice: Voice, axis: Axis) -> tuple[IntervalRow, ...]:
    """Return a row for each site, then one each for the mean over sites and for all test patients together."""
    models = voice.evidence.models
    rows = []
    for site in voice.evidence.cohort.sites:
        note = _patients(voice, voice.evidence.federated.sites.get(site))
        found = {
            name: model.sites[site].metrics.get(voice.primary, Estimate())
            for name, model in models.items()
            if site in model.sites
        }
        row = _row(voice, axis, site, note, found)
        rows.append(IntervalRow(row.name, row.note, row.svg, row.values, is_site=True))
    whole_run = (
        (f"Mean over {voice.sites()}", f"each {voice.sites(1)} counts the same", "mean"),
        ("All test patients together", "each patient counts the same", "everyone"),
    )
    for label, note, part in whole_run:
        found = {
            name: getattr(model, part)[voice.primary]
            for name, model in models.items()
            if voice.primary in getattr(model, part)
        }
        if found and len(voice.evidence.cohort.roster) > 1:
            row = _row(voice, axis, label, note, found)
            rows.append(IntervalRow(row.name, row.note, row.svg, row.values, strong=True))
    return tuple(rows)


def _compact_rows(voice: Voice, axis: Axis) -> tuple[IntervalRow, ...]:
    """Return a line for each site, the worst first: together with its interval, alone as a ring."""
    together, alone = _of_sites(voice, "federated"), _of_sites(voice, "alone")
    rows = []
    for site in worst_first(voice):
        entry = voice.evidence.federated.sites.get(site)
        marks = []
        if site in alone:
            ring = Estimate(alone[site].value)
            marks.append(("alone", ring, f"{site}, alone: {voice.number(ring.value)}"))
        if site in together:
            marks.append(("federated", together[site], f"{site}, together: {voice.estimate(together[site])}"))
        note = "left out" if entry is None else f"{whole(entry.n)} test"
        values = (
            ("federated", "", voice.estimate(together.get(site))),
            ("alone", "", voice.number(alone[site].value) if site in alone else NONE),
        )
        svg = interval_row(axis, marks, stacked=False)
        rows.append(IntervalRow(site, note, svg, values, is_site=True))
    return tuple(rows)


def _spread(voice: Voice) -> Figure | None:
    """Show many sites as a swarm for each model, and alone against together."""
    values = {
        name: {site: estimate.value or 0.0 for site, estimate in _of_sites(voice, name).items()}
        for name in voice.evidence.models
    }
    if not any(values.values()):
        return None
    every = [Estimate(value) for found in values.values() for value in found.values()]
    label = voice.metric.label
    series = {name: (LABELS[name], found) for name, found in values.items() if found}
    title = f"{label} of all {whole(len(values['federated']))} {voice.sites()}"
    says = "; ".join(
        f"{LABELS[name]}: {_five_numbers(voice, list(found.values()))}" for name, found in values.items() if found
    )
    panels = [
        Panel(
            f"Spread of {label}",
            swarm("spread", title, f"{says}.", Axis.around(every, voice.metric.chance), series),
            f"A dot is a {voice.sites(1)}; the bar spans the middle half of them, the stroke is the median.",
        )
    ]
    both = {
        site: (values["alone"][site], value)
        for site, value in values["federated"].items()
        if site in values.get("alone", {})
    }
    if both:
        higher = "above" if voice.metric.higher_is_better else "below"
        panels.append(
            Panel(
                "Alone (across) against together (up)",
                scatter("against", f"{label}, alone against together", _wins(voice), both),
                f"A {voice.sites(1)} {higher} the dashed line gains from training together.",
            )
        )
    rows = tuple(
        (LABELS[name], *(voice.number(value) for value in _quantiles(list(found.values()))))
        for name, found in values.items()
        if found
    )
    head = ("Model", "Lowest", "Lower quartile", "Median", "Upper quartile", "Highest")
    return Figure("spread", title, "", tuple(panels), (Table(f"{label} over {voice.sites()}", head, rows),), "spread")


def _quantiles(values: list[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered[round(share * (len(ordered) - 1))] for share in (0.0, 0.25, 0.5, 0.75, 1.0)]


def _five_numbers(voice: Voice, values: list[float]) -> str:
    low, lower, middle, upper, high = (voice.number(value) for value in _quantiles(values))
    return f"median {middle}, middle half {lower} to {upper}, range {low} to {high}"


def _wins(voice: Voice) -> str:
    """Count the sites whose point estimate is better together than alone."""
    together, alone = _of_sites(voice, "federated"), _of_sites(voice, "alone")
    both = together.keys() & alone.keys()
    if len(both) < 2:  # noqa: PLR2004 (a count of one says nothing)
        return ""
    sign = 1 if voice.metric.higher_is_better else -1
    gains = [sign * ((together[site].value or 0.0) - (alone[site].value or 0.0)) for site in both]
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    return (
        f"By its point estimate, together is better than alone at {better} of {len(both)} {voice.sites()} "
        f"and worse at {worse or 'none'}."
    )


def _thin(voice: Voice) -> str:
    """Name the sites with next to no test patients of one kind, on whom whole metrics and a part of each mean rest."""
    if voice.evidence.study.task == "survival":
        return ""
    sites = [site for site, entry in voice.evidence.federated.sites.items() if voice.one_sided(entry)]
    if not sites:
        return ""
    more = [f"{len(sites) - _NAMED} more"] if len(sites) > _NAMED else []
    return (
        f"Fewer than {voice.few} test patients with, or without, {voice.outcome} at {listing(sites[:_NAMED] + more)}. "
        "AUROC, sensitivity, specificity and balanced accuracy there rest on so few, and so does that part of every "
        "mean; their intervals cannot show it."
    )


# --- tables -----------------------------------------------------------------------------------------------------------


def _by_part(voice: Voice) -> Table:
    """Write the forest plot's numbers where its rows are the mean and everybody."""
    models = voice.evidence.models
    parts = ((f"Mean over {voice.sites()}", "mean"), ("All test patients together", "everyone"))
    rows = tuple(
        (label, *(voice.estimate(getattr(model, part).get(voice.primary)) for model in models.values()))
        for label, part in parts
    )
    head = ("", *(LABELS[name] for name in models))
    return Table(f"{voice.metric.label} by model", head, rows, f"{voice.evidence.confidence} in parentheses.")


def _everyone(voice: Voice) -> Table:
    models = voice.evidence.models
    shown = [name for name in METRICS if any(name in model.everyone for model in models.values())]
    rows = tuple(
        (METRICS[name].label, *(voice.estimate(model.everyone.get(name)) for model in models.values()))
        for name in shown
    )
    head = ("Measure", *(LABELS[name] for name in models))
    note = f"{voice.evidence.confidence} in parentheses. Each patient counts the same, whichever {voice.sites(1)}."
    return Table("All measures, all test patients together", head, rows, note)


def _by_site(voice: Voice) -> Table:
    models = voice.evidence.models
    rows = []
    for site in worst_first(voice) if voice.many else voice.evidence.cohort.sites:
        entry = voice.evidence.federated.sites.get(site)
        counts = (NONE, NONE) if entry is None else (whole(entry.n), voice.part(entry.positives, entry.n))
        estimates = (
            voice.estimate(model.sites[site].metrics.get(voice.primary)) if site in model.sites else NONE
            for model in models.values()
        )
        rows.append((site, *counts, *estimates))
    head = (voice.sites(1).capitalize(), "Test patients", voice.positives, *(LABELS[name] for name in models))
    note = f"{voice.evidence.confidence} in parentheses. {NONE}: undefined, left out, or too few patients to show."
    return Table(f"{voice.metric.label} by {voice.sites(1)}", head, tuple(rows), note)


def _all_metrics(voice: Voice) -> Table:
    models = voice.evidence.models
    differences = voice.evidence.differences
    shown = [name for name in METRICS if any(name in model.mean for model in models.values())]
    compared = [other for other in ("alone", "pooled") if f"federated-{other}" in differences]
    rows = []
    for name in shown:
        estimates = (voice.estimate(model.mean.get(name)) for model in models.values())
        against = (_difference(voice, name, differences[f"federated-{other}"].get(name)) for other in compared)
        rows.append((METRICS[name].label, *estimates, *against))
    head = (
        "Measure",
        *(LABELS[name] for name in models),
        *(f"Together − {LABELS[other].lower()}" for other in compared),
    )
    note = (
        f"{voice.evidence.confidence} in parentheses. * the interval of the difference excludes 0. " if compared else ""
    )
    lower = [METRICS[name].label for name in shown if not METRICS[name].higher_is_better]
    note += f"Lower is better for: {', '.join(lower)}." if lower else ""
    return Table(f"All measures, mean over {voice.sites()}", head, tuple(rows), note.strip())


def _difference(voice: Voice, name: str, found: Estimate | None) -> str:
    if found is None or found.value is None:
        return NONE
    clear = verdict(found, higher_is_better=METRICS[name].higher_is_better) in {"better", "worse"}
    return voice.difference(found) + (" *" if clear else "")


def _federated_by_site(voice: Voice) -> Table:
    sites = voice.evidence.federated.sites
    shown = [name for name in METRICS if any(name in entry.metrics for entry in sites.values())]
    order = [site for site in (worst_first(voice) if voice.many else voice.evidence.cohort.sites) if site in sites]
    rows = tuple(
        (site, *(decimal(sites[site].metrics.get(name, Estimate()).value, voice.digits) for name in shown))
        for site in order
    )
    head = (voice.sites(1).capitalize(), *(METRICS[name].label for name in shown))
    title = f"All measures of the model trained together, by {voice.sites(1)}"
    return Table(
        title, head, rows, f"On each {voice.sites(1)}'s own test patients; {plural(len(rows), voice.sites(1))}."
    )
