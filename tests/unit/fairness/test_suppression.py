"""What a person with a pencil could work out, and what is kept back so that he cannot."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealround.fairness.suppression import Terms, equations_of, siblings_of, withheld


def groups_with(*levels: int, pairs: bool = True) -> list[Terms]:
    singles = [[((f"c{column}", str(level)),) for level in range(size)] for column, size in enumerate(levels)]
    crossed = [
        (*one, *other)
        for first, second in itertools.combinations(singles, 2)
        for one, other in itertools.product(first, second)
    ]
    return [*itertools.chain(*singles), *(crossed if pairs else [])]


def members(groups: list[Terms], codes: np.ndarray) -> np.ndarray:
    """Everybody and each group, for rows with these levels (-1: none), bool ``(n, 1 + g)``."""
    has = [[codes[:, int(column[1:])] == int(level) for column, level in terms] for terms in groups]
    return np.stack([np.ones(len(codes), dtype=bool), *map(np.logical_and.reduce, has)], axis=1)


def test_equations_hold() -> None:
    groups = groups_with(2, 3, 2)
    codes = np.random.default_rng(2).integers(0, (2, 3, 2), size=(90, 3))
    equations = equations_of(groups)
    assert equations.shape == (3 + 2 + 3 + 2 + 2 + 3 + 2, 1 + len(groups))
    np.testing.assert_array_equal(equations @ members(groups, codes).sum(axis=0), 0.0)


def test_siblings_are_of_the_same_columns() -> None:
    alike = siblings_of(groups_with(2, 2))
    assert alike[0].nonzero()[0].tolist() == [1]
    assert alike[4].nonzero()[0].tolist() == [5, 6, 7]


def test_without_groups_there_is_nothing_to_say() -> None:
    assert equations_of([]).shape == (0, 1)
    assert siblings_of([]).shape == (0, 0)
    assert withheld(np.array([40.0]), equations_of([]), 11).tolist() == [False]


@pytest.mark.parametrize(
    ("counts", "hidden"),
    [
        ([50, 30, 20], []),
        ([50, 46, 4], [1, 2]),  # the others' number would tell theirs
        ([50, 50, 0], []),  # nobody is no secret
        ([4, 4, 0], [0, 1]),
        ([50, 40, 4, 6], [1, 2, 3]),  # both together are still too few
        ([50, 30, 8, 12], [2, 3]),  # the smallest of the others
        ([50, 30, 4, 4, 12], [2, 3, 4]),
    ],
)
def test_one_column(counts: list[int], hidden: list[int]) -> None:
    found = withheld(np.array(counts, dtype=float), equations_of(groups_with(len(counts) - 1)), 11)
    assert found.nonzero()[0].tolist() == hidden


def test_a_cell_of_a_table_needs_a_rectangle() -> None:
    """One small cell: one more in its row, one in its column, and the one where those meet."""
    groups = groups_with(2, 3)
    table = np.array([[10, 20, 30], [40, 50, 60]])
    counts = np.array([210, *table.sum(axis=1), *table.sum(axis=0), *table.ravel()], dtype=float)
    found = withheld(counts, equations_of(groups), 11)
    assert found[:6].sum() == 0
    assert found[6:].reshape(2, 3).tolist() == [[True, True, False], [True, True, False]]


def _could_be_otherwise(equations: np.ndarray, hidden: np.ndarray, cell: int) -> bool:
    """Whether the hidden counts have another solution in which this one differs."""
    unknown = equations[:, hidden]
    free = np.linalg.svd(unknown)[2][np.linalg.matrix_rank(unknown) :]
    return bool((np.abs(free[:, np.flatnonzero(hidden) == cell]) > 1e-9).any())


@settings(max_examples=60, deadline=None)
@given(
    levels=st.lists(st.integers(2, 4), min_size=1, max_size=3),
    number=st.integers(0, 150),
    skew=st.floats(0.2, 2.0),
    minimum=st.integers(1, 15),
    seed=st.integers(0, 2**32),
)
def test_nothing_small_is_shown_or_follows(
    levels: list[int], number: int, skew: float, minimum: int, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    codes = np.stack([draw.choice(size, number, p=draw.dirichlet([skew] * size)) for size in levels], axis=1)
    groups = groups_with(*levels)
    counts, equations = members(groups, codes).sum(axis=0).astype(float), equations_of(groups)
    hidden = withheld(counts, equations, minimum)
    small = (counts > 0) & (counts < minimum)
    assert hidden[small].all()
    for cell in np.flatnonzero(small):
        assert _could_be_otherwise(equations, hidden, cell)
    left = ((equations > 0) & hidden) @ counts
    shown_whole = ~((equations < 0) & hidden).any(axis=1)
    assert not (shown_whole & (left > 0) & (left < minimum)).any()
    if not small.any():
        assert not hidden.any()


@settings(max_examples=30, deadline=None)
@given(number=st.integers(0, 60), minimum=st.integers(2, 15), seed=st.integers(0, 2**32))
def test_it_ends_whoever_has_no_level(number: int, minimum: int, seed: int) -> None:
    groups = groups_with(2, 3)
    codes = np.random.default_rng(seed).integers(-1, (2, 3), size=(number, 2))
    counts = members(groups, codes).sum(axis=0).astype(float)
    hidden = withheld(counts, equations_of(groups), minimum)
    assert hidden[(counts > 0) & (counts < minimum)].all()
