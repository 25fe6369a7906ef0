"""Signs that a model was planted: made by whoever sent it so that updates give single records away.

Four questions, each a function. Is it the model that the study begins with (`start_findings`)? Is it built as no
training builds one (`structure_findings`)? Did it move since the last round as no training moves one
(`change_findings`)? Does it treat the site's own records as no trained model does (`use_findings`; the measurements
are taken by `sealround.learning.incoming`, where the network is)?

Parameters are named arrays in the order of the model; weights are the arrays of two dimensions or more, a row for each
output, and the last of them is the head. A model with one such array is linear: it has no rows to be planted in.

What the signs are signs of:

=================  ===================================================================================================
Sign               Plants
=================  ===================================================================================================
other-start        any, in the first round
parallel-rows      imprints (Fowl et al., ICLR 2022): many neurons measure one thing
one-direction      the same, with noise to blur the copies
ordered-biases     the same: thresholds as a ladder
shy-rows           trap weights (Boenisch et al., EuroS&P 2023): neurons whose bias keeps them from firing
outlying-weights   magnifiers (Wen et al., ICML 2022)
empty-rows         gradient suppression (Pasquini et al., CCS 2022), identity kernels (Zhao et al., S&P 2024)
replaced-rows      a few planted neurons in an honest model
far-change         whole layers replaced; an intercept or a head that isolates records
far-control        a control variate that moves the model to a planted place once training has begun
lone-rows          traps, seen from the records: neurons that fire for one or two of them
silent-rows        gradient suppression, seen from the records
one-record         disparity: one record holds the gradient of the whole site
misfit             a head at which most records are far on the wrong side
=================  ===================================================================================================

No finding does not mean that a model gives nothing away: an honest one does, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.monitoring.findings import LIMITS, Before, Finding, Limits, Parameters, Reach, Sign

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["change_findings", "start_findings", "structure_findings", "use_findings"]

_TINY = 1e-30
_MAD = 1.4826  # Median absolute deviation to standard deviation, of a normal distribution.
_ROWS = 1024  # Rows compared with each other; of a wider layer, as many, evenly spaced.
_BLOCK = 1 << 18  # Weights copied at a time.
_ENTRIES = 1 << 12  # Weights whose spread is measured; of a larger layer, about as many, evenly spaced.
_LADDER_ROWS = 16
_PARALLEL_ROWS = 4
_NARROWEST = 3
_NEAR = 0.7  # Cosine from which a row counts to a side of the common direction.


def start_findings(parameters: Parameters, expected: Parameters, limits: Limits = LIMITS) -> tuple[Finding, ...]:
    """Compare the first model of a training with the study's initial model.

    Args:
        parameters: What was sent.
        expected: What the study's seed gives.
        limits: What is normal.

    Returns:
        A finding for each array that differs.
    """
    # Compared as a whole: next to weights that are 1, a bias that should be 0 need not be told apart from 10^-7.
    largest = max((float(np.abs(array).max(initial=0.0)) for array in expected.values()), default=0.0)
    found = []
    for name, array in expected.items():
        apart = float(np.abs(parameters[name] - array).max(initial=0.0))
        if not apart <= limits.start * largest:
            found.append(Finding("other-start", name, apart / (largest or 1.0), limits.start))
    return tuple(found)


def structure_findings(parameters: Parameters, limits: Limits = LIMITS) -> tuple[Finding, ...]:
    """Look for what no training builds, in the model alone: neither records nor earlier models are needed.

    Args:
        parameters: What was sent.
        limits: What is normal.

    Returns:
        The findings; none for a linear model whose numbers are finite.
    """
    # A sum of squares sees NaN and infinity without a copy, and numbers whose squares no float32 holds.
    with np.errstate(over="ignore", invalid="ignore"):
        broken = [name for name, array in parameters.items() if not np.isfinite(np.vdot(array, array))]
    if broken:
        return tuple(Finding("not-finite", name, np.inf, 0.0) for name in broken)
    found: list[Finding] = []
    *hidden, head = [name for name, array in parameters.items() if array.ndim > 1]
    for name in hidden:
        bias = parameters.get(name.removesuffix("weight") + "bias")
        found += _layer_findings(name, _matrix(parameters[name]), bias, limits)
    if hidden:
        found += _judged("empty-rows", head, _zeros(parameters[head]), 0.5)
    return tuple(found)


def change_findings(
    parameters: Parameters, before: Before, reach: Reach, limits: Limits = LIMITS, *, control: Parameters | None = None
) -> tuple[Finding, ...]:
    """Look for changes that no round of training makes.

    Args:
        parameters: What was sent.
        before: What the site knows.
        reach: Of the study's server.
        limits: What is normal.
        control: SCAFFOLD's control variate as the way it moves the model in one round, by array.

    Returns:
        The findings.
    """
    matrices = [name for name, array in parameters.items() if array.ndim > 1]
    head = matrices[-1].removesuffix("weight")
    found: list[Finding] = []
    for name in matrices[:-1]:
        now, then = _matrix(parameters[name]), _matrix(before.model[name])
        moved, lengths = _lengths(now, then), _lengths(then)
        # A row that happens to be short moves by much of its length.
        relative = moved / np.maximum(np.maximum(lengths, _quantile(lengths, 0.5)), _TINY)
        ratio = float(relative.max()) / max(_quantile(relative, 0.5), 1e-3)
        if relative.max() > limits.row_change and not before.imagined:
            found += _judged("replaced-rows", name, ratio, limits.row_ratio)
        length = float(np.linalg.norm(moved))
        far = length > limits.layer_change * float(np.linalg.norm(lengths))
        limit = before.rounds * reach.limit(limits.own_ratio, before.own[name], now.size)
        if far:
            found += _judged("far-change", name, length, limit)
    names = [name for name in parameters if name.startswith(head)]
    length, own, size = _together(names, {n: parameters[n] - before.model[n] for n in names}, before.own)
    found += _judged("far-change", head.rstrip("."), length, before.rounds * reach.limit(limits.head_ratio, own, size))
    if control is not None:
        length, own, _ = _together(list(control), control, before.own)
        found += _judged("far-control", "", length, limits.head_ratio * own)
    return tuple(found)


def use_findings(measured: Mapping[Sign, Mapping[str, float]], limits: Limits = LIMITS) -> tuple[Finding, ...]:
    """Judge what a site measured with its own records: `lone-rows`, `silent-rows`, `one-record`, `misfit`, by layer."""
    held: dict[Sign, float] = {
        "lone-rows": limits.lone,
        "silent-rows": limits.silent,
        "one-record": limits.record,
        "misfit": limits.loss,
    }
    found: list[Finding] = []
    for sign, by_layer in measured.items():
        for layer, value in by_layer.items():
            found += _judged(sign, layer, value, held[sign])
    return tuple(found)


def _judged(sign: Sign, layer: str, measured: float, limit: float) -> Iterator[Finding]:
    if not measured <= limit:  # NaN is beyond every limit
        yield Finding(sign, layer, measured, limit)


def _quantile(values: np.ndarray, part: float) -> float:
    """Return the value that about ``part`` of the values are below; numpy's own is slow on few."""
    return float(np.sort(values)[int(part * values.size)])


def _matrix(array: np.ndarray) -> np.ndarray:
    """View weights as a row for each output."""
    return array.reshape(len(array), -1)


def _lengths(rows: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """Return the length of each row, less the same row of ``others``, float64; a block of rows at a time."""
    each = max(1, _BLOCK // rows.shape[1])
    lengths = np.empty(len(rows))
    for start in range(0, len(rows), each):
        block = rows[start : start + each].astype(np.float64)
        if others is not None:
            block -= others[start : start + each]
        lengths[start : start + each] = np.sqrt(np.einsum("ij,ij->i", block, block))
    return lengths


def _zeros(weight: np.ndarray) -> float:
    """Return the share of weights that are exactly 0."""
    return 1.0 - np.count_nonzero(weight) / weight.size


def _together(names: list[str], moved: Parameters, own: Mapping[str, float]) -> tuple[float, float, int]:
    """Return the length of some arrays together, of the site's own updates of them, and how many weights they are."""
    length = np.sqrt(sum(float(np.vdot(moved[name], moved[name])) for name in names))
    own_length = np.sqrt(sum(own[name] ** 2 for name in names))
    return float(length), float(own_length), sum(moved[name].size for name in names)


def _layer_findings(name: str, weight: np.ndarray, bias: np.ndarray | None, limits: Limits) -> Iterator[Finding]:
    rows, lengths = len(weight), _lengths(weight)
    typical = _quantile(lengths, 0.5)
    empty = max(float((lengths <= 1e-3 * typical).mean()), _zeros(weight))
    yield from _judged("empty-rows", name, empty, limits.empty)
    if typical <= _TINY:
        return
    some = weight.reshape(-1)[:: max(1, weight.size // _ENTRIES)]
    middle = _quantile(some, 0.5)
    spread = _MAD * _quantile(np.abs(some - middle), 0.5)
    largest = max(abs(float(weight.max()) - middle), abs(float(weight.min()) - middle))
    yield from _judged("outlying-weights", name, largest / max(spread, _TINY), limits.outlier)
    yield from _judged("outlying-weights", name, float(lengths.max()) / typical, limits.row_length)
    if rows < limits.rows:
        return
    has_bias = bias is not None and bias.shape == (rows,)
    thresholds = -bias / np.maximum(lengths, _TINY) if has_bias and bias is not None else None
    every = -(-rows // _ROWS)
    directions = weight[::every] / np.maximum(lengths[::every], _TINY)[:, None]
    yield from _pattern_findings(name, directions, None if thresholds is None else thresholds[::every], limits)
    if thresholds is None or bias is None:
        return
    yield from _judged("shy-rows", name, -_quantile(-thresholds, 0.25), limits.shy)
    ascending = np.argsort(bias)
    # Biases that start at 0 and have not moved have no order.
    if rows >= _LADDER_ROWS and np.count_nonzero(np.diff(bias[ascending])) > rows // 2:
        # Spearman's rank correlation with the place, without ties.
        apart = ascending - np.arange(rows)
        order = abs(1.0 - 6.0 * float(apart @ apart) / (rows * (rows**2 - 1)))
        yield from _judged("ordered-biases", name, order, limits.ladder)


def _pattern_findings(
    name: str, directions: np.ndarray, thresholds: np.ndarray | None, limits: Limits
) -> Iterator[Finding]:
    """Compare rows of length 1 with each other.

    Strong weight decay makes rows parallel, too, but then they are copies of one neuron, threshold and all: to tell
    records apart, thresholds must differ. Without biases there are none, and only exact copies count.
    """
    rows, fan_in = directions.shape
    if fan_in < _NARROWEST:
        return
    cosines = directions @ directions.T
    wide = fan_in >= limits.fan_in and thresholds is not None
    same = cosines > (limits.cosine if wide else limits.cosine_narrow)
    alike = same.sum(axis=1)
    chosen = same[int(alike.argmax())]
    if alike.max() >= _PARALLEL_ROWS and (thresholds is None or thresholds[chosen].std() > limits.spread):
        yield from _judged("parallel-rows", name, float(alike.max()) / rows, limits.parallel)
    if wide and thresholds is not None:
        # The squared largest singular value of the rows, over the sum of all: from the smaller Gram matrix.
        values, vectors = np.linalg.eigh(directions.T @ directions if fan_in < rows else cosines)
        axis = vectors[:, -1] if fan_in < rows else directions.T @ vectors[:, -1]
        along = directions @ (axis / max(float(np.linalg.norm(axis)), _TINY))
        sides = [thresholds[side] for side in (along > _NEAR, along < -_NEAR)]
        if max((float(side.std()) for side in sides if side.size >= _PARALLEL_ROWS), default=0.0) > 3 * limits.spread:
            yield from _judged("one-direction", name, float(values[-1]) / rows, limits.direction)
