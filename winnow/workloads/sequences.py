"""Generated sequences of tokens as a workload: whole documents, padded, and the loss on their tokens alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.workloads.image_tables import METADATA_KEY
from winnow.workloads.names_language import PAD

EVALUATION_BATCH = 256
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class SequenceMeta:
    """What the documents of a curated table have in common."""

    vocabulary: list[str]
    """The word of each token; the first one pads."""
    context: int
    """Most tokens that a model of them reads."""
    workload: str = ""

    def encode(self) -> dict[str, str]:
        """Parquet metadata, as `write_parquet` takes it."""
        return {METADATA_KEY.decode(): json.dumps({**vars(self), "kind": "sequences"}, sort_keys=True)}


def sequence_meta(table: pa.Table, name: str) -> SequenceMeta:
    """The metadata of a curated table of sequences; absent or foreign ones are an InputError that names `name`."""
    try:
        fields = json.loads((table.schema.metadata or {})[METADATA_KEY])
        if fields.pop("kind") != "sequences":
            raise ValueError("its kind is another")
        return SequenceMeta(**fields)
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{name}: is no table of generated sequences ({error}); run the curate stage again") from error


class Sequences:
    """Language modelling over generated documents, each of which is an example of its own."""

    task = "language"

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._splits: dict[str, Tensor] = {}

    @cached_property
    def meta(self) -> SequenceMeta:
        """Words and context, as curation set them."""
        from winnow.pipeline.tables import read_parquet

        path = self.folder / "train.parquet"
        return sequence_meta(read_parquet(path, []), str(path))

    def tokens(self, split: str) -> Tensor:
        """int64[n, t]: the documents of a split in stored order, padded to the longest with token 0.

        Raises InputError for a split without documents, and for a token or a length that the metadata do not allow.
        """
        if split not in self._splits:
            from winnow.pipeline.tables import read_parquet

            path = self.folder / f"{split}.parquet"
            column = read_parquet(path, ["tokens"])["tokens"].combine_chunks()
            flat, offsets = column.flatten().to_numpy(), column.offsets.to_numpy()
            lengths = np.diff(offsets)
            if not len(lengths) or lengths.min() < 2 or lengths.max() > self.meta.context:
                raise InputError(
                    f"{path}: a document is of 2 to {self.meta.context} tokens; run the curate stage again"
                )
            if flat.min() <= PAD or flat.max() >= len(self.meta.vocabulary):
                last = len(self.meta.vocabulary) - 1
                raise InputError(f"{path}: a token is outside 1 to {last}; run the curate stage again")
            padded = np.full((len(lengths), lengths.max()), PAD, np.int64)
            padded[np.arange(lengths.max()) < lengths[:, None]] = flat
            self._splits[split] = torch.from_numpy(padded)
        return self._splits[split]

    def build(self, name: str, seed: int = 0, **arguments: Any) -> nn.Module:
        """A new model of the registry for this workload's words and context, not yet trained."""
        from winnow.models import build

        sizes = {"vocabulary": len(self.meta.vocabulary), "context": self.meta.context}
        return build(name, seed=seed, **{**sizes, **arguments})

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterator[Batch]:
        """(x, y) int64[n, t] of a split, y one token later and 0 where a document has ended.

        seed None gives stored order with the remainder as a last, smaller batch; otherwise the order is drawn from
        (seed, epoch) and the remainder left out, unless it is all there is. Raises InputError for a size below 1.
        """
        if size < 1:
            raise InputError(f"batch size is {size}; it must be at least 1")
        tokens = self.tokens(split)
        order, last = np.arange(len(tokens)), len(tokens)
        if seed is not None:
            order = numpy_generator(seed, "batches", split, str(epoch)).permutation(len(tokens))
            last = len(tokens) // size * size or len(tokens)
        for first in range(0, last, size):
            rows = tokens[torch.from_numpy(order[first : min(first + size, last)])]
            yield rows[:, :-1], rows[:, 1:]

    def loss(self, model: nn.Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy of a batch's next tokens, in nats, padding left out."""
        x, y = batch
        logits = model(x).flatten(0, 1)
        return nn.functional.cross_entropy(logits, y.flatten(), ignore_index=PAD, label_smoothing=label_smoothing)

    @torch.no_grad()
    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        """cross_entropy (nats a token) and accuracy (share of tokens foreseen) over all documents."""
        was_training = model.training
        model.eval()
        nats = right = count = 0.0
        for x, y in self.batches(split, EVALUATION_BATCH):
            logits, kept = model(x), y != PAD
            nats += float(nn.functional.cross_entropy(logits[kept].double(), y[kept], reduction="sum"))
            right += float((logits.argmax(-1) == y)[kept].sum())
            count += float(kept.sum())
        model.train(was_training)
        return {"cross_entropy": nats / count, "accuracy": right / count}

    def hook_points(self, model: Any) -> list[str]:
        """Names of the model's activations that are worth a dictionary."""
        return list(model.hook_points())

    def example_inputs(self, n: int = 1) -> Tensor:
        """The first n training documents without their last token: int64[n, t]."""
        return self.tokens("train")[:n, :-1]
