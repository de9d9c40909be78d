"""A small model whose heads are exchanged: what stands in for them, edits that can fail, and what features tell."""

import pytest
import torch

from winnow.errors import InputError
from winnow.evaluate import supervised_study as study
from winnow.evaluate.supervised_dictionaries import Features, interpret, logits_with
from winnow.evaluate.supervised_task import task_of
from winnow.evaluate.task_dictionaries import components, random_features
from winnow.models import build
from winnow.workloads.names_language import vocabulary


@pytest.fixture(scope="module")
def scene():
    model = build("hooked_transformer", vocabulary=len(vocabulary()), context=32, width=16, layers=2, heads=2)
    with torch.no_grad():  # a new model hardly moves its logits
        for block in model.blocks:
            block.attn.output.weight.mul_(8)
    return study.scene_of(model, task_of("train", 2000, 0), task_of("test", 60, 0), 0.0)


def test_own_values_recover_all_means_nothing_and_a_cut_answers_the_counterfactual(scene):
    assert study.recovered(scene, scene.held) == pytest.approx(1.0, abs=1e-5)
    assert study.recovered(scene, scene.seen.mean(0).expand_as(scene.held)) == pytest.approx(0.0, abs=1e-5)
    assert study.explained(scene, scene.held) == 1.0
    assert study.explained(scene, scene.held.mean(0).expand_as(scene.held)) == pytest.approx(0.0, abs=1e-5)
    # All heads at the last position are a cut: only they see other positions.
    assert study.moved(scene, "indirect").any()
    assert study.accuracy(scene, "indirect", scene.changed["indirect"]) == 1.0


def test_edits_of_nothing_fail_and_of_everything_succeed_in_outputs_and_in_queries(scene):
    queries = study.queries_of(scene)
    assert {node.kind for node in queries.nodes} == {"q"} and {node.layer for node in queries.nodes} == {1}
    for part, names in ((scene, ["indirect"]), (queries, ["subject", "order"])):
        limits = study.edit_limits(part)
        for name in names:
            share = float((part.expected[name] != part.clean).double().mean())
            assert limits["ceiling"][f"{name}-1"]["moved"] == share
            assert limits["ceiling"][f"{name}-1"]["edit_accuracy"] == (1.0 if share else 0.0)
            assert limits["unedited"][f"{name}-1"]["edit_accuracy"] == 0.0
        assert list(limits["ceiling"]) == [f"{name}-1" for name in names]
    # Expected of queries is the answer with the counterfactual's queries and all else as it was.
    tokens = scene.test.prompts.tokens
    values = study.read(scene.model, scene.test.counterfactual["order"], queries.nodes)
    answer = logits_with(scene.model, tokens, queries.nodes, values)[:, -1].argmax(-1)
    assert torch.equal(queries.expected["order"], answer)
    # By hand: half of the answers that are to move do.
    clean = torch.zeros(60, dtype=torch.long)
    answers = scene.model(tokens)[:, -1].argmax(-1)
    wrong = (answers + 1) % len(vocabulary())
    half = torch.where(torch.arange(60) < 30, answers, torch.where(torch.arange(60) < 45, wrong, clean - 1))
    planted = scene._replace(clean=torch.where(torch.arange(60) < 45, clean - 2, clean - 1), expected={"order": half})
    assert study.accuracy(planted, "order", scene.held) == pytest.approx(30 / 45)
    assert study.accuracy(planted._replace(clean=half), "order", scene.held) == 0.0


def test_least_squares_explain_more_than_means_and_floors_less(scene):
    found = {system: study.told_by_supervised(scene, system)["explained"] for system in study.SYSTEMS}
    assert found["supervised_mse"] >= found["supervised_mean"] - 0.02
    # Names joined with the order can say all that names and order apart can.
    assert found["supervised_joint"] >= found["supervised_mse"] - 0.02
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
    codes = {name: torch.randn(count, 4, 8, generator=generator) for name, count in study.VALUES.items()}
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


def test_nodes_that_are_no_cut_are_refused(scene):
    task = task_of("test", 20, 1)
    with pytest.raises(InputError, match="another indirect is told, .* get it, not 1.01; they are no cut of the task"):
        study.scene_of(scene.model, task_of("train", 400, 1), task, 1.01)
