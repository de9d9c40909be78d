"""What a person would ask of each feature of a dictionary: where it fires, how often, beside what, and to what effect.

Examples with the largest activations, as in Bricken et al., "Towards Monosemanticity", 2023; neighbours by the cosine
of decoder directions; the effect of taking a feature's share out of the activations on the examples where it is
strongest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from winnow.dictionaries.dictionary import Dictionary
from winnow.errors import InputError
from winnow.models.hooks import capture, run_with
from winnow.models.modes import evaluating

BATCH = 256
NEIGHBOURS = 6
MOVED = 4
"""Outputs that are told on either side of an effect."""
FEATURES = pa.schema(
    {
        "feature": pa.int32(),
        "density": pa.float64(),
        "mean": pa.float64(),
        "largest": pa.float64(),
        "examples": pa.list_(pa.int32()),
        "positions": pa.list_(pa.int32()),
        "activations": pa.list_(pa.float32()),
        "neighbours": pa.list_(pa.int32()),
        "cosines": pa.list_(pa.float32()),
        "raised": pa.list_(pa.string()),
        "raised_by": pa.list_(pa.float32()),
        "lowered": pa.list_(pa.string()),
        "lowered_by": pa.list_(pa.float32()),
    }
)
"""density: share of the rows; mean: of the active rows; raised, lowered: outputs whose log-probability the feature's
absence moves most, in nats, on average over its examples."""


class Examples(NamedTuple):
    """Inputs with what can be shown of them."""

    inputs: Tensor
    counted: Tensor
    """bool[n, t] of tokens, or bool[n, 1] of images: which positions are there and no padding."""
    outputs: list[str]
    """Names of what the model puts probabilities on."""
    show: Callable[[int], Any]
    """Example -> its picture as PNG bytes, or the list of its tokens' texts."""


class Fired(NamedTuple):
    """Active features, sorted by feature, then row: int64[e], int64[e], float32[e], and rows for each example."""

    features: np.ndarray
    rows: np.ndarray
    values: np.ndarray
    rows_per_example: int


def examples_of(workload: Any, split: str, limit: int) -> Examples:
    """The first `limit` examples of a split of images, documents' windows or generated sequences.

    Raises InputError for a workload of rows of a table, which have nothing to look at.
    """
    kind = getattr(workload, "kind", "") or getattr(workload, "task", "")
    if kind == "images":
        from winnow.workloads.image_tables import encode_png

        pixels, (x, _) = workload.pixels(split), workload.arrays(split)
        some = x[:limit]
        counted = torch.ones(len(some), 1, dtype=torch.bool)
        return Examples(some, counted, list(workload.classes), lambda i: encode_png(pixels[i]))
    if kind != "language":
        raise InputError(f"workload: its kind, {kind}, has no pictures and no tokens to show; browse another")
    parts, count = [], 0
    for x, _ in workload.batches(split, BATCH):
        parts.append(x)
        count += len(x)
        if count >= limit:
            break
    tokens = torch.cat(parts)[:limit]
    words, padded = words_of(workload)
    counted = tokens != 0 if padded else torch.ones_like(tokens, dtype=torch.bool)
    return Examples(tokens, counted, words, lambda i: [words[token] for token in tokens[i][counted[i]].tolist()])


def words_of(workload: Any) -> tuple[list[str], bool]:
    """The text of each token, and whether token 0 is padding."""
    if isinstance(workload.meta.vocabulary, list):
        return workload.meta.vocabulary, True
    from winnow.curate.byte_pairs import load_tokenizer

    tokenizer = load_tokenizer(workload.folder / "tokenizer.json")
    return ["⏎end", *(tokenizer.decode([token]) for token in range(1, workload.meta.vocabulary))], False


@torch.no_grad()
def fired(dictionary: Dictionary, model: nn.Module, examples: Examples, hook: str) -> Fired:
    """Where each feature is active on the examples; padding is left out.

    Raises InputError for a dictionary whose reconstruction does not take the place of what it reads.
    """
    if dictionary.W_enc.shape[0] != dictionary.W_dec.shape[1]:
        shape = f"{dictionary.W_enc.shape[0]} to {dictionary.W_dec.shape[1]}"
        raise InputError(f"dictionary: maps {shape} dimensions; a browser shows autoencoders")
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    first = per_example = 0
    for part, counted in zip(examples.inputs.split(BATCH), examples.counted.split(BATCH), strict=True):
        with evaluating(model):
            rows = capture(model, part, hook)
        per_example = len(rows) // len(part)
        kept = counted.expand(len(part), per_example).flatten().nonzero()[:, 0]
        values, features = dictionary.encode(rows[kept])
        active = values > 0
        at = kept[:, None].expand_as(values)[active] + first
        found.append((features[active], at, values[active]))
        first += len(rows)
    which, place, value = [torch.cat([part[i] for part in found]).numpy() for i in range(3)]
    order = np.lexsort((place, which))
    return Fired(which[order], place[order], value[order], per_example)


def feature_table(
    dictionary: Dictionary, model: nn.Module, examples: Examples, hook: str, where: Fired, top: int
) -> pa.Table:
    """One row a feature (FEATURES), dead ones too. top: examples a feature, each with its strongest position."""
    near = torch.nn.functional.normalize(dictionary.W_dec, dim=1)
    cosines = (near @ near.T).fill_diagonal_(-1.0)
    closest = cosines.topk(min(NEIGHBOURS, dictionary.m - 1))
    total = float(examples.counted.expand(-1, where.rows_per_example).sum())
    ends = np.searchsorted(where.features, np.arange(dictionary.m + 1))
    rows = []
    for feature in range(dictionary.m):
        part = slice(ends[feature], ends[feature + 1])
        values, at = where.values[part], where.rows[part]
        chosen = strongest(values, at // where.rows_per_example, top)
        example, position = at[chosen] // where.rows_per_example, at[chosen] % where.rows_per_example
        rows.append(
            {
                "feature": feature,
                "density": len(values) / total,
                "mean": float(values.mean()) if len(values) else 0.0,
                "largest": float(values.max(initial=0.0)),
                "examples": example.tolist(),
                "positions": position.tolist(),
                "activations": values[chosen].tolist(),
                "neighbours": closest.indices[feature].tolist(),
                "cosines": closest.values[feature].tolist(),
                **_effect(dictionary, model, examples, hook, feature, example, position),
            }
        )
    return pa.Table.from_pylist(rows, FEATURES)


def strongest(values: np.ndarray, examples: np.ndarray, count: int) -> np.ndarray:
    """Indices of the largest value of each example, the largest `count` of them, in falling order; ties by index."""
    order = np.lexsort((np.arange(len(values)), -values))
    _, first = np.unique(examples[order], return_index=True)
    return order[np.sort(first)[:count]]


@torch.no_grad()
def without_feature(dictionary: Dictionary, feature: int) -> Callable[[Tensor], Tensor]:
    """Rows with the share of one feature taken out: x - f(x) W_dec[feature]; others stay as they are."""

    def edit(rows: Tensor) -> Tensor:
        values, indices = dictionary.encode(rows)
        share = (values * (indices == feature)).sum(1, keepdim=True)
        return rows - share.to(rows.dtype) * dictionary.W_dec[feature].to(rows.dtype)

    return edit


@torch.no_grad()
def _effect(
    dictionary: Dictionary,
    model: nn.Module,
    examples: Examples,
    hook: str,
    feature: int,
    chosen: np.ndarray,
    positions: np.ndarray,
) -> dict[str, Any]:
    """Which outputs a feature's absence raises and lowers most, averaged over its examples."""
    if not len(chosen):
        return {"raised": [], "raised_by": [], "lowered": [], "lowered_by": []}
    x = examples.inputs[torch.from_numpy(chosen)]

    def said(logits: Tensor) -> Tensor:
        at = logits[torch.arange(len(x)), torch.from_numpy(positions)] if logits.ndim == 3 else logits
        return at.log_softmax(-1)

    with evaluating(model):
        change = said(run_with(model, x, hook, without_feature(dictionary, feature))) - said(model(x))
    mean = change.mean(0)
    count = min(MOVED, mean.numel() // 2)
    up, down = mean.topk(count), (-mean).topk(count)
    names: Sequence[str] = examples.outputs
    return {
        "raised": [names[i] for i in up.indices.tolist()],
        "raised_by": up.values.tolist(),
        "lowered": [names[i] for i in down.indices.tolist()],
        "lowered_by": (-down.values).tolist(),
    }
