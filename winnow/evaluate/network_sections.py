"""Networks cut into parts, one after another, with what they are told by and judged on."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from winnow.dictionaries.interaction_basis import Part, logit_gauge
from winnow.errors import InputError
from winnow.models.hooked_transformer import Block, HookedTransformer
from winnow.randomness import numpy_generator
from winnow.workloads.modular_addition import ModularAddition

if TYPE_CHECKING:
    from winnow.workloads import Labelled
    from winnow.workloads.texts import Texts


class Sections(NamedTuple):
    """A network in one precision: its parts, the names of what stands before each and of the output."""

    parts: list[Part]
    names: list[str]
    x: Tensor
    """What bases are told by, before the first part, [n, ..., width]."""
    judged: Tensor
    """What is ablated, of other examples."""
    loss: Callable[[Tensor], float]
    """Of the output on what is judged: share of wrong answers, or nats a token."""
    told_loss: Callable[[Tensor], float]
    """Nats of the output on the first rows of x, by which edges and directions are chosen."""
    output: Tensor
    """Projection of the output to what counts of it."""
    edges: range
    """The layers whose edges to the next are asked; those of raw pixels and to the words of a vocabulary are not."""
    compared: int
    """The layer whose edges to the next are compared: both have a basis of each kind."""
    everything: Tensor | None = None
    """All sums, of a network that adds, in their order."""


def _wrong(answers: Tensor) -> Callable[[Tensor], float]:
    return lambda logits: float((logits.argmax(-1) != answers).double().mean())


def _nats(answers: Tensor) -> Callable[[Tensor], float]:
    return lambda logits: float(cross_entropy(logits.flatten(0, -2), answers[: len(logits)].flatten()))


def _plain(name: str, value: Tensor) -> Tensor:
    return value


def sections_of_sums(model: HookedTransformer, judged: int, seed: int, dtype: torch.dtype = torch.float64) -> Sections:
    """A transformer of one block that adds: its embeddings, and the stream at the last position.

    judged: so many of all pairs, drawn by chance but no more than half, are judged; the others tell bases. Raises
    InputError for a model of several blocks.
    """
    if len(model.blocks) != 1:
        raise InputError(f"model: has {len(model.blocks)} blocks; sums are told by a transformer of one")
    model = deepcopy(model).to(dtype).requires_grad_(False).eval()
    tokens, sums = ModularAddition(model.embed.num_embeddings - 1, 0.5, 0).arrays("all")
    block = model.blocks[0]
    assert isinstance(block, Block)

    def attention(stream: Tensor) -> Tensor:
        return (stream + block.attn(block.ln1(stream, _plain, ""), _plain, ""))[:, -1]

    def feed_forward(stream: Tensor) -> Tensor:
        return stream + block.mlp(block.ln2(stream, _plain, ""), _plain, "")

    def unembed(stream: Tensor) -> Tensor:
        return model.unembed(model.ln_final(stream, _plain, ""))

    every = model.embed(tokens) + model.pos_embed.weight[: tokens.shape[1]]
    drawn = torch.from_numpy(numpy_generator(seed, "judged sums").permutation(len(every)))
    own, others = drawn.split([count := min(judged, len(every) // 2), len(every) - count])
    gauge = logit_gauge([model.unembed.out_features])
    names = ["embedding", "middle", "end", "logits"]
    parts: list[Part] = [attention, feed_forward, unembed]
    losses = _wrong(sums[own]), _nats(sums[others])
    return Sections(parts, names, every[others], every[own], *losses, gauge, range(3), 1, every)


def sections_of_layers(
    model: nn.Sequential,
    x: Tensor,
    told: Tensor,
    judged: Tensor,
    labels: Tensor,
    dtype: torch.dtype = torch.float64,
) -> Sections:
    """A multilayer perceptron: each linear layer with what follows it. x, judged: images; told, labels: their classes.

    Raises InputError for a model with fewer than three linear layers.
    """
    groups: list[list[nn.Module]] = []
    for layer in deepcopy(model).to(dtype).requires_grad_(False).eval():
        if isinstance(layer, nn.Linear):
            groups.append([])
        if groups:
            groups[-1].append(layer)
    if len(groups) < 3:
        raise InputError(f"model: has {len(groups)} linear layers; edges between hidden layers need three")
    parts: list[Part] = [nn.Sequential(*group) for group in groups]
    names = ["input", *(f"hidden{i}" for i in range(1, len(parts))), "logits"]
    last = groups[-1][0]
    assert isinstance(last, nn.Linear)
    flat, other = (rows.flatten(1).to(dtype) for rows in (x, judged))
    gauge, edges = logit_gauge([last.out_features]), range(1, len(parts))
    return Sections(parts, names, flat, other, _wrong(labels), _nats(told), gauge, edges, 1)


def sections_of_text(
    model: HookedTransformer,
    x: Tensor,
    told: Tensor,
    judged: Tensor,
    following: Tensor,
    dtype: torch.dtype = torch.float64,
) -> Sections:
    """A language model: the residual stream after each block. x, judged: tokens; told, following: those after each.

    Raises InputError for a model with fewer than two blocks.
    """
    if len(model.blocks) < 2:
        raise InputError("model: has one block; edges from block to block need two")
    model = deepcopy(model).to(dtype).requires_grad_(False).eval()

    def part(block: nn.Module) -> Part:
        return lambda stream: block(stream, _plain, "")

    def unembed(stream: Tensor) -> Tensor:
        return model.unembed(model.ln_final(stream, _plain, ""))

    with torch.no_grad():
        stream, other = (model.run(tokens, stop_at=1)[0] for tokens in (x, judged))
    names = [*(f"block{i}" for i in range(1, len(model.blocks) + 1)), "logits"]
    parts = [*map(part, model.blocks[1:]), unembed]
    gauge = logit_gauge([model.unembed.out_features])
    return Sections(parts, names, stream, other, _nats(following), _nats(told), gauge, range(len(parts) - 1), 0)


def sections_of(
    model: nn.Module, workload: Labelled | Texts | None, settings: Any, dtype: torch.dtype = torch.float64
) -> Sections:
    """The same for a model of any of these kinds; settings: rows, judged, positions and seed, as params.yaml has them.

    workload: where examples come from; None for a model that adds. dtype: float64 for bases, and float32 for ablation.
    """
    if workload is None:
        assert isinstance(model, HookedTransformer)
        return sections_of_sums(model, settings.judged, settings.seed, dtype)
    if isinstance(model, HookedTransformer):
        assert workload.task == "language"
        x, told, judged, following = (
            part[:, : settings.positions]
            for split, count in (("train", settings.rows), ("test", settings.judged))
            for part in next(iter(workload.batches(split, count, settings.seed)))
        )
        return sections_of_text(model, x, told, judged, following, dtype)
    if not isinstance(model, nn.Sequential):
        raise InputError("model: is neither a multilayer perceptron nor a hooked transformer; name one of these")
    x, told = next(iter(workload.batches("train", settings.rows, settings.seed)))
    judged, labels = next(iter(workload.batches("test", settings.judged, settings.seed)))
    return sections_of_layers(model, x, told, judged, labels, dtype)
