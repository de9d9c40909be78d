"""Near-duplicate texts: shingles, MinHash signatures, locality-sensitive hashing, and components of close pairs.

MinHash: Broder, "On the resemblance and containment of documents", SEQUENCES 1997. Bands of rows: Indyk and
Motwani, "Approximate nearest neighbors: towards removing the curse of dimensionality", STOC 1998; Leskovec,
Rajaraman and Ullman, "Mining of Massive Datasets", 2014. Hash family: multiply-shift of Dietzfelbinger, Hagerup,
Katajainen and Penttonen, "A Reliable Randomized Algorithm for the Closest-Pair Problem", Journal of Algorithms 1997.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numba
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from winnow.errors import InputError
from winnow.randomness import numpy_generator

WORD = re.compile(r"\w+|[^\w\s]")
"""A run of letters, digits and underscores, or one other sign; white space parts and does not count."""
SHINGLE = 5


@dataclass(frozen=True)
class Shingles:
    """Distinct hashed shingles of several texts: those of text i are values[ends[i]:ends[i + 1]], ascending.

    values: uint64; ends: int64[texts + 1], the first 0.
    """

    values: np.ndarray
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ends) - 1


def words(text: str) -> list[str]:
    """The tokens of which shingles are made."""
    return WORD.findall(text)


def _mixed(x: np.ndarray) -> np.ndarray:
    """A bijection of uint64 after which every bit depends on all (Steele, Lea and Flood, SplitMix64, OOPSLA 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def shingles(documents: Sequence[Sequence[str]], size: int = SHINGLE) -> Shingles:
    """Hashes of all runs of `size` tokens of each document; a shorter document is one shingle, an empty one has none.

    The same tokens give the same hashes in every process and corpus. Raises InputError for a size below 1.
    """
    if size < 1:
        raise InputError(f"shingle: is {size}; give 1 token or more")
    numbers: dict[str, int] = {}
    flat = [numbers.setdefault(token, len(numbers)) for document in documents for token in document]
    digests = b"".join(blake2b(token.encode("utf-8", "surrogatepass"), digest_size=8).digest() for token in numbers)
    hashes = np.frombuffer(digests, "<u8").astype(np.uint64)[np.asarray(flat, np.int64)]
    lengths = np.asarray([len(document) for document in documents], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    values = [_distinct(hashes[a:b], size) for a, b in zip(starts[:-1], starts[1:], strict=True)]
    ends = np.concatenate([[0], np.cumsum([len(v) for v in values])]).astype(np.int64)
    return Shingles(np.concatenate(values) if values else np.empty(0, np.uint64), ends)


def _distinct(tokens: np.ndarray, size: int) -> np.ndarray:
    if not len(tokens):
        return tokens
    size = min(size, len(tokens))
    value = np.zeros(len(tokens) - size + 1, np.uint64)
    for at in range(size):  # in order, so that a b is not b a
        value = _mixed(value + tokens[at : len(tokens) - size + 1 + at])
    return np.unique(value)


def minhash(found: Shingles, n: int = 128, seed: int = 0) -> np.ndarray:
    """Signatures uint32[texts, n]: the least value of each of n hash functions over a text's shingles.

    Two signatures agree at a place with the probability of their texts' Jaccard similarity. A text without shingles
    has the largest value everywhere. Raises InputError for n below 1.
    """
    if n < 1:
        raise InputError(f"hashes: is {n}; give 1 or more")
    factors, shifts = numpy_generator(seed, "minhash").integers(0, 2**64, (2, n), dtype=np.uint64)
    return _minima(found.values, found.ends, factors | np.uint64(1), shifts)


@numba.njit(cache=True)
def _minima(values: np.ndarray, ends: np.ndarray, factors: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    signatures = np.full((len(ends) - 1, len(factors)), 0xFFFFFFFF, np.uint32)
    for text in range(len(ends) - 1):
        row = signatures[text]
        for at in range(ends[text], ends[text + 1]):
            value = values[at]
            for i in range(len(factors)):
                hashed = np.uint32((factors[i] * value + shifts[i]) >> np.uint64(32))
                row[i] = min(row[i], hashed)
    return signatures


def collision_probability(similarity: float | np.ndarray, bands: int, rows: int) -> float | np.ndarray:
    """Chance that two texts of a Jaccard similarity share a bucket: 1 - (1 - s^rows)^bands."""
    return 1 - (1 - similarity**rows) ** bands


def candidate_pairs(signatures: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """Pairs int64[pairs, 2] of texts whose signatures agree in all rows of a band, i < j, ascending, each once.

    signatures: uint32[texts, n], of which the first bands * rows values are used. Raises InputError where there are
    fewer.
    """
    if bands < 1 or rows < 1 or bands * rows > signatures.shape[1]:
        raise InputError(f"bands: {bands} bands of {rows} rows take {bands * rows} hashes of {signatures.shape[1]}")
    count = len(signatures)
    found = [np.empty(0, np.int64)]
    for band in range(bands):
        part = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows])
        keys = part.view(np.dtype((np.void, part.itemsize * rows))).ravel()
        _, bucket, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        order = np.argsort(bucket, kind="stable")
        ends = np.cumsum(sizes)
        for size in np.unique(sizes[sizes > 1]):  # all buckets of one size at once
            members = order[(ends[sizes == size] - size)[:, None] + np.arange(size)]
            left, right = np.triu_indices(size, 1)
            found.append((members[:, left] * count + members[:, right]).ravel())
    codes = np.unique(np.concatenate(found))
    return np.column_stack([codes // count, codes % count]) if count else np.empty((0, 2), np.int64)


def jaccard(found: Shingles, pairs: np.ndarray) -> np.ndarray:
    """Exact Jaccard similarity float64[pairs] of pairs of texts; two texts without shingles have 1."""
    return _similarities(found.values, found.ends, np.ascontiguousarray(pairs, np.int64))


@numba.njit(cache=True)
def _similarities(values: np.ndarray, ends: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    similarity = np.empty(len(pairs))
    for row in range(len(pairs)):
        a, a_end = ends[pairs[row, 0]], ends[pairs[row, 0] + 1]
        b, b_end = ends[pairs[row, 1]], ends[pairs[row, 1] + 1]
        union = (a_end - a) + (b_end - b)
        common = 0
        while a < a_end and b < b_end:
            if values[a] == values[b]:
                common += 1
                a += 1
                b += 1
            elif values[a] < values[b]:
                a += 1
            else:
                b += 1
        similarity[row] = common / (union - common) if union else 1.0
    return similarity


def components(count: int, pairs: np.ndarray) -> np.ndarray:
    """Component int64[count] of every text in the graph whose edges are the pairs, named by its first text."""
    edges = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    number, label = connected_components(edges, directed=False)
    first = np.full(number, count, np.int64)
    np.minimum.at(first, label, np.arange(count))
    return first[label]


def lsh_components(signatures: np.ndarray, bands: int = 16, rows: int = 128) -> np.ndarray:
    """Components of texts that share a bucket, as OpenCoder (Huang et al., 2024) takes them: int64[texts]."""
    return components(len(signatures), candidate_pairs(signatures, bands, rows))


def near_duplicates(found: Shingles, threshold: float, *, bands: int = 32, rows: int = 4, seed: int = 0) -> np.ndarray:
    """Components of texts of exact Jaccard similarity at or above a threshold, candidates by banding: int64[texts].

    Pairs are missed with the probability 1 - `collision_probability`. Raises InputError for a threshold outside
    (0, 1].
    """
    if not 0 < threshold <= 1:
        raise InputError(f"near_duplicate_similarity: is {threshold}; give more than 0 and at most 1")
    pairs = candidate_pairs(minhash(found, bands * rows, seed), bands, rows)
    return components(len(found), pairs[jaccard(found, pairs) >= threshold])
