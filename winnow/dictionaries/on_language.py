"""Dictionaries of language models: what the loss makes of their reconstructions, and where their features fire.

The model is run again on held-out sequences for whatever is causal: stored rows are for training alone. Rows that a
store leaves out (beginnings, padding) are left alone by every edit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from winnow.dictionaries.activations import ActivationStore
from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.harvest import Corpus, read_hooks
from winnow.dictionaries.metrics import ce_recovered, decoder_max_cosine, evaluate
from winnow.errors import InputError
from winnow.models.hooks import from_hook_on

BATCH = 64
TOP = 10
FEATURES = pa.schema(
    {
        "feature": pa.int32(),
        "density": pa.float64(),
        "decoder_norm": pa.float64(),
        "max_cosine": pa.float64(),
        "top_docs": pa.list_(pa.int32()),
        "top_positions": pa.list_(pa.int16()),
        "top_tokens": pa.list_(pa.int32()),
        "top_values": pa.list_(pa.float32()),
    }
)
"""density: share of the rows; top_*: sequence, position, token and activation of the rows where it is strongest."""
Edit = Callable[[Tensor], Tensor]


def chosen(corpus: Corpus, sequences: Tensor) -> Corpus:
    """The corpus of some of its sequences, by number."""
    tokens, next_tokens, kept = (part[sequences] for part in (corpus.tokens, corpus.next_tokens, corpus.kept))
    return replace(corpus, tokens=tokens, next_tokens=next_tokens, kept=kept)


def sequences_of(store: ActivationStore) -> Tensor:
    """int64[s]: the numbers of the sequences that a store has rows of, rising."""
    return torch.from_numpy(np.unique(store.table()["doc"].to_numpy()).astype(np.int64))


class HeldOut:
    """Sequences on which dictionaries of one hook point of a model are judged; runs without them are made once.

    source: the hook point before it that transcoders read, whose rows a model with the hook point edited does not
    change; None is the hook point itself.
    """

    def __init__(self, model: nn.Module, corpus: Corpus, hook: str, source: str | None = None) -> None:
        self.model, self.corpus, self.hook, self.source = model.eval(), corpus, hook, source or hook
        self._rest: dict[int, Callable[[Edit], Tensor]] = {}
        if not corpus.kept.any():
            raise InputError("corpus: has no rows to judge by; give longer sequences")

    @cached_property
    def rows(self) -> Tensor:
        """float32[n, d]: what the hook point shows at the kept positions, sequence by sequence."""
        return self._shown(self.hook)

    @cached_property
    def read(self) -> Tensor:
        """float32[n, d_in]: what the source shows there, which dictionaries take."""
        return self.rows if self.source == self.hook else self._shown(self.source)

    def _shown(self, hook: str) -> Tensor:
        parts = zip(self.corpus.tokens.split(BATCH), self.corpus.kept.split(BATCH), strict=True)
        return torch.cat([read_hooks(self.model, x, [hook])[0][kept] for x, kept in parts])

    @property
    def tokens(self) -> Tensor:
        """int64[n]: the token of each row."""
        return self.corpus.tokens[self.corpus.kept]

    def loss(self, edit: Edit) -> float:
        """Mean cross-entropy (nats) of the tokens after kept positions, with the rows of these replaced by edit(rows).

        edit: rows of the source float[n, d_in] to what the hook point is to show, float[n, d].
        """
        with torch.no_grad():
            total = sum(float(self.summed_loss(i, edit).double()) for i in range(0, len(self.corpus.tokens), BATCH))
        return total / int(self.corpus.kept.sum())

    def summed_loss(self, first: int, edit: Edit) -> Tensor:
        """The sum of the cross-entropies of the batch of sequences that begins with `first`."""
        x, y, kept = (
            part[first : first + BATCH] for part in (self.corpus.tokens, self.corpus.next_tokens, self.corpus.kept)
        )
        flat = kept.flatten()
        start = int(self.corpus.kept[:first].sum())
        read = None if self.source == self.hook else self.read[start : start + int(kept.sum())]

        def within(rows: Tensor) -> Tensor:
            return rows.clone().index_put((flat,), edit(rows[flat] if read is None else read))

        if first not in self._rest:
            self._rest[first] = from_hook_on(self.model, x, self.hook)
        logits = self._rest[first](within)
        return nn.functional.cross_entropy(logits[kept], y[kept], reduction="sum")

    @cached_property
    def ablated(self) -> dict[str, float]:
        """clean, zero and mean: losses with the rows left alone, set to zero, and set to their mean."""
        mean = self.rows.mean(0)
        alone = HeldOut(self.model, self.corpus, self.hook)
        alone._rest = self._rest
        edits: dict[str, Edit] = {"clean": lambda x: x, "zero": torch.zeros_like, "mean": lambda x: mean.expand_as(x)}
        return {name: alone.loss(edit) for name, edit in edits.items()}

    def judge(self, dictionary: Dictionary) -> dict[str, float | None]:
        """The metrics of `metrics.evaluate`, and the share of the loss that reconstructions recover."""
        shown: list[Tensor] = []
        found = evaluate(dictionary, self.read, self.rows, shown)
        # Rows come to the edit batch by batch, in this order.
        batches = iter(torch.cat(shown).split([int(kept.sum()) for kept in self.corpus.kept.split(BATCH)]))
        reconstructed = self.loss(lambda _: next(batches))
        recovered = ce_recovered(sae=reconstructed, **self.ablated)
        losses = {"ce_clean": self.ablated["clean"], "ce_reconstructed": reconstructed}
        return {**found.metrics, **losses, **recovered}


def feature_table(dictionary: Dictionary, store: ActivationStore) -> pa.Table:
    """A row for each feature (FEATURES): how often it fires in a store, and the tokens where it is strongest."""
    table = store.table()
    columns = {name: table[name].to_numpy() for name in ("doc", "position", "token")}
    return features_of(dictionary, store.pieces(), columns)


def features_of(dictionary: Dictionary, pieces: Iterable[Tensor], told: Mapping[str, np.ndarray]) -> pa.Table:
    """A row for each feature (FEATURES) of raw rows, in pieces float[n, d]; told: doc, position, token of each row.

    Rows that are of no text have the number of their example for doc, and none of what else is left out of `told`.
    """
    codes = [dictionary.encode(piece) for piece in pieces]
    counts = np.concatenate([(code.values > 0).sum(1).numpy() for code in codes])
    rows = np.repeat(np.arange(len(counts)), counts)
    features, values = (
        np.concatenate([part[code.values > 0].numpy() for code, part in zip(codes, side, strict=True)])
        for side in ([c.indices for c in codes], [c.values for c in codes])
    )
    # Rows come in order, which stable sorts keep where values are equal; one of 16 bits is a count, not a comparison.
    order = np.argsort(-values, kind="stable")
    order = order[np.argsort(features[order].astype(np.uint16 if dictionary.m <= 1 << 16 else np.int64), kind="stable")]
    features, values, rows = features[order], values[order], rows[order]
    fired = np.bincount(features, minlength=dictionary.m)
    first = np.concatenate([[0], np.cumsum(fired)])[:-1]
    top = [slice(start, start + min(count, TOP)) for start, count in zip(first, fired, strict=True)]
    found = {
        "feature": np.arange(dictionary.m),
        "density": fired / len(counts),
        "decoder_norm": dictionary.W_dec.norm(dim=1).double().numpy(),
        "max_cosine": decoder_max_cosine(dictionary.W_dec).double().numpy(),
        **{
            f"top_{name}s": [told[name][rows[part]].tolist() if name in told else None for part in top]
            for name in ("doc", "position", "token")
        },
        "top_values": [values[part].tolist() for part in top],
    }
    return pa.table({name: pa.array(found[name], FEATURES.field(name).type) for name in FEATURES.names})
