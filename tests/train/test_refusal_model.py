"""Training beside a plain loop of torch, and what a model says beside a run of each prompt alone."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.evaluate.refusal import random_model, random_questions
from winnow.errors import InputError
from winnow.train.adamw import warmup_cosine
from winnow.train.refusal_model import abilities, answers, gated_refusal_model, train_refusal_model, tune
from winnow.workloads.refusal_prompts import OK, PAD, REFUSE, Questions, balanced_batches

SIZES = {"width": 16, "layers": 1, "heads": 2}


def easy_questions(count):
    """Marked where the word is even: one word decides."""
    words = torch.arange(count) % 12 + 6
    return Questions([torch.tensor([1, int(word)]) for word in words], words % 2 == 0)


def test_training_is_that_of_a_plain_loop():
    asked = random_questions(20)
    # In double precision: Adam brings what is but rounding, as the slope of a bias of keys, to the size of a step.
    model, twin = (random_model().double().requires_grad_(True) for _ in range(2))
    tune(model, balanced_batches(asked, 4, 5, seed=1), 5, 1e-2)
    updater = torch.optim.AdamW(twin.parameters(), lr=1e-2, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(updater, lambda step: warmup_cosine(0.1)(step / 5))
    for x, y in balanced_batches(asked, 4, 5, seed=1):
        logits = twin(x)
        loss = torch.stack(
            [cross_entropy(logits[i, j], y[i, j]) for i in range(len(x)) for j in range(x.shape[1]) if y[i, j] != PAD]
        ).mean()
        updater.zero_grad()
        loss.backward()
        updater.step()
        schedule.step()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_a_penalty_is_part_of_the_loss():
    model = random_model().requires_grad_(True)
    before = model.embed.weight.norm().item()
    batches = balanced_batches(random_questions(8), 4, 10, seed=0)
    tune(model, batches, 10, 1e-2, lambda: 100 * model.embed.weight.square().sum())
    assert model.embed.weight.norm().item() < before


def test_answers_are_those_of_each_prompt_alone():
    model, asked = random_model(), random_questions(9)
    suffixes = torch.randint(6, 30, (9, 2), generator=torch.Generator().manual_seed(0))
    for given in (None, suffixes):
        tokens, places = asked.prompts(given)
        alone = [int(model(row[None, : place + 1])[0, -1].argmax()) for row, place in zip(tokens, places, strict=True)]
        assert answers(model, asked, given).tolist() == alone


def test_a_rule_of_one_word_is_learned_and_told():
    asked = easy_questions(120)
    model = train_refusal_model(asked, 18, 8, steps=80, batch_size=16, learning_rate=1e-2, seed=0, **SIZES)
    assert abilities(model, asked) == {"refused": 1.0, "accepted": 1.0}
    said = answers(model, asked)
    assert ((said == REFUSE) == asked.marked).all() and ((said == OK) == ~asked.marked).all()


def test_a_model_that_misses_its_gates_is_trained_again_and_then_refused():
    settings = SimpleNamespace(
        slots=[2], reverse_slots=2, steps=1, batch_size=8, learning_rate=1e-4, gated=True, **SIZES
    )
    seen = []
    asked = dict.fromkeys(("train", "valid", "test"), easy_questions(40))
    with pytest.raises(InputError, match="after seeds 5 and 6; raise steps"):
        gated_refusal_model(asked, 18, settings, 5, lambda done, total: seen.append(done))
    assert seen == [1, 1]
    settings.gated = False
    _, told = gated_refusal_model(asked, 18, settings, 5, lambda done, total: None)
    assert set(told) == {f"{name}_{split}" for name in ("refused", "accepted") for split in asked}


def test_a_loss_that_is_not_finite_ends_training_in_one_line():
    model = random_model().requires_grad_(True)
    with pytest.raises(InputError, match="at step 1; lower the learning rate"):
        tune(model, balanced_batches(random_questions(8), 4, 1, seed=0), 1, 1e-2, lambda: torch.tensor(torch.inf))
