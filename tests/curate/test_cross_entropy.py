"""The cross-entropy method solves what it should, and its law is that of the elite."""

import math

import numpy as np
import pytest
from scipy.stats import kstest, truncnorm

from winnow.curate.cross_entropy import Choice, Continuous, CrossEntropy
from winnow.errors import InputError

LINE = Continuous("x", -5.0, 5.0)


def run(optimizer, score, rounds):
    for _ in range(rounds):
        optimizer.tell([score(point) for point in optimizer.ask()])
        if optimizer.done():
            break
    return optimizer


@pytest.mark.parametrize("seed", range(3))
def test_a_sphere_of_six_dimensions_is_solved(seed):
    space = [Continuous(f"x{i}", -5.0, 5.0) for i in range(6)]
    target = np.linspace(-2, 2, 6)

    def score(point):
        return -sum((point[f"x{i}"] - target[i]) ** 2 for i in range(6))

    point, best = run(CrossEntropy(space, n=50, rho=0.2, seed=seed), score, 30).best()
    assert best > -1e-2 and score(point) == best


def test_one_max_is_solved_nearly_always():
    space = [Choice(f"b{i}", (0, 1)) for i in range(20)]
    solved = sum(
        run(CrossEntropy(space, n=50, rho=0.2, seed=seed), lambda p: sum(p.values()), 25).best()[1] == 20
        for seed in range(20)
    )
    assert solved >= 19


def test_without_smoothing_and_with_all_elite_the_law_is_that_of_the_sample():
    space = [LINE, Continuous("r", 0.01, 100.0, log=True), Choice("c", ("a", "b", "c"))]
    optimizer = CrossEntropy(space, n=40, rho=1.0, alpha=1.0, seed=1)
    points = optimizer.ask()
    assert optimizer.tell([0.0] * 40) == [True] * 40
    law = optimizer.distribution()
    x, r = np.array([p["x"] for p in points]), np.log([p["r"] for p in points])
    assert law["x"] == pytest.approx({"mean": x.mean(), "deviation": x.std()})
    assert law["r"] == pytest.approx({"mean": r.mean(), "deviation": r.std()})
    assert law["c"] == pytest.approx({v: [p["c"] for p in points].count(v) / 40 for v in "abc"})
    assert list(law) == ["x", "r", "c"]


def test_smoothing_mixes_the_law_before_and_deviations_shrink_more_slowly():
    optimizer = CrossEntropy([LINE, Choice("c", ("a", "b"))], n=8, rho=0.25, alpha=0.7, decay=3, seed=0)
    means, deviations, shares = 0.0, 5.0, np.array([0.5, 0.5])
    for each in range(1, 4):
        points = optimizer.ask()
        scores = [p["x"] for p in points]
        elite = sorted(points, key=lambda p: -p["x"])[:2]
        assert optimizer.tell(scores) == [p in elite for p in points]
        drawn = np.array([p["x"] for p in elite])
        slower = 0.7 - 0.7 * (1 - 1 / each) ** 3
        means = 0.7 * drawn.mean() + 0.3 * means
        deviations = slower * drawn.std() + (1 - slower) * deviations
        found = np.array([sum(p["c"] == v for p in elite) / 2 for v in "ab"])
        mixed = np.maximum(0.7 * found + 0.3 * shares, 0.02)
        shares = mixed / mixed.sum()
        law = optimizer.distribution()
        assert law["x"] == pytest.approx({"mean": means, "deviation": deviations})
        assert list(law["c"].values()) == pytest.approx(shares)
        assert optimizer.thresholds[-1] == drawn.min()


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_points_does_not_matter(seed):
    order = np.random.default_rng(seed).permutation(6)
    a, b = (CrossEntropy([LINE, Choice("c", (1, 2))], n=6, rho=0.5, seed=seed) for _ in range(2))
    a.tell([p["x"] for p in a.ask()])
    b.ask()
    b._asked = [b._asked[i] for i in order]
    b.tell([p["x"] for p in b._asked])
    for name, law in a.distribution().items():
        assert law == pytest.approx(b.distribution()[name])


def test_points_lie_within_bounds_even_where_the_law_is_at_the_edge():
    space = [LINE, Continuous("r", 0.01, 100.0, log=True)]
    optimizer = CrossEntropy(space, n=60, rho=0.1, alpha=1.0, seed=0)
    for _ in range(8):
        points = optimizer.ask()
        assert all(-5 <= p["x"] <= 5 and 0.01 <= p["r"] <= 100 for p in points)
        optimizer.tell([p["x"] - math.log(p["r"]) for p in points])
    assert optimizer.mode()["x"] > 4 and optimizer.mode()["r"] < 0.1
    assert optimizer.distribution()["x"]["deviation"] >= 0.005 * 10


def test_floors_hold():
    optimizer = CrossEntropy([Choice("c", ("a", "b", "c")), LINE], n=10, rho=0.2, alpha=1.0, seed=0)
    for _ in range(6):
        optimizer.tell([(p["c"] == "a") - abs(p["x"]) / 1e6 for p in optimizer.ask()])
    law = optimizer.distribution()
    assert law["c"] == pytest.approx({"a": 1 / 1.04, "b": 0.02 / 1.04, "c": 0.02 / 1.04})
    assert optimizer.mode()["c"] == "a"


def test_a_run_that_diverged_is_worst_and_teaches_nothing():
    optimizer = CrossEntropy([LINE], n=4, rho=0.5, seed=0)
    optimizer.ask()
    before = optimizer.distribution()
    assert optimizer.tell([math.nan] * 4) == [True, True, False, False]
    assert optimizer.distribution() == before
    points = optimizer.ask()
    optimizer.tell([math.nan, -3.0, math.nan, -9.0])
    assert optimizer.best() == (points[1], -3.0)


def test_it_stops_when_the_threshold_stands_still_or_nothing_is_left_to_draw():
    optimizer = CrossEntropy([Choice("c", (1, 2))], n=4, rho=0.5, seed=0)
    for told in range(5):
        assert optimizer.done() == (told > 3)
        optimizer.ask()
        optimizer.tell([1.0] * 4)
    narrow = CrossEntropy([LINE], n=40, rho=0.1, alpha=1.0, decay=1e9, seed=0)
    rounds = 0
    while not narrow.done():
        narrow.tell([-abs(p["x"]) for p in narrow.ask()])
        rounds += 1
    assert rounds < 20 and narrow.distribution()["x"]["deviation"] == pytest.approx(0.05)


def test_unless_told_three_of_twelve_points_a_round_are_elite():
    space = [LINE, Choice("c", (1, 2))]
    plain, told = CrossEntropy(space), CrossEntropy(space, 12, 0.25, 0.7, 7.0, 0.02, 0.005, 0)
    for _ in range(3):
        points = plain.ask()
        assert len(points) == 12 and points == told.ask()
        assert sum(plain.tell([p["x"] for p in points])) == 3
        told.tell([p["x"] for p in points])
    assert plain.distribution() == told.distribution()
    assert (plain.alpha, plain.decay, plain.floor, plain.narrowest) == (0.7, 7.0, 0.02, 0.005)


def test_an_elite_is_rounded_up_and_its_worst_score_is_the_threshold():
    optimizer = CrossEntropy([LINE], n=10, rho=0.25)
    optimizer.ask()
    assert sum(optimizer.tell([float(i) for i in range(10)])) == 3 and optimizer.thresholds == [7.0]


@pytest.mark.parametrize(("mean", "deviation"), [(3.0, 4.0), (-4.0, 3.0)])
def test_numbers_are_drawn_from_a_normal_law_within_bounds(mean, deviation):
    optimizer = CrossEntropy([LINE], n=2000)
    optimizer.means["x"], optimizer.deviations["x"] = mean, deviation
    drawn = [point["x"] for point in optimizer.ask()]
    law = truncnorm((-5 - mean) / deviation, (5 - mean) / deviation, mean, deviation)
    assert kstest(drawn, law.cdf).pvalue > 1e-3


def test_a_threshold_must_stand_still_for_more_rounds_than_patience():
    optimizer = CrossEntropy([Choice("c", (1, 2))], n=4, rho=0.5)
    for told in range(3):
        assert optimizer.done(1) == (told > 1) and optimizer.done(2) == (told > 2)
        optimizer.ask()
        optimizer.tell([1.0] * 4)
    optimizer.ask()
    optimizer.tell([2.0] * 4)
    assert not optimizer.done(1) and not optimizer.done()


def test_the_mode_and_the_best_are_the_first_of_equals():
    optimizer = CrossEntropy([Choice("c", ("a", "b")), Continuous("r", 1.0, 100.0, log=True)], n=4, rho=0.5)
    assert optimizer.mode() == {"c": "a", "r": pytest.approx(10.0)}
    points = optimizer.ask()
    assert optimizer.tell([1.0, 3.0, 3.0, 3.0]) == [False, True, True, False]
    assert optimizer.best() == (points[1], 3.0)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: Continuous("x", 1.0, 1.0), "x: goes from 1.0 to 1.0; give low < high"),
        (lambda: Continuous("x", 0.0, 1.0, log=True), "give 0 < low < high"),
        (lambda: Choice("c", ()), "c: has the values"),
        (lambda: Choice("c", (1, 1)), "give some, each once"),
        (lambda: CrossEntropy([LINE], n=4, rho=0.25), "makes an elite of 1"),
        (lambda: CrossEntropy([LINE], n=4, rho=1.25), "rho: 1.25"),
        (lambda: CrossEntropy([LINE, LINE]), "a name stands twice"),
        (lambda: CrossEntropy([LINE]).tell([1.0]), "are 1 for 0 points"),
        (lambda: CrossEntropy([LINE]).best(), "no round was told yet"),
    ],
)
def test_impossible_requests_are_refused(call, told):
    with pytest.raises(InputError, match=told):
        call()


def test_scores_are_refused_before_any_point_was_asked_for():
    with pytest.raises(InputError, match="scores: are 0 for 0 points that were asked for"):
        CrossEntropy([LINE], n=20).tell([])


def test_scores_of_one_round_are_told_once():
    optimizer = CrossEntropy([LINE], n=20)
    scores = [point["x"] for point in optimizer.ask()]
    optimizer.tell(scores)
    with pytest.raises(InputError, match="scores: are 20 for 0 points"):
        optimizer.tell(scores)
