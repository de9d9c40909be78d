"""Harvesting activations: a model reads sequences in ranges, and each row goes straight to its place in the store.

The places are drawn beforehand (`activations.scattered`), so ranges may be read in any order, by any number of
processes, and again after a kill, and the bytes are the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn

from winnow.dictionaries.activations import FORMAT, LARGEST_SHARD, PARTS, SHARDS, scattered
from winnow.dictionaries.dictionary import write_atomically
from winnow.errors import InputError
from winnow.models.hooked_transformer import HookedTransformer
from winnow.models.hooks import capture
from winnow.pipeline.tables import write_json, write_parquet
from winnow.randomness import numpy_generator
from winnow.workloads.names_language import BEGIN, PAD
from winnow.workloads.sequences import Sequences

RANGE = 128
"""Sequences that the model reads at once."""
FLUSH_EVERY = 16
READ_AT_ONCE = 512
END = 0
LARGEST_HALF = 6e4
"""Beyond it numbers are not kept in float16, whose largest is 65,504."""


@dataclass(frozen=True)
class Corpus:
    """What a model reads: tokens and next_tokens int64[n, t]; kept bool[n, t]: positions that become rows."""

    tokens: Tensor
    next_tokens: Tensor
    kept: Tensor
    excluded: str = ""
    """Which positions are left out, in words."""


def corpus_of(workload: Any, split: str) -> Corpus:
    """The sequences of a split of generated sequences or of texts, in the order of its batches.

    Left out are the token of the beginning and positions that no token follows, and of texts the ends of documents.
    """
    parts = list(workload.batches(split, READ_AT_ONCE))
    x, y = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    if isinstance(workload, Sequences):
        return Corpus(x, y, (x != BEGIN) & (y != PAD), "beginnings, padding, and the last token of each document")
    return Corpus(x, y, x != END, "ends of documents")


@torch.no_grad()
def read_hooks(model: nn.Module, x: Tensor, hooks: Sequence[str]) -> list[Tensor]:
    """What the hook points show on tokens x int64[n, t]: float[n, t, d] each, heads side by side.

    Raises InputError for a hook point without one row a token, and those of the model.
    """
    if isinstance(model, HookedTransformer):
        blocks = [int(hook.split(".")[1]) if hook.startswith("blocks.") else -1 for hook in hooks]
        beyond = any(hook.startswith("ln_final") for hook in hooks)
        found = model.run(x, save=hooks, stop_at=None if beyond else max(blocks) + 1)[1]
        tensors = [found[hook] for hook in hooks]
    else:
        tensors = [capture(model, x, hook) for hook in hooks]
        tensors = [rows.unflatten(0, x.shape) if len(rows) == x.numel() else rows for rows in tensors]
    for hook, tensor in zip(hooks, tensors, strict=True):
        if tensor.shape[:2] != x.shape or hook.endswith(("hook_pattern", "hook_attn_scores")):
            raise InputError(f"hook {hook!r}: gives {tuple(tensor.shape)}, not one row a token; use another hook point")
    return [tensor.flatten(2) for tensor in tensors]


class Harvest:
    """A harvest of a model's activations at one hook point, or at two for what maps one to the other.

    rows: at most so many; sequences are drawn by seed until the next one would exceed it. model_sha256, corpus_sha256:
    digests of the files that model and tokens were read from. work: folder for what is not finished, which a harvest
    of equal arguments goes on from. Raises InputError if the folder holds another harvest, if no sequence fits, or if
    the store would be above its largest size or the free disk.
    """

    def __init__(
        self,
        corpus: Corpus,
        hooks: Sequence[str],
        *,
        rows: int,
        seed: int,
        split: str,
        model_sha256: str,
        corpus_sha256: str,
        work: Path,
    ) -> None:
        self.corpus, self.hooks, self.work, self.seed, self.split = corpus, list(hooks), work, seed, split
        counts = corpus.kept.sum(1).numpy()
        order = numpy_generator(seed, "activations", "sequences").permutation(len(counts))
        fitting = int(np.searchsorted(np.cumsum(counts[order]), rows, side="right"))
        self.sequences = np.sort(order[:fitting])
        self.starts = np.concatenate([[0], np.cumsum(counts[self.sequences])])
        self.count = int(self.starts[-1])
        if not self.count:
            raise InputError(f"rows: {rows} is less than one sequence has; raise it")
        self.identity = {
            "hooks": self.hooks,
            "model_sha256": model_sha256,
            "corpus_sha256": corpus_sha256,
            "count": self.count,
            "seed": seed,
            "split": split,
        }
        work.mkdir(parents=True, exist_ok=True)
        self._progress = work / "harvest.json"
        if self._progress.exists() and self._state["identity"] != self.identity:
            raise InputError(f"{work}: holds a harvest of another model, hook point or corpus; use another folder")

    @property
    def _state(self) -> dict[str, Any]:
        if not self._progress.exists():
            return {"identity": self.identity, "widths": None, "done": []}
        return dict(json.loads(self._progress.read_text()))

    @cached_property
    def places(self) -> np.ndarray:
        """int64[rows]: where each row lies in the store."""
        return scattered(np.arange(self.count), self.count, self.seed)

    def scatter(
        self, model: nn.Module, progress: Callable[[int, int], None] | None = None, shards: int = SHARDS
    ) -> None:
        """Read all ranges that are not done yet; each is on disk before it counts as done.

        shards: files that `gather` will write; if even float16 makes them too large, that is said after one range.
        """
        was_training = model.training
        model.eval()
        state, total = self._state, -(-len(self.sequences) // RANGE)
        parts: list[np.ndarray] = self._parts(state["widths"]) if state["widths"] else []
        for number in sorted(set(range(total)) - set(state["done"])):
            chosen = torch.from_numpy(self.sequences[number * RANGE : (number + 1) * RANGE])
            kept = self.corpus.kept[chosen]
            found = [tensor[kept] for tensor in read_hooks(model, self.corpus.tokens[chosen], self.hooks)]
            if not parts:
                state["widths"] = [rows.shape[1] for rows in found]
                self._check_size(-(-self.count // shards), state["widths"], np.float16)
                parts = self._parts(state["widths"])
            first = self.starts[number * RANGE]
            places = self.places[first : first + len(found[0])]
            for part, rows, hook in zip(parts, found, self.hooks, strict=True):
                if not torch.isfinite(rows).all():
                    raise InputError(f"hook {hook!r}: a row is NaN or infinite; train the model again")
                part[places] = rows.numpy()
            state["done"].append(number)
            if len(state["done"]) % FLUSH_EVERY == 0 or len(state["done"]) == total:
                self._flush(parts, state)
            if progress is not None:
                progress(len(state["done"]), total)
        model.train(was_training)

    def _parts(self, widths: list[int]) -> list[np.ndarray]:
        """The unfinished rows of each hook point, float32 on disk."""
        size = self.count * sum(widths) * 4
        files = [self.work / f"{name}.float32" for name, _ in zip(PARTS, widths, strict=False)]
        held = sum(path.stat().st_blocks * 512 for path in files if path.exists())  # which the rows occupy already
        if shutil.disk_usage(self.work).free < 2 * size - held:
            raise InputError(f"rows: {self.count} need {2 * size >> 20} MiB of disk while they are harvested; lower it")
        return [
            np.memmap(path, np.float32, "r+" if path.exists() else "w+", shape=(self.count, width))
            for path, width in zip(files, widths, strict=True)
        ]

    def _check_size(self, each: int, widths: Sequence[int], dtype: type[np.floating]) -> None:
        size = each * sum(widths) * np.dtype(dtype).itemsize
        if size > LARGEST_SHARD:
            limit = self.count * LARGEST_SHARD // size
            raise InputError(f"rows: {self.count} make shards of {size >> 20} MiB; lower it below {limit}")

    def _flush(self, parts: list[np.ndarray], state: dict[str, Any]) -> None:
        for part in parts:
            part.flush()  # type: ignore[attr-defined]
        write_atomically(self._progress, lambda temporary: temporary.write_text(json.dumps(state)))

    def gather(self, shards: Sequence[Path], rows: Path, meta: Path) -> None:
        """Write the store: shards of equal size, rows.parquet and meta.json.

        Rows are kept in float16, or in float32 if a number is beyond it. Raises InputError for shards that would be
        too large and for fewer rows than shards.
        """
        parts = self._parts(self._state["widths"])
        dtype = np.float16 if max(float(np.abs(part).max()) for part in parts) <= LARGEST_HALF else np.float32
        each = -(-self.count // len(shards))
        self._check_size(each, [part.shape[1] for part in parts], dtype)
        if self.count <= each * (len(shards) - 1):
            raise InputError(f"rows: {self.count} do not fill {len(shards)} shards; raise it")
        counts = [min(each, self.count - first) for first in range(0, self.count, each)]
        statistics = [np.zeros(part.shape[1] + 1) for part in parts]
        for number, path in enumerate(shards):
            piece = slice(number * each, (number + 1) * each)
            stored = {name: part[piece].astype(dtype) for name, part in zip(PARTS, parts, strict=False)}
            for total, values in zip(statistics, stored.values(), strict=True):
                doubles = values.astype(np.float64)
                total += [*doubles.sum(0), np.linalg.norm(doubles, axis=1).sum()]
            label = {"hooks": self.hooks, "model_sha256": self.identity["model_sha256"], "row0": number * each}
            # One entry alone, since safetensors writes several in an order by chance.
            save_file(stored, path, {"winnow": json.dumps(label, sort_keys=True)})
        described = {
            **self.identity,
            "format": FORMAT,
            "dtype": np.dtype(dtype).name,
            "excluded": self.corpus.excluded,
            "hook_normalized": "after scale and shift",
            "widths": [part.shape[1] for part in parts],
            "shards": [path.name for path in shards],
            "shard_rows": counts,
            "mean": [(total[:-1] / self.count).tolist() for total in statistics],
            "scale": [float(np.sqrt(len(t) - 1) * self.count / t[-1]) if t[-1] else 1.0 for t in statistics],
        }
        write_parquet(self._table(each), rows)
        write_json(described, meta)

    def _table(self, each: int) -> pa.Table:
        chosen = torch.from_numpy(self.sequences)
        kept = self.corpus.kept[chosen]
        sequence, position = kept.nonzero(as_tuple=True)
        return pa.table(
            {
                "row": np.arange(self.count),
                "doc": self.sequences[sequence.numpy()].astype(np.int32),
                "position": position.numpy().astype(np.int16),
                "token": self.corpus.tokens[chosen][kept].numpy().astype(np.int32),
                "next_token": self.corpus.next_tokens[chosen][kept].numpy().astype(np.int32),
                "split": pa.array([self.split]).take(pa.array(np.zeros(self.count, np.int64))),
                "shard": (self.places // each).astype(np.int16),
                "offset": (self.places % each).astype(np.int32),
            }
        )
