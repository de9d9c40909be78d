import numpy as np
import pytest
import torch

from winnow.attribution.gradients import layer_path_integral, upsampled
from winnow.attribution.saliency_metrics import METRICS, blurred
from winnow.errors import InputError
from winnow.evaluate import bee
from winnow.evaluate.bee import FAMILIES, Explained, baseline, best_of, explain, kept_signal, pretrain
from winnow.evaluate.thompson import Mixture, Thompson
from winnow.models import build
from winnow.randomness import numpy_generator, torch_generator

IMAGE = {"in_channels": 1, "height": 12, "width": 12, "classes": 3}
X = torch.rand(8, 1, 12, 12, generator=torch_generator(0, "x"))
TARGET = torch.arange(8) % 3
FEATURES = numpy_generator(0, "features").standard_normal((8, 4))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def explained():
    return Explained.at(build("small_cnn", seed=1, **IMAGE), "relu2", X, TARGET, pool=X.flip(0))


def of(family, activation, seed=0, pool=None):
    return baseline(family, activation, torch_generator(seed, "b"), pool)


def test_families_are_what_they_are_named_after():
    activation = torch.rand(40, 6, 9, 9, generator=torch_generator(1, "a")) * 5
    kept = np.prod([1 - (1e-4 + (0.02 - 1e-4) * t / 500) for t in range(1, 501)])
    assert kept_signal() == pytest.approx(kept, rel=1e-9) and 0.006 < kept < 0.007
    noise = (of("normal", activation) - kept**0.5 * activation) / (1 - kept)
    assert abs(noise.mean()) < 0.03 and noise.std() == pytest.approx(1, abs=0.03)
    flat = (of("uniform", activation) - kept**0.5 * activation) / (1 - kept)
    assert flat.min() >= -1e-5 and flat.max() <= 1 + 1e-5 and flat.mean() == pytest.approx(0.5, abs=0.02)
    constant = of("constant", activation)
    assert torch.equal(constant.amin((2, 3)), constant.amax((2, 3)))
    assert (constant[..., 0, 0] >= activation.amin((2, 3))).all() and (
        constant[..., 0, 0] <= activation.amax((2, 3))
    ).all()
    share = (constant[..., 0, 0] - activation.amin((2, 3))) / (activation.amax((2, 3)) - activation.amin((2, 3)))
    assert share.mean() == pytest.approx(0.5, abs=0.08) and share.std() == pytest.approx(12**-0.5, abs=0.05)
    blur = of("blur", activation)
    assert any(torch.allclose(blur[:1], blurred(activation[:1], float(w))) for w in range(3, 51))
    pool = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 6, 9, 9)
    assert set(of("train", activation, pool=pool).unique().tolist()) == {0.0, 1.0, 2.0}
    for family in FAMILIES:
        first, again, other = (of(family, activation, seed, pool) for seed in (0, 0, 1))
        assert first.shape == activation.shape and torch.equal(first, again) and not torch.equal(first, other)


def test_blurs_are_of_every_whole_width_from_3_to_50(monkeypatch):
    told = []
    monkeypatch.setattr(bee, "blurred", lambda activation, widths: told.extend(widths.tolist()) or activation)
    of("blur", torch.zeros(3000, 1, 2, 2))
    assert sorted(set(told)) == list(range(3, 51)) and len(told) == 3000


def test_maps_are_path_integrals_summed_over_channels_at_the_size_of_the_images():
    ready = explained()
    b = of("normal", ready.activation)
    whole = layer_path_integral(ready.model, X, TARGET, "relu2", b, 10)
    torch.testing.assert_close(ready.maps(b), upsampled(whole.sum(1), 12, 12))
    torch.testing.assert_close(ready.maps(b, rectified=True), upsampled(whole.relu().sum(1), 12, 12))
    some = ready.rows(torch.tensor([5, 2]))
    torch.testing.assert_close(some.maps(b[[5, 2]]), ready.maps(b)[[5, 2]])
    assert torch.equal(ready.maps(ready.activation), torch.zeros(8, 12, 12))  # from itself: nothing to integrate
    arms = np.array([0, 3, 3, 4, 0, 1, 2, 2])
    maps = ready.draw(arms, torch_generator(2, "d"))
    assert torch.equal(maps, ready.draw(arms, torch_generator(2, "d"))) and maps.shape == (8, 12, 12)


class Scripted(Mixture):
    def __init__(self, arms):
        self.arms, self.told = list(arms), []

    def choose(self, features):
        return np.full(len(features), self.arms.pop(0))

    def update(self, features, arms, scores):
        self.told.append((arms.tolist(), scores.copy()))


@pytest.mark.parametrize("name", ["DEL", "INS"])
def test_the_best_map_of_all_draws_is_kept(name):
    ready, policy = explained(), Scripted([0, 2, 3])
    found = explain(policy, ready, FEATURES, METRICS[name], 3, seed=4)
    generator = torch_generator(4, "baselines")
    maps = [ready.draw(np.full(8, arm), generator) for arm in (0, 2, 3)]
    scores = np.stack([METRICS[name](ready.model, X, TARGET, m).numpy() for m in maps], axis=1)
    assert np.array_equal(found.scores, scores) and found.arms.tolist() == [[0, 2, 3]] * 8
    best = scores.argmax(1) if METRICS[name].higher_is_better else scores.argmin(1)
    for i in range(8):
        assert torch.equal(found.maps[i], maps[best[i]][i])
    assert [told[0] for told in policy.told] == [[0] * 8, [2] * 8, [3] * 8]
    quiet = Scripted([0, 2, 3])
    mean = explain(quiet, ready, FEATURES, METRICS[name], 3, seed=4, update=False, select="mean")
    torch.testing.assert_close(mean.maps, torch.stack(maps).mean(0))
    assert quiet.told == []
    expected = scores[:, :2].max(1) if METRICS[name].higher_is_better else scores[:, :2].min(1)
    assert np.array_equal(best_of(scores, 2, METRICS[name].higher_is_better), expected)


def test_undefined_scores_are_passed_over():
    scores = np.array([[np.nan, 0.3, 0.1], [np.nan, np.nan, np.nan]])
    assert best_of(scores, 3, True).tolist()[0] == 0.3 and best_of(scores, 3, False).tolist()[0] == 0.1
    assert np.isnan(best_of(scores, 3, True)[1]) and np.isnan(best_of(scores, 1, False)).all()


@pytest.mark.parametrize("higher", [True, False])
def test_of_equal_maps_the_first_is_kept_and_one_without_a_score_never_is(higher):
    ready, maps = explained(), []
    scores = iter([[np.nan, 0.5, np.nan], [0.2, 0.5, np.nan], [0.2, 0.4 if higher else 0.6, np.nan]])
    some = ready.rows(torch.arange(3))

    def metric(model, x, target, found, fill):
        maps.append(found)
        return torch.tensor(next(scores), dtype=torch.float64)

    metric.higher_is_better = higher
    found = explain(Scripted([0, 2, 3]), some, FEATURES[:3], metric, 3, seed=4)
    assert torch.equal(found.maps[0], maps[1][0]) and torch.equal(found.maps[1], maps[0][1])
    assert torch.equal(found.maps[2], torch.zeros(12, 12))


def test_pretraining_goes_through_the_images_batch_by_batch_with_a_seed_each(monkeypatch):
    asked = []

    def noted(policy, explained, features, metric, draws, **options):
        asked.append((len(features), draws, options))
        arms = np.arange(len(features))[:, None] + 100 * len(asked)
        return bee.Draws(torch.zeros(1), np.zeros((len(features), 1)), arms)

    monkeypatch.setattr(bee, "explain", noted)
    features = np.zeros((45, 4))
    many = explained().rows(torch.zeros(45, dtype=torch.int64))
    arms = pretrain(None, many, features, None, seed=5)
    options = [{"seed": 5 + 7919 * number, "fill": 0.0, "steps": 10} for number in range(3)]
    assert asked == [(count, 1, told) for count, told in zip((20, 20, 5), options, strict=True)]
    assert arms.tolist() == [*range(100, 120), *range(200, 220), *range(300, 305)]
    asked.clear()
    pretrain(None, many, features, None, seed=5, fill=0.25, steps=3, batch=45)
    assert asked == [(45, 1, {"seed": 5, "fill": 0.25, "steps": 3})]


def test_pretraining_draws_once_for_each_image_and_repeats_bit_by_bit():
    runs = []
    for _ in range(2):
        bandit = Thompson(5, 4, True, 3, warmup=2)
        arms = pretrain(bandit, explained(), FEATURES, METRICS["INS"], seed=3, batch=3)
        runs.append((arms, bandit.state_dict()))
    assert len(runs[0][0]) == 8 and len(runs[0][1]["seen"]) == 8
    assert np.array_equal(runs[0][0], runs[1][0])
    assert all(np.array_equal(runs[0][1][k], runs[1][1][k]) for k in runs[0][1])
    assert (runs[0][1]["mean"] != 0).any()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: of("zero", torch.zeros(1, 1, 2, 2)), "'zero' is unknown"),
        (lambda: of("normal", torch.zeros(3, 4)), "no height and width"),
        (lambda: of("train", torch.zeros(1, 1, 2, 2)), "no pool"),
        (lambda: of("train", torch.zeros(1, 1, 2, 2), pool=torch.zeros(0, 1, 2, 2)), "no pool"),
        (lambda: Explained.at(build("small_cnn", **IMAGE), "relu3", X, TARGET), "no maps"),
        (lambda: explain(None, explained(), FEATURES, METRICS["DEL"], 0, seed=0), "draws is 0"),
        (lambda: explain(None, explained(), FEATURES, METRICS["DEL"], 1, seed=0, select="last"), "'last'"),
    ],
)
def test_what_cannot_be_explained_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
