"""Detectors are shown attacks beside benign prompts, defences attacked afresh beside the undefended model."""

from types import SimpleNamespace

import pytest
import torch

from tests.evaluate.refusal import CONFIG, SETTINGS
from winnow.evaluate import rerouting_attacks
from winnow.evaluate import rerouting_defence_study as defences
from winnow.randomness import torch_generator
from winnow.train.refusal_model import abilities, answers
from winnow.workloads.refusal_prompts import OK, REFUSE, SPECIAL


def test_defences_are_measured_on_fresh_attacks_beside_the_undefended_model(scene, asked):
    _, _, suffixes = rerouting_attacks.compared(scene, scene.attacked, SETTINGS, CONFIG, seed=0)
    before = [parameter.clone() for parameter in scene.model.parameters()]
    told = defences.defended(scene, asked, "probe_first", suffixes, SETTINGS, CONFIG, seed=0)
    assert set(told) == {"undefended", "hardening", "penalty", "longer"}
    for row in told.values():
        assert row["beyond_half"] == pytest.approx(row["success"] - told["undefended"]["success"] / 2)
        assert 0 <= row["benign"] <= 1
    assert all(torch.equal(a, b) for a, b in zip(before, scene.model.parameters(), strict=True))
    replayed = (answers(scene.model, scene.attacked, suffixes) == OK).double().mean()
    assert told["undefended"]["replayed"] == pytest.approx(float(replayed))


@pytest.mark.parametrize("wins", [True, False])
def test_detectors_are_shown_attacks_that_succeed_or_all_where_none_does(wins, scene, asked, monkeypatch):
    suffixes = torch.full((6, 2), 9)
    won = torch.tensor([wins, False, False, wins, False, False])
    monkeypatch.setattr(defences, "succeeded", lambda model, attacked, suffixes: won)
    found, rows, _ = defences.detection(scene, asked, suffixes, frozenset({0}), seed=0)
    assert set(found) == {"monitor", "disagreement", "surprise", "distance"}
    assert sum(row["attack"] for row in rows) == 4 * (2 if wins else 6)
    for values in found.values():
        noticed = round(values["detected"] * 2)
        assert values["unnoticed"] == pytest.approx((2 - noticed) / 6 if wins else 0)


def test_what_evades_the_monitor_is_part_of_what_succeeds(scene, asked):
    _, _, detectors = defences.detection(scene, asked, torch.full((6, 2), 9), frozenset({0}), seed=0)
    others = defences.held_out(scene.model, asked)
    maker = rerouting_attacks.makers(scene, 0.5)["probe_first"]
    told = defences.adaptive(scene, maker, detectors, others, 2, CONFIG, seed=0)
    assert 0 <= told["unnoticed"] <= told["success"] <= 1


def test_thresholds_are_set_on_unmarked_questions_of_the_valid_split_that_are_accepted(scene, asked):
    found = defences.held_out(scene.model, asked)
    said = answers(scene.model, asked["valid"])
    expected = [
        row.tolist()
        for row, word, marked in zip(asked["valid"].rows, said.tolist(), asked["valid"].marked.tolist(), strict=True)
        if word == OK and not marked
    ]
    assert [row.tolist() for row in found.rows] == expected and len(expected) > 10
    fooled = SimpleNamespace(where=lambda kept: kept, marked=torch.tensor([True, False, False]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rerouting_attacks, "answers", lambda model, asked: torch.tensor([OK, OK, REFUSE]))
        assert defences.held_out(None, {"valid": fooled}).tolist() == [False, True, False]


def test_detectors_are_judged_on_attacks_beside_benign_prompts_with_drawn_suffixes(scene, asked, monkeypatch):
    fitted, seen = [], []
    monkeypatch.setattr(
        defences.defence, "fit_detectors", lambda model, *arguments: fitted.append(arguments) or "fitted"
    )

    def suspicion(model, detectors, prompts, suffixes):
        assert model is scene.model and detectors == "fitted"
        seen.append((prompts, suffixes))
        return {"a": torch.arange(len(prompts)) + 100.0 * len(seen), "b": -torch.ones(len(prompts))}

    monkeypatch.setattr(defences.defence, "suspicion", suspicion)
    monkeypatch.setattr(
        defences.defence, "judged", lambda *scores: {"told": [part.tolist() for part in scores], "detected": 0.25}
    )
    won = torch.tensor([True, False, True, False, False, False])
    monkeypatch.setattr(defences, "succeeded", lambda *arguments: won)
    suffixes = torch.arange(18).view(6, 3)
    found, rows, detectors = defences.detection(scene, asked, suffixes, frozenset({1}), seed=3)
    assert detectors == "fitted"
    refused, accepted, subspaces, targeted, slots, generator = fitted[0]
    assert refused is scene.refused and accepted is scene.accepted and subspaces is scene.subspaces
    assert (targeted, slots) == (frozenset({1}), 3) and isinstance(generator, torch.Generator)
    (attacks, own), (benign, first), (others, second) = seen
    assert attacks.rows == [scene.attacked.rows[0], scene.attacked.rows[2]] and torch.equal(own, suffixes[won])
    assert benign is scene.benign and first.shape == (len(scene.benign), 3)
    assert [row.tolist() for row in others.rows] == [r.tolist() for r in defences.held_out(scene.model, asked).rows]
    assert second.shape == (len(others), 3) and not torch.equal(first[:5], second[:5])
    assert min(int(part.min()) for part in (first, second)) >= len(SPECIAL)
    scores = [(100.0 * (i + 1) + torch.arange(len(p))).tolist() for i, (p, _) in enumerate(seen)]
    assert found["a"]["told"] == scores and found["a"]["unnoticed"] == pytest.approx(2 / 6 * 0.75)
    told = [(row["attack"], row["score"]) for row in rows if row["detector"] == "a"]
    assert told == [(True, score) for score in scores[0]] + [(False, score) for score in scores[1]]
    assert {row["score"] for row in rows if row["detector"] == "b"} == {-1.0}


def test_an_adaptive_search_moves_the_monitor_with_its_own_aim_and_is_noticed_above_one_in_a_hundred(
    scene, asked, monkeypatch
):
    held = []

    def attack_all(scene, prompts, maker, slots, config, seed, name):
        assert prompts is scene.attacked and (slots, config, seed, name) == (2, CONFIG, 4, "adaptive")
        held.append(maker(torch.tensor([1, 2, 3]), [1, 2]))
        return torch.full((6, 2), 9), []

    won = torch.tensor([True, True, True, False, False, False])
    other = list(range(200))
    scores = iter([torch.arange(200.0), torch.tensor([197.0, 198.0, 199.0, 0.0, 0.0, 500.0])])
    drawn = []

    def suspicion(model, detectors, prompts, suffixes):
        drawn.append((prompts, suffixes))
        return {"monitor": next(scores)}

    monkeypatch.setattr(defences, "attack_all", attack_all)
    monkeypatch.setattr(defences, "succeeded", lambda *arguments: won)
    monkeypatch.setattr(defences.defence, "suspicion", suspicion)
    detectors = SimpleNamespace(monitored=lambda: {1: "probe"})
    told = defences.adaptive(scene, lambda prompt, places: (prompt.tolist(), places), detectors, other, 2, CONFIG, 4)
    # Of 200 benign scores 0 to 199 two are above 197.01, whose next is 198: 197 and 198 are not above it, 199 is.
    assert told == {"success": 0.5, "unnoticed": pytest.approx(2 / 6)}
    (first, own), (second, monitor) = held[0].parts
    assert (first, second) == (1.0, 1.0) and own == ([1, 2, 3], [1, 2]) and monitor.probes == {1: "probe"}
    assert drawn[0][0] is other and drawn[0][1].shape == (200, 2)
    assert drawn[1][0] is scene.attacked and drawn[1][1].tolist() == [[9, 9]] * 6


def test_benign_questions_are_the_unmarked_ones_with_drawn_suffixes(scene, asked):
    share = defences.benign_accepted(scene.model, asked["test"], 3, 5)
    generator = torch_generator(5, "rerouting", "benign")
    benign = asked["test"].where(~asked["test"].marked)
    drawn = torch.randint(len(SPECIAL), 30, (len(benign), 3), generator=generator)
    assert share == float((answers(scene.model, benign, drawn) == OK).double().mean())


def test_each_defence_trains_its_own_copy_as_long_as_the_others(scene, asked, monkeypatch):
    """Three rounds of two steps, or six steps at once; attacks of a round are on training questions it then refuses."""
    calls, attacks = [], []

    def record(name):
        def train(model, *arguments, **options):
            assert all(parameter.requires_grad for parameter in model.parameters())
            calls.append((name, model, arguments, options))
            with torch.no_grad():
                model.unembed.weight.mul_(1.0)

        return train

    for name in ("harden", "keep_apart", "train_longer"):
        monkeypatch.setattr(defences.defence, name, record(name))

    def attack_all(now, prompts, maker, slots, config, seed, label):
        attacks.append((now, prompts, label))
        assert (slots, config, seed) == (2, CONFIG, 0)
        return torch.full((len(prompts), 2), 7 + len(attacks)), []

    def succeeded(model, prompts, suffixes):
        return (torch.arange(len(prompts)) + suffixes[:, 0]) % 3 == 0

    monkeypatch.setattr(defences, "attack_all", attack_all)
    monkeypatch.setattr(defences, "succeeded", succeeded)
    settings = SimpleNamespace(**vars(SETTINGS) | {"rounds": 3, "few": 4, "draws": 5, "penalty": 0.25})
    suffixes = torch.full((6, 2), 9)
    told = defences.defended(scene, asked, "probe_first", suffixes, settings, CONFIG, seed=0)
    assert [label for *_, label in attacks] == [
        "round 0", "round 1", "round 2", "undefended", "hardening", "penalty", "longer",
    ]  # fmt: skip
    assert [name for name, *_ in calls] == ["harden"] * 3 + ["keep_apart", "train_longer"]
    models = {id(model) for _, model, *_ in calls}
    assert len(models) == 3 and id(scene.model) not in models
    for turn, (_, model, (train, prompts, found), options) in enumerate(calls[:3]):
        now, attacked, _ = attacks[turn]
        assert now.model is model and train is asked["train"] and prompts is attacked
        assert [row.tolist() for row in attacked.rows] == [row.tolist() for row in now.refused.rows[:4]]
        assert found.tolist() == [[8 + turn] * 2] * 4
        told_options = {name: options[name] for name in ("steps", "batch_size", "learning_rate", "seed")}
        assert told_options == {"steps": 2, "batch_size": 8, "learning_rate": 1e-3, "seed": 0}
    (_, _, (train, probes), options), (_, _, longer, plain) = calls[3:]
    assert train is asked["train"] and probes == dict(enumerate(scene.subspaces.probes)) and longer == (asked["train"],)
    assert (options["slots"], options["draws"], options["weight"], options["steps"]) == (2, 5, 0.25, 6)
    assert options["generator"] is calls[0][3]["generator"] and "generator" not in plain
    assert plain == {"steps": 6, "batch_size": 8, "learning_rate": 1e-3, "seed": 0}
    benign = asked["test"].where(~asked["test"].marked)
    drawn = torch.randint(len(SPECIAL), 30, (len(benign), 2), generator=torch_generator(0, "rerouting", "benign"))
    for way, (now, prompts, _) in zip(told, attacks[3:], strict=True):
        assert prompts is now.attacked and len(prompts) == 4
        row, found = told[way], torch.full((4, 2), 11 + [*told].index(way))
        for name, asked_of, given in (
            ("success", prompts, found),
            ("replayed", scene.attacked, suffixes),
            ("benign", benign, drawn),
        ):
            assert row[name] == float(succeeded(now.model, asked_of, given).double().mean())
        assert {name: row[name] for name in ("refused", "accepted")} == abilities(now.model, asked["test"])
        assert row["beyond_half"] == row["success"] - told["undefended"]["success"] / 2
    assert [told[way]["success"] for way in told] == [0.25, 0.5, 0.25, 0.25] and told["longer"]["replayed"] == 1 / 3
    assert list(told) == ["undefended", "hardening", "penalty", "longer"] and attacks[3][0].model is scene.model
