"""How a small model tells later years, by latents of transcoders: which do most, what they read, how few are enough.

After the case study of J. Dunefsky, P. Chlenski, N. Nanda, "Transcoders Find Interpretable LLM Feature Circuits",
NeurIPS 2024, on the task of M. Hanna, O. Liu, A. Variengien, "How does GPT-2 compute greater-than?", NeurIPS 2023.
Latents are ranked on prompts of the valid split, and what is measured is measured on those of test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.harvest import Corpus
from winnow.evaluate import transcoder_circuits as circuits
from winnow.evaluate.circuit_discovery import activation_patching, later_weights, years_task
from winnow.evaluate.circuit_search import ranked
from winnow.evaluate.circuit_study import correlation
from winnow.evaluate.contextual_decomposition import Node
from winnow.evaluate.transcoder_circuits import Trace
from winnow.evaluate.transcoder_paths import Step, greedy_paths, latent_target, logits_target, to_graph
from winnow.models.hooked_transformer import Block, HookedTransformer
from winnow.statistics import bootstrap_interval
from winnow.workloads.names_language import (
    FIRST_START,
    LAST_START,
    SPAN,
    YEARS,
    YearSpans,
    tokens_of,
    vocabulary,
    year_spans,
)

START = SPAN.split().index("{start}") + 1
"""Position of the first year in a prompt."""
TOLD = slice(FIRST_START, LAST_START + 1)
"""Years that a span may begin with; the model has hardly seen the others."""
ORDERED, EXPLAINED = 0.7, 0.6
"""Size of a rank correlation with the year, and share of variance that one threshold explains, from which on a latent
counts as ordering years."""
SHARE = 0.01
"""Share of tokens at which a latent fires at least to be looked at."""


class Scene(NamedTuple):
    """What is studied: runs on both sets of prompts, the layer and the head before it that tell later years."""

    scoring: Trace
    run: Trace
    prompts: YearSpans
    weights: Tensor
    """float[n, vocabulary] of the scoring prompts: the mean of later years' logits above that of the others."""
    layer: int
    head: tuple[int, int]
    drops: dict[str, float]
    """Probability of later years above others, and what is lost where each feed-forward layer adds its mean."""


def scene_of(model: HookedTransformer, transcoders: Mapping[int, Dictionary], settings: Any, seed: int) -> Scene:
    """Prompts of both splits; of the layers with transcoders the one that does most at the last token, and of the heads
    that it can read from there the one that does most, both on prompts of the valid split."""
    scoring, prompts = (year_spans(split, settings.prompts, seed) for split in ("valid", "test"))
    drops, chosen_by = {"difference": _difference(model, prompts, {})}, {}
    for layer in transcoders:
        name = f"blocks.{layer}.hook_mlp_out"
        mean = model.run(scoring.tokens, save=[name])[1][name][:, -1].mean(0).detach()
        chosen_by[layer] = -_difference(model, scoring, {name: _last(mean)})
        drops[f"lost_layer{layer}"] = drops["difference"] - _difference(model, prompts, {name: _last(mean)})
    layer = max(transcoders, key=lambda of: chosen_by[of])
    effects = activation_patching(model, years_task(model, "valid", settings.patched, settings.references, seed))
    best: Node = next(n for n in ranked(effects) if n.position == prompts.tokens.shape[1] - 1 and n.layer <= layer)
    runs = [circuits.trace(model, transcoders, of.tokens) for of in (scoring, prompts)]
    return Scene(runs[0], runs[1], prompts, later_weights(scoring.start), layer, (best.layer, best.head), drops)


def _last(value: Tensor) -> Callable[[Tensor], Tensor]:
    """A patch of the last token."""

    def patch(held: Tensor) -> Tensor:
        changed = held.clone()
        changed[:, -1] = value.to(held.dtype)
        return changed

    return patch


@torch.no_grad()
def _difference(model: HookedTransformer, prompts: YearSpans, patch: Mapping[str, Callable[[Tensor], Tensor]]) -> float:
    return float(prompts.difference(model.run(prompts.tokens, patch=patch)[0]).mean())


class Units(NamedTuple):
    """Latents or neurons of a layer: values float64[n, m] at the last token, their means float64[m], and what each
    writes, float64[m, d]; bias float64[d]."""

    values: Tensor
    means: Tensor
    writes: Tensor
    bias: Tensor

    def added(self, kept: Tensor) -> Tensor:
        """float64[n, d]: what the layer adds with the kept units as they are and all others at their means."""
        values = self.means.expand_as(self.values).clone()
        values[:, kept] = self.values[:, kept]
        return values @ self.writes + self.bias


def latents(scene: Scene) -> tuple[Units, Tensor]:
    """Those of the transcoder on the prompts, and their values on the scoring prompts."""
    of = scene.run.transcoders[scene.layer]
    values, scored = (run.codes[scene.layer][:, -1] for run in (scene.run, scene.scoring))
    return Units(values, scored.mean(0), scene.run.writes[scene.layer], of.b_dec_out.double()), scored


def neurons(scene: Scene) -> tuple[Units, Tensor]:
    """Those of the feed-forward layer itself."""
    block = scene.run.model.blocks[scene.layer]
    assert isinstance(block, Block)
    name, down = f"blocks.{scene.layer}.mlp.hook_post", block.mlp.down
    values, scored = (run.saved[name][:, -1] for run in (scene.run, scene.scoring))
    return Units(values, scored.mean(0), down.weight.T.detach(), down.bias.detach()), scored


@torch.no_grad()
def order_of(scene: Scene, units: Units, scored: Tensor) -> Tensor:
    """int64[m]: units by what their difference from their mean adds to later years' logits, the most first."""
    told = circuits.direct_logits(scene.scoring.model, units.writes) @ scene.weights.double().T
    scale = circuits.scale_of(scene.scoring, "ln_final")[:, -1, None]
    return torch.argsort((((scored - units.means) / scale) * told.T).mean(0), descending=True, stable=True)


@torch.no_grad()
def curve(scene: Scene, units: Units, order: Tensor, sizes: Sequence[int]) -> Tensor:
    """float64[sizes, n]: probability of later years above others in each prompt, with the first units of the order."""
    model, name = scene.run.model, f"blocks.{scene.layer}.hook_mlp_out"
    found = []
    for size in sizes:
        patch = {name: _last(units.added(order[:size]))}
        found.append(scene.prompts.difference(model.run(scene.prompts.tokens, patch=patch)[0]))
    return torch.stack(found)


def curves(scene: Scene, settings: Any, seed: int) -> tuple[list[dict[str, Any]], dict[str, float], Tensor]:
    """Rows of both curves, how far that of latents lies above that of neurons up to `area_to`, and latents by rank."""
    sizes = sorted({*range(settings.area_to + 1), *settings.sizes})
    rows, found, orders = [], {}, {}
    for name, (units, scored) in {"latents": latents(scene), "neurons": neurons(scene)}.items():
        orders[name] = order_of(scene, units, scored)
        inside = [size for size in sizes if size <= len(orders[name])]
        found[name] = curve(scene, units, orders[name], [*inside, len(orders[name])])
        means = found[name].mean(1).tolist()
        rows += [{"units": name, "size": size, "value": mean} for size, mean in zip(inside, means, strict=False)]
        rows.append({"units": f"all {name}", "size": len(orders[name]), "value": means[-1]})
    rows.append({"units": "model", "size": 0, "value": scene.drops["difference"]})
    part = slice(1, settings.area_to + 1)
    above = (found["latents"][part] - found["neurons"][part]).mean(0).numpy()
    mean, low, high = bootstrap_interval(above, seed=seed)
    return rows, {"area": mean, "area_low": low, "area_high": high}, orders["latents"]


def years_of(scene: Scene, best: Sequence[int]) -> list[dict[str, Any]]:
    """A row for each latent and year: what weights say it reads there by the head, what it adds to the year's logit.

    active: its mean activation on prompts that begin with the year, None where none does.
    """
    of, run = scene.run.transcoders[scene.layer], scene.run
    years = torch.from_numpy(tokens_of(YEARS))
    added = circuits.direct_logits(run.model, of.W_dec)[:, years]
    rows = []
    for rank, latent in enumerate(best):
        read = circuits.deembed(run.model, of, scene.layer, latent, [scene.head])[years]
        for year in range(len(YEARS)):
            mine = run.codes[scene.layer][scene.prompts.start == year, -1, latent]
            row: dict[str, Any] = {"latent": latent, "rank": rank, "year": year, "read": float(read[year])}
            rows.append(
                row | {"added": float(added[latent, year]), "active": float(mine.mean()) if len(mine) else None}
            )
    return rows


def orders_years(read: np.ndarray) -> tuple[float, float]:
    """Rank correlation with the year of values float[years], and the share of their variance that one threshold
    explains at best."""
    from scipy.stats import spearmanr

    size = len(read)
    sums = np.cumsum(read - read.mean())[:-1]
    left = np.arange(1, size)
    between = sums**2 * (1 / left + 1 / (size - left))
    return float(spearmanr(np.arange(size), read).statistic), float(between.max() / ((read - read.mean()) ** 2).sum())


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


def read_before_seen(years: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of rows of `years_of`, over years that spans begin with: the share of latents that order years.

    read_before_seen: mean rank correlation of what weights say a latent reads with its mean activation there.
    """
    from scipy.stats import spearmanr

    orders, agree = [], []
    for latent in dict.fromkeys(row["latent"] for row in years):
        mine = [row for row in years if row["latent"] == latent][TOLD]
        correlation, explained = orders_years(np.array([row["read"] for row in mine]))
        orders.append(abs(correlation) >= ORDERED or explained >= EXPLAINED)
        seen = [row for row in mine if row["active"] is not None]
        found = spearmanr([row["read"] for row in seen], [row["active"] for row in seen]).statistic
        agree.append(0.0 if np.isnan(found) else float(found))
    return {"orders_years": float(np.mean(orders)), "read_before_seen": float(np.mean(agree))}


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
