import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from winnow.attribution import saliency_metrics as sm
from winnow.attribution.saliency_metrics import METRICS
from winnow.errors import InputError
from winnow.models import build
from winnow.randomness import torch_generator

IMAGE = {"in_channels": 2, "height": 8, "width": 10, "classes": 3}
X = torch.rand(6, 2, 8, 10, generator=torch_generator(0, "x"))
MAPS = torch.rand(6, 8, 10, generator=torch_generator(1, "maps"))
TARGET = torch.tensor([0, 2, 1, 2, 0, 1])
CURVES = ["DEL", "INS", "POS", "NEG"]


def net():
    return build("mlp", seed=3, **IMAGE).eval()


class Bright(nn.Module):
    """Two classes; the second one's probability is the mean brightness of the first channel."""

    def forward(self, x):
        share = x[:, 0].mean(dim=(1, 2)).clamp(1e-9, 1 - 1e-9)
        return torch.stack([(1 - share).log(), share.log()], 1)


few = hnp.arrays(np.float32, (3, 2, 4), elements=st.sampled_from([0.0, 0.5, 1.0, -1.0]))


@given(few, st.integers(0, 5))
def test_the_order_sorts_each_map_and_ranks_are_its_inverse(values, seed):
    maps = torch.from_numpy(values)
    order, ranks = sm.pixel_order(maps, seed), sm.pixel_ranks(maps, seed)
    flat = maps.flatten(1)
    assert ranks.shape == maps.shape
    for row in range(3):
        assert sorted(order[row].tolist()) == list(range(8))
        assert (flat[row][order[row]].diff() <= 0).all()
        assert ranks[row].flatten()[order[row]].tolist() == list(range(8))


def test_ties_stand_in_an_order_of_the_seed_and_not_of_the_position():
    flat = torch.zeros(2, 20, 20)
    order = sm.pixel_order(flat, 1)
    assert torch.equal(order, sm.pixel_order(flat, 1)) and torch.equal(order[0], order[1])
    assert not torch.equal(order, sm.pixel_order(flat, 2))
    assert abs(order[0, :200].double().mean() - 199.5) < 35  # standard error 8.2 * 0.7
    one = flat.clone()
    one[0, 3, 4] = 1
    assert sm.pixel_order(one, 1)[0, 0] == 64


def test_curves_have_ten_pieces_a_fill_of_zero_and_ties_of_the_first_seed_unless_told():
    flat = torch.zeros_like(MAPS)
    assert torch.equal(sm.pixel_order(flat), sm.pixel_order(flat, 0))
    assert torch.equal(sm.pixel_ranks(flat), sm.pixel_ranks(flat, 0))
    usual = METRICS["DEL"](net(), X, TARGET, flat)
    assert torch.equal(usual, METRICS["DEL"](net(), X, TARGET, flat, steps=10, fill=0.0, seed=0))
    for other in ({"steps": 9}, {"steps": 11}, {"fill": 1.0}, {"fill": -1.0}, {"seed": 1}, {"seed": -1}):
        assert not torch.allclose(usual, METRICS["DEL"](net(), X, TARGET, flat, **other), rtol=1e-9)


def curve(name, model, x, target, ranks, steps, fill):
    """One image's score, one image at a time."""
    size = ranks.size
    values = []
    for step in range(steps + 1):
        count = round(step * size / steps)
        first = ranks >= size - count if name == "NEG" else ranks < count
        shown = first if name == "INS" else ~first
        image = np.where(shown[None], x.numpy(), fill)
        with torch.no_grad():
            p = model(torch.from_numpy(image.astype(np.float32))[None])[0].double().softmax(0)
        values.append(float(p.argmax() == target) if name in ("POS", "NEG") else float(p[target]))
    return np.trapezoid(values, dx=1 / steps)


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize(("steps", "fill"), [(10, 0.0), (7, 0.4)])
def test_curves_equal_their_definition_image_by_image(name, steps, fill):
    model = net()
    scores = METRICS[name](model, X, TARGET, MAPS, steps=steps, fill=fill)
    ranks = sm.pixel_ranks(MAPS).numpy()
    by_hand = [curve(name, model, x, int(t), r, steps, fill) for x, t, r in zip(X, TARGET, ranks, strict=True)]
    assert scores.dtype == torch.float64
    np.testing.assert_allclose(scores.numpy(), by_hand, atol=1e-6)


def test_on_a_model_of_mean_brightness_curves_are_sums_by_hand():
    x = torch.zeros(1, 1, 2, 2)
    x[0, 0] = torch.tensor([[0.8, 0.4], [0.2, 0.0]])  # mean .35
    target, best = torch.tensor([1]), x[:, 0]
    deletion = METRICS["DEL"](Bright(), x, target, best, steps=4)
    insertion = METRICS["INS"](Bright(), x, target, best, steps=4)
    assert float(deletion) == pytest.approx((0.35 / 2 + 0.15 + 0.05 + 0 + 0 / 2) / 4, abs=1e-6)
    assert float(insertion) == pytest.approx((0 / 2 + 0.2 + 0.3 + 0.35 + 0.35 / 2) / 4, abs=1e-6)
    worst = METRICS["DEL"](Bright(), x, target, -best, steps=4)
    assert float(worst) == pytest.approx((0.35 / 2 + 0.35 + 0.3 + 0.2 + 0) / 4, abs=1e-6)
    # A linear score: what is deleted and what is inserted add up at every step.
    assert float(deletion + insertion) == pytest.approx(0.35, abs=1e-6)
    half = METRICS["ADP"](Bright(), x, target, torch.full((1, 2, 2), 0.5))
    assert float(half) == pytest.approx(0.5, abs=1e-6)
    assert float(METRICS["PIC"](Bright(), x, target, torch.full((1, 2, 2), 0.5))) == 0
    assert float(METRICS["PIC"](Bright(), x, 1 - target, torch.full((1, 2, 2), 0.5))) == 1
    assert float(METRICS["ADP"](Bright(), x, 1 - target, torch.full((1, 2, 2), 0.5))) == 0
    brighter = METRICS["PIC"](Bright(), x, target, torch.zeros(1, 2, 2), fill=1.0)
    assert float(brighter) == 1 and float(METRICS["PIC"](Bright(), x, target, torch.ones(1, 2, 2))) == 0


@pytest.mark.parametrize("name", [*CURVES, "AIC", "SIC"])
def test_only_the_order_of_a_map_counts(name):
    scores = METRICS[name](net(), X, TARGET, MAPS)
    again = METRICS[name](net(), X, TARGET, 3 * MAPS**3 - 7)
    torch.testing.assert_close(scores, again, equal_nan=True, rtol=0, atol=0)


def test_directions_of_the_metrics():
    assert {n for n, m in METRICS.items() if m.higher_is_better} == {"INS", "NEG", "PIC", "AIC", "SIC"}
    assert list(METRICS) == [m.name for m in METRICS.values()]


def test_a_map_of_what_a_model_adds_up_beats_random_maps_and_those_beat_its_reverse():
    x = torch.rand(1, 1, 12, 12, generator=torch_generator(2, "spot"))
    detail = x - sm.blurred(x, 6.0)

    class Detail(nn.Module):
        def forward(self, images):
            found = (images * detail).flatten(1).sum(1) / (x * detail).sum()
            return torch.stack([0 * found, 20 * (found - 0.7)], 1)

    target = torch.ones(1, dtype=torch.int64)
    for name in (*CURVES, "SIC", "AIC"):
        metric = METRICS[name]
        # What a pixel adds, to an image of zeros and to the blurred one.
        best = (x * detail if name in CURVES else detail**2)[:, 0]
        sign = 1 if metric.higher_is_better else -1
        score, reverse = (sign * float(metric(Detail(), x, target, m)) for m in (best, -best))
        draws = [torch.rand(1, 12, 12, generator=torch_generator(s, "draw")) for s in range(15)]
        chance = np.mean([sign * float(metric(Detail(), x, target, m)) for m in draws])
        assert score > chance > reverse, name


def test_information_is_the_area_over_compressed_size_by_hand():
    model, sigma = net(), 5.0
    x = X[:, :1].repeat(1, 2, 1, 1)
    scores = METRICS["SIC"](model, x, TARGET, MAPS)
    blur = sm.blurred(x, sigma)
    ranks = sm.pixel_ranks(MAPS)
    for i in range(6):
        low, high = x[i].min(), x[i].max()
        points, best = [], 0.0
        ends = {}
        for share in (0.0, *sm.REVEALED, 1.0):
            image = torch.where(ranks[i][None] < round(share * 80), x[i], blur[i])
            pixels = ((image - low) / (high - low) * 255).round().to(torch.uint8)
            size = len(zlib.compress(pixels.permute(1, 2, 0).contiguous().numpy().tobytes(), 9))
            with torch.no_grad():
                p = float(model(image[None])[0].double().softmax(0)[TARGET[i]])
            points.append((size, p))
            ends[share] = (size, p)
        (s0, p0), (s1, p1) = ends[0.0], ends[1.0]
        if p0 >= p1 or s0 >= s1:
            assert scores[i].isnan()
            continue
        curve = []
        for size, p in points:
            best = max(best, min(max((p - p0) / (p1 - p0), 0), 1))
            curve.append((min(max((size - s0) / (s1 - s0), 0), 1), best))
        xs, ys = zip(*sorted(curve, key=lambda c: c[0]), strict=True)
        assert float(scores[i]) == pytest.approx(np.trapezoid(ys, xs), abs=1e-5)  # of single precision
    assert scores.isnan().any() and not scores.isnan().all()


def test_accuracy_information_is_not_defined_where_the_blurred_image_is_recognised():
    scores = METRICS["AIC"](Bright(), X, torch.zeros(6, dtype=torch.int64), MAPS)
    assert scores.isnan().all()  # blurring leaves the mean, and so the winner, as it is


@settings(deadline=None)
@given(st.floats(0.3, 20), st.integers(0, 5))
def test_a_blur_keeps_constants_and_works_on_each_example_alone(sigma, seed):
    x = torch.rand(3, 2, 6, 9, generator=torch_generator(seed, "b"))
    out = sm.blurred(x, torch.tensor([sigma, 1.0, 2.0]))
    torch.testing.assert_close(out[0], sm.blurred(x[:1], sigma)[0])
    torch.testing.assert_close(out[2], sm.blurred(x[2:], 2.0)[0])
    torch.testing.assert_close(sm.blurred(torch.full((1, 1, 5, 7), 3.0), sigma), torch.full((1, 1, 5, 7), 3.0))
    assert out.min() >= x.min() - 1e-5 and out.max() <= x.max() + 1e-5


def test_a_blur_is_gaussian_and_flat_where_it_is_wide():
    from scipy.ndimage import gaussian_filter

    x = torch.zeros(1, 1, 41, 41, dtype=torch.float64)
    x[0, 0, 20, 18] = 1
    theirs = gaussian_filter(x[0, 0].numpy(), 1.7, truncate=12, mode="constant")
    np.testing.assert_allclose(sm.blurred(x, 1.7)[0, 0].numpy(), theirs, atol=1e-12)
    wide = sm.blurred(X, 1e4)
    torch.testing.assert_close(wide, X.mean((2, 3), keepdim=True).expand(X.shape), rtol=1e-4, atol=1e-5)


def test_sizes_are_those_of_8_bit_pixels_with_channels_last():
    images = torch.rand(2, 3, 2, 4, 4, generator=torch_generator(5, "i"))
    sizes = sm.compressed_sizes(images)
    pixels = (images[1, 2] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
    assert sizes.shape == (2, 3) and sizes[1, 2] == len(zlib.compress(pixels.numpy().tobytes(), 9))
    assert float(sm.compressed_sizes(torch.zeros(1, 1, 30, 30))) < 30
    ends = torch.tensor([0.0, 1.0, 0.0]).view(1, 1, 1, 3)
    assert float(sm.compressed_sizes(ends)) == len(zlib.compress(bytes([0, 255, 0]), 9))
    ends = torch.tensor([0.0, 1.0] * 2 + [0.0] * 60).view(1, 1, 8, 8)
    assert float(sm.compressed_sizes(ends)) == len(zlib.compress(bytes([0, 255] * 2 + [0] * 60), 9))


def test_information_is_read_at_the_authors_shares():
    """Kapishnikov et al., "XRAI: Better Attributions Through Regions", ICCV 2019, as their package has them."""
    assert sm.REVEALED == (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.13, 0.21, 0.34, 0.5, 0.75)


def test_metrics_look_at_a_model_in_eval_mode_and_leave_its_mode():
    model = build("residual", seed=1, **IMAGE).train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    METRICS["DEL"](model, X, TARGET, MAPS)
    assert model.training and all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_many_images_in_several_calls_score_as_in_one(monkeypatch):
    whole = METRICS["INS"](net(), X, TARGET, MAPS)
    monkeypatch.setattr(sm, "ENTRIES", 5 * X[:1].numel())
    model, sizes = net(), []
    model.register_forward_hook(lambda module, inputs, output: sizes.append(len(output)))
    torch.testing.assert_close(METRICS["INS"](model, X, TARGET, MAPS), whole, rtol=1e-6, atol=1e-7)
    assert max(sizes) == 5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: METRICS["DEL"](net(), X, TARGET, MAPS[:4]), "maps are .4, 8, 10."),
        (lambda: METRICS["DEL"](net(), X, TARGET[:2], MAPS), "targets 2"),
        (lambda: METRICS["ADP"](net(), X, TARGET, 2 * MAPS), "range from 0 to 1"),
        (lambda: METRICS["PIC"](net(), X, TARGET, MAPS - 1), "range from 0 to 1"),
        (lambda: sm.pixel_order(torch.tensor([[1.0, 2.0], [torch.nan, 1.0]])), "map 1 has a NaN"),
        (lambda: sm.blurred(X, 0.0), "above 0"),
    ],
)
def test_bad_maps_are_refused_in_one_line(call, words):
    with pytest.raises(InputError, match=words):
        call()
