"""Search for tokens that lead a model's activations out of the subspace in which it declines.

Subspace rerouting of T. Winninger, B. Addad and K. Kapusta, "Using Mechanistic Interpretability to Craft Adversarial
Attacks against Large Language Models", 2025; the same search with the loss of the wished answer stands for the greedy
coordinate gradient of A. Zou et al., "Universal and Transferable Adversarial Attacks on Aligned Language Models", 2023.
Here it measures small models that were trained to decline a harmless subject, and how well that can be defended.

Three steps differ from the published code: candidates are told apart by their tokens and not by their losses, banned
tokens are never drawn, and what was run for a prompt is not run again, whatever the loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.models.hooked_transformer import HookedTransformer, KeysValues

BACK = 2
"""Work of a gradient's way back, in ways forward."""


class Objective(Protocol):
    """What a search makes small; reads saved tensors of the first `depth` blocks."""

    @property
    def depth(self) -> int: ...

    @property
    def reads(self) -> tuple[str, ...]: ...

    @property
    def last(self) -> bool:
        """Whether the last place alone is read; saved tensors and the stream may then be of it, [n, 1, ...]."""
        ...

    def loss(self, saved: Mapping[str, Tensor], stream: Tensor) -> Tensor:
        """float[n] of the tensors at `reads` and the stream float[n, t, d] after `depth` blocks.

        Only streams have what stands before the first slot as well.
        """
        ...


@dataclass(frozen=True)
class SearchConfig:
    """The authors' settings of a search; banned: tokens that are never drawn."""

    width: int = 256
    topk: int = 64
    buffer: int = 10
    coefficient: float = 1.8
    patience: int = 10
    iterations: int = 60
    stop_loss: float = 0.05
    banned: tuple[int, ...] = ()


class Attack(NamedTuple):
    """What a search found, and for how much work."""

    slot_ids: Tensor
    """int64[slots] of the lowest loss."""
    losses: list[float]
    """The lowest loss at the start and after each iteration."""
    layer_forwards: int
    """Blocks run on one sequence; a gradient's way back counts twice. What is known already is not run again."""


@dataclass
class _Buffer:
    """The best candidates so far, lowest loss first, no two of them of the same tokens."""

    size: int
    ids: Tensor
    losses: Tensor
    archive: list[tuple[float, Tensor]] = field(default_factory=list)

    def add(self, ids: Tensor, losses: Tensor) -> None:
        ids, losses = torch.cat([self.ids, ids]), torch.cat([self.losses, losses])
        _, first = np.unique(ids.numpy(), axis=0, return_index=True)
        kept = torch.from_numpy(np.sort(first))
        ids, losses = ids[kept], losses[kept]
        order = losses.argsort(stable=True)[: self.size]
        self.ids, self.losses = ids[order], losses[order]

    def jump(self, generator: torch.Generator) -> None:
        """Go on from a candidate drawn by softmax(-loss); those before it leave the buffer for the archive."""
        chosen = int(torch.multinomial((-self.losses).softmax(0), 1, generator=generator))
        self.archive += [(float(self.losses[i]), self.ids[i]) for i in range(chosen)]
        self.ids, self.losses = self.ids[chosen:], self.losses[chosen:]

    def best(self) -> Tensor:
        return min([*self.archive, (float(self.losses[0]), self.ids[0])], key=lambda found: found[0])[1]


def reroute(
    model: HookedTransformer,
    prompt_ids: Tensor,
    slots: Sequence[int],
    objective: Objective,
    config: SearchConfig,
    generator: torch.Generator,
) -> Attack:
    """Tokens for the slots of a prompt that make the objective small.

    prompt_ids: int64[t] with any tokens at the slots. In each iteration the gradient by the slots' one-hot tokens of
    the best candidate names `topk` tokens for each slot; `width` draws exchange some of the slots, fewer as the loss
    falls. It ends below stop_loss. Only the blocks that the objective reads are run. Raises InputError for no slots,
    slots outside of the prompt or behind its last token's reach, too few tokens to draw from and an objective of more
    blocks than the model has.
    """
    allowed = _allowed(model, prompt_ids, slots, objective, config)
    places = torch.tensor(list(slots))
    count = len(places)
    run = _Run(model, prompt_ids, places, objective)
    drawn = allowed[torch.randint(len(allowed), (config.buffer, count), generator=generator)]
    buffer = _Buffer(config.buffer, drawn[:0], torch.empty(0))
    buffer.add(drawn, run.losses(drawn))
    start, replaced = float(buffer.losses[0]), count
    told, lowest, last = [start], start, 0
    for iteration in range(config.iterations):
        if lowest < config.stop_loss:
            break
        best = float(buffer.losses[0])
        ids = candidates(buffer.ids[0], run.gradient(buffer.ids[0]), replaced, allowed, config, generator)
        buffer.add(ids, run.losses(ids))
        now = float(buffer.losses[0])
        if now < best:
            replaced, last = slots_replaced(count, now / (start + 1e-5), config.coefficient), iteration
        lowest = min(lowest, now)
        told.append(lowest)
        if iteration - last >= config.patience:
            buffer.jump(generator)
            last = iteration
    return Attack(buffer.best(), told, run.layer_forwards)


def slots_replaced(count: int, ratio: float, coefficient: float) -> int:
    """How many of the slots are exchanged at a ratio of the loss to that of the start: from 1 to all of them."""
    return max(1, int(count * min(1.0, max(0.0, ratio)) ** (1 / coefficient)))


def candidates(
    ids: Tensor, gradient: Tensor, replaced: int, allowed: Tensor, config: SearchConfig, generator: torch.Generator
) -> Tensor:
    """int64[width, slots]: draws that exchange `replaced` slots, each for one of its `topk` most promising tokens.

    ids: int64[slots]; gradient: float[slots, vocabulary]; allowed: int64 tokens that may be drawn.
    """
    width, topk = config.width, min(config.topk, len(allowed))
    promising = allowed[(-gradient[:, allowed]).topk(topk, dim=1).indices]
    places = torch.rand(width, len(ids), generator=generator).argsort(1)[:, :replaced]
    chosen = torch.randint(topk, (width, replaced), generator=generator)
    return ids.repeat(width, 1).scatter(1, places, promising[places, chosen])


class _Run:
    """Losses and gradients of candidates in one prompt, and the blocks they took.

    What stands before the first slot is run once: causal attention cannot see the slots from there. So is each
    candidate, and the gradient at one: a search that is stuck draws the same ones over and over.
    """

    def __init__(self, model: HookedTransformer, prompt_ids: Tensor, places: Tensor, objective: Objective) -> None:
        self.model, self.objective, self.layer_forwards = model, objective, 0
        self.first = int(places.min())
        self.rest, self.places = prompt_ids[self.first :], places - self.first
        self.past, self.before = _past(model, prompt_ids[: self.first], objective)
        self.known: dict[tuple[int, ...], float] = {}
        self.slopes: dict[tuple[int, ...], Tensor] = {}

    def _loss(self, x: Tensor) -> Tensor:
        reads, depth = self.objective.reads, self.objective.depth
        stream, saved = self.model.run(x, save=reads, stop_at=depth, past=self.past, last=self.objective.last)
        for name, earlier in self.before.items():
            saved[name] = torch.cat([earlier.expand(len(x), -1, -1), saved[name]], 1)
        return self.objective.loss(saved, stream)

    def losses(self, ids: Tensor) -> Tensor:
        """float[n] of candidates int64[n, slots]."""
        rows = [tuple(row) for row in ids.tolist()]
        if new := [row for row in dict.fromkeys(rows) if row not in self.known]:
            self.known.update(zip(new, self._losses(torch.tensor(new)).tolist(), strict=True))
        return torch.tensor([self.known[row] for row in rows], dtype=self.model.embed.weight.dtype)

    @torch.no_grad()
    def _losses(self, ids: Tensor) -> Tensor:
        tokens = self.rest.repeat(len(ids), 1)
        tokens[:, self.places] = ids
        self.layer_forwards += len(ids) * self.objective.depth
        return self._loss(tokens)

    def gradient(self, ids: Tensor) -> Tensor:
        """float[slots, vocabulary] by the one-hot tokens of the slots int64[slots]."""
        row = tuple(ids.tolist())
        if row not in self.slopes:
            self.slopes[row] = self._gradient(ids)
        return self.slopes[row]

    def _gradient(self, ids: Tensor) -> Tensor:
        table = self.model.embed.weight.detach()
        embedded = table[self.rest].index_copy(0, self.places, table[ids])[None]
        self.layer_forwards += (1 + BACK) * self.objective.depth
        with torch.enable_grad():
            embedded.requires_grad_(True)
            (slope,) = torch.autograd.grad(self._loss(embedded).sum(), embedded)
        return slope[0, self.places] @ table.T


@torch.no_grad()
def _past(
    model: HookedTransformer, earlier: Tensor, objective: Objective
) -> tuple[list[KeysValues], dict[str, Tensor]]:
    """Keys and values of the tokens before the first slot, and the streams there that the objective reads."""
    if not len(earlier):
        return [], {}
    names = [f"blocks.{i}.attn.hook_{part}" for i in range(objective.depth) for part in "kv"]
    streams = [] if objective.last else [name for name in objective.reads if name.endswith("hook_resid_post")]
    _, saved = model.run(earlier[None], save=[*names, *streams], stop_at=objective.depth)
    pairs = [(saved[key], saved[value]) for key, value in zip(names[::2], names[1::2], strict=True)]
    return pairs, {name: saved[name] for name in streams}


def _allowed(
    model: HookedTransformer, prompt_ids: Tensor, slots: Sequence[int], objective: Objective, config: SearchConfig
) -> Tensor:
    length, blocks = len(prompt_ids), len(model.blocks)
    if not slots:
        raise InputError("slots: there are none; give at least one place for a token")
    if len(set(slots)) < len(slots) or min(slots) < 0 or max(slots) >= length - 1:
        raise InputError(
            f"slots: {list(slots)}; give different places from 0 to {length - 2}, before the token at which is read"
        )
    if not 1 <= objective.depth <= blocks:
        raise InputError(f"objective: reads {objective.depth} blocks; the model has {blocks}")
    allowed = np.setdiff1d(np.arange(model.embed.num_embeddings), np.array(config.banned, np.int64))
    if not len(allowed):
        raise InputError(f"banned: all {model.embed.num_embeddings} tokens; leave at least one")
    return torch.from_numpy(allowed)
