import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn

from winnow.attribution import gradients
from winnow.errors import InputError
from winnow.evaluate.diffroar import (
    differences,
    diffroar,
    leakage,
    magnitudes,
    means,
    order,
    predicted,
    schemes,
    unmask,
)
from winnow.randomness import torch_generator

X = torch.rand(7, 2, 4, 5, generator=torch_generator(0, "x")) + 0.1
NOISE = torch.randn(7, 2, 4, 5, generator=torch_generator(1, "noise"))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_the_order_is_that_of_magnitudes_summed_over_channels():
    assert torch.equal(magnitudes(NOISE), NOISE[:, 0].abs() + NOISE[:, 1].abs())
    found = order(NOISE, X)
    assert found.dtype == torch.int32
    assert (magnitudes(NOISE).flatten(1).gather(1, found.long()).diff() <= 0).all()


@example(0.025, 0)
@given(st.floats(0.001, 0.999), st.integers(0, 9))
def test_the_top_of_a_share_and_the_bottom_of_the_rest_part_the_pixels(fraction, seed):
    attribution = NOISE.round()  # many ties
    ranks = order(attribution, X, seed)
    top = unmask(X, ranks, fraction, "top", -1.0) != -1
    bottom = unmask(X, ranks, 1 - fraction, "bottom", -1.0) != -1
    assert (top ^ bottom).all()
    assert ((top.flatten(2).sum(2) - 20 * fraction).abs() <= 0.5 + 1e-6).all()
    assert torch.equal(top[:, 0], top[:, 1])
    size = magnitudes(attribution)
    for i in range(7):
        if top[i, 0].any() and bottom[i, 0].any():
            assert size[i][top[i, 0]].min() >= size[i][bottom[i, 0]].max()


def test_all_pixels_are_the_identity_and_the_others_are_filled_channel_by_channel():
    ranks = order(NOISE, X)
    for keep in ("top", "bottom"):
        assert torch.equal(unmask(X, ranks, 1.0, keep, 9.0), X)
    fill = torch.tensor([2.0, 3.0]).view(-1, 1, 1)
    masked = unmask(X, ranks, 0.25, "top", fill)
    kept = torch.zeros(7, 20, dtype=torch.bool).scatter_(1, ranks[:, :5].long(), True).view(7, 1, 4, 5)
    assert torch.equal(masked, torch.where(kept, X, fill.expand(X.shape)))
    assert (unmask(X, ranks, 0.5) == 0).flatten(2).sum(2).eq(10).all()


class Reads(nn.Module):
    """The class is read off one pixel: 1 where it is above a threshold; no training."""

    def __init__(self, at, threshold=0.5):
        super().__init__()
        self.at, self.threshold = at, threshold

    def forward(self, x):
        value = x.flatten(1)[:, self.at] - self.threshold
        return torch.stack([-value, value], 1)


class Table(nn.Module):
    """The most frequent class of equal inputs, the best that any model can learn from few distinct images."""

    def __init__(self, x, y):
        super().__init__()
        self.votes = {}
        for key, label in zip(self.keys(x), y.tolist(), strict=True):
            self.votes.setdefault(key, []).append(label)

    @staticmethod
    def keys(x):
        return [tuple(row) for row in x.flatten(1).tolist()]

    def forward(self, x):
        best = [max(set(v), key=v.count) if (v := self.votes.get(key)) else 0 for key in self.keys(x)]
        return nn.functional.one_hot(torch.tensor(best), 2).float()


def test_where_one_block_alone_is_informative_it_is_its_accuracy_less_chance():
    y = torch.arange(64) % 2
    x = torch.full((64, 1, 2, 2), 0.5)
    x[:, 0, 0, :] = y[:, None].float()  # the upper half tells the class
    block = torch.zeros_like(x)
    block[:, 0, 0] = 1
    fitted = []
    table = diffroar(
        {4: Reads(0)},
        lambda a, b, seed: fitted.append((a, seed)) or Table(a, b),
        lambda model, images, target: block[: len(images)],
        (x, y),
        (x[:32], y[:32]),
        [0.5],
        [10, 11],
        fill=0.25,
    )
    assert table.column_names == ["fraction", "keep", "model_seed", "retrain_seed", "accuracy"]
    assert table["accuracy"].to_pylist() == [1.0, 1.0, 0.5, 0.5]
    assert table["keep"].to_pylist() == ["top", "top", "bottom", "bottom"]
    assert [seed for _, seed in fitted] == [10, 11, 10, 11]
    assert (fitted[0][0][:, 0, 1] == 0.25).all() and torch.equal(fitted[0][0][:, 0, 0], x[:, 0, 0])
    found = differences(table)
    assert found["diffroar"].to_pylist() == pytest.approx([0.5, 0.5], abs=1e-9)
    assert found["model_seed"].to_pylist() == [4, 4] and found["retrain_seed"].to_pylist() == [10, 11]
    assert means(table) == {0.5: {"diffroar": 0.5, "top_accuracy": 1.0, "bottom_accuracy": 0.5}}


def test_masks_follow_the_predicted_class_unless_the_label_is_asked_for_and_fill_is_the_mean_of_train():
    x, y = X[:, :, :, :4], torch.tensor([0, 1, 1, 0, 1, 0, 1])
    test = (x[:3] + 1, 1 - y[:3])
    seen, kept = [], []

    def attribute(model, images, target):
        seen.append(target.tolist())
        return torch.ones_like(images)

    model = Reads(0, 0.6)
    for target in ("predicted", "label"):
        diffroar({0: model}, lambda a, b, s: kept.append(a) or Reads(0), attribute, (x, y), test, [0.5], [0], target)
    assert seen == [predicted(model, x).tolist(), predicted(model, test[0]).tolist(), y.tolist(), test[1].tolist()]
    mean = x.mean((0, 2, 3)).view(-1, 1, 1).expand(x.shape)
    filled = kept[0] != x
    assert filled.any() and torch.equal(kept[0][filled], mean[filled])


def test_random_orders_tell_no_difference():
    generator = torch_generator(3, "linear")
    y = torch.arange(400) % 2
    x = torch.rand(400, 1, 4, 4, generator=generator) + 0.4 * y.view(-1, 1, 1, 1)

    def fit(images, labels, seed):
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        with torch.no_grad():
            means = torch.stack([images[labels == c].mean(0).flatten() for c in (0, 1)])
            model[1].weight.copy_(means)
            model[1].bias.copy_(-means.square().sum(1) / 2)
        return model

    found = []
    for seed in range(12):
        table = diffroar({seed: fit(x, y, 0)}, fit, schemes(seed)["random"], (x, y), (x, y), [0.3], [0])
        found.append(differences(table)["diffroar"][0].as_py())
    assert np.std(found) > 0 and abs(np.mean(found)) < 3 * np.std(found, ddof=1) / 12**0.5


def test_the_schemes_are_the_attributions_they_are_named_after():
    model = nn.Sequential(nn.Flatten(), nn.Linear(40, 3))
    target = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    weight = model[1].weight.detach()[target].view(X.shape)
    found = {name: f(model, X, target) for name, f in schemes(5, steps=3, samples=2).items()}
    for name in ("logit_gradient", "smooth_grad"):
        torch.testing.assert_close(found[name], weight)
    for name in ("gradient_times_input", "integrated_gradients"):
        torch.testing.assert_close(found[name], weight * X)
    p = model(X).softmax(1).detach()
    loss = torch.einsum("nk,kd->nd", p, model[1].weight.detach()) - model[1].weight.detach()[target]
    torch.testing.assert_close(found["loss_gradient"], loss.view(X.shape))
    assert torch.equal(found["random"], schemes(5)["random"](model, X, target))
    assert not torch.equal(found["random"], schemes(6)["random"](model, X, target))
    assert found["random"].flatten().std() == pytest.approx(1, abs=0.15)


def test_paths_have_20_steps_and_smoothgrad_20_copies_unless_told():
    model = nn.Sequential(nn.Flatten(), nn.Linear(40, 6), nn.Tanh(), nn.Linear(6, 3))
    target = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    found = schemes(5)
    expected = gradients.integrated_gradients(model, X, target, 0.0, 20)
    assert torch.equal(found["integrated_gradients"](model, X, target), expected)
    assert torch.equal(found["smooth_grad"](model, X, target), gradients.smooth_grad(model, X, target, 0.15, 20, 5))


def test_the_largest_twentieth_is_looked_at_unless_told():
    attribution = torch.arange(400.0).view(1, 1, 20, 20)
    inside = np.zeros((1, 20, 20), bool)
    inside[:, 19, 5:] = True  # 15 of the 20 largest
    assert leakage(attribution, attribution, inside)["top_share"].to_pylist() == [0.75]


def test_leakage_by_hand():
    attribution, images = torch.zeros(1, 2, 4, 5), torch.zeros(1, 2, 4, 5)
    attribution[0, 0, 0, 0], attribution[0, 1, 0, 0], attribution[0, 0, 3, 1] = 1.0, -2.0, 4.0
    attribution[0, 0, 1, 1] = 1.0
    images[0, 1, 0, 0], images[0, 0, 1, 1] = 0.5, 0.5
    inside = np.zeros((1, 4, 5), bool)
    inside[:, 0] = True
    row = leakage(attribution, images, inside, top=0.1).to_pylist()[0]
    assert row == pytest.approx({"image_id": 0, "energy": 9 / 26, "top_share": 0.5, "ink_energy": 9 / 10})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: order(NOISE[:5], X), "image 5"),
        (lambda: order(NOISE[:, :1], X), "image 0"),
        (lambda: order(torch.where(torch.arange(7).view(-1, 1, 1, 1) == 3, torch.nan, NOISE), X), "map 3"),
        (lambda: unmask(X, order(NOISE, X), 0.0), "fraction is 0"),
        (lambda: unmask(X, order(NOISE, X), 1.1), "fraction is 1.1"),
        (lambda: unmask(X, order(NOISE, X), 0.5, "left"), "'left'"),
        (lambda: diffroar({}, None, None, (X, X), (X, X), [0.1], [0], "true"), "'true'"),
        (
            lambda: differences(
                pa.table(
                    {"fraction": [0.1], "keep": ["top"], "model_seed": [0], "retrain_seed": [0], "accuracy": [1.0]}
                )
            ),
            "lacks the top or the bottom",
        ),
        (
            lambda: means(
                pa.table(
                    {"fraction": [0.1], "keep": ["top"], "model_seed": [0], "retrain_seed": [0], "accuracy": [1.0]}
                )
            ),
            "lacks the top or the bottom",
        ),
    ],
)
def test_what_cannot_be_masked_is_refused_in_one_line(call, words):
    with pytest.raises(InputError, match=words):
        call()
