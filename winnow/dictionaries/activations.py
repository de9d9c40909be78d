"""Activations of a model that were harvested once, and how every dictionary reads them.

A store is a few files: shards (safetensors) with rows that were scattered over them when they were written,
rows.parquet that says which token of which sequence a row is, and meta.json. As rows lie in a random order already,
training reads shards from front to back and needs no buffer to shuffle in; passes differ by the order of shards and of
blocks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from winnow.errors import InputError
from winnow.pipeline.tables import read_parquet
from winnow.randomness import numpy_generator

FORMAT = 1
SHARDS = 8
LARGEST_SHARD = 128 << 20
"""Bytes: a store of eight such shards is one of 1 GiB."""
BLOCK = 4096
ROUNDS = 4
PARTS = ("x", "y")
REMEDY = "harvest the activations again"


def scattered(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Places int64 of the rows int64 of a store of `count`: a one-to-one map of 0 ... count - 1 onto itself by seed.

    A Feistel network of four rounds over the next even number of bits, walked until it falls within the count, so that
    no list of all places is held, and neighbours part whatever the count (an affine map needs a lucky factor).
    """
    half = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    keys = numpy_generator(seed, "activations", "places").integers(0, 2**63, ROUNDS, dtype=np.uint64)
    places = np.array(rows, np.uint64)
    walking = np.ones(len(places), bool)
    while walking.any():
        left, right = places[walking] >> np.uint64(half), places[walking] & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right ^ key) & mask)
        places[walking] = (left << np.uint64(half)) | right
        walking = places >= np.uint64(count)
    return places.astype(np.int64)


def _mixed(values: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True)
class ActivationStore:
    """A store on disk. shards: its files, in order; rows: rows.parquet; meta: what meta.json says.

    meta has format, model_sha256, corpus_sha256, split, hooks (one, or two: what goes in and what comes out), widths,
    count, seed, dtype, excluded (which tokens have no rows), and mean and scale (sqrt(d) / E|x|) of each hook point.
    """

    shards: tuple[Path, ...]
    rows: Path
    meta: dict[str, Any]

    def __len__(self) -> int:
        return int(self.meta["count"])

    def reading(self, seed: int, parts: Sequence[str] = ("x",)) -> Reading:
        """Its rows as what `fit` takes, in an order of their own for each pass; with several parts side by side."""
        return Reading(self, seed, tuple(parts))

    def pieces(self, parts: Sequence[str] = ("x",), size: int = BLOCK) -> Iterator[Tensor]:
        """All rows in stored order, in blocks float[at most size, widths of the parts]."""
        for number in range(len(self.shards)):
            for first in range(0, self._counts[number], size):
                yield self._block(number, first, size, parts)

    def table(self) -> pa.Table:
        """Which token each row is, in stored order: doc int32, position int16, token, next_token int32 and more."""
        return read_parquet(self.rows).sort_by([("shard", "ascending"), ("offset", "ascending")])

    @property
    def _counts(self) -> list[int]:
        return list(self.meta["shard_rows"])

    def _block(self, shard: int, first: int, size: int, parts: Sequence[str]) -> Tensor:
        path = self.shards[shard]
        try:
            with safe_open(path, "pt") as file:
                found = [file.get_slice(part)[first : first + size].float() for part in parts]
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: cannot be read ({error}); {REMEDY}") from None
        return found[0] if len(found) == 1 else torch.cat(found, 1)


class Reading:
    """An iterable that ends with each pass; the next pass has another order, by (seed, pass)."""

    def __init__(self, store: ActivationStore, seed: int, parts: tuple[str, ...]) -> None:
        for part in parts:
            if part not in PARTS[: len(store.meta["hooks"])]:
                hooks = " to ".join(store.meta["hooks"])
                raise InputError(f"activations of {hooks}: have no part {part!r}; harvest a pair of hook points")
        self.store, self.seed, self.parts, self.passes = store, seed, parts, 0

    def __iter__(self) -> Iterator[Tensor]:
        generator = numpy_generator(self.seed, "activations", "pass", str(self.passes))
        self.passes += 1
        counts = self.store.meta["shard_rows"]
        for shard in generator.permutation(len(counts)):
            for block in generator.permutation(-(-counts[shard] // BLOCK)):
                yield self.store._block(int(shard), int(block) * BLOCK, BLOCK, self.parts)


def open_store(meta: Path | str, model_sha256: str | None = None) -> ActivationStore:
    """The store whose meta.json is given. model_sha256: digest of the model file that the rows must be of.

    Raises InputError naming the file for one that is missing, damaged, of another format, of another model than asked
    for, or of another model than its neighbours.
    """
    meta = Path(meta)
    try:
        described = json.loads(meta.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{meta}: cannot be read ({error}); {REMEDY}") from None
    if not isinstance(described, dict) or described.get("format") != FORMAT:
        raise InputError(f"{meta}: is not of format {FORMAT}; {REMEDY}")
    if model_sha256 not in (None, described["model_sha256"]):
        raise InputError(f"{meta}: the activations are of another model ({described['model_sha256'][:12]}); {REMEDY}")
    shards = tuple(meta.parent / name for name in described["shards"])
    for path, count in zip(shards, described["shard_rows"], strict=True):
        _check_shard(path, count, described)
    return ActivationStore(shards, meta.parent / "rows.parquet", described)


def _check_shard(path: Path, count: int, described: dict[str, Any]) -> None:
    try:
        with safe_open(path, "pt") as file:
            found = json.loads((file.metadata() or {}).get("winnow", "{}"))
            shapes = [file.get_slice(part).get_shape() for part in PARTS[: len(described["hooks"])]]
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {REMEDY}") from None
    if found.get("model_sha256") != described["model_sha256"] or found.get("hooks") != described["hooks"]:
        raise InputError(f"{path}: is of another model or hook point than meta.json says; {REMEDY}")
    if shapes != [[count, width] for width in described["widths"]]:
        raise InputError(f"{path}: has tensors of shapes {shapes}, not {count} rows of {described['widths']}; {REMEDY}")
