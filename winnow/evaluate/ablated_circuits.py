"""What a task's measure is with all heads taken away but those of a circuit.

Without heads a position tells nothing of the others, so a block has to run only at positions where a node of the
circuit stands, there or in a block before: elsewhere it leaves what it leaves without any head. Of the last block
only the last position counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from winnow.evaluate.circuit_discovery import Task
from winnow.evaluate.contextual_decomposition import Node, heads_of
from winnow.models.hooked_transformer import Block, HookedTransformer, as_it_is


class Ablated:
    """A model on a task's sentences with heads at their means; feed-forward layers stay."""

    @torch.no_grad()
    def __init__(self, model: HookedTransformer, task: Task) -> None:
        self.model, self.task = model, task
        self.written: list[Tensor] = []
        """float[t, d] of each block: what its heads write together at their means."""
        tokens = task.tokens
        self.streams = [model.embed(tokens) + model.pos_embed.weight[: tokens.shape[1]]]
        """float[n, t, d] before each block and after the last, without any head."""
        for i, block in enumerate(self._blocks()):
            self.written.append(block.attn.output(task.means[f"blocks.{i}.attn.hook_z"].flatten(-2)))
            stream = self.streams[-1]
            self.streams.append(block.rest(stream, self.written[-1].expand_as(stream), as_it_is, f"blocks.{i}"))
        self._known: dict[frozenset[Node], float] = {}

    def _blocks(self) -> list[Block]:
        blocks = list(self.model.blocks)
        assert all(isinstance(block, Block) for block in blocks)
        return blocks  # type: ignore[return-value]

    def measure(self, nodes: Sequence[Node]) -> float:
        """The mean measure; counted as a run of all blocks, which it is by definition. The same circuit runs once."""
        last, end = len(self.model.blocks) - 1, self.task.tokens.shape[1] - 1
        self.task.blocks += len(self.task.tokens) * len(self.model.blocks)
        circuit = frozenset(node for node in nodes if node.layer < last or node.position == end)
        if circuit not in self._known:
            self._known[circuit] = self._measured(circuit)
        return self._known[circuit]

    @torch.no_grad()
    def _measured(self, circuit: frozenset[Node]) -> float:
        length = self.task.tokens.shape[1]
        keep = torch.zeros(len(self.model.blocks), length, heads_of(self.model), dtype=torch.bool)
        for node in circuit:
            keep[node] = True
        stream, touched = self.streams[0], torch.zeros(length, dtype=torch.bool)
        for i, block in enumerate(self._blocks()):
            asked = keep[i].any(1)
            run = touched | asked
            if i == len(self.model.blocks) - 1:
                run[:-1] = False
            written = self.written[i].expand_as(stream)
            if asked.any():
                written = written.clone()
                written[:, asked] = self._heads(i, block, stream, asked, keep[i])
            after = self.streams[i + 1]
            if run.any():
                after = after.clone()
                after[:, run] = block.rest(stream[:, run], written[:, run], as_it_is, f"blocks.{i}")
            stream, touched = after, run
        return float(self.task.measure(self.model.foretold(stream[:, -1])).mean())

    def _heads(self, layer: int, block: Block, stream: Tensor, asked: Tensor, keep: Tensor) -> Tensor:
        """float[n, positions, d]: what heads write at the asked positions bool[t], those of keep bool[t, head] live."""
        name, attention = f"blocks.{layer}.attn", block.attn
        read = block.ln1(stream, as_it_is, name)
        later = torch.ones(len(asked), len(asked), dtype=torch.bool).triu(1)[asked]
        mixed = attention.mixed(*attention.parts(read, as_it_is, name, read[:, asked]), later, as_it_is, name)
        mean = self.task.means[f"{name}.hook_z"][asked]
        return attention.output(torch.where(keep[asked, :, None], mixed, mean).flatten(-2))
