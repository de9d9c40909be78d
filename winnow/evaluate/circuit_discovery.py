"""How much heads at positions do for a task, by several methods.

Contextual decomposition in rounds: A. Hsu et al., "Efficient Automated Circuit Discovery in Transformers using
Contextual Decomposition", ICLR 2025. Path patching: N. Goldowsky-Dill et al., "Localizing Model Behavior with Path
Patching", 2023. A node that is taken away gets its mean over a reference at its position. Work is counted in blocks
run on one sentence; a block through which two parts are pushed counts twice, and so does a gradient's way back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from winnow.evaluate.contextual_decomposition import Node, Result, heads_of, propagate, reference_means
from winnow.evaluate.decomposition_rules import Parts
from winnow.models.hooked_transformer import Block, HookedTransformer, as_it_is
from winnow.workloads.names_language import YEARS, indirect_objects, tokens_of, vocabulary, year_spans

ROWS = 1024
"""Sentences that run at once."""
Patches = Mapping[str, Callable[[Tensor], Tensor]]


@dataclass
class Task:
    """Sentences of one length, and which logits at their end tell that the task is done."""

    tokens: Tensor
    """int64[n, t]."""
    weights: Tensor
    """float[n, vocabulary]: the measure is the last logits' sum by these."""
    means: dict[str, Tensor]
    """Hook point -> mean over the reference, of `reference_means`."""
    blocks: int = field(default=0, compare=False)
    """Blocks run on one sentence so far."""

    def measure(self, logits: Tensor) -> Tensor:
        """float[..., n] of last logits float[..., n, vocabulary]."""
        return (logits * self.weights).sum(-1)


def names_task(model: HookedTransformer, split: str, count: int, references: int, seed: int, frame: int) -> Task:
    """Logit of the indirect object above that of the subject, in one frame of sentences; means over unrelated names."""
    prompts = indirect_objects(split, count, seed, frame)
    weights = torch.zeros(count, len(vocabulary()))
    weights.scatter_(1, prompts.indirect[:, None], 1.0).scatter_(1, prompts.subject[:, None], -1.0)
    reference = indirect_objects("train", references, seed, frame).reference
    return Task(prompts.tokens, weights, reference_means(model, reference))


def years_task(model: HookedTransformer, split: str, count: int, references: int, seed: int) -> Task:
    """Mean logit of later years above that of the others; means over sentences that begin with the first year."""
    prompts, reference = year_spans(split, count, seed), year_spans("train", references, seed).reference
    return Task(prompts.tokens, later_weights(prompts.start), reference_means(model, reference))


def later_weights(start: Tensor) -> Tensor:
    """float[n, vocabulary] by which logits sum to the mean of years after start int64[n] above that of the others."""
    later = torch.arange(len(YEARS)) > start[:, None]
    weights = torch.zeros(len(start), len(vocabulary()))
    years = torch.from_numpy(tokens_of(YEARS))
    weights[:, years] = later / later.sum(1, keepdim=True) - ~later / (~later).sum(1, keepdim=True)
    return weights


def _run(model: HookedTransformer, task: Task, stream: Tensor, layer: int, patch: Patches) -> Tensor:
    """Last logits float[n, vocabulary] of the stream float[n, t, d] from a block on."""

    def tap(name: str, value: Tensor) -> Tensor:
        return patch[name](value) if name in patch else value

    for i in range(layer, len(model.blocks)):
        stream = model.blocks[i](stream, tap, f"blocks.{i}", None, True, i == len(model.blocks) - 1)
        task.blocks += len(stream)
    return model.foretold(stream[:, -1])


def _frozen(
    model: HookedTransformer, task: Task, stream: Tensor, kept: Mapping[int, Tensor], receivers: Sequence[Node]
) -> tuple[Tensor, dict[Node, Tensor]]:
    """Stream float[n, t, d] from the first block of `kept` on, and what the receivers would put out on the way.

    kept: layer -> outputs of heads float[n, t, head, d] in the place of what they would be. A block's attention
    is computed only where a receiver reads it; after the last of these, if there is one, nothing more is.
    """
    recorded: dict[Node, Tensor] = {}
    deepest = max((node.layer for node in receivers), default=None)
    for i, outputs in kept.items():
        block, name = model.blocks[i], f"blocks.{i}"
        assert isinstance(block, Block)
        task.blocks += len(stream)
        if own := [node for node in receivers if node.layer == i]:
            live: list[Tensor] = []

            def taken(hook: str, value: Tensor, name: str = name, live: list[Tensor] = live) -> Tensor:
                if hook == f"{name}.attn.hook_z":
                    live.append(value)
                return value

            block.attn(block.ln1(stream, taken, f"{name}.ln1"), taken, f"{name}.attn", None, True, True)
            recorded |= {node: node.of(live[0]) for node in own}
        if i == deepest:
            break
        last = i == len(model.blocks) - 1
        mixed = block.attn.joined(outputs, as_it_is, f"{name}.attn", last)
        stream = block.rest(stream[:, -1:] if last else stream, mixed, as_it_is, name)
    return stream, recorded


def _plain(model: HookedTransformer, task: Task) -> tuple[Tensor, dict[str, Tensor]]:
    """Last logits float[n, vocabulary], and streams before blocks and outputs of heads."""
    names = [f"blocks.{i}.{name}" for i in range(len(model.blocks)) for name in ("hook_resid_pre", "attn.hook_z")]
    task.blocks += len(task.tokens) * len(model.blocks)
    logits, saved = model.run(task.tokens, save=names)
    return logits[:, -1], saved


def _z(layer: int) -> str:
    return f"blocks.{layer}.attn.hook_z"


def _nodes(model: HookedTransformer, task: Task, layer: int) -> list[Node]:
    heads = heads_of(model)
    return [Node(layer, position, head) for position in range(task.tokens.shape[1]) for head in range(heads)]


def _chunks(nodes: list[Node], count: int) -> list[list[Node]]:
    size = max(1, ROWS // count)
    return [nodes[i : i + size] for i in range(0, len(nodes), size)]


def _taken_away(nodes: Sequence[Node], task: Task, value: Tensor) -> Tensor:
    """Outputs of heads float[nodes * n, t, head, d] with one node each at its mean."""
    value = value.clone().unflatten(0, (len(nodes), -1))
    for i, node in enumerate(nodes):
        node.of(value[i])[:] = node.of(task.means[node.hook])
    return value.flatten(0, 1)


def no_scores(model: HookedTransformer, task: Task) -> Tensor:
    """float[layer, t, head] of zeros."""
    heads = heads_of(model)
    return torch.zeros(len(model.blocks), task.tokens.shape[1], heads, dtype=task.weights.dtype)


@torch.no_grad()
def activation_patching(model: HookedTransformer, task: Task) -> Tensor:
    """float[layer, t, head]: mean drop of the measure where a node is taken away."""
    logits, plain = _plain(model, task)
    whole, scores, count = task.measure(logits), no_scores(model, task), len(task.tokens)
    for layer in range(len(model.blocks)):
        for nodes in _chunks(_nodes(model, task, layer), count):
            stream = plain[f"blocks.{layer}.hook_resid_pre"].repeat(len(nodes), 1, 1)
            patch = {_z(layer): lambda value, nodes=nodes: _taken_away(nodes, task, value)}
            found = _run(model, task, stream, layer, patch).unflatten(0, (len(nodes), -1))
            for node, drop in zip(nodes, (whole - task.measure(found)).mean(1), strict=True):
                scores[node] = drop
    return scores


def attribution_patching(model: HookedTransformer, task: Task) -> Tensor:
    """float[layer, t, head]: the same drop to first order, by one gradient."""
    names = [_z(layer) for layer in range(len(model.blocks))]
    # Once forward, twice as much back.
    task.blocks += 3 * len(task.tokens) * len(model.blocks)
    with torch.enable_grad():
        logits, saved = model.run(task.tokens, save=names)
        gradients = torch.autograd.grad(task.measure(logits[:, -1]).sum(), [saved[name] for name in names])
    drops = [((saved[n] - task.means[n]) * g).sum(-1).mean(0) for n, g in zip(names, gradients, strict=True)]
    return torch.stack(drops).detach()


@torch.no_grad()
def decomposition(
    model: HookedTransformer,
    task: Task,
    targets: Sequence[Node] | None = None,
    target_weights: Sequence[float] = (),
    pattern: str = "fixed",
    clean_signs: bool = False,
) -> Tensor:
    """float[layer, t, head]: mean part of the measure, or of targets, that comes from each node by decomposition.

    Of a target it is the share of what differs from its mean, along that difference, times the target's weight.
    """
    scores, weights = no_scores(model, task), dict(zip(targets or (), target_weights, strict=True))
    for nodes, found in _propagated(model, task, targets, pattern, clean_signs):
        if targets is None:
            assert found.logits is not None
            parts = task.measure(found.logits.rel[:, :, -1]).mean(1)
        else:
            each = [_along(part, node, task) * weights[node] for node, part in found.targets.items()]
            parts = torch.stack(each).sum(0)
        for node, part in zip(nodes, parts, strict=True):
            scores[node] = part
    return scores


@torch.no_grad()
def shares(model: HookedTransformer, task: Task, targets: Sequence[Node]) -> dict[Node, Tensor]:
    """Target -> float[layer, t, head]: what `decomposition` gives of this target alone, weight 1, all in one pass."""
    scores = {target: no_scores(model, task) for target in targets}
    for nodes, found in _propagated(model, task, targets):
        for target, parts in found.targets.items():
            for node, part in zip(nodes, _along(parts, target, task), strict=True):
                scores[target][node] = part
    return scores


def _propagated(
    model: HookedTransformer,
    task: Task,
    targets: Sequence[Node] | None,
    pattern: str = "fixed",
    clean_signs: bool = False,
) -> Iterator[tuple[list[Node], Result]]:
    """Nodes, some at a time, and what comes of each of them in the last logits or in the targets behind it."""
    count = len(task.tokens)
    last = len(model.blocks) - 1 if targets is None else max(node.layer for node in targets)
    for layer in range(len(model.blocks) if targets is None else last):
        later = None if targets is None else [node for node in targets if node.layer > layer]
        for nodes in _chunks(_nodes(model, task, layer), count):
            # A plain run, which the sums are taken from, and two parts of each node.
            task.blocks += count * len(model.blocks) + 2 * count * len(nodes) * (last + 1 - layer)
            sources = [frozenset({node}) for node in nodes]
            yield nodes, propagate(model, task.tokens, sources, later, task.means, pattern, clean_signs, last=True)


def _along(parts: Parts, node: Node, task: Task) -> Tensor:
    """float[s]: relevant part of a target along what differs from its mean, as a share of that."""
    shift = parts.rel + parts.irrel - node.of(task.means[node.hook])
    return (parts.rel * shift).sum((-2, -1)) / shift.square().sum((-2, -1)).clamp_min(1e-12)


@torch.no_grad()
def path_patching(model: HookedTransformer, task: Task, receivers: Sequence[Node] | None = None) -> Tensor:
    """float[layer, t, head]: mean drop of the measure where receivers, all at once, get what they would without a node.

    In a first run the node is taken away, all other heads keep their plain outputs, and what the receivers would put
    out is recorded; in a second run they put it out. None receives: the first run's logits count.
    """
    logits, plain = _plain(model, task)
    whole, scores, count = task.measure(logits), no_scores(model, task), len(task.tokens)
    layers = len(model.blocks)
    depth = layers if receivers is None else max(node.layer for node in receivers)
    for layer in range(depth):
        later = [node for node in receivers or () if node.layer > layer]
        for nodes in _chunks(_nodes(model, task, layer), count):
            stream = plain[f"blocks.{layer}.hook_resid_pre"].repeat(len(nodes), 1, 1)
            kept = {i: plain[_z(i)].repeat(len(nodes), 1, 1, 1) for i in range(layer, min(depth + 1, layers))}
            kept[layer] = _taken_away(nodes, task, kept[layer])
            stream, recorded = _frozen(model, task, stream, kept, later)
            if receivers is None:
                found = model.foretold(stream[:, -1])
            else:
                found = _received(model, task, plain, recorded, len(nodes))
            for node, drop in zip(
                nodes, (whole - task.measure(found.unflatten(0, (len(nodes), -1)))).mean(1), strict=True
            ):
                scores[node] = drop
    return scores


def _received(
    model: HookedTransformer, task: Task, plain: dict[str, Tensor], recorded: dict[Node, Tensor], times: int
) -> Tensor:
    """Last logits where receivers put out what was recorded."""

    def put(value: Tensor, layer: int) -> Tensor:
        value = value.clone()
        for node, output in recorded.items():
            if node.layer == layer:
                node.of(value)[:] = output
        return value

    first = min(node.layer for node in recorded)
    patch = {_z(i): lambda value, i=i: put(value, i) for i in range(first, len(model.blocks))}
    return _run(model, task, plain[f"blocks.{first}.hook_resid_pre"].repeat(times, 1, 1), first, patch)
