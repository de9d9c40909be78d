"""How bad a candidate of EvoPress is: the fitness of Sieberling et al., "EvoPress", ICML 2025.

States that are judged on the same windows one after another share what their first blocks have in common, and what is
dropped is not run.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from winnow.compress.evopress import State
from winnow.compress.evopress_database import DROPPED, Database
from winnow.models.transformer import Block, Transformer

KEPT = 2**25
"""Numbers of residual streams that are kept for states judged on the same windows: 128 megabytes."""
Levels = tuple[tuple[int, ...], ...]
"""Of the first blocks, the levels of each one's units."""


class Judge:
    """How bad a compressed model is on windows of tokens int64[n, t], of which a call is given the indices."""

    def __init__(self, model: Transformer, database: Database, windows: Tensor) -> None:
        self.model, self.database, self.windows = copy.deepcopy(model).eval().requires_grad_(False), database, windows
        of_unit = [int(name.split(".")[1]) for name in database.names]
        self._units = [[unit for unit, at in enumerate(of_unit) if at == block] for block in range(len(model.blocks))]
        self._at: Tensor | None = None
        self._streams: dict[Levels, Tensor] = {}

    def __call__(self, state: State, drawn: np.ndarray) -> float:
        raise NotImplementedError

    def _logits(self, state: State, at: Tensor) -> Tensor:
        self.database.space.require(state)
        if self._at is None or not torch.equal(at, self._at):
            self._draw(at)
        levels: Levels = ()
        stream = self._streams[levels]
        for number, units in enumerate(self._units):
            levels += (tuple(state[unit] for unit in units),)
            known = self._streams.get(levels)
            stream = self._through(number, units, state, stream) if known is None else known
            if known is None and (len(self._streams) + 1) * stream.numel() <= KEPT:
                self._streams[levels] = stream
        return self.model.logits(self.model.norm(stream))

    def _draw(self, at: Tensor) -> None:
        self._at, self._streams = at, {(): self.model.embedding(self.windows[at])}

    def _through(self, number: int, units: Sequence[int], state: State, stream: Tensor) -> Tensor:
        """The residual stream after a block whose units are at the levels of a state."""
        block = self.model.blocks[number]
        assert isinstance(block, Block)
        gone = set()
        for unit in units:
            for name, weight in self.database.weights[unit][state[unit]].items():
                inner = name.removeprefix(f"blocks.{number}.")
                block.get_parameter(inner).data = weight
                # What a layer without weights adds is 0.
                gone |= {part for part, last in DROPPED.items() if last == inner and not weight.any()}
        if "attention" not in gone:
            stream = stream + block.attention(block.attention_norm(stream))
        if "mlp" not in gone:
            stream = stream + block.mlp(block.mlp_norm(stream))
        return stream


class Divergence(Judge):
    """Mean Kullback-Leibler divergence [nats a token] of a compressed model's next tokens from the dense model's.

    largest: keep so many of the dense model's largest logits alone, and compare the distributions over these, which
    saves memory; None keeps all.
    """

    def __init__(self, model: Transformer, database: Database, windows: Tensor, largest: int | None = None) -> None:
        super().__init__(model, database, windows)
        with torch.no_grad():
            logits = self.model(windows)
        self.kept = None
        if largest is not None and largest < logits.shape[-1]:
            logits, self.kept = logits.topk(largest)
        self.dense = logits.log_softmax(-1)

    @torch.no_grad()
    def __call__(self, state: State, drawn: np.ndarray) -> float:
        at = torch.from_numpy(np.asarray(drawn))
        logits = self._logits(state, at)
        if self.kept is not None:
            logits = logits.gather(-1, self.kept[at])
        found = logits.log_softmax(-1)
        each = torch.sub(self._dense, found, out=found).mul_(self._chances).sum(-1)
        return float(each.double().mean())

    def _draw(self, at: Tensor) -> None:
        super()._draw(at)
        self._dense = self.dense[at]
        self._chances = self._dense.exp()


class LogPerplexity(Judge):
    """Mean cross-entropy [nats a token] of the tokens of windows after the first, which perplexity is the exp of."""

    @torch.no_grad()
    def __call__(self, state: State, drawn: np.ndarray) -> float:
        at = torch.from_numpy(np.asarray(drawn))
        logits = self._logits(state, at)[:, :-1].flatten(0, 1)
        each = nn.functional.cross_entropy(logits, self.windows[at, 1:].flatten(), reduction="none")
        return float(each.double().mean())
