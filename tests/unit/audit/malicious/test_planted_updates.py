"""What planted models give away, from the update of a site that trains as all sites do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from sealround.audit.malicious import (
    Candidates,
    ImprintOptions,
    agreeing,
    extract_imprint,
    extract_rows,
    extract_sweep,
    extract_traps,
    plant_class,
    plant_copies,
    plant_imprint,
    plant_silence,
    plant_sweep,
    plant_traps,
    thumbnails,
)
from sealround.audit.malicious.layers import dense_layers, hidden_layers, rows_of
from sealround.errors import UnsupportedError, UsageError
from sealround.study.sections import Cnn, Logistic, Mlp, Vgg16

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., Any]
    Apart = Callable[[np.ndarray, np.ndarray], np.ndarray]

WIDE = Mlp(kind="mlp", hidden=(128,))


def draw(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def alone_in_bin(records: np.ndarray, imprint: Any) -> np.ndarray:
    """Which records share the space between two thresholds with nobody, bool ``(n,)``."""
    bins = np.searchsorted(imprint.thresholds, records @ imprint.measurement)
    return (np.bincount(bins, minlength=len(imprint.thresholds) + 1)[bins] == 1) & (bins > 0)


# --- imprints ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [(128,), (128, 8), (128, 8, 4)], ids=str)
@pytest.mark.parametrize(
    "options", [ImprintOptions(), ImprintOptions(scatter=0.5, shuffle=True)], ids=["plain", "hidden"]
)
def test_an_imprint_gives_every_record_that_is_alone_in_its_bin(
    make_site: Make, apart: Apart, hidden: tuple[int, ...], options: ImprintOptions
) -> None:
    site = make_site(Mlp(kind="mlp", hidden=hidden), rows=32)
    imprint = plant_imprint(site.network, site.reference, options, draw())
    candidates = extract_imprint(site.update(imprint.parameters), imprint)
    alone = alone_in_bin(site.records, imprint)
    assert alone.sum() >= 16
    # All but those the planted model is sure of, whose residual float32 hardly holds.
    assert (apart(candidates.inputs, site.records[alone]) < 0.01).mean() >= 0.9
    # Nobody else is found: the others are blends of those in the same bin.
    assert apart(candidates.inputs, site.records[~alone]).min(initial=np.inf) > 0.05


def test_records_in_one_bin_come_out_as_their_weighted_mean(make_site: Make) -> None:
    site = make_site(WIDE, rows=2)
    imprint = plant_imprint(site.network, site.reference, ImprintOptions(), draw())
    # Both in the same place along the measurement, with the same outcome.
    along = (site.records[0] - site.records[1]) @ imprint.measurement
    site.inputs[1] += torch.from_numpy(along * imprint.measurement).float()
    site.event[:] = 1.0
    candidates = extract_imprint(site.update(imprint.parameters), imprint)
    (found,) = candidates.inputs[candidates.weight > 0.5]
    assert np.linalg.norm(found - site.records.mean(axis=0)) < 0.01 * np.linalg.norm(found)


def test_an_imprint_is_blurred_by_local_steps_and_still_gives_some(make_site: Make, apart: Apart) -> None:
    site = make_site(WIDE, rows=64)
    imprint = plant_imprint(site.network, site.reference, ImprintOptions(), draw())
    once = apart(extract_imprint(site.update(imprint.parameters, rate=0.01), imprint).inputs, site.records)
    many = extract_imprint(site.update(imprint.parameters, batch_size=16, epochs=2, rate=0.01), imprint)
    blurred = apart(many.inputs, site.records)
    assert (once < 0.05).mean() > 0.4  # of 64 records in 128 bins
    assert 0.0 < (blurred < 0.05).mean() < (once < 0.05).mean()


def test_thresholds_from_auxiliary_records_fit_them(make_site: Make) -> None:
    site, other = make_site(WIDE, rows=64), make_site(WIDE, rows=500, seed=5)
    other.inputs.mul_(7.0).add_(3.0)
    site.inputs.mul_(7.0).add_(3.0)
    blind = plant_imprint(site.network, site.reference, ImprintOptions(), draw())
    aimed = plant_imprint(site.network, site.reference, ImprintOptions(auxiliary=other.records), draw())
    assert alone_in_bin(site.records, aimed).sum() > 2 * alone_in_bin(site.records, blind).sum()


def test_noise_blurs_the_measurement(make_site: Make, apart: Apart) -> None:
    site = make_site(WIDE, rows=32)
    shares = []
    for noise in (0.0, 1.0):
        imprint = plant_imprint(site.network, site.reference, ImprintOptions(noise=noise), draw())
        found = extract_imprint(site.update(imprint.parameters), imprint)
        shares.append(float((apart(found.inputs, site.records) < 0.01).mean()))
    assert shares[0] > 0.5
    assert shares[1] < 0.25


def test_there_is_no_imprint_without_a_hidden_linear_layer(make_site: Make) -> None:
    site = make_site(Logistic(kind="logistic"))
    with pytest.raises(UnsupportedError, match="no hidden linear layer"):
        plant_imprint(site.network, site.reference, ImprintOptions(), draw())
    site = make_site(Cnn(kind="cnn", channels=(8,)), shape=(1, 8, 8))
    with pytest.raises(UnsupportedError, match="no hidden linear layer"):
        plant_imprint(site.network, site.reference, ImprintOptions(), draw())


def test_there_is_no_imprint_in_the_head(make_site: Make) -> None:
    site = make_site(WIDE)
    with pytest.raises(UsageError, match="no hidden linear layer 1"):
        plant_imprint(site.network, site.reference, ImprintOptions(), draw(), layer=1)


def test_a_vector_too_short_for_the_layer_is_refused(make_site: Make) -> None:
    site = make_site(WIDE)
    with pytest.raises(UsageError, match="does not hold the layer"):
        rows_of(np.zeros(3, dtype=np.float32), dense_layers(site.network)[0])


# --- behind convolutions ----------------------------------------------------------------------------------------------


def test_an_imprint_behind_pools_gives_thumbnails(make_site: Make, apart: Apart) -> None:
    site = make_site(Vgg16(kind="vgg16", width=4, hidden=64, dropout=0.0), rows=8, shape=(1, 64, 64))
    copies = plant_copies(site.network, site.reference)
    pixels = site.inputs.numpy().reshape(8, 1, 2, 32, 2, 32)
    brightest, darkest = pixels.max((3, 5)), pixels.min((3, 5))
    seen = np.zeros((8, 32, 2, 2))  # What the first linear layer sees.
    seen[:, :1], seen[:, 1:2] = brightest, -darkest
    flat = seen.reshape(8, -1)
    imprint = plant_imprint(site.network, copies, ImprintOptions(auxiliary=flat), draw())
    found = extract_imprint(site.update(imprint.parameters), imprint).inputs
    distances = apart(found, flat)
    assert (distances < 0.01).sum() >= 6
    best = found[np.linalg.norm(found[:, None] - flat[None], axis=2).argmin(axis=0)][distances < 0.01]
    bright, dark = thumbnails(best, 32, 1, (2, 2))
    assert np.allclose(bright, brightest[distances < 0.01], rtol=0.02)
    assert np.allclose(dark, darkest[distances < 0.01], rtol=0.02)


def test_norms_let_no_copy_through(make_site: Make) -> None:
    site = make_site(Vgg16(kind="vgg16", width=4, hidden=8, group_norm=True), rows=1, shape=(1, 32, 32))
    with pytest.raises(UnsupportedError, match="GroupNorm"):
        plant_copies(site.network, site.reference)


def test_colours_need_channels(make_site: Make) -> None:
    site = make_site(Vgg16(kind="vgg16", width=4, hidden=8), rows=1, shape=(3, 32, 32))
    with pytest.raises(UnsupportedError, match="4 channels do not hold 3 colours twice"):
        plant_copies(site.network, site.reference)


# --- traps ------------------------------------------------------------------------------------------------------------


def firing(site: Any, traps: Any) -> np.ndarray:
    """How many records each trap fires for, int64 ``(t,)``."""
    weight, bias = rows_of(traps.parameters, traps.layer)
    return (site.records @ weight[traps.rows].T + bias[traps.rows] > 0).sum(axis=0)


def test_a_trap_that_fires_once_gives_the_record(make_site: Make, apart: Apart) -> None:
    site = make_site(WIDE, rows=32)
    traps = plant_traps(site.network, site.reference, 0.03, draw())
    once = np.flatnonzero(firing(site, traps) == 1)
    assert once.size > 20
    weight, bias = rows_of(site.update(traps.parameters), traps.layer)
    found = weight[traps.rows[once]] / bias[traps.rows[once], None]
    assert (apart(site.records, found) < 0.01).mean() >= 0.9
    assert (apart(extract_traps(site.update(traps.parameters), traps).inputs, site.records) < 0.01).mean() > 0.4


def test_candidates_that_several_traps_agree_on_are_mostly_records(make_site: Make, apart: Apart) -> None:
    site = make_site(Mlp(kind="mlp", hidden=(256,)), rows=32)
    traps = plant_traps(site.network, site.reference, 0.03, draw())
    certain = agreeing(extract_traps(site.update(traps.parameters), traps))
    assert len(certain) >= 8
    assert (apart(site.records, certain) < 0.01).mean() > 0.7
    everything = extract_traps(site.update(traps.parameters), traps).inputs
    assert (apart(site.records, everything) < 0.01).mean() < (apart(site.records, certain) < 0.01).mean()


def test_no_candidates_agree_where_there_are_none() -> None:
    inputs = np.random.default_rng(0).normal(size=(6, 4))
    assert agreeing(Candidates(inputs, np.ones(6))).shape == (0, 4)


def test_an_honest_network_gives_few_records_of_a_large_batch(make_site: Make, apart: Apart) -> None:
    """The baseline: without it, what a trap finds would say nothing about the trap."""
    site = make_site(WIDE, rows=32)
    layer = hidden_layers(site.network)[0]
    found = extract_rows(site.update(site.reference), layer)
    assert (apart(found.inputs, site.records) < 0.01).mean() <= 0.1


def test_one_trap_outlives_the_sum_over_sites(make_site: Make, apart: Apart) -> None:
    sites = [make_site(WIDE, rows=40, seed=seed) for seed in range(4)]
    for seed in range(200):
        traps = plant_traps(sites[0].network, sites[0].reference, 0.005, draw(seed), traps=1, gain=3.0)
        if sum(int(firing(site, traps).sum()) for site in sites) == 1:
            break
    total = np.sum([site.update(traps.parameters) for site in sites], axis=0)
    (found,) = extract_traps(total, traps).inputs
    everybody = np.concatenate([site.records for site in sites])
    assert (apart(found[None], everybody) < 0.01).sum() == 1


@pytest.mark.parametrize(("rate", "traps"), [(0.0, 1), (1.0, 1), (0.1, 0), (0.1, 129)])
def test_traps_that_do_not_fit_are_refused(make_site: Make, rate: float, traps: int) -> None:
    site = make_site(WIDE)
    with pytest.raises(UsageError, match="do not fit 128 neurons"):
        plant_traps(site.network, site.reference, rate, draw(), traps=traps)


# --- fishing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [0, 1])
def test_one_class_makes_the_update(make_site: Make, event: int) -> None:
    site = make_site(WIDE, rows=32)
    planted = plant_class(site.network, site.reference, event)
    update = site.update(planted)
    mine = site.event == event
    only = make_site(WIDE, rows=32)
    only.inputs, only.event = only.inputs[mine], only.event[mine]
    expected = only.update(planted) * float(mine.float().mean())
    assert np.abs(update - expected).max() < 1e-3 * np.abs(expected).max()


def test_a_sweep_gives_the_record_between_two_thresholds_of_a_linear_model(make_site: Make) -> None:
    site = make_site(Logistic(kind="logistic"), rows=48)
    axis = np.ones(13)
    along = site.records @ axis / np.linalg.norm(axis)
    order = np.argsort(along)
    gaps = np.diff(along[order])
    place = int(np.argmax(np.minimum(gaps[:-1], gaps[1:]))) + 1  # Whoever has most room on both sides.
    cuts = [float(along[order[i : i + 2]].mean()) for i in (place - 1, place)]
    sweeps = tuple(plant_sweep(site.network, site.reference, axis, cut) for cut in cuts)
    # Several steps, several passes: residuals are 0 and 1 in all of them.
    updates = tuple(site.update(sweep.parameters, batch_size=16, epochs=2) for sweep in sweeps)
    (found,) = extract_sweep(updates, sweeps).inputs
    record = site.records[order[place]]
    assert np.linalg.norm(found - record) < 0.02 * np.linalg.norm(record)


def test_a_sweep_between_which_nobody_lies_gives_nothing(make_site: Make) -> None:
    site = make_site(Logistic(kind="logistic"))
    sweeps = tuple(plant_sweep(site.network, site.reference, np.ones(13), cut) for cut in (50.0, 51.0))
    updates = tuple(site.update(sweep.parameters) for sweep in sweeps)
    assert extract_sweep(updates, sweeps).inputs.shape == (0, 13)


# --- model inconsistency ----------------------------------------------------------------------------------------------


def test_silenced_sites_leave_the_victims_update_as_the_sum(make_site: Make, apart: Apart) -> None:
    sites = [make_site(WIDE, rows=32, seed=seed) for seed in range(4)]
    victim, *others = sites
    imprint = plant_imprint(victim.network, victim.reference, ImprintOptions(), draw())
    silent = plant_silence(victim.network, victim.reference)
    quiet = [site.update(silent, batch_size=8, epochs=3) for site in others]
    head = dense_layers(victim.network)[-1]
    assert all(not update[: head.bias.start].any() for update in quiet)
    total = np.sum([victim.update(imprint.parameters), *quiet], axis=0)
    alone = alone_in_bin(victim.records, imprint)
    assert (apart(extract_imprint(total, imprint).inputs, victim.records[alone]) < 0.01).mean() >= 0.9
    # Without the silence the sum hides whose is whose, and mixes bins.
    mixed = np.sum([site.update(imprint.parameters) for site in sites], axis=0)
    assert (apart(extract_imprint(mixed, imprint).inputs, victim.records[alone]) < 0.01).mean() < 0.6


def test_a_convolutional_network_is_silent_in_its_first_step_but_for_the_head(make_site: Make) -> None:
    site = make_site(Cnn(kind="cnn", channels=(8,)), rows=8, shape=(1, 8, 8))
    head = dense_layers(site.network)[-1]
    update = site.update(plant_silence(site.network, site.reference))
    assert not update[: head.start].any()
    assert update[head.weight].any()


@pytest.mark.parametrize("model", [WIDE, Mlp(kind="mlp", hidden=(8, 8))], ids=["one", "two"])
def test_planting_leaves_the_reference_as_it_is(make_site: Make, model: Mlp) -> None:
    site = make_site(model)
    reference = site.reference
    before = reference.copy()
    plant_imprint(site.network, reference, ImprintOptions(), draw())
    plant_traps(site.network, reference, 0.1, draw())
    plant_class(site.network, reference, 1)
    plant_silence(site.network, reference)
    plant_sweep(site.network, reference, np.ones(model.hidden[-1]), 0.0)
    assert reference.tobytes() == before.tobytes()
