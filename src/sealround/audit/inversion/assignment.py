"""Which rebuilt record is whose: the assignment of least total cost, so that an attack is judged at its best."""

from __future__ import annotations

import numpy as np

from sealround.errors import UsageError

__all__ = ["assign"]


def assign(cost: np.ndarray) -> np.ndarray:
    """Return, for each row, the column it is given in the assignment of least total cost.

    Rows are inserted one after the other along a shortest augmenting path, found by Dijkstra's algorithm on costs that
    dual prices keep from being negative (Kuhn 1955; Edmonds and Karp 1972, section 3). O(n^2 m), one numpy pass over
    the columns a step.

    Args:
        cost: Finite, float64 ``(n, m)``.

    Returns:
        int64 ``(n,)``: a column, different for every row; -1 for rows without one where there are more rows than
        columns.

    Raises:
        UsageError: If costs are not a finite matrix.
    """
    if cost.ndim != 2 or not np.isfinite(cost).all():  # noqa: PLR2004  (rows and columns)
        raise UsageError("costs of an assignment are a finite matrix")
    rows, columns = cost.shape
    if rows > columns:
        given = np.full(rows, -1, dtype=np.int64)
        given[assign(cost.T)] = np.arange(columns)
        return given
    row_price, column_price = np.zeros(rows), np.zeros(columns)
    owner = np.full(columns, -1, dtype=np.int64)
    for row in range(rows):
        _insert(np.asarray(cost, dtype=np.float64), row, owner, row_price, column_price)
    given = np.empty(rows, dtype=np.int64)
    taken = np.flatnonzero(owner >= 0)
    given[owner[taken]] = taken
    return given


def _insert(cost: np.ndarray, new: int, owner: np.ndarray, row_price: np.ndarray, column_price: np.ndarray) -> None:
    """Give a row a column along the shortest augmenting path; change owners and prices in place."""
    columns = owner.size
    distance, before = np.full(columns, np.inf), np.full(columns, -1, dtype=np.int64)
    settled = np.zeros(columns, dtype=np.bool_)
    row, last, length = new, -1, 0.0
    while True:
        reach = length + cost[row] - row_price[row] - column_price
        nearer = ~settled & (reach < distance)
        distance[nearer], before[nearer] = reach[nearer], last
        last = int(np.argmin(np.where(settled, np.inf, distance)))
        length = float(distance[last])
        settled[last] = True
        if owner[last] < 0:
            break
        row = int(owner[last])
    row_price[new] += length
    passed = settled & (owner >= 0)
    row_price[owner[passed]] += length - distance[passed]
    column_price[passed] -= length - distance[passed]
    while last >= 0:
        previous = int(before[last])
        owner[last] = new if previous < 0 else owner[previous]
        last = previous
