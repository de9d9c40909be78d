"""Which features of one dictionary are found again in another, such as a compressed model's.

Features are matched one to one by the assignment of largest total similarity (Kuhn, 1955), as Paulo and
Belrose do between training seeds ("Sparse Autoencoders Trained on the Same Data Learn Different Features",
2025). A matching always finds something, so a feature survives only if its match is better than nearly all
matches with chance: random directions with the covariance of the other dictionary, or its activations with
the rows shuffled. The yardsticks are the same comparison between dictionaries of two
seeds of the dense model, and between two dictionaries of one dense model that differ in the dictionary's seed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array, issparse

from winnow.errors import InputError
from winnow.randomness import numpy_generator

SPARSE_BELOW = 0.1
"""Share of entries that are not zero up to which products of codes are those of sparse matrices."""
ALL = slice(None)
FEATURE_SCHEMA = pa.schema(
    [
        ("feature", pa.int32()),
        ("density", pa.float64()),
        ("dead", pa.bool_()),
        ("match", pa.int32()),
        ("cosine", pa.float64()),
        ("correlation", pa.float64()),
        ("survives", pa.bool_()),
    ]
)
SUMMARY = (
    "survival",
    "chance_survival",
    "threshold",
    "similarity",
    "chance_similarity",
    "live",
    "dead",
    "dead_other",
)


class Matching(NamedTuple):
    """Pairs of features, in the order of the first dictionary's."""

    first: np.ndarray  # int64[p], p = min(m_a, m_b)
    second: np.ndarray  # int64[p]
    similarity: np.ndarray  # float64[p]


class Survival(NamedTuple):
    """One row per feature of the first dictionary (FEATURE_SCHEMA), and the summary values."""

    features: pa.Table
    summary: dict[str, float | None]


def match(similarity: np.ndarray) -> Matching:
    """The one-to-one matching with the largest sum of similarities. similarity: float[m_a, m_b], finite."""
    first, second = linear_sum_assignment(similarity, maximize=True)
    return Matching(first, second, np.asarray(similarity, dtype=float)[first, second])


def match_features(decoder_a: np.ndarray, decoder_b: np.ndarray) -> Matching:
    """Match features by the cosine of their decoder directions.

    decoder_a: float[m_a, d], decoder_b: float[m_b, d], one row per feature, no row zero.
    Raises InputError for other shapes, a zero row, or values that are not finite.
    """
    return match(cosine_similarity(decoder_a, decoder_b))


def cosine_similarity(decoder_a: np.ndarray, decoder_b: np.ndarray) -> np.ndarray:
    """Cosines between all rows of two matrices, float64[m_a, m_b]; errors as `match_features`."""
    a, b = _unit_rows(decoder_a, "first decoder"), _unit_rows(decoder_b, "second decoder")
    if a.shape[1] != b.shape[1]:
        raise InputError(f"decoders have {a.shape[1]} and {b.shape[1]} dimensions; fit both on one hook point")
    return a @ b.T


def activation_correlation(codes_a: np.ndarray, codes_b: np.ndarray) -> np.ndarray:
    """Pearson correlations of all pairs of features over the same rows, float64[m_a, m_b].

    codes_a: float[n, m_a], codes_b: float[n, m_b], activations of both dictionaries on the same inputs in the
    same order. A feature that never changes has correlation 0. Raises InputError for unequal numbers of rows.
    """
    a, b = _matrix(codes_a, "first codes"), _matrix(codes_b, "second codes")
    if len(a) != len(b):
        raise InputError(f"codes have {len(a)} and {len(b)} rows; encode the same inputs with both dictionaries")
    return _correlations(_columns(a), _columns(b))


def chance_directions(decoder: np.ndarray, seed: int, draw: int = 0) -> np.ndarray:
    """Gaussian directions with the covariance of a decoder's unit rows, made unit long: float64[m, d].

    The covariance is about zero, so directions crowd where the decoder's do. Draws are independent.
    """
    unit = _unit_rows(decoder, "decoder")
    # z = weights @ unit has E[z z^T] proportional to unit^T unit, whatever the decoder's rank.
    generator = numpy_generator(seed, "chance directions", str(draw))
    return _unit_rows(generator.normal(size=(len(unit), len(unit))) @ unit, "chance directions")


def survival(
    decoder_a: np.ndarray,
    decoder_b: np.ndarray,
    codes_a: np.ndarray,
    codes_b: np.ndarray,
    *,
    by: Literal["decoder", "activation"] = "decoder",
    chance_quantile: float = 0.99,
    chance_draws: int = 3,
    seed: int = 0,
) -> Survival:
    """Share of the first dictionary's live features whose match in the second is better than chance.

    decoder_a: float[m_a, d], decoder_b: float[m_b, d]. codes_a: float[n, m_a], codes_b: float[n, m_b]:
    activations on the same rows. A feature that never fires on them is dead: neither matched nor counted.
    by: whether decoder cosines or activation correlations are matched. The threshold is the `chance_quantile`
    of the first dictionary's matches with `chance_draws` chance versions of the second.
    Summary: survival [share], chance_survival [share, of one more chance version against the same threshold],
    threshold, similarity and chance_similarity (means over matches), live, dead and dead_other [features].
    Without a live feature on either side the first five are None and nothing survives.
    Raises InputError for matrices that do not fit together.
    """
    if by not in ("decoder", "activation"):
        raise InputError(f"by is {by!r}; use decoder or activation")
    if not 0 < chance_quantile < 1 or chance_draws < 1:
        raise InputError("chance_quantile must be above 0 and below 1, and chance_draws at least 1")
    codes_a, codes_b = _codes(codes_a, decoder_a, "first"), _codes(codes_b, decoder_b, "second")
    if len(codes_a) != len(codes_b):
        raise InputError(f"codes have {len(codes_a)} and {len(codes_b)} rows; encode the same inputs with both")
    density = (codes_a > 0).mean(axis=0)
    live_a, live_b = np.flatnonzero(density), np.flatnonzero((codes_b > 0).any(axis=0))
    a, b, x, y = decoder_a[live_a], decoder_b[live_b], _columns(codes_a[:, live_a]), _columns(codes_b[:, live_b])
    cosine, correlation = cosine_similarity(a, b), _correlations(x, y)

    def by_chance(draw: int) -> np.ndarray:
        """Similarities of matches with a chance version of the second dictionary."""
        if by == "decoder":
            return match_features(a, chance_directions(b, seed, draw)).similarity
        order = numpy_generator(seed, "chance rows", str(draw)).permutation(len(codes_b))
        return match(_correlations(x, y, order)).similarity

    counts = (len(live_a), len(density) - len(live_a), codes_b.shape[1] - len(live_b))
    first, second, similarity = match(cosine if by == "decoder" else correlation)
    if not len(first):
        return Survival(_table(density, first, {}), _summary([None] * 5, counts))
    threshold = np.quantile(np.concatenate([by_chance(i) for i in range(chance_draws)]), chance_quantile)
    # A draw of its own: those that set the threshold exceed it by construction.
    chance = by_chance(chance_draws)
    survives = similarity > threshold
    shares = [survives.sum() / len(live_a), (chance > threshold).sum() / len(live_a)]
    found = {
        "match": live_b[second],
        "cosine": cosine[first, second],
        "correlation": correlation[first, second],
        "survives": survives,
    }
    summary = _summary([*shares, threshold, similarity.mean(), chance.mean()], counts)
    return Survival(_table(density, live_a[first], found), summary)


def _summary(values: Iterable[float | None], counts: Iterable[int]) -> dict[str, float | None]:
    return {
        name: None if value is None else float(value) for name, value in zip(SUMMARY, [*values, *counts], strict=True)
    }


def _table(density: np.ndarray, matched: np.ndarray, found: dict[str, np.ndarray]) -> pa.Table:
    """One row per feature; `found` holds the values of those matched, others get null and do not survive."""
    unmatched = np.ones(len(density), dtype=bool)
    unmatched[matched] = False
    columns = {
        "feature": pa.array(range(len(density))),
        "density": pa.array(density),
        "dead": pa.array(density == 0),
    }
    for name in ("match", "cosine", "correlation", "survives"):
        values = np.zeros(len(density), dtype=found[name].dtype if found else float)
        values[matched] = found.get(name, [])
        columns[name] = pa.array(values, mask=None if name == "survives" else unmatched)
    table = pa.table(columns).select(FEATURE_SCHEMA.names)
    return table.cast(FEATURE_SCHEMA)


def _matrix(values: np.ndarray, name: str) -> np.ndarray:
    matrix = np.asarray(values)
    matrix = matrix if matrix.dtype == np.float32 else matrix.astype(float)
    if matrix.ndim != 2:
        raise InputError(f"{name} has shape {matrix.shape}; it must be a matrix")
    if not np.isfinite(matrix).all():
        raise InputError(f"{name} has a value that is NaN or infinite; fit the dictionary again")
    return matrix


def _unit_rows(values: np.ndarray, name: str) -> np.ndarray:
    matrix = _matrix(values, name)
    matrix = matrix.astype(float, copy=False)
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    if (norms == 0).any():
        raise InputError(f"{name} has a zero row ({int(np.argmin(norms))}); leave that feature out")
    return matrix / norms


def _codes(values: np.ndarray, decoder: np.ndarray, which: str) -> np.ndarray:
    codes = _matrix(values, f"{which} codes")
    if codes.shape[1] != len(decoder):
        raise InputError(f"{which} codes have {codes.shape[1]} features and their decoder {len(decoder)}")
    if not len(codes):
        raise InputError(f"{which} codes have no rows; encode some inputs")
    return codes


class _Columns(NamedTuple):
    """Columns as correlations need them."""

    values: Any  # float64[n, m]: the few entries that are not zero as they are (csr_array), else all of them, centred
    mean: np.ndarray  # float64[m], of the values
    factor: np.ndarray  # float64[m]: one over the length of each column once it is centred, 0 if it never changes


def _columns(codes: np.ndarray) -> _Columns:
    count = len(codes)
    if np.count_nonzero(codes) > SPARSE_BELOW * codes.size:
        codes = codes.astype(float, copy=False)
        centred = codes - codes.mean(axis=0)
        changes, length = np.ptp(codes, axis=0) > 0, np.linalg.norm(centred, axis=0)
        return _Columns(centred, np.zeros(codes.shape[1]), np.divide(1, length, where=changes, out=0 * length))
    values = csr_array(codes, dtype=float)
    mean, entries = values.sum(axis=0) / count, np.diff(values.tocsc().indptr)
    away = np.bincount(values.indices, (values.data - mean[values.indices]) ** 2, minlength=codes.shape[1])
    length = np.sqrt(away + (count - entries) * mean**2)
    changes = values.max(axis=0).toarray() > values.min(axis=0).toarray()
    return _Columns(values, mean, np.divide(1, length, where=changes, out=0 * length))


def _correlations(a: _Columns, b: _Columns, order: np.ndarray | slice = ALL) -> np.ndarray:
    """float64[m_a, m_b], with the rows of b in another order."""
    products = a.values.T @ b.values[order]
    products = products.toarray() if issparse(products) else products
    products -= a.values.shape[0] * np.outer(a.mean, b.mean)
    products *= a.factor[:, None]
    products *= b.factor
    return np.asarray(products)
