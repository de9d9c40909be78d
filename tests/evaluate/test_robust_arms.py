"""Arms of an audit: named by their attacks, made by one recipe, on images in the order of their keys."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from winnow.errors import InputError
from winnow.evaluate.robust_arms import PLAIN, Recipe, accuracy, arms, attacked_accuracy, block_split

SETTINGS = SimpleNamespace(
    eps_l2=[0.5, 2.0],
    eps_linf=[0.1],
    hidden=[16],
    epochs=8,
    batch_size=16,
    learning_rate=0.1,
    attack_steps=4,
    images=40,
)


class Squares:
    """A workload of 9 x 8 grey images: class 1 is bright above, class 0 below."""

    classes = ["below", "above"]

    def pixels(self, split):
        random, labels = np.random.default_rng(len(split)), self.labels(split)
        images = random.integers(0, 60, (60, 9, 8, 1), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[:4] += 150 if label else 0
            image[5:] += 0 if label else 150
        return images

    def labels(self, split):
        return np.arange(60) % 2

    def arrays(self, split):
        return None, torch.from_numpy(self.labels(split))


def test_arms_are_named_by_norm_and_radius_after_the_standard_one():
    assert arms(SETTINGS) == {"standard": PLAIN, "l2_0.5": ("l2", 0.5), "l2_2": ("l2", 2.0), "linf_0.1": ("linf", 0.1)}


def test_a_recipe_takes_the_first_images_as_values_from_0_to_1():
    x, y = Recipe.of(SETTINGS, 2).first_images(Squares(), "train")
    assert x.shape == (40, 1, 9, 8) and x.dtype == torch.float32
    assert np.array_equal((x[:, 0] * 255).round().numpy().astype(np.uint8), Squares().pixels("train")[:40, :, :, 0])
    assert y.tolist() == [0, 1] * 20


def test_one_seed_is_one_model_and_an_attack_costs_it_less_where_it_trained_against_it():
    recipe = Recipe.of(SETTINGS, 2)
    x, y = recipe.first_images(Squares(), "train")
    plain, again, other = recipe.fit(x, y, 0), recipe.fit(x, y, 0), recipe.fit(x, y, 1)
    states = [list(model.state_dict().values()) for model in (plain, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(states[0], states[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(states[0], states[2], strict=True))
    robust = recipe.fit(x, y, 0, ("linf", 0.1))
    assert accuracy(plain, x, y) == accuracy(robust, x, y) == 1.0
    hard = SimpleNamespace(**{**vars(SETTINGS), "eps_linf": [0.35]})
    assert attacked_accuracy(plain, x, y, hard) <= accuracy(plain, x, y)
    assert attacked_accuracy(robust, x, y, hard) >= attacked_accuracy(plain, x, y, hard)
    assert attacked_accuracy(plain, x, y, SimpleNamespace(**{**vars(SETTINGS), "eps_linf": [0.0]})) == 1.0


@pytest.mark.parametrize(("variant", "height"), [("random", 18), ("top", 18), ("three_blocks", 27)])
def test_blocks_hold_the_image_where_they_say(variant, height):
    made = block_split(Recipe.of(SETTINGS, 2), Squares(), "train", variant, [0, 1], seed=0)
    assert made.x.shape == (40, 1, height, 8) and made.inside.shape == (40, height, 8)
    assert made.y.tolist() == [0, 1] * 20
    grey = Squares().pixels("train")[:40, :, :, 0] / 255
    for i in range(40):
        assert np.allclose(made.x[i, 0].numpy()[made.inside[i]].reshape(9, 8), grey[i], atol=1e-6)
    tops = made.inside[:, 0, 0]
    assert tops.all() if variant == "top" else 0 < tops.mean() < 1


def test_a_class_without_an_image_is_named():
    few = Recipe.of(SimpleNamespace(**{**vars(SETTINGS), "images": 1}), 2)
    with pytest.raises(InputError, match="train: class 1 has no image"):
        block_split(few, Squares(), "train", "random", [0, 1], seed=0)
