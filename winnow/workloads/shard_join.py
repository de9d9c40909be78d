"""Near-duplicate texts of a corpus that does not fit into memory: shards are hashed one by one and joined on disk.

Each shard is written by a job of its own, in any process and order: its shingles, and for each text and band of its
MinHash signature a key, laid out by the key's partition. The join reads one partition of all shards at a time: texts
that share a key are candidates, whose exact Jaccard similarity is computed from the shingles on disk. The components
are those of `winnow.workloads.minhash.near_duplicates`, of which the source tells the papers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numba
import numpy as np

from winnow.errors import InputError
from winnow.workloads.minhash import Shingles, _mixed, jaccard, minhash, shingles, words

BATCH = 2048
"""Pairs whose shingles are in memory at once, and texts at most."""
CHARACTERS = 1 << 20
"""Of texts that are hashed at once."""


def write_shard(
    texts: Iterable[str], path: Path, *, bands: int = 32, rows: int = 4, partitions: int = 64, seed: int = 0
) -> None:
    """Write shingles and keys of a shard's texts to files <path>.bands, .owners, .shingles, .ends and .json.

    texts are taken some at a time; in memory are those, and the keys of all, 256 bytes for each text. All shards of a
    join need the same bands, rows, partitions and seed. Raises InputError for numbers below 1.
    """
    if min(bands, rows, partitions) < 1:
        raise InputError(f"bands: is {bands}, rows {rows}, partitions {partitions}; give 1 or more of each")
    keys, ends = [np.empty(0, np.uint64)], [np.zeros(1, np.int64)]
    with Path(f"{path}.shingles").open("wb") as file:
        for block in _blocks(texts):
            found = shingles([words(text) for text in block])
            found.values.tofile(file)
            keys.append(_band_keys(minhash(found, bands * rows, seed), bands, rows))
            ends.append(ends[-1][-1] + found.ends[1:])
    flat = np.concatenate(keys)
    owners = np.repeat(np.arange(len(flat) // bands, dtype=np.int64), bands)
    # The low bits part, the rest of the key tells texts apart.
    part = (flat % np.uint64(partitions)).astype(np.int64)
    order = np.argsort(part, kind="stable")
    cuts = np.searchsorted(part[order], np.arange(partitions + 1))
    for suffix, values in (("bands", flat[order]), ("owners", owners[order]), ("ends", np.concatenate(ends))):
        values.tofile(f"{path}.{suffix}")
    facts = {"bands": bands, "rows": rows, "seed": seed, "partitions": cuts.tolist(), "texts": len(flat) // bands}
    Path(f"{path}.json").write_text(json.dumps(facts))


def _blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts in order, in blocks that end with the text that makes them hold so many characters."""
    block, size = [], 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= CHARACTERS or len(block) >= BATCH:
            yield block
            block, size = [], 0
    if block:
        yield block


def _band_keys(signatures: np.ndarray, bands: int, rows: int) -> np.ndarray:
    """uint64[texts * bands]: a number for the values of each band of each text, other in other bands."""
    banded = signatures.reshape(len(signatures), bands, rows).astype(np.uint64)
    keys = np.broadcast_to(np.arange(bands, dtype=np.uint64), banded.shape[:2])
    for row in range(rows):
        keys = _mixed(keys + banded[:, :, row])
    return np.ascontiguousarray(keys).ravel()


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
            sizes = {"bands": self.partitions[-1], "owners": self.partitions[-1], "shingles": int(self.ends[-1])}
            for suffix, size in sizes.items():
                if Path(f"{path}.{suffix}").stat().st_size != 8 * size:
                    raise ValueError(f"{suffix} has another size")
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(f"{path}: is no whole shard ({error}); write it again") from error

    def part(self, partition: int) -> tuple[np.ndarray, np.ndarray]:
        """Keys uint64 and texts int64 of a partition."""
        first, last = self.partitions[partition : partition + 2]
        return self.read("bands", first, last, np.uint64), self.read("owners", first, last, np.int64)

    def read(self, suffix: str, first: int, last: int, kind: type) -> np.ndarray:
        return np.fromfile(f"{self.path}.{suffix}", kind, last - first, offset=8 * first)


def join_shards(
    paths: Sequence[Path],
    thresholds: Sequence[float],
    among: np.ndarray | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Component int64[thresholds, texts] of texts of all shards, in their order, named by its first text.

    among: bool[texts], which to look at; the others stay alone. In memory are one partition, the shingles of some
    pairs, and for each text its end and eight bytes a threshold. Raises InputError for a threshold outside (0, 1], no
    shards, a damaged one, and shards that were written in different ways.
    """
    for threshold in thresholds:
        if not 0 < threshold <= 1:
            raise InputError(f"threshold: is {threshold}; give more than 0 and at most 1")
    shards = [_Shard(path) for path in paths]
    if not shards:
        raise InputError("shards: there are none; write some")
    for shard in shards:
        if shard.kind != shards[0].kind:
            raise InputError(f"{shard.path}: was written in another way than {shards[0].path}; write them alike")
    starts = np.cumsum([0, *(len(shard.ends) - 1 for shard in shards)])
    parents = np.tile(np.arange(starts[-1]), (len(thresholds), 1))
    # A pair that is one by the strictest threshold is one by all.
    strictest = parents[int(np.argmax(thresholds))]
    partitions = shards[0].kind[-1]
    for partition in range(partitions):
        keys, texts = _partition(shards, starts, partition, among)
        place = np.array([0, 0, 1])
        while place[0] < len(keys):
            pairs = _pairs(keys, texts, place, strictest, BATCH)
            similarities = _similarities(shards, starts, pairs)
            for parent, threshold in zip(parents, thresholds, strict=True):
                _unite(parent, pairs[similarities >= threshold])
        if progress:
            progress(partition + 1, partitions)
    for parent in parents:
        _name_by_root(parent)
    return parents


def _partition(
    shards: list[_Shard], starts: np.ndarray, partition: int, among: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Keys and texts of a partition of all shards, equal keys beside one another."""
    parts = [shard.part(partition) for shard in shards]
    keys = np.concatenate([keys for keys, _ in parts])
    texts = np.concatenate([owners + start for (_, owners), start in zip(parts, starts, strict=False)])
    if among is not None:
        keys, texts = keys[among[texts]], texts[among[texts]]
    order = np.lexsort((texts, keys))
    return keys[order], texts[order]


def _similarities(shards: list[_Shard], starts: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    texts, local = np.unique(pairs, return_inverse=True)
    values, lengths = [np.empty(0, np.uint64)], []
    for text, number in zip(texts, np.searchsorted(starts, texts, side="right") - 1, strict=True):
        first, last = shards[number].ends[text - starts[number] :][:2]
        values.append(shards[number].read("shingles", int(first), int(last), np.uint64))
        lengths.append(last - first)
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return jaccard(Shingles(np.concatenate(values), ends), local.reshape(pairs.shape))


@numba.njit(cache=True)
def _pairs(keys: np.ndarray, texts: np.ndarray, place: np.ndarray, parent: np.ndarray, limit: int) -> np.ndarray:
    """Up to `limit` pairs of texts that share a key and are not yet one.

    place: the first text of a group of one key, and a pair of it, where the last call stopped; it is moved on.
    """
    pairs, n = np.empty((limit, 2), np.int64), 0
    first, i, j = place
    while first < len(keys):
        end = first + 1
        while end < len(keys) and keys[end] == keys[first]:
            end += 1
        while i < end and n < limit:
            while j < end and n < limit:
                if _root(parent, texts[i]) != _root(parent, texts[j]):
                    pairs[n, 0], pairs[n, 1] = texts[i], texts[j]
                    n += 1
                j += 1
            if j == end:
                i, j = i + 1, i + 2
        if i < end:
            break
        first, i, j = end, end, end + 1
    place[0], place[1], place[2] = first, i, j
    return pairs[:n]


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


@numba.njit(cache=True)
def _name_by_root(parent: np.ndarray) -> None:
    for text in range(len(parent)):
        parent[text] = _root(parent, text)
