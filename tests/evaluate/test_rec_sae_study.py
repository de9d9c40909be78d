"""Rules never see whom they are judged on, edits are means over their rows, and cards take kinds in turn."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.latent_scenes import SETTINGS, D, catalogue, dictionary, people, scene_of, walked
from winnow.dictionaries.rec_sae import ranking_with
from winnow.errors import InputError
from winnow.evaluate import rec_sae_study as study
from winnow.evaluate.rec_sae import ablate, has_concept, units
from winnow.randomness import numpy_generator
from winnow.train.plain_recommenders import likeness
from winnow.workloads.ranking import gains, ranking_metrics


@pytest.fixture
def log(tmp_path):
    return walked(tmp_path)


@pytest.fixture
def model(log):
    return log.build("sasrec", d=D, seed=1).eval()


@pytest.fixture
def scene(log):
    return scene_of(log)


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


def test_a_scene_has_places_of_each_group_and_features_of_the_items_taken_most(log, monkeypatch):
    asked = {"places": [], "features": []}
    plain = study.places_of, study.item_concepts.concept_features

    def places(workload, model, users, most, seed):
        asked["places"].append((sorted(users), most, seed))
        return plain[0](workload, model, users, most, seed)

    def features(recent, known, frequent, vocabulary):
        asked["features"].append((recent, frequent))
        return plain[1](recent, known, frequent, vocabulary)

    monkeypatch.setattr(study, "places_of", places)
    monkeypatch.setattr(study.item_concepts, "concept_features", features)
    found = scene_of(log, seed=7)
    groups = people()["group"].to_pylist()
    members = {group: [i for i, g in enumerate(groups) if g == group] for group in ("train", "valid", "test")}
    assert asked["places"] == [(members["train"], 400, 7), (members["valid"], 200, 7), (members["test"], 200, 7)]
    # Of the catalogue earlier items were taken more often.
    assert [frequent for _, frequent in asked["features"]] == [[1, 2, 3, 4, 5, 6]] * 3
    for group, (recent, _) in zip(found.places, asked["features"], strict=True):
        assert recent is found.places[group].recent
    assert list(found.places) == list(found.features) == ["train", "valid", "test"]
    without = SimpleNamespace(**vars(SETTINGS) | {"kinds": ["genre"]})
    scene_of(log, without)
    assert [frequent for _, frequent in asked["features"][3:]] == [[]] * 3


def test_equally_frequent_items_are_taken_by_their_number(log, monkeypatch):
    asked = []
    plain = study.item_concepts.concept_features
    monkeypatch.setattr(study.item_concepts, "concept_features", lambda *given: asked.append(given[2]) or plain(*given))
    items = catalogue(log.items).drop_columns("events").append_column("events", pa.array([1] * 7 + [2, 2] + [1] * 3))
    few = SimpleNamespace(**vars(SETTINGS) | {"frequent_items": 4})
    study.scene_of(log, log.build("sasrec", d=D), dictionary(), items, people(), few, 0)
    assert asked[0] == [1, 2, 8, 9]


def test_reconstructions_are_ranked_beside_states_for_every_user(scene):
    found = study.rankings(scene)
    placed = ranking_with(scene.workload, scene.model, "test", scene.dictionary.reconstruct)
    assert found["reconstructions"]["metrics"] == ranking_metrics(placed) != found["states"]["metrics"]
    users = scene.workload.asked("test").users.tolist()
    assert found["reconstructions"]["users"] == [
        ("user_ndcg10", gain, user) for gain, user in zip(gains(placed).tolist(), users, strict=True)
    ]


def test_units_are_interpreted_on_training_users_and_judged_on_each_others(scene):
    found = study.concepts_of(scene, 3)
    all_units = units(scene.dictionary, scene.places["train"].states, 3)
    assert list(found) == list(all_units) == ["rec_sae", "neurons", "random_directions"]
    for name, unit in all_units.items():
        rules, judged = found[name]
        train = unit.acts(scene.places["train"].states)
        assert rules.equals(study.item_concepts.interpret(train, scene.features["train"]))
        for split in ("valid", "test"):
            acts = unit.acts(scene.places[split].states)
            assert judged[split].equals(study.item_concepts.confidence(rules, acts, scene.features[split], 3))


def judged_table(f1):
    values = [list(f1.values())] * 4
    return pa.table([list(f1), *values], ["latent", "f1", "precision", "recall", "average_precision"])


def test_an_f1_of_four_fifths_is_confident():
    kinds = ("genre", "era", "popularity", "property", "item", "item")
    rules = pa.table({"latent": range(6), "kind": kinds})
    told = study.summary(rules, judged_table({0: 0.8, 1: 0.9, 2: 0.8, 3: 0.79, 4: 1.0, 5: 0.95}))
    assert study.CONFIDENT == 0.8 and told["confident"] == 5 and told["judged"] == 6
    assert told["confident_share"] == pytest.approx(5 / 6)
    counts = {kind: told[f"confident_{kind}"] for kind in dict.fromkeys(kinds)}
    assert counts == {"genre": 1, "era": 1, "popularity": 1, "property": 0, "item": 2}
    nothing = study.summary(rules, judged_table({}))
    assert nothing["confident_share"] == nothing["judged"] == nothing["mean_recall"] == 0


def test_labels_stand_before_a_tables_own_columns():
    found = study.labelled(pa.table({"x": [1, 2]}), system="a", split="b")
    assert found.to_pylist() == [{"system": "a", "split": "b", "x": 1}, {"system": "a", "split": "b", "x": 2}]
    assert found.schema.names == ["system", "split", "x"]
    assert study.labelled(pa.table({"x": []}), system="a").schema.field("system").type == pa.string()


def test_an_interval_of_equal_units_has_no_width_and_depends_on_the_seed_alone():
    told = study.gain(np.full(5, 0.75), np.full(9, 0.5), seed=0)
    assert told == {"f1_gain": 0.25, "f1_gain_low": 0.25, "f1_gain_high": 0.25}
    left, right = np.linspace(0, 1, 20), np.linspace(0, 0.5, 30)
    assert study.gain(left, right, 1) == study.gain(left, right, 1) != study.gain(left, right, 2)
    assert study.RESAMPLES == 10_000


def test_edits_are_means_over_the_rows_of_what_each_does(scene):
    rules, judged = study.concepts_of(scene, 0)["rec_sae"]
    f1 = {row["latent"]: row["f1"] for row in judged["valid"].to_pylist()}
    some = sorted(f1, key=f1.get)[-3:]
    table = judged_table({latent: 0.8 if latent in some else 0.79 for latent in f1})
    steps = []
    found = study.edits(scene, rules, table, 5, lambda done, total: steps.append((done, total))).to_pylist()
    chosen = [latent for latent in f1 if latent in some]
    assert steps == [(n, 3) for n in (1, 2, 3)]
    like = likeness(scene.workload.sequences("train"), scene.workload.items, scene.workload.items)
    expected = []
    for latent in chosen:
        (rule,) = [row for row in rules.to_pylist() if row["latent"] == latent]
        about = scene.features["train"].about[rule["feature"]]
        having = has_concept(rule["kind"], about, scene.known, like)
        for factor in (0.0, 2.0, 4.0):
            told = ablate(
                scene.model, scene.dictionary, latent, scene.places["test"], having, factor=factor, seed=5
            ).to_pydict()
            if told["row"]:
                means = {name: pytest.approx(np.mean(values)) for name, values in told.items() if name != "row"}
                expected.append({"latent": latent, "factor": factor, "rows": len(told["row"]), **means})
    assert len(expected) >= 6 and found == expected


def test_a_summary_of_edits_tells_all_means_and_how_far_below_chance_could_put_them():
    rows = [edit(i, 0.0, 0.5, 0.5 - 0.1 * i, 0.45) | {"overlap": 0.1 * i, "collateral": 0.2 * i} for i in range(4)]
    told = study.edit_summary(pa.Table.from_pylist([*rows, edit(9, 4.0, 0.1, 0.9, 0.3)]), 0.0, 3)
    beyond = np.array([0.45 - (0.5 - 0.1 * i) for i in range(4)])
    generator = numpy_generator(3, "bootstrap of edits")
    drawn = [beyond[generator.integers(0, 4, 4)].mean() for _ in range(10_000)]
    assert told == pytest.approx(
        {
            "share_change": -0.15,
            "random_change": -0.05,
            "right_sign": 0.75,  # no change is not right
            "beyond_random": beyond.mean(),
            "beyond_random_low": np.quantile(drawn, 0.025),
            "overlap": 0.15,
            "collateral": 0.3,
            "latents": 4,
        }
    )
    half = 1.96 * beyond.std() / 2
    assert told["beyond_random_low"] == pytest.approx(beyond.mean() - half, abs=0.02)
    raised = study.edit_summary(pa.Table.from_pylist([edit(9, 4.0, 0.1, 0.9, 0.3)]), 4.0, 3)
    assert raised["right_sign"] == 1 and raised["beyond_random"] == pytest.approx(0.6)
    kept = study.edit_summary(pa.Table.from_pylist([edit(9, 1.0, 0.5, 0.4, 0.5)]), 1.0, 3)
    assert kept["right_sign"] == 1  # a factor of at most 1 is to lower


def test_cards_take_the_most_reliable_of_each_kind_in_turn_with_titles_and_effect(scene):
    kinds = {0: "item", 1: "genre", 2: "genre", 3: "item", 4: "genre", 5: "era", 6: "era"}
    f1 = {0: 0.5, 1: 0.7, 2: 0.9, 3: 0.5, 4: 0.7, 5: 0.2}  # the last one was not judged
    rules = pa.Table.from_pylist(
        [{"latent": i, "kind": kind, "text": f"rule {i}", "lift": 1.0 + i} for i, kind in kinds.items()]
    )
    edited = pa.Table.from_pylist(
        [edit(2, 2.0, 0.1, 0.8, 0.0), edit(2, 0.0, 0.5, 0.3, 0.4), edit(9, 0.0, 0.1, 0.1, 0.1)]
    )
    found = study.cards(scene, rules, judged_table(f1), edited).to_pylist()
    # era, genre, item; then the second of each; then what is left: of equal ones the lower number.
    assert [card["latent"] for card in found] == [5, 2, 0, 1, 3, 4]
    assert [card["latent"] for card in study.cards(scene, rules, judged_table(f1), edited, most=4).to_pylist()] == [
        5, 2, 0, 1,
    ]  # fmt: skip
    places, vocabulary = scene.places["test"], scene.workload.meta.vocabulary
    dense = scene.dictionary.dense(places.states)
    for card in found:
        z = dense[:, card["latent"]]
        order = sorted(range(len(z)), key=lambda i: (-float(z[i]), i))
        titles = [vocabulary[places.recent[i][-1]] for i in order if z[i] > 0]
        assert card["titles"] == list(dict.fromkeys(titles))[:5]
        assert (card["text"], card["lift"]) == (f"rule {card['latent']}", 1.0 + card["latent"])
        assert card["f1"] == f1[card["latent"]] and card["kind"] == kinds[card["latent"]]
        told = (card["share_before"], card["share_after"])
        assert told == ((0.5, 0.3) if card["latent"] == 2 else (None, None))
    assert max(len(card["titles"]) for card in found) == 5
