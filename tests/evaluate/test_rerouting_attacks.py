"""Attacks on a small model that learned an easy rule: whom they are shown, what counts as success, and their rows."""

import pytest
import torch

from tests.evaluate.refusal import CONFIG, SETTINGS, random_model
from winnow.errors import InputError
from winnow.evaluate import rerouting_attacks as attacks
from winnow.train.refusal_model import answers
from winnow.workloads.refusal_prompts import OK, REFUSE, SPECIAL


def test_only_prompts_that_are_refused_or_accepted_rightly_are_in_a_scene(scene):
    model = scene.model
    assert (answers(model, scene.attacked) == REFUSE).all() and scene.attacked.marked.all()
    assert (answers(model, scene.refused) == REFUSE).all() and scene.refused.marked.all()
    assert (answers(model, scene.benign) == OK).all() and not scene.benign.marked.any()
    assert len(scene.attacked) == 6


def test_a_model_that_refuses_nothing_is_told_to_train_more(asked):
    with pytest.raises(InputError, match="train it for more steps"):
        attacks.scene(random_model(seed=3), asked, 6, seed=0)


def test_success_is_a_plain_answer_and_every_arm_has_its_rows(scene, asked):
    best, rows, suffixes = attacks.compared(scene, scene.attacked, SETTINGS, CONFIG, seed=0)
    assert best in attacks.SEARCHES
    told = {(row["objective"], row["slots"]) for row in rows}
    own = {(name, slots) for name in (*attacks.SEARCHES, "gcg", "random", "best") for slots in (2, 3)}
    assert told == own | {(name, 2) for name in attacks.ATTENTION}
    won = [row["success"] for row in rows if row["objective"] == "best" and row["slots"] == 2]
    assert won == (answers(scene.model, scene.attacked, suffixes) == OK).double().tolist()
    assert not set(suffixes.flatten().tolist()) & set(range(len(SPECIAL)))
    again = attacks.compared(scene, scene.attacked, SETTINGS, CONFIG, seed=0)
    assert again[1] == rows and torch.equal(again[2], suffixes)
