"""Splits by hash: where a key goes depends on its content, never on row order, other columns or a generator's
state.

Keyed hashing is BLAKE2 (Aumasson, Neves, Wilcox-O'Hearn and Winnerlein, "BLAKE2: simpler, smaller, fast as
MD5", 2013).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from hashlib import blake2b

import numpy as np

from winnow.errors import InputError

Keys = Sequence[str] | Sequence[int] | np.ndarray


def key_hashes(keys: Keys, salt: str) -> np.ndarray:
    """uint64 hash of every key: blake2b of the salt, a zero byte and the key as text."""
    values = keys.tolist() if isinstance(keys, np.ndarray) else keys
    prefix = blake2b(salt.encode() + b"\0", digest_size=8)

    def one(key: str | int) -> int:
        state = prefix.copy()
        state.update(str(key).encode())
        return int.from_bytes(state.digest(), "big")

    return np.fromiter((one(key) for key in values), np.uint64, len(values))


def _exact_fractions(fractions: Mapping[str, float]) -> list[Fraction]:
    """The shares as decimals written them, so that 0.7 + 0.1 is 0.8, scaled to sum to exactly 1."""
    if not fractions or not all(0 <= share <= 1 for share in fractions.values()):
        total = Fraction(0)
    else:
        exact = [Fraction(str(float(share))) for share in fractions.values()]
        total = sum(exact, Fraction(0))
    if abs(total - 1) > Fraction(1, 10**9):
        given = ", ".join(f"{name} {share}" for name, share in fractions.items())
        raise InputError(f"split fractions: {given}; each must be at least 0, and all together 1")
    return [share / total for share in exact]


def _cuts(count: int, fractions: list[Fraction], weights: np.ndarray | None = None) -> list[int]:
    """End of each split among `count` sorted keys: rounded half up, no split empty while keys suffice.

    weights: of the keys, which then count instead of their number; a key goes where the middle of its weight lies.
    """
    total, ends = Fraction(0), []
    middle = None if weights is None else np.cumsum(weights) - weights / 2
    for fraction in fractions:
        total += fraction
        if middle is None or weights is None:
            ends.append(int(total * count + Fraction(1, 2)))
        else:
            ends.append(int(np.searchsorted(middle, float(total) * weights.sum())))
    wanted = [int(fraction > 0) for fraction in fractions]
    if count >= sum(wanted):
        for i in range(len(ends)):
            ends[i] = max(ends[i], (ends[i - 1] if i else 0) + wanted[i])
        for i in range(len(ends) - 1, -1, -1):
            ends[i] = min(ends[i], count - sum(wanted[i + 1 :]))
    return ends


def hash_split(
    keys: Keys, strata: Keys, salt: str, fractions: Mapping[str, float], weights: np.ndarray | None = None
) -> np.ndarray:
    """Split name of every row: keys sorted by hash inside each stratum and cut at exact fractions.

    keys: the group that must not straddle splits, str or int, one per row; rows of equal key go together, and
    a key seen in several strata counts in the lowest of them. strata: one value per row, all str or all int.
    fractions: split -> share, in order, summing to 1; keys are counted, not rows, with ends rounded half up.
    Where a stratum has at least as many keys as there are splits, each split gets one. Adding a row moves
    other keys across a cut only as far as the cut itself moves. weights: of the rows, above 0; fractions are then of
    weight, and a key goes where the middle of its weight lies. Raises InputError for fractions that do not sum to 1,
    ValueError for keys and strata of different length.
    """
    exact = _exact_fractions(fractions)
    names = np.array(list(fractions), dtype=object)
    if len(keys) != len(strata):
        raise ValueError(f"{len(keys)} keys and {len(strata)} strata; one stratum per key is needed")
    if not len(keys):
        return np.empty(0, dtype=object)
    unique, inverse = np.unique(np.asarray(keys), return_inverse=True)
    _, stratum = np.unique(np.asarray(strata), return_inverse=True)
    key_stratum = np.full(len(unique), np.iinfo(np.int64).max)
    np.minimum.at(key_stratum, inverse, stratum)
    order = np.lexsort((np.arange(len(unique)), key_hashes(unique, salt), key_stratum))
    weight = None if weights is None else np.bincount(inverse, weights)[order]
    starts = np.searchsorted(key_stratum[order], np.arange(stratum.max() + 2))
    assigned = np.empty(len(unique), dtype=np.int64)
    for first, last in zip(starts[:-1], starts[1:], strict=True):  # once per stratum
        cuts = _cuts(last - first, exact, None if weight is None else weight[first:last])
        assigned[order[first:last]] = np.searchsorted(cuts, np.arange(last - first), side="right")
    return names[assigned[inverse]]


def threshold_split(keys: Keys, salt: str, fractions: Mapping[str, float]) -> np.ndarray:
    """Split name of every row from its key's hash alone: for data that grows, no key ever moves.

    fractions: as in `hash_split`, met in expectation only. Raises InputError for fractions that do not sum to
    1.
    """
    exact = _exact_fractions(fractions)
    ends = [int(sum(exact[: i + 1]) * 2**64) for i in range(len(exact) - 1)]
    limits = np.array([min(end, 2**64 - 1) for end in ends], dtype=np.uint64)
    names = np.array(list(fractions), dtype=object)
    return names[np.searchsorted(limits, key_hashes(keys, salt), side="right")]


def first_by_hash(keys: Keys, salt: str, count: int) -> np.ndarray:
    """bool mask of the rows whose key is among the `count` lowest by hash: a smaller count gives a subset."""
    if count < 1:
        raise InputError(f"limit: {count} keys; keep at least 1")
    unique, inverse = np.unique(np.asarray(keys), return_inverse=True)
    kept = np.zeros(len(unique), dtype=bool)
    kept[np.argsort(key_hashes(unique, salt), kind="stable")[:count]] = True
    return kept[inverse]
