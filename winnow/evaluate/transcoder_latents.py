"""Latents of a transcoder that tell later years: which do most, how few are enough, and what they read.

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
from winnow.evaluate import transcoder_circuits as circuits
from winnow.evaluate.circuit_discovery import activation_patching, later_weights, years_task
from winnow.evaluate.circuit_search import ranked
from winnow.evaluate.contextual_decomposition import Node
from winnow.evaluate.transcoder_circuits import Trace
from winnow.models.hooked_transformer import Block, HookedTransformer
from winnow.statistics import bootstrap_interval
from winnow.workloads.names_language import FIRST_START, LAST_START, YEARS, YearSpans, tokens_of, year_spans

TOLD = slice(FIRST_START, LAST_START + 1)
"""Years that a span may begin with; the model has hardly seen the others."""
ORDERED, EXPLAINED = 0.7, 0.6
"""Size of a rank correlation with the year, and share of variance that one threshold explains, from which on a latent
counts as ordering years."""


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
