"""Edits change what they name and nothing else, controls are as large, and rules never see whom they are judged on."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import spearmanr

from tests.workloads.interaction_log import walks, workload
from winnow.dictionaries.dictionary import Dictionary
from winnow.errors import InputError
from winnow.evaluate import rec_sae_study as study
from winnow.evaluate.item_concepts import Attributes, attributes
from winnow.evaluate.rec_sae import ablate, edited, has_concept, places_of, units

D, LATENTS, K = 8, 24, 3
SETTINGS = SimpleNamespace(
    kinds=["genre", "era", "popularity", "property", "item"],
    frequent_items=6,
    least_items=2,
    rows=400,
    held_out_rows=200,
)


def dictionary(seed=0, k=K, width=LATENTS):
    generator = torch.Generator().manual_seed(seed)
    decoder = torch.nn.functional.normalize(torch.randn(width, D, generator=generator), dim=1)
    return Dictionary(
        W_enc=decoder.T.contiguous(),
        b_enc=torch.zeros(width),
        W_dec=decoder,
        b_dec_in=torch.zeros(D),
        b_dec_out=torch.zeros(D),
        threshold=torch.zeros(width),
        architecture="topk",
        activation="topk",
        k=k,
    )


def catalogue(count=12):
    return pa.table(
        {
            "item": list(range(1, count + 1)),
            "name": [f"i{i}" for i in range(count)],
            "title": [f"film {i}" for i in range(count)],
            "year": pa.array([1980 + i for i in range(count)], pa.int32()),
            "genres": [["Horror"] if i < 4 else ["Comedy"] for i in range(count)],
            "properties": [["by: a"] if i % 3 == 0 else [] for i in range(count)],
            "events": [count - i for i in range(count)],
        }
    )


@pytest.fixture
def log(tmp_path):
    return workload(tmp_path, walks(users=60))


@pytest.fixture
def model(log):
    return log.build("sasrec", d=D, seed=1).eval()


def people(count=60):
    return pa.table({"user": list(range(count)), "group": (["train"] * 3 + ["valid", "test"]) * (count // 5)})


@pytest.fixture
def scene(log, model):
    return study.scene_of(log, model, dictionary(), catalogue(log.items), people(), SETTINGS, seed=0)


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


def test_rules_do_not_depend_on_the_users_that_judge_them(log, model):
    swapped = {"valid": "test", "test": "valid"}
    other = pa.table({"user": range(60), "group": [swapped.get(g, g) for g in people()["group"].to_pylist()]})
    found = [
        study.concepts_of(study.scene_of(log, model, dictionary(), catalogue(log.items), users, SETTINGS, 0), 0)
        for users in (people(), other)
    ]
    for name in ("rec_sae", "neurons", "random_directions"):
        assert found[0][name][0].equals(found[1][name][0])
        assert found[0][name][1]["valid"].num_rows >= 0
    assert not found[0]["rec_sae"][1]["test"].equals(found[1]["rec_sae"][1]["test"])


def test_a_dictionary_of_another_width_is_refused(log):
    with pytest.raises(InputError, match="reads 8 dimensions and the states have 6"):
        study.scene_of(log, log.build("sasrec", d=6), dictionary(), catalogue(log.items), people(), SETTINGS, 0)


def test_summary_counts_the_confident_by_kind():
    rules = pa.table({"latent": [1, 2, 3], "kind": ["genre", "item", "item"]})
    judged = pa.table({"latent": [1, 3], "f1": [0.5, 0.9], "precision": [1.0, 0.8], "recall": [0.4, 1.0]})
    told = study.summary(rules, judged.append_column("average_precision", pa.array([0.2, 0.4])))
    assert told["mean_f1"] == pytest.approx(0.7) and told["mean_average_precision"] == pytest.approx(0.3)
    assert (told["confident"], told["confident_item"], told["confident_genre"], told["judged"]) == (1, 1, 0, 2)
    assert told["confident_share"] == 0.5
    assert (
        study.summary(rules, judged.append_column("average_precision", pa.array([0.2, 0.4])).slice(0, 0))["mean_f1"]
        == 0
    )


def test_gains_have_an_interval_over_units():
    generator = np.random.default_rng(0)
    left, right = generator.normal(0.6, 0.1, 400), generator.normal(0.5, 0.1, 60)
    told = study.gain(left, right, seed=0)
    half = 1.96 * np.sqrt(left.var() / 400 + right.var() / 60)
    assert told["f1_gain"] == pytest.approx(left.mean() - right.mean())
    assert told["f1_gain_low"] == pytest.approx(told["f1_gain"] - half, abs=0.002)
    assert told["f1_gain_high"] == pytest.approx(told["f1_gain"] + half, abs=0.002)


def edit(latent, factor, before, after, random):
    row = {"latent": latent, "factor": factor, "rows": 3, "activation": 1.0, "overlap": 0.5, "collateral": 0.9}
    return row | {"share_before": before, "share_after": after, "random_after": random}


def test_edits_are_right_where_taking_out_lowers_and_raising_lifts():
    table = pa.Table.from_pylist(
        [edit(0, 0.0, 0.5, 0.3, 0.5), edit(1, 0.0, 0.5, 0.5, 0.4), edit(0, 2.0, 0.5, 0.8, 0.6)]
    )
    out, more = study.edit_summary(table, 0.0, 0), study.edit_summary(table, 2.0, 0)
    assert (out["right_sign"], out["latents"]) == (0.5, 2)
    assert out["share_change"] == pytest.approx(-0.1) and out["random_change"] == pytest.approx(-0.05)
    assert out["beyond_random"] == pytest.approx(0.05) and out["beyond_random_low"] == pytest.approx(-0.1)
    assert more["right_sign"] == 1 and more["beyond_random"] == pytest.approx(0.2)
    assert study.edit_summary(table, 4.0, 0) == {}


def test_the_whole_study_runs_and_cards_are_of_every_kind_in_turn(scene, monkeypatch):
    monkeypatch.setattr(study, "CONFIDENT", 0.5)
    rules, judged = study.concepts_of(scene, 0)["rec_sae"]
    steps = []
    edits = study.edits(scene, rules, judged["valid"], 0, lambda done, total: steps.append((done, total)))
    assert set(edits["factor"].to_pylist()) <= {0.0, 2.0, 4.0} and steps[-1][0] == steps[-1][1]
    cards = study.cards(scene, rules, judged["test"], edits, most=4).to_pylist()
    f1 = dict(zip(judged["test"]["latent"].to_pylist(), judged["test"]["f1"].to_pylist(), strict=True))
    assert len(cards) == 4 and len({card["kind"] for card in cards}) > 1
    for card in cards:
        others = [f1[r["latent"]] for r in rules.to_pylist() if r["latent"] in f1 and r["kind"] == card["kind"]]
        assert card["f1"] == f1[card["latent"]] and 1 <= len(card["titles"]) <= 5
        assert card is not cards[0] or card["f1"] == max(others)
    ranked = study.rankings(scene)
    assert ranked["states"]["metrics"] == scene.workload.metrics(scene.model, "test")
    assert len(ranked["reconstructions"]["users"]) == 60
    assert np.mean([g for _, g, _ in ranked["states"]["users"]]) == pytest.approx(ranked["states"]["metrics"]["ndcg10"])


def test_no_reliable_latent_leaves_an_empty_table(scene):
    rules, judged = study.concepts_of(scene, 0)["rec_sae"]
    none = study.edits(scene, rules, judged["valid"].slice(0, 0), 0)
    assert none.num_rows == 0 and none.schema.names == list(study.EDIT_COLUMNS)
    assert all(card["share_before"] is None for card in study.cards(scene, rules, judged["test"], none).to_pylist())
