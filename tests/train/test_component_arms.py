"""Arms by what each was given: the same starts, settings and epochs."""

import pytest
import torch

from winnow.train.component_arms import Plan, accuracy, deep_model, fit_deeply, fit_planted, fit_shallow, shallow_model
from winnow.train.component_reasoning import OriginalReasoning
from winnow.train.deep_components import DeepRecipe
from winnow.train.glvq import Glvq
from winnow.train.rbf_components import fit_components

PLAN = Plan(6, 3, 2, 20, 0.02, [0.05, 0.4], [0.5, 2.0], 0.1, 0.5, 0)


def blobs(n, seed):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    centres = torch.rand(3, 5, generator=torch.Generator().manual_seed(9))
    return (centres[y] + 0.15 * torch.randn(n, 5, generator=generator)).clamp(0, 1), y


def test_every_arm_is_tuned_on_valid_and_gets_as_many_epochs():
    train, valid, told = blobs(60, 0), blobs(30, 1), []
    made = fit_shallow(train, valid, PLAN, lambda done, total: told.append((done, total)))
    assert set(made) == {f"{k}/tuned" for k in ("cbc", "rbf", "original", "glvq")} | {
        f"{k}/{v}" for k in ("cbc", "rbf") for v in ("margin", "robust")
    }
    assert told == [(i, 14) for i in range(1, 15)]
    steps = {name: [s for metric, _, s in history if metric == "loss"] for name, (_, history) in made.items()}
    for name, found in steps.items():
        assert found == list(range(1, (7 if name.endswith("tuned") else 13)))
    tried = []
    for margin in PLAN.margins:
        model = shallow_model("cbc", 6, 3, 5, 0)
        model.start(*train, 0)
        fit_components(model, *train, epochs=2, batch=20, learning_rate=0.02, margin=margin, seed=0)
        tried.append(accuracy(model, *valid))
    assert accuracy(made["cbc/tuned"][0], *valid) == max(tried)
    assert isinstance(made["glvq/tuned"][0], Glvq)
    assert isinstance(made["original/tuned"][0].head, OriginalReasoning)
    assert (made["cbc/tuned"][0].head.negative, made["rbf/tuned"][0].head.negative) == (True, False)
    # Both continue from one model: the histories part only half-way.
    first, second = (made[f"cbc/{loss}"][1] for loss in ("margin", "robust"))
    half = len(first) // 2
    assert first[:half] == second[:half] and first[half:] != second[half:]


@pytest.mark.parametrize("head", ["cbc", "rbf", "pipnet"])
def test_heads_stand_on_one_backbone(head):
    model, other = deep_model(head, 1, 4, 3, seed=5), deep_model("cbc", 1, 4, 3, seed=5)
    for part in ("backbone", "detector"):
        pairs = zip(getattr(model, part).parameters(), getattr(other, part).parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert model.maps(torch.zeros(2, 1, 8, 8)).shape == (2, 4, 4, 4)


def test_every_head_is_trained_and_scored_on_images_not_seen():
    recipe = DeepRecipe(1, 1, 1, batch=8)
    x, y = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 2
    made = fit_deeply((x, y), 3, 2, recipe, seed=0)
    assert list(made) == ["cbc", "rbf", "pipnet"]
    assert all(len(history) == 6 for _, history in made.values())
    found = fit_planted(16, recipe, seed=0)
    assert set(found) == set(made) and all(0 <= value <= 1 for value in found.values())


def test_accuracy_is_the_share_of_right_guesses_over_blocks():
    model = torch.nn.Identity()
    scores = torch.eye(3).repeat(300, 1)
    assert accuracy(model, scores, torch.arange(900) % 3) == 1.0
    assert accuracy(model, scores, torch.zeros(900, dtype=torch.long)) == pytest.approx(1 / 3)
