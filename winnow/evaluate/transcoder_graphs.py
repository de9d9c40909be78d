"""Circuits of latents that tell later years: what gives to each, graphs of paths, and where they fire most.

After the case study of J. Dunefsky, P. Chlenski, N. Nanda, "Transcoders Find Interpretable LLM Feature Circuits",
NeurIPS 2024. The study as a whole begins with the latents that do most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.harvest import Corpus
from winnow.evaluate import transcoder_circuits as circuits
from winnow.evaluate.circuit_discovery import later_weights
from winnow.evaluate.circuit_study import correlation
from winnow.evaluate.transcoder_circuits import Trace
from winnow.evaluate.transcoder_latents import Scene, curves, read_before_seen, scene_of, years_of
from winnow.evaluate.transcoder_paths import Step, greedy_paths, latent_target, logits_target, to_graph
from winnow.models.hooked_transformer import Block, HookedTransformer
from winnow.workloads.names_language import SPAN, vocabulary

START = SPAN.split().index("{start}") + 1
"""Position of the first year in a prompt."""
SHARE = 0.01
"""Share of tokens at which a latent fires at least to be looked at."""


def sources(scene: Scene, best: Sequence[int]) -> dict[str, float]:
    """How exactly contributions add up, and for which share of latents the head at the first year gives most.

    Means over the prompts in which a latent fires, of all that is no bias or error; a latent that never fires counts
    against.
    """
    wanted, missed = circuits.Node("head", *scene.head, START), 0.0
    first: dict[str, list[bool]] = {"head_first": [], "head_first_of_heads": []}
    of, run = scene.run.transcoders[scene.layer], scene.run
    read = run.saved[f"blocks.{scene.layer}.ln2.hook_normalized"][:, -1] - of.b_dec_in.double()
    for latent in best:
        found = circuits.contributions(run, circuits.latent_vector(run, scene.layer, latent, -1))
        active = run.codes[scene.layer][:, -1, latent] > 0
        pre = read @ of.W_enc[:, latent].double() + of.b_enc[latent].double()
        missed = max(missed, *((found.total - pre).abs() / pre.abs())[active].tolist(), 0.0)
        means = found.means(active)
        heads = {node: value for node, value in means.items() if node.kind == "head"}
        for name, nodes in zip(first, (means, heads), strict=True):
            first[name].append(max(nodes, key=lambda node: abs(nodes[node]), default=None) == wanted)
    return {"missed": missed} | {name: float(np.mean(told)) for name, told in first.items()}


def circuit(scene: Scene, settings: Any) -> list[dict[str, Any]]:
    """Edges of the strongest paths to later years' logits in the first prompt, whose words are told in each row."""
    tokens = scene.prompts.tokens[:1]
    one = circuits.trace(scene.run.model, scene.run.transcoders, tokens)
    target = logits_target(one, later_weights(scene.prompts.start[:1])[0], -1)
    return _graph(one, target, settings)


def _graph(one: Trace, target: Step, settings: Any) -> list[dict[str, Any]]:
    edges = to_graph(greedy_paths(one, target, settings.depth, settings.branches, settings.cap), settings.coverage)
    return [edge | {"prompt": _words(one.tokens[0])} for edge in edges]


def _words(tokens: Tensor) -> str:
    words = vocabulary()
    return " ".join(words[token] for token in tokens.tolist())


def _node(edge: Mapping[str, Any], end: str) -> circuits.Node:
    return circuits.Node(*(edge[f"{end}_{field}"] for field in circuits.Node._fields))


class PathGraphs(NamedTuple):
    """Graphs of paths into latents, and all that gives to each: rows of edges and of contributions, with the latent;
    head_first_in_graph: the share of the graphs whose strongest edge into the latent comes from the head, at the first
    year."""

    edges: list[dict[str, Any]]
    given: list[dict[str, Any]]
    head_first_in_graph: float


def path_graphs(scene: Scene, best: Sequence[int], settings: Any) -> PathGraphs:
    """Of each latent the graph of paths to it in the prompt where it is strongest; one that never fires has none.

    As in `sources`, what comes first is looked for among all that is no bias or error.
    """
    wanted, edges, given = circuits.Node("head", *scene.head, START), list[dict[str, Any]](), list[dict[str, Any]]()
    first = []
    for rank, latent in enumerate(best):
        active = scene.run.codes[scene.layer][:, -1, latent]
        prompt = int(active.argmax())
        if active[prompt] <= 0:
            first.append(False)
            continue
        one = circuits.trace(scene.run.model, scene.run.transcoders, scene.prompts.tokens[prompt : prompt + 1])
        target = latent_target(one, scene.layer, latent, -1)
        mine = _graph(one, target, settings)
        into = {_node(edge, "from"): abs(edge["value"]) for edge in mine if _node(edge, "to") == target.node}
        named = [node for node in into if node.kind != "error"]
        first.append(max(named, key=lambda node: into[node], default=None) == wanted)
        told = {"latent": latent, "rank": rank}
        edges += [told | edge for edge in mine]
        assert target.vector is not None
        given += [told | row for row in circuits.contributions(one, target.vector).rows()]
    return PathGraphs(edges, given, float(np.mean(first)))


def strongest_places(run: Trace, kept: Tensor, layer: int, best: Sequence[int], count: int) -> list[dict[str, Any]]:
    """Where latents fire most in documents, the last step of a blind study: rows latent, rank, place, active, words.

    kept: bool[n, t], the tokens that count. words: the document up to the token.
    """
    rows = []
    for rank, latent in enumerate(best):
        values = run.codes[layer][..., latent].masked_fill(~kept, 0.0)
        order = torch.sort(values.flatten(), descending=True, stable=True).indices[:count].tolist()
        for place, at in enumerate(order):
            document, token = divmod(at, values.shape[1])
            active = float(values[document, token])
            if active > 0:
                told = {"latent": latent, "rank": rank, "place": place, "active": active}
                rows.append(told | {"words": _words(run.tokens[document, : token + 1])})
    return rows


@torch.no_grad()
def invariant_correlations(run: Trace, kept: Tensor) -> dict[str, float]:
    """Correlation of the invariant factor of pairs of latents with what the one gives to the other in the mean.

    Pairs are of the first transcoded layer and a later one; means over all kept tokens (bool[n, t]), and over those
    where the later latent fires.
    """
    first, *later = sorted(run.transcoders)
    codes = {layer: run.codes[layer][kept] for layer in run.codes}
    often = {layer: ((code > 0).double().mean(0) >= SHARE).nonzero()[:, 0] for layer, code in codes.items()}
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    for layer in later:
        block = run.model.blocks[layer]
        assert isinstance(block, Block)
        read = circuits.before_norm(block.ln2, run.transcoders[layer].W_enc[:, often[layer]].double().T)
        invariant = run.writes[first][often[first]] @ read.T
        scale = circuits.scale_of(run, f"blocks.{layer}.ln2")[kept][:, None]
        given = codes[first][:, often[first]] / scale
        fires = (codes[layer][:, often[layer]] > 0).double()
        pairs.append((invariant, invariant * given.mean(0)[:, None], invariant * (given.T @ fires) / fires.sum(0)))
    factor, everywhere, where = (torch.cat([part[i].flatten() for part in pairs]) for i in range(3))
    found = {"invariant_correlation": everywhere, "invariant_correlation_where_it_fires": where}
    return {name: correlation(factor, given) if len(factor) else 0.0 for name, given in found.items()}


class Study(NamedTuple):
    """What came of a study: metrics by variant, and rows of curves, of years, of edges of the circuit, of the graphs of
    latents and what gives to them, and of where they fire most."""

    metrics: dict[str, dict[str, float]]
    curves: list[dict[str, Any]]
    years: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    graphs: list[dict[str, Any]]
    contributions: list[dict[str, Any]]
    features: list[dict[str, Any]]


def study(
    model: HookedTransformer, transcoders: Mapping[int, Dictionary], corpus: Corpus, settings: Any, seed: int
) -> Study:
    """All of it, of transcoders by layer; corpus: of the test split. settings: as params.yaml has them."""
    scene = scene_of(model, transcoders, settings, seed)
    rows, area, order = curves(scene, settings, seed)
    best = order[: settings.latents].tolist()
    years = years_of(scene, best)
    found = {"layer": float(scene.layer), "head_layer": float(scene.head[0]), "head": float(scene.head[1])}
    graphs = path_graphs(scene, best, settings)
    found |= scene.drops | area | sources(scene, best) | read_before_seen(years)
    found["head_first_in_graph"] = graphs.head_first_in_graph
    tokens, kept = corpus.tokens[: settings.documents], corpus.kept[: settings.documents]
    run = circuits.trace(model, transcoders, tokens)
    documents = invariant_correlations(run, kept) if len(transcoders) > 1 else {}
    features = strongest_places(run, kept, scene.layer, best, settings.firing)
    told = {"years": found, "documents": documents}
    return Study(told, rows, years, circuit(scene, settings), graphs.edges, graphs.given, features)
