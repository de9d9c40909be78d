"""The strongest paths into a latent or a logit, searched greedily, and the graph that they make together.

J. Dunefsky, P. Chlenski, N. Nanda, "Transcoders Find Interpretable LLM Feature Circuits", NeurIPS 2024. A step goes
from a function of the residual stream to what gives to it, and on from each of these, whose own reading is pulled back
as a linear function; contributions of steps multiply along a path. Strong means large in size: what inhibits counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch

from winnow.errors import InputError
from winnow.evaluate.transcoder_circuits import (
    Node,
    Trace,
    Vector,
    contributions,
    latent_vector,
    logits_vector,
    through_head,
    through_latent,
    token_at,
)

LEAVES = ("embedding", "position", "error")
"""Kinds that nothing is looked for behind."""


class Step(NamedTuple):
    """A node, what it gives to the end of the path it stands on, and what it reads itself (None of a leaf)."""

    node: Node
    value: float
    vector: Vector | None


Path = tuple[Step, ...]
"""From the target to what gives to it."""


def latent_target(run: Trace, layer: int, latent: int, token: int) -> Step:
    """A latent at a token, with its activation."""
    token = token_at(token, run.tokens.shape[1])
    vector = latent_vector(run, layer, latent, token)
    return Step(Node("latent", layer, latent, token), float(run.codes[layer][0, token, latent]), vector)


def logits_target(run: Trace, weights: torch.Tensor, token: int) -> Step:
    """The logits at a token, summed by weights float[vocabulary]."""
    vector = logits_vector(run, weights, token)
    return Step(Node("logits", -1, -1, vector.token), float(contributions(run, vector).total[0]), vector)


def greedy_paths(run: Trace, target: Step, depth: int = 3, branches: int = 5, cap: bool = False) -> list[Path]:
    """The `branches` strongest paths of each length from 2 to depth + 1 steps, those found on the way.

    run: of one prompt. At each length, all that gives to the ends of the paths kept so far competes. cap: a step gives
    at most what the weakest latent on its path does, as taking that latent away could not do more. Raises InputError
    for several prompts, and for depth or branches below 1.
    """
    if len(run.tokens) != 1 or depth < 1 or branches < 1:
        raise InputError(
            f"{len(run.tokens)} prompts, depth {depth}, branches {branches}; give one prompt, at least 1 each"
        )
    found: list[Path] = []
    ends: list[Path] = [(target,)]
    for _ in range(depth):
        grown = [(path, *step) for path in ends for step in _steps(run, path, cap)]
        grown.sort(key=lambda each: -abs(each[2]))
        ends = [(*path, Step(node, value, _behind(run, path[-1], node))) for path, node, value in grown[:branches]]
        found += ends
    return found


def _steps(run: Trace, path: Path, cap: bool) -> Iterable[tuple[Node, float]]:
    """What gives to the end of a path, and how much."""
    end = path[-1]
    if end.vector is None:
        return
    limit = min((abs(step.value) for step in path if step.node.kind == "latent"), default=float("inf"))
    for term in contributions(run, end.vector).terms:
        if term.kind != "bias":
            values = term.value[0].clamp(-limit, limit) if cap else term.value[0]
            for place in values.nonzero()[:, 0].tolist():
                node = Node(term.kind, term.layer, int(term.unit[place]), int(term.token[place]))
                yield node, float(values[place])


def _behind(run: Trace, end: Step, node: Node) -> Vector | None:
    assert end.vector is not None
    if node.kind in LEAVES:
        return None
    if node.kind == "latent":
        return through_latent(run, end.vector, node.layer, node.unit)
    return through_head(run, end.vector, node.layer, node.unit, node.token)


def to_graph(paths: Sequence[Path], coverage: float = 1.0) -> list[dict[str, Any]]:
    """Edges of the paths merged by node: a row an edge, with both nodes, value and share of the target.

    The same step of several paths counts once for each way to it. coverage: the strongest edges are kept until they
    have this share of the sizes of all values, and of these those that the target hangs on. Raises InputError for no
    paths, and a coverage outside of 0 to 1.
    """
    if not paths or not 0 < coverage <= 1:
        raise InputError(f"{len(paths)} paths, coverage {coverage}; give at least one path, and a share above 0")
    target, seen = paths[0][0], set[tuple[Node, ...]]()
    values: dict[tuple[Node, Node], float] = {}
    for path in paths:
        nodes = tuple(step.node for step in path)
        for i in range(1, len(path)):
            if nodes[: i + 1] not in seen:
                seen.add(nodes[: i + 1])
                edge = (nodes[i], nodes[i - 1])
                values[edge] = values.get(edge, 0.0) + path[i].value
    order = sorted(values, key=lambda edge: -abs(values[edge]))
    left = coverage * sum(map(abs, values.values()))
    kept = []
    for edge in order:
        if left <= 0:
            break
        kept.append(edge)
        left -= abs(values[edge])
    whole = target.value or 1.0
    return [
        {f"from_{name}": value for name, value in source._asdict().items()}
        | {f"to_{name}": value for name, value in end._asdict().items()}
        | {"value": values[source, end], "share": values[source, end] / whole}
        for source, end in _hanging_on(target.node, kept)
    ]


def _hanging_on(target: Node, edges: Sequence[tuple[Node, Node]]) -> list[tuple[Node, Node]]:
    """The edges from which the target is reached."""
    reached, size = {target}, 0
    while size != len(reached):
        size = len(reached)
        reached |= {source for source, end in edges if end in reached}
    return [edge for edge in edges if edge[1] in reached]
