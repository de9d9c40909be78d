"""Rules never see whom they are judged on, edits are means over their rows, and cards take kinds in turn."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.latent_scenes import SETTINGS, D, catalogue, dictionary, people, scene_of, walked
from tests.workloads.interaction_log import walks, workload
from winnow.dictionaries.rec_sae import ranking_with
from winnow.errors import InputError
from winnow.evaluate import rec_sae_study as study
from winnow.evaluate.rec_sae import ablate, has_concept, latent_of, tune, units
from winnow.pipeline.tables import metric_rows
from winnow.randomness import numpy_generator
from winnow.train.plain_recommenders import likeness
from winnow.workloads.interactions import Sequences
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


def test_rules_and_edits_do_not_depend_on_what_judging_users_took(tmp_path):
    raw = walks(users=60)
    kept = {name for i, name in enumerate(sorted({f"u{i}" for i in range(60)}, key=lambda n: (len(n), n)))
            if people()["group"][i].as_py() == "train"}  # fmt: skip
    others = np.array([user not in kept for user in raw["user"].to_pylist()])
    mixed = np.array(raw["item"].to_pylist(), object)
    mixed[others] = np.where(np.arange(others.sum()) % 2 == 0, "i0", "i1")  # two films, over and over
    found = []
    for name, items in (("a", raw["item"].to_pylist()), ("b", mixed.tolist())):
        (tmp_path / name).mkdir()
        log = workload(tmp_path / name, raw.set_column(raw.schema.get_field_index("item"), "item", [items]))
        curated = catalogue(log.items)
        counts = np.bincount(log.events("train")["item"], minlength=log.items + 1)[1:]
        curated = curated.set_column(curated.schema.get_field_index("events"), "events", [counts])
        model = log.build("sasrec", d=D, seed=1).eval()
        scene = study.scene_of(log, model, dictionary(), curated, people(), SETTINGS, 0)
        rules = {unit: told[0] for unit, told in study.concepts_of(scene, 0).items()}
        like = likeness(scene.taken, log.items, log.items)
        found.append((counts, rules, like, scene.known))
    assert found[0][0].tolist() != found[1][0].tolist()
    assert all(found[0][1][unit].equals(found[1][1][unit]) for unit in found[0][1])
    assert np.array_equal(found[0][2], found[1][2])
    assert (found[0][3].table != found[1][3].table).nnz == 0 and found[0][3].names == found[1][3].names


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


def edit(latent, name, before, after, random):
    row = {"latent": latent, "edit": name, "rows": 3, "activation": 1.0, "overlap": 0.5, "collateral": 0.9}
    return row | {"share_before": before, "share_after": after, "random_after": random}


def test_edits_are_right_where_taking_out_lowers_and_raising_lifts():
    table = pa.Table.from_pylist(
        [edit(0, "x0", 0.5, 0.3, 0.5), edit(1, "x0", 0.5, 0.5, 0.4), edit(0, "raised", 0.5, 0.8, 0.6)]
    )
    out, more = study.edit_summary(table, "x0", 0), study.edit_summary(table, "raised", 0)
    assert (out["right_sign"], out["latents"]) == (0.5, 2)
    assert out["share_change"] == pytest.approx(-0.1) and out["random_change"] == pytest.approx(-0.05)
    assert out["beyond_random"] == pytest.approx(0.05) and out["beyond_random_low"] == pytest.approx(-0.1)
    assert more["right_sign"] == 1 and more["beyond_random"] == pytest.approx(0.2)
    assert study.edit_summary(table, "x4", 0) == {}


def test_the_whole_study_runs_and_cards_are_of_every_kind_in_turn(scene, monkeypatch):
    monkeypatch.setattr(study, "CONFIDENT", 0.5)
    rules, judged = study.concepts_of(scene, 0)["rec_sae"]
    steps = []
    by_user = study.edits(scene, rules, judged["valid"], 0, lambda done, total: steps.append((done, total)))
    assert set(by_user["edit"].to_pylist()) == set(study.EDITS) and steps[-1][0] == steps[-1][1]
    assert set(by_user["user"].to_pylist()) <= set(scene.judges.tolist())
    edits = study.edit_means(by_user)
    cards = study.cards(scene, rules, judged["test"], edits, most=4).to_pylist()
    f1 = dict(zip(judged["test"]["latent"].to_pylist(), judged["test"]["f1"].to_pylist(), strict=True))
    assert len(cards) == 4 and len({card["kind"] for card in cards}) > 1
    for card in cards:
        others = [f1[r["latent"]] for r in rules.to_pylist() if r["latent"] in f1 and r["kind"] == card["kind"]]
        assert card["f1"] == f1[card["latent"]] and 1 <= len(card["titles"]) <= 5
        assert card is not cards[0] or card["f1"] == max(others)
    ranked = study.rankings(scene)
    assert [user for _, _, user in ranked["reconstructions"]["users"]] == scene.judges.tolist()
    assert np.mean([g for _, g, _ in ranked["states"]["users"]]) == pytest.approx(ranked["states"]["metrics"]["ndcg10"])


def test_no_reliable_latent_leaves_an_empty_table(scene):
    rules, judged = study.concepts_of(scene, 0)["rec_sae"]
    by_user = study.edits(scene, rules, judged["valid"].slice(0, 0), 0)
    assert by_user.num_rows == 0 and by_user.schema.names == list(study.EDIT_COLUMNS)
    none = study.edit_means(by_user)
    assert none.num_rows == 0 and study.edit_summary(none, "x0", 0) == {}
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
    # What the catalogue says is of all users, and no one but train users is asked.
    events = log.sequences("train")
    counts = Counter(events.items[np.isin(events.users, members["train"])].tolist())
    most = sorted(sorted(range(1, log.items + 1), key=lambda item: (-counts[item], item))[:6])
    assert [frequent for _, frequent in asked["features"]] == [most] * 3 != [[1, 2, 3, 4, 5, 6]] * 3
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
    taken = Sequences(np.zeros(14, int), np.array([*range(1, 13), 8, 9]), np.zeros(14))
    monkeypatch.setattr(study, "group_events", lambda workload, users: taken)
    few = SimpleNamespace(**vars(SETTINGS) | {"frequent_items": 4})
    study.scene_of(log, log.build("sasrec", d=D), dictionary(), catalogue(log.items), people(), few, 0)
    assert asked[0] == [1, 2, 8, 9]


def test_reconstructions_are_ranked_beside_states_for_test_users_alone(scene):
    found = study.rankings(scene)
    everyone = scene.workload.asked("test").users.tolist()
    group = dict(zip(people()["user"].to_pylist(), people()["group"].to_pylist(), strict=True))
    own = [i for i, user in enumerate(everyone) if group[user] == "test"]
    placed = ranking_with(scene.workload, scene.model, "test")(scene.dictionary.reconstruct)[own]
    assert found["reconstructions"]["metrics"] == ranking_metrics(placed) != found["states"]["metrics"]
    users = [everyone[i] for i in own]
    assert found["reconstructions"]["users"] == [
        ("user_ndcg10", gain, user) for gain, user in zip(gains(placed).tolist(), users, strict=True)
    ]


@pytest.mark.parametrize("top", [2, 50])
def test_units_are_interpreted_on_training_users_and_judged_on_each_others(scene, top):
    found = study.concepts_of(scene, 3, top)
    all_units = units(scene.dictionary, scene.places["train"].states, 3)
    assert list(found) == list(all_units) == ["rec_sae", "neurons", "random_directions"]
    for name, unit in all_units.items():
        rules, judged = found[name]
        train = unit.acts(scene.places["train"].states)
        owner = scene.places["train"].owner
        assert rules.equals(study.item_concepts.interpret(train, scene.features["train"], owner, top=top))
        for split in ("valid", "test"):
            acts, owner = unit.acts(scene.places[split].states), scene.places[split].owner
            assert judged[split].equals(study.item_concepts.confidence(rules, acts, scene.features[split], 3, owner))


def test_rules_depend_on_how_many_users_they_are_read_from(scene):
    one, many = (study.concepts_of(scene, 3, top)["rec_sae"][0] for top in (1, 50))
    assert one.num_rows and not one.equals(many)


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


@pytest.mark.parametrize(("left", "right"), [(0, 0), (0, 3), (3, 0)])
def test_without_a_unit_that_was_judged_nothing_is_gained_or_lost(left, right):
    assert study.gain(np.ones(left), np.ones(right), seed=0) == {}
    labels = {"system": "rec_sae", "workload": "w", "variant": "v", "seed": 0, "split": "test"}
    assert metric_rows({}, **labels).num_rows == 0  # so the table has no row of it


def test_edits_are_means_over_the_rows_of_what_each_does(scene):
    rules, judged = study.concepts_of(scene, 0)["rec_sae"]
    f1 = {row["latent"]: row["f1"] for row in judged["valid"].to_pylist()}
    some = sorted(f1, key=f1.get)[-3:]
    table = judged_table({latent: 0.8 if latent in some else 0.79 for latent in f1})
    steps = []
    by_user = study.edits(scene, rules, table, 5, lambda done, total: steps.append((done, total)))
    found = study.edit_means(by_user).to_pylist()
    chosen = [latent for latent in f1 if latent in some]
    assert steps == [(n, 3) for n in (1, 2, 3)]
    like = likeness(scene.taken, scene.workload.items, scene.workload.items)
    expected = []
    for latent in chosen:
        (rule,) = [row for row in rules.to_pylist() if row["latent"] == latent]
        about = scene.features["train"].about[rule["feature"]]
        having = has_concept(rule["kind"], about, scene.known, like)
        given = latent_of(scene.model, scene.dictionary, latent, scene.places["test"], having)
        each = {f"x{factor}": ablate(given, factors=[factor], seed=5)[0].to_pydict() for factor in (0, 2, 4)}
        for name, told in (each | {"raised": tune(given, seed=5).to_pydict()}).items():
            if told["row"]:
                means = {key: pytest.approx(np.mean(told[key])) for key in study.FIGURES}
                expected.append({"latent": latent, "edit": name, "rows": len(told["row"]), **means})
    assert len(expected) >= 6 and found == expected
    assert by_user.num_rows == sum(row["rows"] for row in expected)


def test_a_summary_of_edits_tells_all_means_and_how_far_below_chance_could_put_them():
    rows = [edit(i, "x0", 0.5, 0.5 - 0.1 * i, 0.45) | {"overlap": 0.1 * i, "collateral": 0.2 * i} for i in range(4)]
    told = study.edit_summary(pa.Table.from_pylist([*rows, edit(9, "x4", 0.1, 0.9, 0.3)]), "x0", 3)
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
    raised = study.edit_summary(pa.Table.from_pylist([edit(9, "x4", 0.1, 0.9, 0.3)]), "x4", 3)
    assert raised["right_sign"] == 1 and raised["beyond_random"] == pytest.approx(0.6)


def test_cards_take_the_most_reliable_of_each_kind_in_turn_with_titles_and_effect(scene):
    kinds = {0: "item", 1: "genre", 2: "genre", 3: "item", 4: "genre", 5: "era", 6: "era"}
    f1 = {0: 0.5, 1: 0.7, 2: 0.9, 3: 0.5, 4: 0.7, 5: 0.2}  # the last one was not judged
    rules = pa.Table.from_pylist(
        [{"latent": i, "kind": kind, "text": f"rule {i}", "lift": 1.0 + i} for i, kind in kinds.items()]
    )
    edited = pa.Table.from_pylist(
        [edit(2, "x2", 0.1, 0.8, 0.0), edit(2, "x0", 0.5, 0.3, 0.4), edit(9, "x0", 0.1, 0.1, 0.1)]
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


def test_a_change_of_ranking_has_an_interval_over_users_that_holds_0_where_users_differ_by_chance():
    generator = np.random.default_rng(0)
    before = generator.random(300)

    def told(change):
        parts = {"states": before, "reconstructions": before + change}
        users = {name: {"users": [("user_ndcg10", v, u) for u, v in enumerate(vs)]} for name, vs in parts.items()}
        return study.ranking_change(users, 0)

    noise = generator.normal(0, 0.1, 300)
    noise -= noise.mean()
    by_chance, lost = told(noise), told(noise - 0.05)
    half = 1.96 * noise.std() / np.sqrt(300)
    assert by_chance["ndcg10_change"] == pytest.approx(0) and lost["ndcg10_change"] == pytest.approx(-0.05)
    assert (by_chance["ndcg10_gained_low"], by_chance["ndcg10_lost_low"]) == pytest.approx((-half, -half), abs=0.001)
    assert lost["ndcg10_lost_low"] == pytest.approx(0.05 - half, abs=0.001) and lost["ndcg10_gained_low"] < 0
    assert lost["ndcg10_change_size"] == pytest.approx(0.05)
