"""Documents as a workload: windows of tokens, next-token loss, and bits per byte."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.workloads.text_tables import TextMeta, text_meta

EVALUATION_BATCH = 8
Batch = tuple[Tensor, Tensor]


class Texts:
    """Language modelling over curated documents, laid end to end and cut into windows of equal length."""

    task = "language"

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._splits: dict[str, tuple[np.ndarray, int]] = {}

    @cached_property
    def meta(self) -> TextMeta:
        """Vocabulary and length of windows, as curation set them."""
        path = self.folder / "train.parquet"
        from winnow.pipeline.tables import read_parquet

        return text_meta(read_parquet(path, []), str(path))

    def tokens(self, split: str) -> np.ndarray:
        """All tokens of a split, uint16, documents in stored order, each ended by token 0."""
        return self._read(split)[0]

    def _read(self, split: str) -> tuple[np.ndarray, int]:
        if split not in self._splits:
            from winnow.pipeline.tables import read_parquet

            path = self.folder / f"{split}.parquet"
            table = read_parquet(path, ["tokens", "bytes"])
            tokens = table["tokens"].combine_chunks().flatten().to_numpy()
            if len(tokens) <= self.meta.context:
                raise InputError(f"{path}: has {len(tokens)} tokens, no window of {self.meta.context}; add documents")
            self._splits[split] = tokens, int(np.sum(table["bytes"].to_numpy()))
        return self._splits[split]

    def halves(self, split: str) -> tuple[str, str]:
        """Names of two splits that hold every second document of one: those at even places, and those at odd ones.

        Raises InputError where a half has no window.
        """
        from winnow.pipeline.tables import read_parquet

        path = self.folder / f"{split}.parquet"
        table = read_parquet(path, ["tokens", "bytes"])
        names = f"{split}, even documents", f"{split}, odd documents"
        for first, name in enumerate(names):
            half = table.take(np.arange(first, len(table), 2))
            tokens = half["tokens"].combine_chunks().flatten().to_numpy()
            if len(tokens) <= self.meta.context:
                raise InputError(f"{path}: half of it has no window of {self.meta.context} tokens; add documents")
            self._splits[name] = tokens, int(np.sum(half["bytes"].to_numpy()))
        return names

    def build(self, name: str, seed: int = 0, **arguments: Any) -> nn.Module:
        """A new model of the registry for this workload's vocabulary, not yet trained."""
        from winnow.models import build

        return build(name, seed=seed, **{"vocabulary": self.meta.vocabulary, **arguments})

    def batches(self, split: str, size: int, seed: int | None = None, epoch: int = 0) -> Iterator[Batch]:
        """Windows (x, y) int64[n, context] of a split, y one token later; the last batch may be smaller.

        seed None takes all windows one after another, from the start; otherwise their common offset and their order
        are drawn from (seed, epoch) alone. What is left at the ends, less than two windows, is not used. Raises
        InputError for a size below 1.
        """
        if size < 1:
            raise InputError(f"batch size is {size}; it must be at least 1")
        tokens, context = self.tokens(split), self.meta.context
        windows = (len(tokens) - 1) // context
        order, offset = np.arange(windows), 0
        if seed is not None:
            windows = max(windows - 1, 1)  # leaves room for every offset
            generator = numpy_generator(seed, "batches", split, str(epoch))
            order, offset = generator.permutation(windows), int(generator.integers(len(tokens) - windows * context))
        for first in range(0, windows, size):
            at = offset + order[first : first + size, None] * context + np.arange(context + 1)
            window = torch.from_numpy(tokens[at].astype(np.int64))
            yield window[:, :-1], window[:, 1:]

    def loss(self, model: nn.Module, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy of a batch's next tokens, in nats, with the `extra_loss` of a model that trains."""
        x, y = batch
        loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten(), label_smoothing=label_smoothing)
        # Looked for inside, since pruning wraps a model; what is judged may be a function, which has no parts.
        parts: Any = getattr(model, "modules", tuple)()
        return sum((part.extra_loss() for part in parts if part.training and hasattr(part, "extra_loss")), loss)

    @torch.no_grad()
    def metrics(self, model: nn.Module, split: str) -> dict[str, float]:
        """bits_per_byte, cross_entropy (nats a token) and accuracy (share of tokens foreseen) over all windows.

        The bits of all tokens that are foreseen, the end of each document among them, over the bytes of the text:
        comparable between tokenizers. Windows do not see one another, so the first tokens of each have little to go by.
        """
        was_training = model.training
        model.eval()
        nats = right = count = 0.0
        for x, y in self.batches(split, EVALUATION_BATCH):
            logits = model(x).flatten(0, 1)
            # Added up in float64; taking the logits to it as well would cost as much as the model.
            nats += float(nn.functional.cross_entropy(logits, y.flatten(), reduction="none").double().sum())
            right += float((logits.argmax(-1) == y.flatten()).sum())
            count += y.numel()
        model.train(was_training)
        return self._rates(nats / count, split) | {"accuracy": right / count}

    def rates(self, probabilities: np.ndarray, split: str) -> dict[str, float]:
        """bits_per_byte and cross_entropy of the probabilities float64[n] that a model gives a split's tokens."""
        return self._rates(-float(np.log(probabilities[1:]).mean()), split)

    def bytes_per_token(self, split: str) -> float:
        """Bytes of text for each token of a split."""
        tokens, size = self._read(split)
        return size / len(tokens)

    def _rates(self, nats: float, split: str) -> dict[str, float]:
        tokens, size = self._read(split)
        return {"bits_per_byte": nats * (len(tokens) - 1) / math.log(2) / size, "cross_entropy": nats}

    def hook_points(self, model: Any) -> list[str]:
        """Names of the model's activations that are worth a dictionary."""
        return list(model.hook_points())

    def example_inputs(self, n: int = 1) -> Tensor:
        """The first n training windows: int64[n, context]."""
        return next(iter(self.batches("train", n)))[0]
