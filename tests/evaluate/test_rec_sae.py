"""Edits change what they name and nothing else, controls are as large, and places are those of the states."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from tests.evaluate.latent_scenes import LATENTS, D, catalogue, scene_of, walked
from winnow.errors import InputError
from winnow.evaluate.item_concepts import Attributes, attributes
from winnow.evaluate.rec_sae import ablate, edited, has_concept, places_of, units


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
    for state, seen, recent in zip(places.states, places.seen, places.recent, strict=True):
        own = seen[seen > 0]
        place = int((seen > 0).nonzero().max())
        assert torch.allclose(model.states(seen[None])[0, place], state, atol=1e-5)
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
    same = ablate(scene.model, own, latent, places, having, factor=1.0)
    assert same["share_before"].to_pylist() == same["share_after"].to_pylist()
    assert set(same["overlap"].to_pylist()) == {1.0} and set(same["random_after"].to_pylist()) <= set(
        same["share_before"].to_pylist()
    )
    assert same["collateral"].to_pylist() == pytest.approx([1.0] * same.num_rows)
    quiet = type(places)(places.states[dense[:, latent] == 0], places.seen[dense[:, latent] == 0], places.recent)
    assert ablate(scene.model, own, latent, quiet, having).num_rows == 0


def test_an_edit_is_on_the_rows_where_the_latent_is_strongest_and_by_its_activation(scene):
    places, own = scene.places["test"], scene.dictionary
    having = np.arange(scene.workload.items + 1) < 5
    dense = own.dense(places.states)
    latent = int((dense > 0).sum(0).argmax())
    told = ablate(scene.model, own, latent, places, having, factor=2.0, rows=7)
    strongest = torch.sort(dense[:, latent], descending=True, stable=True).indices[:7].tolist()
    assert told["row"].to_pylist() == strongest
    assert told["activation"].to_pylist() == pytest.approx(dense[strongest, latent].tolist(), rel=1e-5)
    for place, row in enumerate(told.to_pylist()):
        i = row["row"]
        changed = places.states[i] + dense[i, latent] * own.W_dec[latent]
        for name, state in (("share_before", places.states[i]), ("share_after", changed)):
            scores = scene.model.scores(state).detach().numpy()
            free = [j for j in range(1, len(scores)) if j not in places.seen[i].tolist()]
            offers = sorted(free, key=lambda j: (-scores[j], j))[:10]
            if len(free) >= 10:
                assert row[name] == pytest.approx(np.mean([having[j] for j in offers])), (place, name)


def test_collateral_is_spearmans_correlation_of_the_other_items(scene):
    places = scene.places["test"]
    having = np.arange(scene.workload.items + 1) < 5
    change = torch.randn(len(places.states), D, generator=torch.Generator().manual_seed(3)) * 0.3
    told = edited(scene.model, places.states, places.seen, change, having)
    rest = [j for j in range(1, len(having)) if not having[j]]
    with torch.no_grad():
        before, after = scene.model.scores(places.states), scene.model.scores(places.states + change)
    expected = [spearmanr(a[rest], b[rest]).statistic for a, b in zip(before, after, strict=True)]
    assert told["collateral"] == pytest.approx(expected, abs=1e-9)
