"""Edits change what they name and nothing else, controls are as large, and places are those of the states."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata, spearmanr

from tests.evaluate.latent_scenes import LATENTS, D, catalogue, scene_of, walked
from winnow.errors import InputError
from winnow.evaluate.item_concepts import Attributes, attributes
from winnow.evaluate.rec_sae import (
    ablate,
    edited,
    has_concept,
    latent_of,
    offers_of,
    places_of,
    row_ranks,
    tune,
    units,
)


@pytest.fixture
def log(tmp_path):
    return walked(tmp_path)


@pytest.fixture
def model(log):
    return log.build("sasrec", d=D, seed=1).eval()


@pytest.fixture
def scene(log):
    return scene_of(log)


def test_places_are_the_states_the_model_has_there_and_the_last_five_items(log, model):
    places = places_of(log, model, [3, 4, 5], 10_000, seed=0)
    found = log.sequences("train")
    assert len(places.states) == int(np.isin(found.users, [3, 4, 5]).sum())
    window, told = log.meta.window, set()
    for i, (state, recent) in enumerate(zip(places.states, places.recent, strict=True)):
        (user,) = {places.owner[i]}
        events = found.items[found.users == user]
        seen = places.seen(np.array([i]))[0]
        count = int((seen > 0).sum())
        # All that the user took up to the place is seen, and each place is told once.
        assert seen[seen > 0].tolist() == events[:count].tolist() and (user, count) not in told
        told.add((user, count))
        later = (
            len(events) - count
        ) % window  # of the same window, which ends in the last event or whole windows before
        own = events[max(0, count + later - window) : count]
        x = torch.zeros(1, window, dtype=torch.int64)
        place = window - later - 1
        x[0, place + 1 - len(own) : place + 1] = torch.from_numpy(own)
        assert torch.allclose(model.states(x)[0, place], state, atol=1e-5)
        assert recent[recent > 0].tolist() == own[-5:].tolist() and recent[-1] == own[-1]


def test_places_are_at_most_as_many_as_asked_for(log, model):
    assert 20 < len(places_of(log, model, range(60), 30, seed=0).states) <= 30
    with pytest.raises(InputError, match="places: 0 is less than one window has"):
        places_of(log, model, range(60), 0, seed=0)


def test_every_unit_is_active_on_as_many_rows_and_random_directions_are_as_many_as_latents(scene):
    states, own = scene.places["train"].states, scene.dictionary
    found = units(own, states, seed=0)
    share = found["rec_sae"].acts(states).nnz / (len(states) * LATENTS)
    assert found["neurons"].directions.shape == (D, D) and found["random_directions"].directions.shape == (D, LATENTS)
    for name in ("neurons", "random_directions"):
        active = np.diff(found[name].acts(states).tocsc().indptr)
        assert active == pytest.approx(np.full(len(active), share * len(states)), abs=1.5)
    assert found["rec_sae"].acts(states).toarray() == pytest.approx(own.dense(states).numpy())


def test_an_item_stands_for_those_most_like_it():
    known = Attributes(attributes(catalogue(), ["genre"]).table, ("genre", "genre"), ("Comedy", "Horror"))
    assert np.flatnonzero(has_concept("genre", 1, known, torch.zeros(0, 0))).tolist() == [1, 2, 3, 4]
    like = torch.zeros(40, 40)
    like[5, 6:30] = torch.arange(24, 0, -1.0)
    like[5, 5] = like[5, 0] = 99
    assert np.flatnonzero(has_concept("item", 5, known, like)).tolist() == list(range(6, 26))
    like[5, 10:] = 0
    assert np.flatnonzero(has_concept("item", 5, known, like)).tolist() == [6, 7, 8, 9]


def test_an_edit_of_a_silent_latent_and_one_by_factor_1_change_nothing(scene):
    having = np.arange(scene.workload.items + 1) % 2 == 1
    places, own = scene.places["test"], scene.dictionary
    dense = own.dense(places.states)
    latent = int((dense > 0).sum(0).argmax())
    (same,) = ablate(latent_of(scene.model, own, latent, places, having), factors=[1.0])
    assert same["share_before"].to_pylist() == same["share_after"].to_pylist()
    assert set(same["overlap"].to_pylist()) == {1.0} and set(same["random_after"].to_pylist()) <= set(
        same["share_before"].to_pylist()
    )
    assert same["collateral"].to_pylist() == pytest.approx([1.0] * same.num_rows)
    quiet = (dense[:, latent] == 0).numpy()
    silent = replace(places, states=places.states[quiet], starts=places.starts[quiet], ends=places.ends[quiet])
    assert ablate(latent_of(scene.model, own, latent, silent, having))[0].num_rows == 0
    assert tune(latent_of(scene.model, own, latent, silent, having)).num_rows == 0


def test_an_edit_is_on_the_rows_where_the_latent_is_strongest_and_by_its_activation(scene):
    places, own = scene.places["test"], scene.dictionary
    having = np.arange(scene.workload.items + 1) < 5
    dense = own.dense(places.states)
    latent = int((dense > 0).sum(0).argmax())
    # One among several is what it is alone.
    _, told = ablate(latent_of(scene.model, own, latent, places, having), factors=[0.0, 2.0], rows=7)
    z = dense[:, latent].tolist()
    best = {}  # of each user the strongest place
    for i, user in enumerate(places.owner.tolist()):
        if z[i] > z[best.setdefault(user, i)]:
            best[user] = i
    strongest = sorted((i for i in best.values() if z[i] > 0), key=lambda i: (-z[i], i))[:7]
    assert told["row"].to_pylist() == strongest
    assert told["user"].to_pylist() == places.owner[strongest].tolist()
    assert told["activation"].to_pylist() == pytest.approx(dense[strongest, latent].tolist(), rel=1e-5)
    for place, row in enumerate(told.to_pylist()):
        i = row["row"]
        changed = places.states[i] + dense[i, latent] * own.W_dec[latent]
        for name, state in (("share_before", places.states[i]), ("share_after", changed)):
            scores = scene.model.scores(state).detach().numpy()
            events = scene.workload.sequences("train")
            seen = events.items[events.users == row["user"]][: places.ends[i] - places.starts[i]].tolist()
            offers = sorted(range(1, len(scores)), key=lambda j: (j in seen, -scores[j], j))[:10]
            # With fewer than ten films left the rest are seen ones, of which nothing is asked.
            if 12 - len(set(seen)) >= 10:
                assert row[name] == pytest.approx(np.mean([having[j] for j in offers])), (place, name)


def edit_of(scene, rows, change, having):
    states, seen = scene.places["test"].states[rows], scene.places["test"].seen(rows)
    return edited(*(offers_of(scene.model, at, seen, having) for at in (states, states + change)), having)


@given(
    arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(0, 9)), elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0]))
)
def test_ranks_within_rows_are_scipys_with_ties_or_without(values):
    spread = values + np.arange(values.shape[1], dtype=np.float32) * 5  # of which no two are equal
    for given_values in (values, spread):
        assert np.array_equal(row_ranks(given_values), rankdata(given_values, axis=1))


def test_collateral_is_spearmans_correlation_of_the_other_items(scene):
    places = scene.places["test"]
    having = np.arange(scene.workload.items + 1) < 5
    change = torch.randn(len(places.states), D, generator=torch.Generator().manual_seed(3)) * 0.3
    told = edit_of(scene, np.arange(len(places.states)), change, having)
    rest = [j for j in range(1, len(having)) if not having[j]]
    with torch.no_grad():
        before, after = scene.model.scores(places.states), scene.model.scores(places.states + change)
    expected = [spearmanr(a[rest], b[rest]).statistic for a, b in zip(before, after, strict=True)]
    assert told["collateral"] == pytest.approx(expected, abs=1e-9)


def test_offers_leave_out_what_was_seen_before_the_window(scene):
    places = scene.places["test"]
    window, counts = scene.workload.meta.window, places.ends - places.starts
    far = np.flatnonzero(counts > window)
    events = scene.workload.sequences("train")
    assert len(far)
    for i in far:
        own = events.items[events.users == places.owner[i]][: counts[i]]
        assert set(own.tolist()) == set(places.seen(np.array([i]))[0].tolist()) - {0}


def test_a_concept_is_raised_for_users_in_whom_its_latent_is_silent_and_for_nobody_else(scene):
    places, own = scene.places["test"], scene.dictionary
    having = np.arange(scene.workload.items + 1) < 5
    dense = own.dense(places.states)
    latest = dict(sorted(zip(places.owner, range(len(dense)), strict=True), key=lambda p: places.ends[p[1]]))
    silent = set(latest.values())
    latent = max(
        range(LATENTS), key=lambda j: len({i for i in silent if dense[i, j] == 0}) if (dense[:, j] > 0).any() else 0
    )
    expected = {i for i in silent if dense[i, latent] == 0}
    told = tune(latent_of(scene.model, own, latent, places, having), rows=len(dense)).to_pylist()
    assert {row["row"] for row in told} == expected and {row["activation"] for row in told} == {0.0}
    (taken_out,) = ablate(latent_of(scene.model, own, latent, places, having), rows=len(dense))
    level = np.mean(taken_out["activation"].to_pylist())
    for row in told:
        i = np.array([row["row"]])
        change = level * own.W_dec[latent][None]
        alone = edit_of(scene, i, change.float(), having)
        assert row["share_after"] == alone["share_after"][0] and row["overlap"] == alone["overlap"][0]
    assert tune(latent_of(scene.model, own, latent, places, having), rows=3).num_rows == 3
