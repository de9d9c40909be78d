"""Near-duplicate texts of a corpus that does not fit into memory: shards are hashed one by one and joined on disk.

Each shard is written by a job of its own, in any process and order: its shingles, and for each text and band of its
MinHash signature a key, laid out by the key's partition. The join reads one partition of all shards at a time: texts
that share a key are candidates, whose exact Jaccard similarity is computed from the shingles on disk. The components
are those of `winnow.workloads.minhash.near_duplicates`, of which the source tells the papers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numba
import numpy as np

from winnow.errors import InputError
from winnow.workloads.minhash import Shingles, _mixed, jaccard, minhash, shingles, words

BATCH = 2048
"""Pairs whose shingles are in memory at once."""
SUFFIXES = ("keys", "owners", "values", "ends")


def write_shard(
    texts: Sequence[str], path: Path, *, bands: int = 32, rows: int = 4, partitions: int = 64, seed: int = 0
) -> None:
    """Write shingles and keys of a shard's texts to files <path>.keys, .owners, .values, .ends and .json.

    All shards of a join need the same bands, rows, partitions and seed. Raises InputError for numbers below 1.
    """
    if min(bands, rows, partitions) < 1:
        raise InputError(f"bands: is {bands}, rows {rows}, partitions {partitions}; give 1 or more of each")
    found = shingles([words(text) for text in texts])
    signatures = minhash(found, bands * rows, seed).reshape(len(texts), bands, rows).astype(np.uint64)
    keys = np.broadcast_to(np.arange(bands, dtype=np.uint64), (len(texts), bands))
    for row in range(rows):
        keys = _mixed(keys + signatures[:, :, row])
    owners = np.repeat(np.arange(len(texts), dtype=np.int64), bands)
    flat = np.ascontiguousarray(keys).ravel()
    # The low bits part, the rest of the key tells texts apart.
    part = (flat % np.uint64(partitions)).astype(np.int64)
    order = np.argsort(part, kind="stable")
    ends = np.searchsorted(part[order], np.arange(partitions + 1))
    for suffix, values in zip(SUFFIXES, (flat[order], owners[order], found.values, found.ends), strict=True):
        values.tofile(f"{path}.{suffix}")
    facts = {"bands": bands, "rows": rows, "seed": seed, "partitions": ends.tolist(), "texts": len(texts)}
    Path(f"{path}.json").write_text(json.dumps(facts))


class _Shard:
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            facts = json.loads(Path(f"{path}.json").read_text())
            self.kind = (facts["bands"], facts["rows"], facts["seed"], len(facts["partitions"]) - 1)
            self.partitions = facts["partitions"]
            self.ends = np.fromfile(f"{path}.ends", np.int64)
            if len(self.ends) != facts["texts"] + 1:
                raise ValueError("ends has another size")
            sizes = {"keys": self.partitions[-1], "owners": self.partitions[-1], "values": int(self.ends[-1])}
            for suffix, size in sizes.items():
                if Path(f"{path}.{suffix}").stat().st_size != 8 * size:
                    raise ValueError(f"{suffix} has another size")
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(f"{path}: is no whole shard ({error}); write it again") from error

    def part(self, partition: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys uint64 and texts int64 of a partition."""
        first, last = self.partitions[partition : partition + 2]
        return self.read("keys", first, last, np.uint64), self.read("owners", first, last, np.int64)

    def read(self, suffix: str, first: int, last: int, kind: type) -> np.ndarray:
        return np.fromfile(f"{self.path}.{suffix}", kind, last - first, offset=8 * first)


def join_shards(
    paths: Sequence[Path], threshold: float, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Component int64[texts] of texts of all shards, in their order, named by its first text.

    In memory are one partition, the shingles of some pairs, and eight bytes and an end for each text. Raises InputError
    for a threshold outside (0, 1], no shards, a damaged one, and shards that were written in different ways.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"threshold: is {threshold}; give more than 0 and at most 1")
    shards = [_Shard(path) for path in paths]
    if not shards:
        raise InputError("shards: there are none; write some")
    for shard in shards:
        if shard.kind != shards[0].kind:
            raise InputError(f"{shard.path}: was written in another way than {shards[0].path}; write them alike")
    starts = np.cumsum([0, *(len(shard.ends) - 1 for shard in shards)])
    parent = np.arange(starts[-1])
    partitions = shards[0].kind[-1]
    for partition in range(partitions):
        parts = [shard.part(partition) for shard in shards]
        keys = np.concatenate([keys for keys, _ in parts])
        texts = np.concatenate([owners + start for (_, owners), start in zip(parts, starts, strict=False)])
        order = np.lexsort((texts, keys))
        keys, texts, at = keys[order], texts[order], 0
        while at < len(keys):
            pairs, at = _pairs(keys, texts, at, parent, BATCH)
            _unite(parent, pairs[_similarities(shards, starts, pairs) >= threshold])
        if progress:
            progress(partition + 1, partitions)
    return np.array([_root(parent, text) for text in range(len(parent))], np.int64)


def _similarities(shards: list[_Shard], starts: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    texts, local = np.unique(pairs, return_inverse=True)
    values, lengths = [np.empty(0, np.uint64)], []
    for text, number in zip(texts, np.searchsorted(starts, texts, side="right") - 1, strict=True):
        first, last = shards[number].ends[text - starts[number] :][:2]
        values.append(shards[number].read("values", int(first), int(last), np.uint64))
        lengths.append(last - first)
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return jaccard(Shingles(np.concatenate(values), ends), local.reshape(pairs.shape))


@numba.njit(cache=True)
def _pairs(keys: np.ndarray, texts: np.ndarray, at: int, parent: np.ndarray, limit: int) -> tuple[np.ndarray, int]:
    """Pairs of texts that share a key and are not yet one, of whole groups from `at` until there are `limit`."""
    pairs, n = np.empty((limit, 2), np.int64), 0
    while at < len(keys) and n < limit:
        end = at + 1
        while end < len(keys) and keys[end] == keys[at]:
            end += 1
        for i in range(at, end):
            for j in range(i + 1, end):
                if _root(parent, texts[i]) != _root(parent, texts[j]):
                    if n == len(pairs):
                        pairs = np.concatenate((pairs, np.empty_like(pairs)))
                    pairs[n, 0], pairs[n, 1] = texts[i], texts[j]
                    n += 1
        at = end
    return pairs[:n], at


@numba.njit(cache=True)
def _root(parent: np.ndarray, text: int) -> int:
    while parent[text] != text:
        parent[text] = parent[parent[text]]
        text = parent[text]
    return text


@numba.njit(cache=True)
def _unite(parent: np.ndarray, pairs: np.ndarray) -> None:
    for i in range(len(pairs)):
        a, b = _root(parent, pairs[i, 0]), _root(parent, pairs[i, 1])
        parent[max(a, b)] = min(a, b)  # the first text names the component
