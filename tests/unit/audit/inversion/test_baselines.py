"""What needs no update: that each guess is what it says, and none is called blind that is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sealround.audit.inversion.baselines import Auxiliary, Baseline, image_baselines, table_baselines
from sealround.audit.inversion.observation import Domain, Reconstruction, Victims
from sealround.audit.inversion.scoring import judge
from sealround.audit.inversion.table_cells import cells_of
from sealround.errors import UsageError

DOMAIN = Domain(
    lower=torch.full((5,), -4.0),
    upper=torch.full((5,), 4.0),
    groups=((2, 3),),
    implicit=(True,),
    integer=(1,),
    mean=torch.tensor([5.0, 60.0, 0.0, 0.0, 1.0], dtype=torch.float64),
    scale=torch.tensor([2.0, 10.0, 1.0, 1.0, 0.5], dtype=torch.float64),
)


def _table(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 5, dtype=torch.float64, generator=draw)
    inputs[:, 1] = (inputs[:, 1] * 3).round() / 10
    level = torch.randint(0, 4, (n,), generator=draw).clamp_max(2)  # the last one twice as frequent
    inputs[:, 2:4] = torch.nn.functional.one_hot(level, 3)[:, 1:].double()
    labels = torch.randint(0, 2, (n,), generator=draw).double()
    inputs[:, 4] += labels
    return inputs, labels


def _by_name(found: tuple[Baseline, ...]) -> dict[str, Baseline]:
    return {each.name: each for each in found}


def test_the_most_frequent_values_are_the_best_constant() -> None:
    others, labels = _table(80, 1)
    victims = Victims(others[:6], labels[:6])
    found = _by_name(table_baselines(victims, Auxiliary(others, labels), DOMAIN, np.random.default_rng(0)))
    guess = found["most frequent value of every column"].guesses[0][:1]
    cells, raw = cells_of(DOMAIN, 5), DOMAIN.raw(others)
    rate = cells.hits(DOMAIN.raw(guess), raw).double().mean(0)
    for candidate in raw:  # no record of theirs is a better constant in any cell
        assert bool((cells.hits(candidate, raw).double().mean(0) <= rate + 1e-12).all())
    mean = found["column means, most frequent levels"].guesses[0]
    torch.testing.assert_close(mean[:, [0, 1, 4]], others.mean(0)[[0, 1, 4]].expand(6, 3))
    assert bool((mean[:, 2:4] == torch.tensor([0.0, 1.0])).all())


def test_a_class_mean_is_that_of_the_class() -> None:
    others, labels = _table(60, 2)
    victims = Victims(*_table(4, 3))
    found = _by_name(table_baselines(victims, Auxiliary(others, labels), DOMAIN, np.random.default_rng(0)))
    mean = found["mean record of the class"]
    for guess, label in zip(mean.guesses[0], victims.labels, strict=True):
        torch.testing.assert_close(guess, others[labels == label].mean(0))
    assert mean.knows == "labels"
    assert mean.blind


def test_oracles_are_not_called_blind() -> None:
    others, labels = _table(60, 2)
    victims = Victims(*_table(4, 3))
    table = table_baselines(victims, Auxiliary(others, labels), DOMAIN, np.random.default_rng(0))
    assert [each.name for each in table if not each.blind] == ["the nearest other record"]
    judged = judge(Reconstruction("x", victims.inputs), victims, DOMAIN, "table", table)
    nearest, random = (judged.baselines[f"{name} other record"]["psnr_db"] for name in ("the nearest", "a random"))
    assert nearest.mean() > random.mean()
    best = judged.best_baseline("psnr_db")
    assert best is not None
    assert best[0] != "the nearest other record"


def test_a_baseline_gains_nothing_over_itself() -> None:
    others, labels = _table(60, 2)
    victims = Victims(*_table(4, 3))
    table = table_baselines(victims, Auxiliary(others, labels), DOMAIN, np.random.default_rng(0))
    guess = _by_name(table)["most frequent value of every column"].guesses[0]
    judged = judge(Reconstruction("no update", guess), victims, DOMAIN, "table", table)
    gain = judged.gain("exact_cells")
    assert gain is not None
    assert float(gain.mean()) <= 0.0
    perfect = judge(Reconstruction("all", victims.inputs), victims, DOMAIN, "table", table).gain("exact_cells")
    assert perfect is not None
    assert float(perfect.min()) > 0.0


def test_same_draw_same_guesses() -> None:
    others, labels = _table(60, 2)
    victims = Victims(*_table(4, 3))
    first, again, different = (
        _by_name(table_baselines(victims, Auxiliary(others, labels), DOMAIN, np.random.default_rng(seed)))[
            "a random other record"
        ].guesses
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, different, strict=True))


def test_images_have_discs_blurs_and_other_eyes() -> None:
    draw = torch.Generator().manual_seed(1)
    images = torch.rand(12, 3, 16, 16, dtype=torch.float64, generator=draw)
    domain = Domain(lower=torch.tensor(-1.0), upper=torch.tensor(1.0), mean=torch.tensor(0.5), scale=torch.tensor(0.5))
    encoded, labels = (images - 0.5) / 0.5, torch.tensor([0.0, 1.0] * 6, dtype=torch.float64)
    victims, others = Victims(encoded[:2], labels[:2]), Auxiliary(encoded[2:], labels[2:])
    found = _by_name(image_baselines(victims, others, domain, np.random.default_rng(0), encoded[:2].flip(3)))
    flat = found["flat disc of its own mean colour"]
    assert not flat.blind
    torch.testing.assert_close(domain.raw(flat.guesses[0]), images[:2].mean((2, 3), keepdim=True).expand(2, 3, 16, 16))
    torch.testing.assert_close(
        domain.raw(found["flat disc of the mean colour"].guesses[0])[0, :, 3, 3], images[2:].mean((0, 2, 3))
    )
    torch.testing.assert_close(found["the other eye, mirrored"].guesses[0], encoded[:2])
    assert not found["the other eye, mirrored"].blind
    blurred = domain.raw(found["the original, blurred"].guesses[0])
    assert float(blurred.var()) < 0.2 * float(images[:2].var())
    torch.testing.assert_close(blurred[:, :, 8, 8].mean(), images[:2, :, 2:15, 2:15].mean(), rtol=0, atol=0.05)


def test_there_are_no_baselines_without_other_patients() -> None:
    victims = Victims(*_table(4, 3))
    with pytest.raises(UsageError, match="say nothing"):
        table_baselines(victims, Auxiliary(*_table(0, 1)), DOMAIN, np.random.default_rng(0))


@pytest.mark.data
def test_mean_error_hardly_tells_the_other_eye_from_the_right_one(clinical_data: Path) -> None:
    stored = np.load(clinical_data / "fundus_dr_rahim" / "fundus_64.npz")
    pixels = torch.from_numpy(stored["images"][:120]).permute(0, 3, 1, 2).double() / 255
    labels = torch.from_numpy(stored["any_dr"][:120]).double()
    domain = Domain(lower=torch.tensor(0.0), upper=torch.tensor(1.0))
    left, right = pixels[0:40:2], pixels[1:40:2]
    victims = Victims(left, labels[0:40:2])
    found = image_baselines(
        victims, Auxiliary(pixels[40:], labels[40:]), domain, np.random.default_rng(0), other_eyes=right
    )
    judged = judge(Reconstruction("x", left), victims, domain, "image", found)
    other = judged.baselines["the other eye, mirrored"]
    assert other["one_minus_mae"].mean() > 0.9
    assert other["pixels_within_8"].mean() < 0.35
    assert judged.figures["pixels_within_2"].min() == 1.0
    best = judged.best_baseline("pixels_within_8")
    assert best is not None
    assert best[1].mean() < 0.2
