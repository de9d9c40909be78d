"""Attacks, choices and moved activations beside plain formulas, on a small model that learned an easy rule."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cosine_similarity

from tests.evaluate.refusal import random_model
from winnow.errors import InputError
from winnow.evaluate import rerouting_defence_study as defences
from winnow.evaluate import rerouting_study as study
from winnow.evaluate.subspace_rerouting import SearchConfig
from winnow.train.refusal_model import answers, tune
from winnow.workloads.refusal_prompts import OK, REFUSE, SPECIAL, Questions, balanced_batches

CONFIG = SearchConfig(width=12, topk=8, buffer=3, iterations=3, banned=tuple(range(len(SPECIAL))))
SETTINGS = SimpleNamespace(
    shift=0.5, defended=2, few=5, slots=[2, 3], prompts=6, rounds=1, tuning_steps=2, tuning_rate=1e-3, batch_size=8,
    draws=2, penalty=1.0,
)  # fmt: skip


def easy(count, seed):
    """Marked where the first word is even; the second says nothing."""
    words = torch.randint(6, 30, (count, 2), generator=torch.Generator().manual_seed(seed))
    return Questions([torch.tensor([1, *row]) for row in words.tolist()], words[:, 0] % 2 == 0)


@pytest.fixture(scope="module")
def asked():
    return {split: easy(count, i) for i, (split, count) in enumerate((("train", 200), ("valid", 60), ("test", 60)))}


@pytest.fixture(scope="module")
def scene(asked):
    model = random_model().requires_grad_(True)
    tune(model, balanced_batches(asked["train"], 16, 120, seed=0), 120, 1e-2)
    return study.scene(model, asked, 6, seed=0)


def test_only_prompts_that_are_refused_or_accepted_rightly_are_in_a_scene(scene):
    model = scene.model
    assert (answers(model, scene.attacked) == REFUSE).all() and scene.attacked.marked.all()
    assert (answers(model, scene.refused) == REFUSE).all() and scene.refused.marked.all()
    assert (answers(model, scene.benign) == OK).all() and not scene.benign.marked.any()
    assert len(scene.attacked) == 6


def test_a_model_that_refuses_nothing_is_told_to_train_more(asked):
    with pytest.raises(InputError, match="train it for more steps"):
        study.scene(random_model(seed=3), asked, 6, seed=0)


def test_success_is_a_plain_answer_and_every_arm_has_its_rows(scene, asked):
    best, rows, suffixes = study.compared(scene, scene.attacked, SETTINGS, CONFIG, seed=0)
    assert best in study.SEARCHES
    told = {(row["objective"], row["slots"]) for row in rows}
    own = {(name, slots) for name in (*study.SEARCHES, "gcg", "random", "best") for slots in (2, 3)}
    assert told == own | {(name, 2) for name in study.ATTENTION}
    won = [row["success"] for row in rows if row["objective"] == "best" and row["slots"] == 2]
    assert won == (answers(scene.model, scene.attacked, suffixes) == OK).double().tolist()
    assert not set(suffixes.flatten().tolist()) & set(range(len(SPECIAL)))
    again = study.compared(scene, scene.attacked, SETTINGS, CONFIG, seed=0)
    assert again[1] == rows and torch.equal(again[2], suffixes)
    measured = study.measures(rows, *_moved(scene, suffixes), scene.subspaces.accuracies)
    gcg, first = measured["gcg", "slots2"], measured["probe_first", "slots2"]
    assert first["work_share"] == pytest.approx(first["work"] / gcg["work"])
    assert measured["best", "slots2"] == measured[best, "slots2"]
    assert {"accepted", "plain"} - {name for name, _ in measured} == {"accepted"}


def _moved(scene, suffixes):
    moved, _ = study.moved(scene, suffixes, 1, seed=0)
    return moved, [{"rank": 0.5}]


def test_steering_reaches_the_cosine_along_the_direction_only():
    activations = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    direction = torch.tensor([1.0, 2, 0, 0, 1]) / 6**0.5
    wished = torch.linspace(-0.9, 0.9, 7)
    steered = study.steer_to(activations, direction, wished)
    assert torch.allclose(cosine_similarity(steered, direction, dim=-1), wished, atol=1e-4)
    shift = steered - activations
    assert torch.allclose(shift, (shift @ direction)[:, None] * direction, atol=1e-5)


def test_moved_prompts_have_the_cosines_of_their_streams(scene):
    suffixes = torch.full((6, 2), 9)
    rows, points = study.moved(scene, suffixes, 1, seed=0)
    told = {(row["way"], row["layer"]): row["cosine"] for row in rows if row["prompt"] == 0}
    # Steered at that block to the cosine of the rerouted prompt.
    assert told["steered", 1] == pytest.approx(told["rerouted", 1], abs=1e-4)
    assert told["steered", 0] == pytest.approx(told["plain", 0], abs=1e-5)
    assert {point["way"] for point in points} == {"accepted", "plain", "random", "rerouted", "steered"}


def test_the_reverse_lens_finds_words_of_marked_questions(scene, asked):
    words = [f"w{i}" for i in range(30)]
    config = SearchConfig(width=64, topk=24, iterations=10, banned=tuple(range(len(SPECIAL))))
    rows = study.reverse_lens(scene, words, asked["train"], 2, 4, config, seed=0)
    assert len(rows) == 8
    assert sum(row["rank"] for row in rows) / len(rows) > 0.5
    assert all(row["log_odds"] > 0 for row in rows if int(row["word"][1:]) % 2 == 0)


def test_defences_are_measured_on_fresh_attacks_beside_the_undefended_model(scene, asked):
    _, _, suffixes = study.compared(scene, scene.attacked, SETTINGS, CONFIG, seed=0)
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


def test_what_evades_the_monitor_is_part_of_what_succeeds(scene, asked):
    _, _, detectors = defences.detection(scene, asked, torch.full((6, 2), 9), frozenset({0}), seed=0)
    others = defences.held_out(scene.model, asked)
    maker = study.makers(scene, 0.5)["probe_first"]
    told = defences.adaptive(scene, maker, detectors, others, 2, CONFIG, seed=0)
    assert 0 <= told["unnoticed"] <= told["success"] <= 1
