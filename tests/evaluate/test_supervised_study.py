"""A small model whose heads are exchanged: what stands in for them, edits by codes, and what features tell."""

import pytest
import torch

from tests.evaluate.giving import giving_scene
from winnow.evaluate import supervised_study as study
from winnow.evaluate.supervised_dictionaries import Features, interpret
from winnow.evaluate.task_dictionaries import components, random_features


@pytest.fixture(scope="module")
def scene():
    return giving_scene()


def test_least_squares_explain_more_than_means_and_floors_less(scene):
    attending = study.attending(scene)
    found = {system: study.told_by_supervised(scene, system, attending)["explained"] for system in study.SYSTEMS}
    assert found["supervised_mse"] >= found["supervised_mean"] - 0.02
    # Names joined with the order can say all that names and order apart can.
    assert found["supervised_joint"] >= found["supervised_mse"] - 0.02
    # A name that has one code in both roles can say no more than one that has two.
    assert found["supervised_names"] <= found["supervised_mse"] + 0.02
    random = study.told_by_features(scene, random_features(scene.seen, 16, 2, 0))["all"]
    features = components(scene.seen, 8)
    whole = study.told_by_features(scene, features)["all"]
    assert random["explained"] < whole["explained"] == pytest.approx(1.0, abs=1e-4) and random["l0"] <= 2
    edited = study.edits_by_features(scene, features, [1, 8])
    assert edited["indirect-8-agnostic"]["edit_accuracy"] == 1
    assert set(edited) == {f"indirect-{size}-{way}" for size in (1, 8) for way in ("agnostic", "aware")}


@pytest.mark.parametrize("system", study.SYSTEMS)
def test_an_edit_exchanges_the_codes_of_what_changes(scene, system):
    """Nodes that are exactly the codes are, once edited, those of the counterfactual."""
    generator = torch.Generator().manual_seed(0)
    codes = {name: torch.randn(count, 4, 8, generator=generator) for name, count in scene.test.sizes.items()}
    if system == "supervised_names":
        codes["subject"] = codes["indirect"]
    made = lambda who: sum(codes[name][values] for name, values in who.items())  # noqa: E731
    told = {name: {**scene.test.attributes, name: scene.test.new[name]} for name in ("indirect", "subject", "order")}
    planted = scene._replace(seen=made(scene.fit.attributes), held=made(scene.test.attributes),
                             changed={name: made(who) for name, who in told.items()})  # fmt: skip
    asked = {}
    planted = planted._replace(expected=dict.fromkeys(told, scene.clean))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "accuracy", lambda _, name, values: asked.setdefault(name, values).sum().item())
        found = study.edits_by_supervised(planted, system)
    assert set(found) == {"indirect-1", "subject-1", "order-1"}
    if system != "supervised_mean":
        for name, values in planted.changed.items():
            torch.testing.assert_close(asked[name], values, atol=1e-4, rtol=0)
        total = sum(found[f"{name}-1"]["weight"] for name in told)
        # The order is in both joined codes, which are then exchanged by themselves.
        assert system == "supervised_joint" or total == pytest.approx(1.0, abs=1e-5)


def test_what_features_tell_is_chosen_on_fit_prompts_and_judged_on_others(scene):
    """Features that tell every receiver on the fit prompts, and on the others its neighbour."""
    fit, test = (torch.nn.functional.one_hot(t.attributes["indirect"], 40).float() for t in (scene.fit, scene.test))
    axes = Features(lambda x: x, torch.eye(40), torch.zeros(40))
    values = {}
    for name, held in (("same", test), ("moved", test.roll(1, 1))):
        part = scene._replace(seen=fit[:, None], held=held[:, None], nodes=scene.nodes[:1])
        judged = [study.told(axes.encode(part.held[:, 0]), scene.test)["indirect"]]
        chosen = [study.told(axes.encode(fit), scene.fit)["indirect"]]
        values[name] = study.values_told(chosen, judged, scene.test.attributes["indirect"])
        rows = study.feature_rows(part, [axes])
        own = {(r["feature"], r["value"]) for r in rows if r["attribute"] == "indirect"}
        at = scene.test.attributes["indirect"].unique().tolist()
        assert own == {((value + (name == "moved")) % 40, value) for value in at}
        best = interpret(part.held[:, 0] != 0, scene.test.attributes["subject"], 40).f1
        for row in rows:
            p, r = row["precision"], row["recall"]
            assert row["f1"] == pytest.approx(2 * p * r / (p + r)) and 0 < p <= 1 and 0 < r <= 1
            assert row["attribute"] != "subject" or row["f1"] == best[row["feature"], row["value"]]
    assert values == {"same": 1.0, "moved": 0.0}


def test_clear_features_are_counted_by_level_and_missed_where_they_are_taken_away(scene):
    n, nodes, d = scene.held.shape
    found = study.told_by_features(scene, components(scene.seen, d))
    counts = [found[f"f1-{level:g}"]["clear_features"] for level in study.LEVELS]
    assert counts == sorted(counts, reverse=True) and counts[-1] >= 0 and counts[0] <= d
    # With every feature clear, nothing is left but means; with none, nothing is missed.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "GOOD", -1.0)
        every = study.told_by_features(scene, components(scene.seen, d))["all"]
        patch.setattr(study, "GOOD", 2.0)
        none = study.told_by_features(scene, components(scene.seen, d))["all"]
    assert every["recovered_clear"] == pytest.approx(1.0, abs=1e-3)
    assert every["necessity_clear"] == pytest.approx(1.0, abs=1e-3)
    assert none["recovered_clear"] == pytest.approx(0.0, abs=1e-3)
    assert none["necessity_clear"] == pytest.approx(0.0, abs=1e-3)
