"""Runs in which one head at one position is changed, computed only where the change can be seen.

Nothing of a position reaches earlier ones, and with the outputs of all other heads kept nothing of it reaches later
ones either: what is left out are values of the plain run. Results are those of whole runs within rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from winnow.evaluate.contextual_decomposition import Node
from winnow.models.hooked_transformer import Block, HookedTransformer, Kernels, as_it_is

POINTS = ("hook_resid_pre", "attn.hook_q", "attn.hook_k", "attn.hook_v", "attn.hook_z")


class PlainRun:
    """A run of a model on tokens int64[n, t], and runs of it with a source each of which differs from it.

    Sources are nodes that are heads. Streams at their own positions are float[n, source, d].
    """

    def __init__(self, model: HookedTransformer, tokens: Tensor) -> None:
        self.model, self.length = model, tokens.shape[1]
        names = [f"blocks.{i}.{point}" for i in range(len(model.blocks)) for point in POINTS]
        logits, self.saved = model.run(tokens, save=names)
        self.logits = logits[:, -1]
        """float[n, vocabulary] of the last position."""

    def _block(self, layer: int) -> Block:
        block = self.model.blocks[layer]
        assert isinstance(block, Block)
        return block

    def without(self, sources: Sequence[Node], means: Mapping[str, Tensor]) -> Tensor:
        """The stream after the sources' block, one for all of them, where each has its mean as output."""
        layer, places = sources[0].layer, [node.position for node in sources]
        outputs = self.saved[sources[0].hook][:, places]
        for i, node in enumerate(sources):
            outputs[:, i, node.head] = node.of(means[node.hook])
        return self._on(layer, self.saved[f"blocks.{layer}.hook_resid_pre"][:, places], outputs)

    def frozen(self, layer: int, sources: Sequence[Node], stream: Tensor) -> Tensor:
        """The stream after a block where all of its heads keep their outputs."""
        return self._on(layer, stream, self.saved[f"blocks.{layer}.attn.hook_z"][:, [n.position for n in sources]])

    def _on(self, layer: int, stream: Tensor, outputs: Tensor) -> Tensor:
        block = self._block(layer)
        return block.rest(stream, block.attn.output(outputs.flatten(-2)), as_it_is, f"blocks.{layer}")

    def heard(
        self, layer: int, sources: Sequence[Node], stream: Tensor, receivers: Sequence[Node]
    ) -> dict[Node, Tensor]:
        """What receivers in a block put out, float[n, source, width of a head], that read the stream before it."""
        block, name = self._block(layer), f"blocks.{layer}.attn"
        columns = sorted({node.position for node in receivers})
        places, each = torch.tensor([node.position for node in sources]), torch.arange(len(sources))
        read = block.attn.parts(block.ln1(stream, as_it_is, name), as_it_is, name)
        query, key, value = (
            self.saved[f"{name}.hook_{letter}"][:, None].repeat(1, len(sources), 1, 1, 1) for letter in "qkv"
        )
        for whole, own in zip((query, key, value), read, strict=True):
            whole[:, each, places] = own
        later = torch.ones(self.length, self.length, dtype=torch.bool).triu(1)[columns]
        asked = (query[:, :, columns].flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1))
        mixed = block.attn.mixed(*asked, later, as_it_is, name).unflatten(0, (-1, len(sources)))
        return {node: mixed[:, :, columns.index(node.position), node.head] for node in receivers}

    def after(self, layer: int, sources: Sequence[Node], stream: Tensor) -> Tensor:
        """Last logits float[n, source, vocabulary] where the stream before a block is another at the sources."""
        start = min(node.position for node in sources)
        whole = self._repeated(f"blocks.{layer}.hook_resid_pre", start, len(sources))
        places = torch.tensor([node.position - start for node in sources])
        whole[:, torch.arange(len(sources)), places] = stream
        return self._rest(layer, whole.flatten(0, 1), start, {}, len(sources))

    def received(self, recorded: Mapping[Node, Tensor]) -> Tensor:
        """Last logits float[n, source, vocabulary] where nodes put out what is given, float[n, source, width] each."""
        first, start = min(node.layer for node in recorded), min(node.position for node in recorded)
        count = next(iter(recorded.values())).shape[1]
        stream = self._repeated(f"blocks.{first}.hook_resid_pre", start, count)
        # The first block's heads read a plain stream: their outputs but the given ones are known.
        outputs = self._repeated(f"blocks.{first}.attn.hook_z", start, count)
        for node, output in recorded.items():
            if node.layer == first:
                outputs[:, :, node.position - start, node.head] = output
        if first == len(self.model.blocks) - 1:
            stream, outputs = stream[:, :, -1:], outputs[:, :, -1:]
        stream = self._on(first, stream.flatten(0, 1), outputs.flatten(0, 1))
        later = {node: output for node, output in recorded.items() if node.layer > first}
        return self._rest(first + 1, stream, start, later, count)

    def _repeated(self, name: str, start: int, count: int) -> Tensor:
        """float[n, source, t - start, ...] of a hook point."""
        value = self.saved[name][:, None, start:]
        return value.repeat(1, count, *[1] * (value.dim() - 2))

    def _rest(self, layer: int, stream: Tensor, start: int, recorded: Mapping[Node, Tensor], count: int) -> Tensor:
        """Last logits float[n, source, vocabulary] of the stream float[n * source, t - start, d] from a block on."""

        def tap(name: str, value: Tensor) -> Tensor:
            if own := [node for node in recorded if node.hook == name]:
                value = value.clone()
                for node in own:
                    value[:, node.position - start, node.head] = recorded[node].flatten(0, 1)
            return value

        for i in range(layer, len(self.model.blocks)):
            name, past = f"blocks.{i}", None
            if start:
                key, value = (
                    self.saved[f"{name}.attn.hook_{letter}"][:, :start].repeat_interleave(count, 0) for letter in "kv"
                )
                past = key, value
            stream = self._block(i)(stream, tap, name, past, Kernels(not start, True), i == len(self.model.blocks) - 1)
        return self.model.foretold(stream[:, -1]).unflatten(0, (-1, count))
