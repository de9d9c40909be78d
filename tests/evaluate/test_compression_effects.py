"""Effects of compression: closed forms on linear models, and each measure beside a direct call of its own function."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch import nn

from winnow.attribution.gradients import integrated_gradients
from winnow.attribution.perturbation import every_mask, random_masks
from winnow.attribution.saliency_metrics import METRICS
from winnow.errors import InputError
from winnow.evaluate.compression_effects import (
    Examined,
    Retrained,
    blocks,
    effects,
    examined,
    prototype_effects,
    surrogate_fit,
)
from winnow.evaluate.diffroar import differences, diffroar, predicted
from winnow.models import build
from winnow.randomness import torch_generator
from winnow.workloads.annotations import PARTS_SEEN

SETTINGS = SimpleNamespace(points=6, steps=4, curve_steps=5, fraction=0.25, blocks=3, samples=40)
RETRAINED = Retrained(classes=2, hidden=[8], epochs=12, learning_rate=0.05, batch_size=16)


def linear(weight):
    model = nn.Sequential(nn.Flatten(), nn.Linear(weight.shape[1], len(weight)))
    with torch.no_grad():
        model[1].weight.copy_(weight)
    return model.eval()


def planted(n=160):
    """Images of 6 x 6 whose first block of 2 x 2 pixels alone tells the class, and the linear model that knows."""
    x = torch.randn(n, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    weight = torch.zeros(2, 6, 6)
    # Both logits depend on it: a class without attributions would be told by the order of its ties.
    weight[0, :2, :2], weight[1, :2, :2] = -3.0, 3.0
    model = linear(weight.flatten(1))
    return Examined(model, (x[:100], predicted(model, x[:100])), (x[100:], predicted(model, x[100:])))


def test_each_measure_is_that_of_its_own_function():
    of = planted()
    found = effects(of, RETRAINED, SETTINGS, seed=3)
    x, _ = of.test
    target = predicted(of.model, x)
    maps = integrated_gradients(of.model, x, target, 0.0, 4).sum(1)
    for name, key in {"deletion": "DEL", "insertion": "INS"}.items():
        assert found[name] == float(METRICS[key](of.model, x, target, maps, steps=5, fill=0.0, seed=3).mean())
    table = diffroar(
        {3: of.model},
        RETRAINED.fit,
        lambda m, images, y: integrated_gradients(m, images, y, 0.0, 4),
        of.train,
        of.test,
        [0.25],
        [1003],
        fill=0.0,
    )
    assert found["diffroar"] == pytest.approx(differences(table)["diffroar"][0].as_py(), abs=1e-12)


def test_an_explanation_that_finds_what_counts_beats_a_random_order_in_every_measure():
    found = effects(planted(), RETRAINED, SETTINGS, seed=0)
    assert found["deletion"] < found["random_deletion"]
    assert found["insertion"] > found["random_insertion"]
    assert found["diffroar"] > 0.2  # the first quarter holds all that tells the class, the last nothing


def test_a_linear_model_is_its_own_surrogate():
    of = planted()
    x, _ = of.test
    found = surrogate_fit(of.model, x[:5], predicted(of.model, x[:5]), blocks(6, 6, 3), samples=40, seed=0)
    assert found == pytest.approx(1, abs=1e-9)  # float32 logits


def test_the_surrogate_of_a_product_of_two_features_explains_what_least_squares_on_all_masks_leaves():
    """f = z0 z1 at x = (1, 1): with many draws the fit goes to that on all four masks under LIME's kernel."""

    def product(x):
        flat = x.flatten(1)
        return torch.stack([flat[:, 0] * flat[:, 1], torch.zeros(len(flat))], dim=1)

    x, target = torch.ones(1, 1, 1, 2), torch.zeros(1, dtype=torch.int64)
    found = surrogate_fit(product, x, target, blocks(1, 2, 7), samples=40_000, seed=0)
    masks = every_mask(2).numpy()
    weight = np.exp(-((1 - masks) ** 2).sum(1) / (0.75**2 * 2))
    truth = masks.prod(axis=1)
    expected = LinearRegression().fit(masks, truth, weight).score(masks, truth, weight)
    assert found == pytest.approx(expected, abs=0.02)  # four standard errors of 40,000 draws


def bent(classes=2):
    """A model of images of 4 x 6 that no linear one equals."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(24, 9), nn.Tanh(), nn.Linear(9, classes)).eval()


def test_surrogates_are_scikit_learns_regressions_judged_on_new_masks_together():
    model, x = bent(), 2 * torch.randn(3, 1, 4, 6, generator=torch.Generator().manual_seed(1))
    target, regions = torch.tensor([1, 0, 1]), blocks(4, 6, 2)
    masks = random_masks((3, 60, 4), torch_generator(5, "surrogate masks"))
    wrong, spread = 0.0, 0.0
    for i in range(3):
        shown = x[i] * masks[i].float()[:, regions][:, None]
        with torch.no_grad():
            truth = model(shown)[:, target[i]].numpy()
        z = masks[i].numpy()
        weight = np.exp(-(1 - z).sum(1) / (0.75**2 * 4))
        fitted = LinearRegression().fit(z[:30], truth[:30], weight[:30])
        wrong += weight[30:] @ (truth[30:] - fitted.predict(z[30:])) ** 2
        spread += weight[30:] @ (truth[30:] - np.average(truth[30:], weights=weight[30:])) ** 2
    assert surrogate_fit(model, x, target, regions, samples=30, seed=5) == pytest.approx(1 - wrong / spread, abs=1e-5)


def test_effects_explain_the_first_examples_by_a_surrogate_of_the_predicted_class():
    model = bent()
    x = torch.randn(30, 1, 4, 6, generator=torch.Generator().manual_seed(2))
    of = Examined(model, (x[:20], predicted(model, x[:20])), (x[20:], predicted(model, x[20:])))
    found, target = effects(of, RETRAINED, SETTINGS, seed=3), predicted(model, x[20:26])
    assert found["surrogate"] == surrogate_fit(model, x[20:26], target, blocks(4, 6, 3), 40, 3)
    chance = torch.rand(10, 4, 6, generator=torch_generator(3, "random order"))
    for name, key in {"random_deletion": "DEL", "random_insertion": "INS"}.items():
        told = METRICS[key](model, x[20:], predicted(model, x[20:]), chance, steps=5, fill=0.0, seed=3).mean()
        assert found[name] == float(told)


def test_what_is_trained_anew_is_a_perceptron_by_steps_with_nine_tenths_of_momentum():
    x = torch.randn(12, 1, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(12) % 3
    found = Retrained(classes=3, hidden=[5, 4], epochs=3, learning_rate=0.2, batch_size=12).fit(x, y, seed=7)
    by_hand = build("table_mlp", seed=7, levels=[0] * 6, outputs=3, hidden=[5, 4])
    rows = x.flatten(1).float()
    by_hand.fit_scaler(rows, y)
    parameters, speeds = list(by_hand.parameters()), [0.0] * 6
    for _ in range(3):
        loss = nn.functional.cross_entropy(by_hand(rows), y)
        speeds = [0.9 * v + g for v, g in zip(speeds, torch.autograd.grad(loss, parameters), strict=True)]
        with torch.no_grad():
            for parameter, speed in zip(parameters, speeds, strict=True):
                parameter -= 0.2 * speed
    assert found(x).dtype == torch.float64
    torch.testing.assert_close(found(x).float(), by_hand(rows), atol=1e-4, rtol=1e-4)


def test_a_flat_model_has_no_surrogate_and_too_few_masks_are_refused():
    flat = linear(torch.zeros(2, 36))
    x, target = torch.randn(3, 1, 6, 6), torch.zeros(3, dtype=torch.int64)
    assert surrogate_fit(flat, x, target, blocks(6, 6, 3), samples=40, seed=0) is None
    with pytest.raises(InputError, match="samples is 9 for 9 regions"):
        surrogate_fit(flat, x, target, blocks(6, 6, 3), samples=9, seed=0)


@pytest.mark.parametrize(("height", "width", "side"), [(28, 28, 7), (9, 8, 3), (8, 20, 7), (3, 5, 7)])
def test_blocks_are_numbered_without_gaps_and_differ_by_one_pixel_a_side_at_most(height, width, side):
    found = blocks(height, width, side).numpy()
    assert np.unique(found).tolist() == list(range(min(side, height) * min(side, width)))
    sides = [[len(set(axis)) for axis in np.nonzero(found == number)] for number in np.unique(found)]
    assert np.ptp(sides, axis=0).max() <= 1


def test_a_row_is_cut_into_its_features():
    assert blocks(1, 5, 7).tolist() == [[0, 1, 2, 3, 4]]


class Rows:
    name, kind, task = "rows", "table", "classification"

    def __init__(self):
        self.x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1)) * 5 + 2

    def arrays(self, split):
        return self.x, (self.x[:, 0] > 2).long()


def test_a_table_is_examined_on_standardised_rows_with_the_models_own_outputs():
    workload = Rows()
    model = build("table_mlp", levels=[0, 0, 0], outputs=2)
    model.fit_scaler(*workload.arrays("train"))
    of = examined(model, workload, 12)
    x, y = of.test
    assert x.shape == (12, 1, 1, 3) and len(y) == 12
    expected = (workload.x - workload.x.mean(0)) / workload.x.std(0, correction=0)
    assert torch.allclose(x[:, 0, 0].float(), expected[:12], atol=1e-5)
    assert torch.allclose(of.model(x).float(), model(workload.x[:12]), atol=1e-5)


def test_a_regression_is_refused():
    workload = Rows()
    workload.task = "regression"
    with pytest.raises(InputError, match="rows: predicts a number"):
        examined(nn.Identity(), workload, 5)


class Brightest(nn.Module):
    """Two prototypes, one a class, each where its channel is brightest."""

    def maps(self, x):
        return nn.functional.max_pool2d(x, 4)

    def class_of(self):
        return torch.tensor([0, 1])


def test_prototypes_that_see_a_part_are_consistent_and_stable_and_other_models_have_none():
    rng = np.random.default_rng(0)
    xy = rng.integers(2, 30, (20, 2, 2))
    x = torch.zeros(20, 2, 32, 32)
    for i, part in np.ndindex(20, 2):
        x[i, part, xy[i, part, 1], xy[i, part, 0]] = 10.0

    def workload(places):
        seen = [
            [
                {"part": name, "x": float(a), "y": float(b), "visible": True}
                for name, (a, b) in zip("ab", row, strict=True)
            ]
            for row in places
        ]
        table = pa.table({"parts": pa.array(seen, PARTS_SEEN)})
        return SimpleNamespace(arrays=lambda split: (x, torch.arange(20) % 2), annotations=lambda split: table)

    found = prototype_effects(Brightest(), workload(xy), half=0.1, threshold=0.8, seed=0)
    # Noise of .2 cannot outshine a pixel of 10.
    assert found == {"consistency": 100, "stability_hits": 100}
    elsewhere = prototype_effects(Brightest(), workload(xy[::-1].copy()), half=0.1, threshold=0.8, seed=0)
    assert elsewhere["consistency"] == 0 and elsewhere["stability_hits"] <= 100
    assert prototype_effects(linear(torch.ones(2, 4)), workload(xy), 0.1, 0.8, 0) == {}


def test_the_window_of_a_part_is_a_share_of_the_longer_side():
    """The part lies two pixels beside the peak of an image of 8 x 20: within .1 of 20, not of 8."""
    x = torch.zeros(2, 2, 8, 20)
    x[0, 0, 4, 8], x[1, 1, 4, 8] = 10.0, 10.0

    class Pixels(Brightest):
        def maps(self, x):
            return x

    seen = [[{"part": "a", "x": 10.0, "y": 4.0, "visible": True}]] * 2
    table = pa.table({"parts": pa.array(seen, PARTS_SEEN)})
    workload = SimpleNamespace(arrays=lambda split: (x, torch.arange(2)), annotations=lambda split: table)
    assert prototype_effects(Pixels(), workload, half=0.1, threshold=0.8, seed=0)["consistency"] == 100
    assert prototype_effects(Pixels(), workload, half=0.07, threshold=0.8, seed=0)["consistency"] == 0
