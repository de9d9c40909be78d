"""How much heads at positions do for a task, by several methods.

Contextual decomposition in rounds: A. Hsu et al., "Efficient Automated Circuit Discovery in Transformers using
Contextual Decomposition", ICLR 2025. Path patching: N. Goldowsky-Dill et al., "Localizing Model Behavior with Path
Patching", 2023. A node that is taken away gets its mean over a reference at its position. Work is counted in blocks
run on one sentence, by the definition of each method: what is the same as in a plain run and so is not computed again
counts for all of them. A block through which two parts are pushed counts twice, and so does a gradient's way back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from winnow.evaluate.causal_runs import PlainRun
from winnow.evaluate.contextual_decomposition import Node, Result, heads_of, plain_run, propagate, reference_means
from winnow.evaluate.decomposition_rules import Parts
from winnow.models.hooked_transformer import HookedTransformer
from winnow.workloads.names_language import YEARS, indirect_objects, tokens_of, vocabulary, year_spans

ROWS = 1024
"""Sentences that run at once."""
NEIGHBOURS = 192
"""The same where positions before the first node are left out: few, so that nodes at near positions run together."""


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


def _plain(model: HookedTransformer, task: Task) -> PlainRun:
    task.blocks += len(task.tokens) * len(model.blocks)
    return PlainRun(model, task.tokens)


def _at_end(node: Node, task: Task) -> bool:
    return node.position == task.tokens.shape[1] - 1


def _count(scores: Tensor) -> int:
    """Nodes of a layer."""
    return scores[0].numel()


def _score(scores: Tensor, nodes: Sequence[Node], plain: PlainRun, task: Task, found: Tensor) -> None:
    """Put in the drops of the measure, of last logits float[n, node, vocabulary] with a node each changed."""
    drops = (task.measure(plain.logits) - task.measure(found.transpose(0, 1))).mean(1)
    for node, drop in zip(nodes, drops, strict=True):
        scores[node] = drop


def _nodes(model: HookedTransformer, task: Task, layer: int) -> list[Node]:
    heads = heads_of(model)
    return [Node(layer, position, head) for position in range(task.tokens.shape[1]) for head in range(heads)]


def _chunks(nodes: list[Node], count: int, rows: int | None = None) -> list[list[Node]]:
    size = max(1, (rows or ROWS) // count)
    return [nodes[i : i + size] for i in range(0, len(nodes), size)]


def no_scores(model: HookedTransformer, task: Task) -> Tensor:
    """float[layer, t, head] of zeros."""
    heads = heads_of(model)
    return torch.zeros(len(model.blocks), task.tokens.shape[1], heads, dtype=task.weights.dtype)


@torch.no_grad()
def activation_patching(model: HookedTransformer, task: Task) -> Tensor:
    """float[layer, t, head]: mean drop of the measure where a node is taken away."""
    plain, scores, layers = _plain(model, task), no_scores(model, task), len(model.blocks)
    for layer in range(layers):
        task.blocks += len(task.tokens) * _count(scores) * (layers - layer)
        # Of the last block's outputs only those at the end are read.
        heard = [node for node in _nodes(model, task, layer) if layer < layers - 1 or _at_end(node, task)]
        for nodes in _chunks(heard, len(task.tokens), NEIGHBOURS):
            stream = plain.without(nodes, task.means)
            found = model.foretold(stream) if layer == layers - 1 else plain.after(layer + 1, nodes, stream)
            _score(scores, nodes, plain, task, found)
    return scores


def attribution_patching(model: HookedTransformer, task: Task) -> Tensor:
    """float[layer, t, head]: the same drop to first order, by one gradient."""
    names = [f"blocks.{layer}.attn.hook_z" for layer in range(len(model.blocks))]
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
            plain = plain_run(model, task.tokens)
            for some in _chunks(nodes, count, NEIGHBOURS):
                sources = [frozenset({node}) for node in some]
                asked = (model, task.tokens, sources, later, task.means, pattern, clean_signs)
                yield some, propagate(*asked, last=True, plain=plain)


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
    plain, scores, layers = _plain(model, task), no_scores(model, task), len(model.blocks)
    depth = layers if receivers is None else max(node.layer for node in receivers)
    for layer in range(depth):
        later = [node for node in receivers or () if node.layer > layer]
        ran = min(depth + 1, layers) - layer + (layers - min(node.layer for node in later) if later else 0)
        task.blocks += len(task.tokens) * _count(scores) * ran
        nodes = _nodes(model, task, layer)
        if receivers is None:
            # Without other heads nothing of a position reaches the end.
            heard = [node for node in nodes if _at_end(node, task)]
        else:
            heard = [node for node in nodes if node.position <= max(one.position for one in later)]
        for some in _chunks(heard, len(task.tokens)):
            found = _by_paths(plain, task, some, later)
            _score(scores, some, plain, task, found)
    return scores


def _by_paths(plain: PlainRun, task: Task, nodes: Sequence[Node], receivers: Sequence[Node]) -> Tensor:
    """Last logits float[n, node, vocabulary] of path patching, of nodes of one layer."""
    start, layer = min(node.position for node in nodes), nodes[0].layer
    hearing = [node for node in receivers if node.position >= start]
    deepest = max((node.layer for node in hearing), default=len(plain.model.blocks))
    recorded: dict[Node, Tensor] = {}
    stream = plain.without(nodes, task.means)
    for i in range(layer + 1, deepest):
        if own := [node for node in hearing if node.layer == i]:
            recorded |= plain.heard(i, nodes, stream, own)
        stream = plain.frozen(i, nodes, stream)
    if not receivers:
        return plain.model.foretold(stream)
    own = [node for node in hearing if node.layer == deepest]
    return plain.received(recorded | plain.heard(deepest, nodes, stream, own))
