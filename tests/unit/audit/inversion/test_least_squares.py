"""The small damped Gauss-Newton search."""

from __future__ import annotations

import torch

from sealround.audit.inversion.least_squares import Damping, solve


def test_a_linear_system_is_solved() -> None:
    system = torch.tensor([[2.0, 1.0], [1.0, 3.0], [0.0, 1.0]], dtype=torch.float64)
    wanted = torch.tensor([0.5, -2.0], dtype=torch.float64)
    starts = torch.zeros(1, 2, dtype=torch.float64)
    found = solve(lambda point: system @ (point - wanted), starts, Damping(), lambda: 0.0, 1.0)
    torch.testing.assert_close(found.points[0], wanted)


def test_where_nothing_is_unknown_the_start_is_the_end() -> None:
    """What noise leaves of a first layer's row space may be a single point."""
    target = torch.ones(3, dtype=torch.float64)
    starts = torch.zeros(2, 0, dtype=torch.float64)
    found = solve(lambda point: target + point.sum(), starts, Damping(), lambda: 0.0, 1.0)
    assert found.points.shape == (2, 0)
    assert found.costs.tolist() == [3.0, 3.0]
