"""Feature dictionaries judged on a task whose attributes are known, beside dictionaries built from the attributes.

Makelov, Lange and Nanda, "Towards Principled Evaluations of Sparse Autoencoders for Interpretability and Control",
2024. Three axes: do reconstructions carry the task, do edits of a few features change it as told, and does a feature
fire for an attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from winnow.errors import InputError
from winnow.models.hooked_transformer import HookedTransformer, KeysValues

LEAST_PROMPTS = 5
READ_AT_ONCE = 256
"""Prompts of a run, whose tensors are still small enough for a processor's cache."""
UNION = 10
"""Values of an attribute that one feature may stand for together."""
Attributes = Mapping[str, Tensor]
"""Name -> int64[n], the value that each prompt has."""


class Node(NamedTuple):
    """A vector of one head at one position: kind q, k, v or z; positions count from the end where they are negative."""

    layer: int
    kind: Literal["q", "k", "v", "z"]
    head: int
    position: int

    @property
    def hook(self) -> str:
        """The hook point that holds it."""
        return f"blocks.{self.layer}.attn.hook_{self.kind}"


def check_nodes(model: HookedTransformer, nodes: Sequence[Node], length: int) -> None:
    """Raise InputError for a node outside the model or a prompt of that length, and for no node."""
    if not nodes:
        raise InputError("nodes: none given; name at least one")
    attention: Any = model.blocks[0].attn
    layers, heads = len(model.blocks), attention.heads
    for node in nodes:
        if not (0 <= node.layer < layers and 0 <= node.head < heads and -length <= node.position < length):
            size = f"{layers} layers, {heads} heads, {length} positions"
            raise InputError(f"node {tuple(node)}: lies outside of {size}; name another")


@torch.no_grad()
def read(model: HookedTransformer, tokens: Tensor, nodes: Sequence[Node]) -> Tensor:
    """float[n, nodes, d]: what the nodes hold on prompts int64[n, t]. Errors as `check_nodes`."""
    check_nodes(model, nodes, tokens.shape[1])
    hooks, depth = {node.hook for node in nodes}, 1 + max(node.layer for node in nodes)
    found = []
    for part in tokens.split(READ_AT_ONCE):
        _, saved = model.run(part, save=hooks, stop_at=depth)
        found.append(torch.stack([saved[node.hook][:, node.position, node.head] for node in nodes], 1))
    return torch.cat(found)


@torch.no_grad()
def logits_with(
    model: HookedTransformer, tokens: Tensor, nodes: Sequence[Node], values: Tensor, past: Sequence[KeysValues] = ()
) -> Tensor:
    """Logits float[n, t, v] with the nodes replaced by values float[n, nodes, d] all at once, the rest live.

    past: what `keys_values` gives of the tokens before these.
    """
    check_nodes(model, nodes, tokens.shape[1])

    def patch(hook: str) -> Callable[[Tensor], Tensor]:
        def replaced(held: Tensor) -> Tensor:
            changed = held.clone()
            for i, node in enumerate(nodes):
                if node.hook == hook:
                    changed[:, node.position, node.head] = values[:, i].to(held.dtype)
            return changed

        return replaced

    return model.run(tokens, patch={node.hook: patch(node.hook) for node in nodes}, past=past)[0]


@torch.no_grad()
def keys_values(model: HookedTransformer, tokens: Tensor) -> list[KeysValues]:
    """Keys and values float[n, t, head, d] of each block on tokens int64[n, t]."""
    hooks = [[f"blocks.{i}.attn.hook_{part}" for part in "kv"] for i in range(len(model.blocks))]
    _, saved = model.run(tokens, save=[hook for pair in hooks for hook in pair], stop_at=len(model.blocks))
    return [(saved[key], saved[value]) for key, value in hooks]


@dataclass(frozen=True)
class SupervisedDictionary:
    """A mean float64[d] and, for each attribute, a code float64[values, d] of each of its values."""

    mean: Tensor
    codes: dict[str, Tensor]

    def parts(self, attributes: Attributes) -> dict[str, Tensor]:
        """float64[n, d] of each attribute: the code of the value that each prompt has.

        Raises InputError for a value without a code.
        """
        for name, codes in self.codes.items():
            value = int(attributes[name].max())
            if value >= len(codes) or not torch.isfinite(codes[attributes[name]]).all():
                raise InputError(f"attribute {name}: a value of the prompts has no code; fit on prompts that have it")
        return {name: codes[attributes[name]] for name, codes in self.codes.items()}

    def reconstruct(self, attributes: Attributes) -> Tensor:
        """float64[n, d]: the mean and the codes of each prompt's values."""
        return self.mean + sum(self.parts(attributes).values())

    def edit(self, x: Tensor, attributes: Attributes, name: str, new: Tensor) -> Tensor:
        """Activations float[n, d] with the code of one attribute's value exchanged for that of another, int64[n]."""
        old, changed = self.parts(attributes)[name], self.parts({**attributes, name: new})[name]
        return torch.where((attributes[name] == new)[:, None], x, (x.double() - old + changed).to(x.dtype))


def supervised(
    x: Tensor,
    attributes: Attributes,
    kind: Literal["mean", "mse"] = "mse",
    shared: Tensor | None = None,
    tied: Sequence[str] = (),
) -> SupervisedDictionary:
    """The dictionary of activations float[n, d] and their prompts' attributes.

    shared: int64[n], what the values of all attributes have in common, such as the order in (name, order) joined. A
    constant of each of its values is then free to move between attributes, as one constant is without it.
    tied: attributes whose values are of one kind, such as two names; a value has one code, whichever of them has it.

    mean: the mean of the prompts with a value, less the mean of all. mse: the codes whose sums come nearest to the
    activations, of least norm. The two agree where attributes are independent; where they hang together, mean codes
    count what the others explain. Values that no prompt has get codes of NaN. Raises InputError for a value with fewer
    than five prompts, and for attributes that tell one another, which leaves their codes undecided.
    """
    rows, mean = x.double(), x.double().mean(0)
    blocks = [[name] for name in attributes if name not in tied] + ([list(tied)] if tied else [])
    sizes = [1 + max(int(attributes[name].max()) for name in block) for block in blocks]
    design = torch.cat([_ones(attributes, block, size) for block, size in zip(blocks, sizes, strict=True)], 1).double()
    held = design.sum(0)
    for block, count in zip(blocks, held.split(sizes), strict=True):
        if bool(((count > 0) & (count < LEAST_PROMPTS)).any()):
            value = int(((count > 0) & (count < LEAST_PROMPTS)).nonzero()[0])
            told = f"{' or '.join(block)} {value}: has {int(count[value])} prompts"
            raise InputError(f"attribute {told}; give at least {LEAST_PROMPTS} of each value")
    if kind == "mean":
        stacked = design.T @ (rows - mean) / held[:, None]
    else:
        present = held > 0
        # Solved by eigenvectors of the Gram matrix: what is free to move between attributes has the least norm.
        gram, cross = design.T @ design, design.T @ (rows - mean)
        gram, cross = gram[present][:, present], cross[present]
        values, vectors = torch.linalg.eigh(gram)
        kept = values > values.max() * 1e-10
        groups = 1 if shared is None else len(shared.unique())
        least = int(present.sum()) - (len(blocks) - 1) * groups
        if int(kept.sum()) < least:
            raise InputError(f"attributes {', '.join(attributes)}: tell one another; leave one out or draw them apart")
        basis = vectors[:, kept]
        stacked = torch.full((len(held), x.shape[1]), float("nan"), dtype=torch.float64)
        stacked[present] = basis @ ((basis.T @ cross) / values[kept, None])
    tables = zip(blocks, stacked.split(sizes), strict=True)
    return SupervisedDictionary(mean, {name: table for block, table in tables for name in block})


def _ones(attributes: Attributes, block: Sequence[str], size: int) -> Tensor:
    """int64[n, size]: how many attributes of the block have each value."""
    return torch.stack([torch.nn.functional.one_hot(attributes[name], size) for name in block]).sum(0)


@dataclass(frozen=True)
class Features:
    """Any dictionary of one node: codes of activations, and the direction that each unit of a feature adds.

    encode: float[n, d] -> float[n, m]. decoder: float[m, d]. bias: float[d].
    """

    encode: Callable[[Tensor], Tensor]
    decoder: Tensor
    bias: Tensor

    def reconstruct(self, x: Tensor) -> Tensor:
        """float[n, d]."""
        return self.encode(x) @ self.decoder + self.bias

    def weights(self, codes: Tensor) -> Tensor:
        """float[n, m]: the share of each feature in the reconstruction of codes; the shares of a row sum to 1."""
        shown = codes @ self.decoder
        return codes * (shown @ self.decoder.T) / shown.square().sum(1, keepdim=True).clamp(min=1e-30)


class Edited(NamedTuple):
    """Activations float[n, d] after an edit, and the share of the reconstruction that was taken out, float[n]."""

    values: Tensor
    weight: Tensor


def edit_agnostic(features: Features, x: Tensor, counterfactual: Tensor, changes: int) -> Edited:
    """At most `changes` features set to what they are on the counterfactual activations, so as to come near to these.

    Greedy: each time the feature whose change lowers the distance most, and none that does not.
    """
    before, after = features.encode(x), features.encode(counterfactual)
    step, decoder = after - before, features.decoder
    missing, moved = counterfactual - x, torch.zeros_like(x)
    open_to, chosen = step != 0, torch.zeros_like(step, dtype=torch.bool)
    for _ in range(changes):
        gain = 2 * step * (missing @ decoder.T) - step.square() * decoder.square().sum(1)
        gain = torch.where(open_to & ~chosen, gain, float("-inf"))
        best = gain.argmax(1, keepdim=True)
        taken = gain.gather(1, best) > 0
        chosen.scatter_(1, best, taken | chosen.gather(1, best))
        change = torch.where(taken, step.gather(1, best), 0) * decoder[best[:, 0]]
        moved, missing = moved + change, missing - change
    weight = (features.weights(before) * (chosen & (before != 0))).sum(1)
    return Edited(x + moved, weight)


def edit_aware(
    features: Features, x: Tensor, counterfactual: Tensor, scores: Tensor, old: Tensor, new: Tensor, size: int
) -> Edited:
    """The `size` active features that tell the old value best are taken out, those that tell the new one best put in.

    scores: float[m, values], how well each feature tells each value (F1). Magnitudes of what is put in are those on the
    counterfactual activations.
    """
    before, after = features.encode(x), features.encode(counterfactual)

    def best(codes: Tensor, value: Tensor) -> Tensor:
        told = torch.where(codes != 0, scores.T[value], -1.0)
        top = told.topk(min(size, told.shape[1]), 1)
        return torch.zeros_like(codes, dtype=torch.bool).scatter_(1, top.indices, top.values >= 0)

    out, into = best(before, old), best(after, new)
    changed = x - (before * out) @ features.decoder + (after * into) @ features.decoder
    return Edited(changed, (features.weights(before) * out).sum(1))


class Told(NamedTuple):
    """How features tell an attribute: F1 float64[m, values] of its values, and float64[m] of the best union of them.

    members: bool[m, values], the values in the best unions.
    """

    f1: Tensor
    union: Tensor
    members: Tensor


def interpret(active: Tensor, values: Tensor, count: int, union: int = UNION) -> Told:
    """F1 of "the feature is active" against "the attribute has this value", and against its best union of values.

    active: bool[n, m]. values: int64[n], below `count`. Unions take the values first on whose rows the feature
    is active most often, up to `union` of them.
    """
    member = torch.nn.functional.one_hot(values, count).double()
    both = active.double().T @ member
    fires, held = active.double().sum(0)[:, None], member.sum(0)
    f1 = 2 * both / (fires + held).clamp(min=1)
    order = (both / held.clamp(min=1)).argsort(dim=1, descending=True, stable=True)[:, : min(union, count)]
    hits, size = both.gather(1, order).cumsum(1), held[order].cumsum(1)
    best = (2 * hits / (fires + size).clamp(min=1)).max(1)
    members = torch.zeros_like(f1, dtype=torch.bool)
    members.scatter_(1, order, torch.arange(order.shape[1]) <= best.indices[:, None])
    return Told(f1, best.values, members)


def f1_of_unions(active: Tensor, values: Tensor, members: Tensor) -> Tensor:
    """float64[m]: F1 of "the feature is active" against "the value is one of the feature's", on any rows.

    active: bool[n, m]. values: int64[n]. members: bool[m, values].
    """
    meant = members[:, values].T
    return 2 * (active & meant).double().sum(0) / (active.double().sum(0) + meant.double().sum(0)).clamp(min=1)
