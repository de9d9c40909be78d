import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from winnow.attribution.gradients import layer_path_integral, upsampled
from winnow.attribution.saliency_metrics import METRICS, blurred
from winnow.errors import InputError
from winnow.evaluate.bee import (
    FAMILIES,
    Explained,
    Mixture,
    Thompson,
    baseline,
    best_of,
    explain,
    kept_signal,
    laplace,
    pretrain,
)
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


vectors = st.lists(st.floats(-3, 3), min_size=4, max_size=4).map(np.array)


@settings(max_examples=60, deadline=None)
@given(
    vectors, vectors, st.lists(st.floats(0.2, 5), min_size=4, max_size=4).map(np.array), st.sampled_from([-1.0, 1.0])
)
def test_the_posterior_mode_minimises_its_loss_and_the_precision_only_grows(mean, phi, precision, reward):
    def loss(w):
        return 0.5 * (precision * (w - mean) ** 2).sum() + np.logaddexp(0, -reward * w @ phi)

    mode, after = laplace(mean, precision, phi, reward)
    best = minimize(loss, mean, method="BFGS", options={"gtol": 1e-9})
    assert loss(mode) <= best.fun + 1e-9
    np.testing.assert_allclose(mode, best.x, atol=1e-4)
    p = 1 / (1 + np.exp(-mode @ phi))
    np.testing.assert_allclose(after - precision, phi**2 * p * (1 - p), atol=1e-12)
    assert (after >= precision).all()


def test_weights_are_drawn_with_the_deviation_that_their_precision_says():
    bandit = Thompson(2, 1, True, 0)
    bandit.head[:] = 0
    bandit.head[0, 1] = 1.0  # phi = (1, 0, ...)
    bandit.precision[:, 0] = 4.0
    bandit.mean[1, 0] = 0.5
    share = (bandit.choose(np.zeros((20000, 1))) == 1).mean()
    from scipy.stats import norm

    # The difference of two draws has the deviation sqrt(1/4 + 1/4).
    assert share == pytest.approx(norm.cdf(0.5 / 0.5**0.5), abs=0.012)


def play(choose, learn, seed, rounds=800):
    """Regret on three arms whose chances of a reward are logistic in the context."""
    generator = numpy_generator(seed, "play")
    truth = np.array([[2.0, 0.0, -0.5], [-2.0, 0.0, -0.5], [0.0, 1.0, 0.0]])
    regret = 0.0
    for _ in range(rounds):
        known = np.append(generator.standard_normal(2), 1.0)
        chances = 1 / (1 + np.exp(-truth @ known))
        arm = choose(known)
        learn(known, arm, 1.0 if generator.random() < chances[arm] else -1.0)
        regret += chances.max() - chances[arm]
    return regret


def told_apart(seed):
    """A bandit whose context is what is known itself."""
    bandit = Thompson(3, 2, True, seed, dimensions=3, head_rate=0.0)
    bandit.head = np.eye(3)
    return bandit


def greedy(bandit, seed):
    """The best arm as far as is known, and one time in ten any."""
    generator = numpy_generator(seed, "greedy")

    def pick(known):
        if generator.random() < 0.1:
            return int(generator.integers(3))
        return int((bandit.mean @ known).argmax())

    return play(pick, bandit.learn, seed)


def sampled(bandit, seed):
    return play(lambda known: int(bandit.choose(known[None, :2])[0]), bandit.learn, seed)


def test_on_three_logistic_arms_it_regrets_less_than_epsilon_greedy():
    seeds = range(6)
    assert np.mean([sampled(told_apart(s), s) for s in seeds]) < np.mean([greedy(told_apart(s), s) for s in seeds])


def test_rewards_follow_the_rank_and_its_direction():
    for higher in (True, False):
        bandit = Thompson(2, 1, higher, 0)
        bandit.seen = list(np.linspace(0, 1, 101))
        shares = [np.mean([bandit._reward(s) > 0 for _ in range(2000)]) for s in (0.0, 0.8, 1.0)]
        expected = [0.5 / 101, 80.5 / 101, 100.5 / 101]
        np.testing.assert_allclose(shares, expected if higher else [1 - e for e in expected], atol=0.04)


def test_it_learns_which_arm_scores_best_and_undefined_scores_teach_nothing():
    bandit, features = Thompson(3, 2, False, 1), numpy_generator(1, "f").standard_normal((30, 2))
    generator = numpy_generator(1, "s")
    before = bandit.state_dict()["head"].copy()
    bandit.update(features[:5], np.zeros(5, int), np.full(5, np.nan))
    assert bandit.skipped == 5 and not bandit.seen and (bandit.mean == 0).all()
    bandit.update(features[:20], np.zeros(20, int), np.arange(20.0))
    assert (bandit.mean == 0).all() and (bandit.head == before).all()  # the warm-up is only remembered
    for _ in range(25):
        arms = bandit.choose(features)
        bandit.update(features, arms, np.array([0.9, 0.1, 0.5])[arms] + 0.05 * generator.standard_normal(30))
    share = np.bincount(bandit.choose(np.repeat(features, 20, axis=0)), minlength=3) / 600
    assert share[1] > 0.6 and not (bandit.head == before).all()


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


def test_a_mixture_draws_its_shares():
    drawn = Mixture(np.array([0.5, 0.0, 0.5]), 0).choose(np.zeros((4000, 1)))
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 4000, [0.5, 0, 0.5], atol=0.03)


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
