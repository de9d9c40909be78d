"""Attention over drawn blocks in a trained language model: quality at equal shares of blocks, after fine-tuning too."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from winnow.compress.probabilistic_attention import (
    BlockAttention,
    BlockSampler,
    Family,
    expected_fraction,
    probabilities,
    solve_budget,
    with_block_attention,
)
from winnow.errors import InputError
from winnow.evaluate.evopress_study import window_losses
from winnow.models.rotary import rotated
from winnow.models.transformer import Block, Transformer
from winnow.randomness import numpy_generator
from winnow.workloads.texts import Texts

FAMILIES: tuple[Family, ...] = ("geometric", "harmonic", "power", "uniform", "bigbird", "window")
COPIED = 16
"""Tokens that are said twice in a window of the probe."""
SAMPLED = 500
"""Draws of one layer and head over which the share of blocks is counted."""
TOLD = 3
"""Of these, how many are heard again before the model is asked to go on."""

Report = Callable[[int, int], None]


class Drawn(NamedTuple):
    """A way to draw blocks: its sampler, whether scores are made unbiased, and the share of blocks it keeps."""

    name: str
    sampler: BlockSampler
    unbiased: bool
    fraction: float


def samplers(width: int, blocks: int, seed: int) -> Iterator[Drawn]:
    """All ways that keep as many blocks on average as a window of `width` blocks and the first block.

    Each family; the geometric one made unbiased, and with a fixed number a row instead of a chance for each.
    """
    fraction = expected_fraction(probabilities("window", width, blocks), sink=True)
    for family in FAMILIES:
        if family == "bigbird" and width <= 2:
            continue  # it keeps so many without a draw
        parameter = width if family == "window" else solve_budget(family, blocks, fraction, sink=True)
        sampler = BlockSampler(family, parameter, seed=seed)
        yield Drawn(family, sampler, False, fraction)
        if family == "geometric":
            yield Drawn("geometric_unbiased", sampler, True, fraction)
            rows = np.arange(1, blocks + 1)
            exact = np.minimum(rows, width + 1).sum() / rows.sum()
            yield Drawn(
                "geometric_exactly", BlockSampler(family, parameter, True, width + 1, seed), False, float(exact)
            )


@torch.no_grad()
def quality(model: Transformer, drawn: Drawn, block: int, x: Tensor, y: Tensor, draws: int) -> dict[str, float]:
    """cross_entropy [nats a token] over windows and draws, its deviation over draws, and the share of blocks kept."""
    changed = with_block_attention(copy.deepcopy(model), drawn.sampler, block, drawn.unbiased).eval()
    losses, kept = [], []
    layers = [layer for layer in changed.modules() if isinstance(layer, BlockAttention)]
    for _ in range(draws):
        logits = changed(x)
        each = nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
        losses.append(float(each.double().mean()))
        kept += [layer.kept.double().mean() for layer in layers if layer.kept is not None]
    blocks = -(-x.shape[1] // block)
    share = float(torch.stack(kept).mean()) * 2 * blocks / (blocks + 1)  # of the triangle, not of the square
    return {"cross_entropy": float(np.mean(losses)), "deviation": float(np.std(losses)), "kept": share}


def share_drawn(drawn: Drawn, blocks: int) -> float:
    """The share of a triangle's blocks that a way keeps, counted over many draws: what `fraction` says in advance."""
    kept = [drawn.sampler.sample(blocks, step).sum() for step in range(SAMPLED)]
    return float(torch.stack(kept).double().mean()) * 2 / (blocks * (blocks + 1))


def judged_tuned(
    tuned: nn.Module, draws: int, xy: tuple[Tensor, Tensor], copied: Tensor, again: Tensor
) -> dict[str, float]:
    """cross_entropy [nats a token] and the share of copied tokens foreseen, means over draws of blocks."""
    losses = [window_losses(tuned, {}, *xy).mean() for _ in range(draws)]
    return {
        "cross_entropy": float(np.mean(losses)),
        "copied": float(np.mean([copying(tuned, copied, again) for _ in range(draws)])),
    }


@torch.no_grad()
def attention_mass(model: Transformer, x: Tensor, block: int) -> np.ndarray:
    """Mean share float64[layers, blocks] of full attention that falls on blocks at each distance."""
    blocks = -(-x.shape[1] // block)
    place = torch.arange(x.shape[1])
    distance = (place[:, None] // block - place // block).clamp(min=0)
    found, stream = [], model.embedding(x)
    for each in model.blocks:
        assert isinstance(each, Block)
        heads, normed = each.attention.heads, each.attention_norm(stream)
        query, key = (
            rotated(part(normed).unflatten(-1, (heads, -1)).transpose(1, 2))
            for part in (each.attention.query, each.attention.key)
        )
        scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
        mass = scores.masked_fill(place[:, None] < place, -torch.inf).softmax(-1).mean((0, 1)).double()
        by_distance = torch.zeros(blocks, dtype=torch.float64).index_add(0, distance.flatten(), mass.flatten())
        found.append((by_distance / len(place)).numpy())
        stream = each(stream)
    return np.stack(found)


def with_copies(x: Tensor, gaps: tuple[int, int], generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Windows int64[n, t] in which COPIED tokens are said again after a gap, and where they begin again, int64[n].

    gaps: least and greatest distance. Raises InputError for windows that are too short.
    """
    length, (least, most) = x.shape[1], gaps
    if length < most + COPIED:
        raise InputError(f"gaps: up to {most} and {COPIED} copied tokens do not fit a window of {length}; shorten them")
    copied, again = x.clone(), []
    for row in range(len(x)):
        gap = int(generator.integers(least, most + 1))
        start = int(generator.integers(0, length - gap - COPIED + 1))
        copied[row, start + gap : start + gap + COPIED] = x[row, start : start + COPIED]
        again.append(start + gap)
    return copied, torch.tensor(again)


@torch.no_grad()
def copying(model: nn.Module, copied: Tensor, again: Tensor) -> float:
    """Share of the tokens said again, after the first TOLD, that the model foresees."""
    places = again[:, None] + torch.arange(TOLD, COPIED)
    foreseen = model(copied).argmax(-1).gather(1, places - 1)
    return float((foreseen == copied.gather(1, places)).double().mean())


def finetuned(
    model: Transformer, workload: Texts, params: Any, drawn: Drawn | None, seed: int, report: Report
) -> Transformer:
    """A copy of the model after more steps with drawn blocks, or full attention; half of the windows have copies."""
    tuned = copy.deepcopy(model).train()
    if drawn is not None:
        with_block_attention(tuned, drawn.sampler, params.block, drawn.unbiased)
    optimizer = torch.optim.AdamW(tuned.parameters(), lr=params.learning_rate, fused=True)
    generator = numpy_generator(seed, "block attention", "copies")
    batches = islice(_endless(workload, params.batch_size, seed), params.finetune_steps)
    for step, (x, y) in enumerate(batches):
        half = len(x) // 2
        tokens = torch.cat([x, y[:, -1:]], dim=1)
        tokens[:half] = with_copies(tokens[:half], tuple(params.gaps), generator)[0]
        logits = tuned(tokens[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        report(step + 1, params.finetune_steps)
    return tuned.eval()


def _endless(workload: Texts, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    epoch = 0
    while True:
        yield from workload.batches("train", size, seed, epoch)
        epoch += 1


def requested_blocks(model: Transformer, drawn: Drawn, block: int, x: Tensor) -> list[tuple[int, int]]:
    """(layer, block of keys) in the order in which the rows of blocks of one window ask for them, heads one by one."""
    changed = with_block_attention(copy.deepcopy(model), drawn.sampler, block).eval()
    with torch.no_grad():
        changed(x[:1])
    layers = [layer.kept for layer in changed.modules() if isinstance(layer, BlockAttention)]
    asked = [
        (row, layer, head, column)
        for layer, kept in enumerate(layers)
        if kept is not None
        for head, row, column in kept.nonzero().tolist()
    ]
    return [(layer, column) for _, layer, _, column in sorted(asked)]
