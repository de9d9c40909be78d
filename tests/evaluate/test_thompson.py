"""The bandit against a general optimiser, a plain rival and simulated arms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from winnow.evaluate.thompson import Mixture, Thompson, laplace
from winnow.randomness import numpy_generator

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


def test_a_mixture_draws_its_shares():
    drawn = Mixture(np.array([0.5, 0.0, 0.5]), 0).choose(np.zeros((4000, 1)))
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 4000, [0.5, 0, 0.5], atol=0.03)


def test_a_bandit_starts_with_torchs_head_a_unit_prior_and_twenty_scores_to_remember():
    bandit, known = Thompson(2, 3, True, 0), np.ones((1, 3))
    assert bandit.head.shape == (100, 4) and (bandit.precision == 1).all() and (bandit.mean == 0).all()
    assert 0.45 < np.abs(bandit.head).max() <= 0.5  # 4 inputs with the constant
    for score in range(20):
        bandit.update(known, np.zeros(1, int), np.array([float(score)]))
    assert (bandit.mean == 0).all()
    bandit.update(known, np.zeros(1, int), np.array([20.0]))
    assert (bandit.mean[0] != 0).any() and (bandit.mean[1] == 0).all()


def test_the_head_steps_down_the_gradient_of_the_loss():
    bandit = Thompson(1, 2, True, 0, dimensions=3)
    known, before = np.array([0.5, -1.0, 1.0]), bandit.head.copy()
    bandit.learn(known, 0, 1.0)

    def loss(head):
        return np.logaddexp(0, -bandit.mean[0] @ head @ known)

    steps = [1e-6 * np.eye(9)[i].reshape(3, 3) for i in range(9)]
    slope = np.array([(loss(before + s) - loss(before - s)) / 2e-6 for s in steps]).reshape(3, 3)
    np.testing.assert_allclose(bandit.head, before - 0.01 * slope, atol=1e-9)
