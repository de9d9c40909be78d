"""What claims are judged with: intervals and tests on paired differences, equivalence, Holm, Mantel.

A comparison is a vector of differences, one per pair (usually one per seed): every function takes that one.
`null` is the difference under the null hypothesis, `alternative` is "greater", "less" or "two-sided".
"""

from __future__ import annotations

from itertools import combinations_with_replacement, permutations
from math import factorial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from winnow.errors import InputError
from winnow.randomness import numpy_generator

if TYPE_CHECKING:
    from scipy import stats  # most of a second, which jobs that only draw need not wait

EXACT_BOOTSTRAP = 9  # pairs; 24,310 distinct resamples
EXACT_SIGN_FLIPS = 14  # pairs; 16,384 sign patterns
EXACT_RANKS = 200  # pairs; beyond, the normal approximation is good to 1e-4
EXACT_PERMUTATIONS = 7  # objects; 5,040 orders
BLOCK = 1 << 22  # entries of the largest temporary array


class Interval(NamedTuple):
    """An estimate between two bounds, all in the unit of the differences."""

    estimate: float
    low: float
    high: float


class Result(NamedTuple):
    """A test's statistic and its p-value."""

    statistic: float
    p_value: float


def bootstrap_interval(
    differences: ArrayLike, confidence: float = 0.95, seed: int = 0, resamples: int = 9999
) -> Interval:
    """Percentile bootstrap interval of the mean of paired differences (Efron, 1979).

    differences: float[n], n >= 2. Up to 9 pairs every resample is enumerated with its weight, so the
    interval is exact and `seed` plays no part; beyond, `resamples` draws are made. With so few pairs it
    is narrower than its confidence says (about .84 at 5 pairs and .95, normal differences), and it excludes
    the null whenever all differences lie on one side of it.
    Raises InputError for fewer than 2 differences, one that is not finite, or a confidence outside (0, 1).
    """
    values = _differences(differences, 2)
    _inside(confidence, "confidence")
    means, weights = bootstrap_means(values, seed, resamples)
    cumulative = np.cumsum(weights)
    tail = (1 - confidence) / 2
    # A tolerance, because cumulative weights that should equal a tail differ from it in the last bits.
    low, high = np.searchsorted(cumulative, [tail - 1e-12, 1 - tail - 1e-12])
    return Interval(float(values.mean()), float(means[low]), float(means[min(high, len(means) - 1)]))


def bootstrap_means(differences: ArrayLike, seed: int = 0, resamples: int = 9999) -> tuple[np.ndarray, np.ndarray]:
    """Sorted means of the resamples and their weights, float64[r] each; the weights sum to one.

    A resample's weight is its multinomial probability when all are enumerated, else 1 / resamples.
    """
    values = _differences(differences, 2)
    n = len(values)
    if n <= EXACT_BOOTSTRAP:
        rows = np.array(list(combinations_with_replacement(range(n), n)))
        counts = (rows[:, :, None] == np.arange(n)).sum(axis=1)
        factorials = np.array([factorial(i) for i in range(n + 1)], dtype=float)
        weights = factorial(n) / factorials[counts].prod(axis=1) / float(n) ** n
        means = values[rows].mean(axis=1)
    else:
        generator = numpy_generator(seed, "bootstrap")
        sizes = _blocks(resamples, n)
        means = np.concatenate([values[generator.integers(0, n, (size, n))].mean(axis=1) for size in sizes])
        weights = np.full(resamples, 1 / resamples)
    order = np.argsort(means, kind="stable")
    return means[order], weights[order]


def bootstrap_p(differences: ArrayLike, null: float = 0.0, seed: int = 0, resamples: int = 9999) -> float:
    """Share of resamples whose mean is not above the null: small where the differences lie above it.

    It is at most (1 - confidence) / 2 where `bootstrap_interval` lies above the null.
    """
    means, weights = bootstrap_means(differences, seed, resamples)
    return float(min(1.0, weights[means <= null].sum()))


def paired_t(differences: ArrayLike, null: float = 0.0, alternative: str = "two-sided") -> Result:
    """Student's t test that the mean difference is the null (Student, 1908).

    differences: float[n], n >= 2. Differences that are all alike give a statistic of 0 or +-inf, not NaN.
    """
    from scipy import stats

    values = _differences(differences, 2)
    error = values.std(ddof=1) / np.sqrt(len(values))
    shift = values.mean() - null
    if np.ptp(values) == 0:
        statistic = 0.0 if values[0] == null else float(np.copysign(np.inf, values[0] - null))
    else:
        statistic = float(shift / error)
    return Result(statistic, _tail(stats.t(len(values) - 1), statistic, alternative))


def t_interval(differences: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's interval of the mean difference; float[n], n >= 2."""
    from scipy.special import stdtrit  # the quantile of scipy.stats.t, whose import takes most of a second

    values = _differences(differences, 2)
    _inside(confidence, "confidence")
    half = stdtrit(len(values) - 1, (1 + confidence) / 2) * values.std(ddof=1) / np.sqrt(len(values))
    mean = float(values.mean())
    return Interval(mean, mean - float(half), mean + float(half))


def sign_test(differences: ArrayLike, null: float = 0.0, alternative: str = "two-sided") -> Result:
    """Exact sign test that the median difference is the null; differences equal to the null are left out.

    The statistic is the number of differences above the null. None left gives a p-value of 1.
    """
    from scipy import stats

    values = _differences(differences, 1)
    above, below = int((values > null).sum()), int((values < null).sum())
    if above + below == 0:
        return Result(0.0, 1.0)
    chance = stats.binom(above + below, 0.5)
    return Result(float(above), _two_tails(chance.sf(above - 1), chance.cdf(above), alternative))


def sign_interval(differences: ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of the median difference between two order statistics, by inverting the sign test.

    Conservative; its bounds are infinite where n is too small for the confidence (below 6 pairs at .95).
    """
    from scipy import stats

    values = np.sort(_differences(differences, 1))
    _inside(confidence, "confidence")
    # Largest r with P(Binomial(n, 1/2) < r) <= tail; the r-th smallest value is then the lower bound.
    rank = int(stats.binom.ppf((1 - confidence) / 2, len(values), 0.5))
    if stats.binom.cdf(rank, len(values), 0.5) <= (1 - confidence) / 2:
        rank += 1
    low, high = (values[rank - 1], values[-rank]) if rank else (-np.inf, np.inf)
    return Interval(float(np.median(values)), float(low), float(high))


def wilcoxon(differences: ArrayLike, null: float = 0.0, alternative: str = "two-sided") -> Result:
    """Wilcoxon's signed-rank test (1945); differences equal to the null are left out, ties share their rank.

    The statistic is the sum of the ranks of the differences above the null. The p-value is exact, ties
    included, up to 200 pairs; beyond, normal with the correction for ties.
    """
    from scipy import stats

    values = _differences(differences, 1) - null
    values = values[values != 0]
    if len(values) == 0:
        return Result(0.0, 1.0)
    ranks = stats.rankdata(np.abs(values))
    statistic = float(ranks[values > 0].sum())
    if len(values) > EXACT_RANKS:
        spread = np.sqrt((ranks**2).sum()) / 2
        return Result(statistic, _tail(stats.norm, (statistic - ranks.sum() / 2) / spread, alternative))
    doubled = np.rint(2 * ranks).astype(int)  # halves from ties become whole
    chance = np.ones(1)
    for rank in doubled:
        with_rank = np.concatenate([np.zeros(rank), chance])
        without = np.concatenate([chance, np.zeros(rank)])
        chance = (with_rank + without) / 2
    at = int(round(2 * statistic))
    return Result(statistic, _two_tails(chance[at:].sum(), chance[: at + 1].sum(), alternative))


def sign_flip_test(
    differences: ArrayLike,
    null: float = 0.0,
    alternative: str = "two-sided",
    seed: int = 0,
    resamples: int = 9999,
) -> Result:
    """Permutation test of the mean difference, whose signs are exchangeable under the null (Fisher, 1935).

    Exact up to 14 pairs (all 2^n sign patterns); beyond, `resamples` random patterns with the observed one
    counted in. The statistic is the mean difference from the null.
    """
    values = _differences(differences, 1) - null
    n = len(values)
    observed = values.sum()
    if n <= EXACT_SIGN_FLIPS:
        flips = [(np.arange(2**n)[:, None] >> np.arange(n)) & 1]
        added = 0
    else:
        generator = numpy_generator(seed, "sign flips")
        flips = [generator.integers(0, 2, (size, n)) for size in _blocks(resamples, n)]
        added = 1
    sums = np.concatenate([(1 - 2 * flip) @ values for flip in flips])
    # Sums of the same numbers in another order differ in the last bits; they count as equal.
    slack = 1e-12 * np.abs(values).sum()
    above = (np.count_nonzero(sums >= observed - slack) + added) / (len(sums) + added)
    below = (np.count_nonzero(sums <= observed + slack) + added) / (len(sums) + added)
    return Result(float(observed / n), _two_tails(above, below, alternative))


def equivalence(differences: ArrayLike, low: float, high: float) -> Result:
    """Two one-sided t tests that the mean difference lies inside (low, high) (Schuirmann, 1987).

    Equivalent at level a where p <= a, which is where the 1 - 2a interval lies inside the bounds. The
    statistic is the one of the harder side.
    """
    if not low < high:
        raise InputError(f"bounds of equivalence are {low} and {high}; the first must be the smaller")
    above, below = paired_t(differences, low, "greater"), paired_t(differences, high, "less")
    return above if above.p_value >= below.p_value else below


def holm(p_values: ArrayLike) -> np.ndarray:
    """p-values adjusted for their number by Holm's step-down procedure (1979), float64 in the order given."""
    p = np.asarray(p_values, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise InputError("p-values must be a vector of numbers from 0 to 1")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def mantel(a: ArrayLike, b: ArrayLike, ranks: bool = False, seed: int = 0, resamples: int = 9999) -> Result:
    """Mantel's test (1967) that two distance matrices over the same objects are correlated.

    a, b: float[n, n], symmetric, n >= 3. The statistic is Pearson's correlation of the upper triangles,
    Spearman's with `ranks`; the p-value is the share of orders of b's objects with a correlation at least as
    large (one-sided). All orders up to 7 objects; beyond, `resamples` random ones and the observed one.
    Raises InputError for matrices that are not square, symmetric, finite or of one size, or are constant.
    """
    first, second = _distances(a, "first"), _distances(b, "second")
    n = len(first)
    if first.shape != second.shape:
        raise InputError(f"distance matrices have {n} and {len(second)} objects; give both the same objects")
    rows, columns = np.triu_indices(n, 1)
    x = _standardised(first[rows, columns], ranks)
    y = np.zeros((n, n))
    y[rows, columns] = y[columns, rows] = _standardised(second[rows, columns], ranks)
    if n <= EXACT_PERMUTATIONS:
        orders, added = np.array(list(permutations(range(n)))), 0
    else:
        generator = numpy_generator(seed, "mantel")
        orders, added = generator.permuted(np.tile(np.arange(n), (resamples, 1)), axis=1), 1
    observed = float(x @ y[rows, columns])
    size = max(1, BLOCK // len(rows))
    blocks = np.split(orders, range(size, len(orders), size))
    correlations = np.concatenate([y[block[:, rows], block[:, columns]] @ x for block in blocks])
    extreme = np.count_nonzero(correlations >= observed - 1e-12)
    return Result(observed, (extreme + added) / (len(orders) + added))


def _differences(differences: ArrayLike, least: int) -> np.ndarray:
    values = np.asarray(differences, dtype=float)
    if values.ndim != 1 or len(values) < least:
        raise InputError(f"differences have shape {values.shape}; give a vector of at least {least}")
    if not np.isfinite(values).all():
        raise InputError("a difference is NaN or infinite; leave its pair out or mend it")
    return values


def _distances(matrix: ArrayLike, which: str) -> np.ndarray:
    values = np.asarray(matrix, dtype=float)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or len(values) < 3:
        raise InputError(f"{which} distance matrix has shape {values.shape}; it must be square, 3 by 3 or more")
    if not np.isfinite(values).all() or not np.allclose(values, values.T):
        raise InputError(f"{which} distance matrix is not finite and symmetric")
    return values


def _standardised(values: np.ndarray, ranks: bool) -> np.ndarray:
    """Centred and of unit length, so that a dot product is a correlation."""
    from scipy import stats

    values = stats.rankdata(values) if ranks else values
    centred = values - values.mean()
    length = np.linalg.norm(centred)
    if length <= 1e-12 * np.linalg.norm(values):
        raise InputError("a distance matrix is constant; its correlation with another is not defined")
    return centred / length


def _inside(share: float, name: str) -> None:
    if not 0 < share < 1:
        raise InputError(f"{name} is {share}; it must be above 0 and below 1")


def _blocks(rows: int, columns: int) -> list[int]:
    """Numbers of rows that sum to `rows` and keep each block small."""
    size = max(1, BLOCK // columns)
    return [min(size, rows - start) for start in range(0, rows, size)]


def _tail(distribution: stats.rv_continuous, statistic: float, alternative: str) -> float:
    return _two_tails(distribution.sf(statistic), distribution.cdf(statistic), alternative)


def _two_tails(above: float, below: float, alternative: str) -> float:
    """The p-value, from the chances of a statistic at least as large and at least as small."""
    tails = {"greater": above, "less": below, "two-sided": 2 * min(above, below)}
    if alternative not in tails:
        raise InputError(f"alternative is {alternative!r}; use one of {', '.join(tails)}")
    return float(min(1.0, tails[alternative]))
