"""BEE beside its controls: every family of baselines, all of them alike, and explainers without a choice.

All arms that draw get as many draws and evaluations of the metric as BEE: the best of T maps is compared with the best
of T maps, and the first with the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from scipy.stats import chi2_contingency
from torch import Tensor

from winnow.attribution import gradients
from winnow.attribution.saliency_metrics import METRICS, Metric, blurred
from winnow.errors import InputError
from winnow.evaluate.bee import FAMILIES, Explained, best_of, explain, pretrain
from winnow.evaluate.thompson import Mixture, Policy, Thompson
from winnow.models.hooks import capture
from winnow.models.modes import evaluating
from winnow.randomness import torch_generator

Scores = dict[tuple[str, str], np.ndarray]


@dataclass(frozen=True)
class Material:
    """Images to learn and to test on, and what the bandit knows of them."""

    train: Explained
    test: Explained
    train_features: np.ndarray
    test_features: np.ndarray

    @classmethod
    def of(cls, model: Any, layer: str, train: Tensor, test: Tensor) -> Material:
        """The class explained is the predicted one; known is the model's last hidden layer, standardised over train."""
        with evaluating(model), torch.no_grad():
            targets = [model(x).argmax(dim=1) for x in (train, test)]
            known = [capture(model, x, model.hook_points()[-1]) for x in (train, test)]
        if len(known[0]) != len(train):
            raise InputError("the last hook point has not one row an image; explain a model with a hidden layer")
        mean, deviation = known[0].mean(dim=0), known[0].std(dim=0)
        features = [((k - mean) / torch.where(deviation > 0, deviation, 1)).numpy() for k in known]
        learn, look = (Explained.at(model, layer, x, y, train) for x, y in zip((train, test), targets, strict=True))
        return cls(learn, look, *features)


def fixed(family: str, seed: int) -> Mixture:
    """One family of baselines alone."""
    return Mixture(np.array([float(name == family) for name in FAMILIES]), seed)


def scored_draws(
    policy: Policy, material: Material, metrics: Sequence[Metric], draws: int, seed: int, fill: Tensor, steps: int
) -> dict[str, np.ndarray]:
    """Metric -> scores float64[n, draws] of maps that a policy which learns nothing draws once for all metrics."""
    generator, of = torch_generator(seed, "baselines"), material.test
    found: dict[str, list[np.ndarray]] = {metric.name: [] for metric in metrics}
    for _ in range(draws):
        maps = of.draw(policy.choose(material.test_features), generator, steps)
        for metric in metrics:
            found[metric.name].append(metric(of.model, of.x, of.target, maps, fill=fill).numpy())
    return {name: np.stack(scores, axis=1) for name, scores in found.items()}


def deterministic_maps(material: Material, layer: str, seed: int) -> dict[str, Tensor]:
    """Maps of explainers without a choice, in [0, 1]: float[n, H, W] each."""
    of = material.test
    call = (of.model, of.x, of.target)
    found = {
        "grad_cam": gradients.grad_cam(*call, layer),
        "layer_cam": gradients.layer_cam(*call, layer),
        "integrated_gradients": gradients.integrated_gradients(*call).abs().sum(dim=1),
        "smooth_grad": gradients.smooth_grad(*call, seed=seed).abs().sum(dim=1),
    }
    return {name: gradients.upsampled(maps, *of.x.shape[2:]) for name, maps in found.items()}


class Comparison(NamedTuple):
    """What every method scored."""

    scores: Scores
    """(method, metric) -> float64[n, draws]; one draw where a method has no choice"""
    arms: dict[tuple[str, str], np.ndarray]
    """(phase, metric) -> families int64 in the order drawn"""
    crossed: dict[tuple[str, str], np.ndarray]
    """(metric that chose, metric that scores) -> float64[n] of fine-tuned BEE's maps"""
    policies: dict[str, Thompson]
    """metric -> the pre-trained policy"""
    maps: dict[str, Tensor]
    """method or metric -> maps of the test images"""


def compare(
    material: Material, layer: str, names: Sequence[str], draws: int, seed: int, fill: Tensor, steps: int = 10
) -> Comparison:
    """Score BEE, pre-trained and fine-tuned on the test images, and its controls on each metric.

    Fine-tuning learns from the metric on the test images, as the authors do; the pre-trained policy does not.
    """
    metrics = [METRICS[name] for name in names]
    found = Comparison({}, {}, {}, {}, deterministic_maps(material, layer, seed))
    of = material.test
    for method, maps in found.maps.items():
        for metric in metrics:
            found.scores[method, metric.name] = metric(of.model, of.x, of.target, maps, fill=fill).numpy()[:, None]
    shares = np.full(len(FAMILIES), 1 / len(FAMILIES))
    controls = {"uniform": Mixture(shares, seed)} | {f"family_{name}": fixed(name, seed) for name in FAMILIES}
    for method, policy in controls.items():
        drawn = scored_draws(policy, material, metrics, draws, seed, fill, steps)
        found.scores.update({(method, name): scores for name, scores in drawn.items()})
    for metric in metrics:
        known = material.train_features.shape[1]
        learner = Thompson(len(FAMILIES), known, metric.higher_is_better, seed, name=metric.name)
        given: dict[str, Any] = {"seed": seed, "fill": fill, "steps": steps}
        arms = pretrain(learner, material.train, material.train_features, metric, **given)
        found.arms["pretraining", metric.name] = arms
        found.policies[metric.name] = deepcopy(learner)
        quiet = explain(deepcopy(learner), of, material.test_features, metric, draws, update=False, **given)
        tuned = explain(learner, of, material.test_features, metric, draws, **given)
        found.scores["bee_pretrained", metric.name] = quiet.scores
        found.scores["bee_finetuned", metric.name] = tuned.scores
        found.arms["finetuning", metric.name] = tuned.arms.T.reshape(-1)
        found.maps[metric.name] = tuned.maps
        for other in metrics:
            scores = other(of.model, of.x, of.target, tuned.maps, fill=fill).numpy()
            found.crossed[metric.name, other.name] = scores
    return found


def fill_of(kind: str, x: Tensor, black: Tensor) -> Tensor:
    """What takes the place of a removed pixel: black in the model's units, or the image under a wide blur."""
    return black if kind == "black" else blurred(x, max(x.shape[2:]) / 4)


def arms_differ(arms: dict[tuple[str, str], np.ndarray], phase: str) -> float:
    """p-value of the chi-square test that metrics share one distribution over families."""
    counts = np.array([np.bincount(a, minlength=len(FAMILIES)) for (p, _), a in arms.items() if p == phase])
    counts = counts[:, counts.sum(axis=0) > 0]
    return float(chi2_contingency(counts).pvalue) if counts.shape[0] > 1 and counts.shape[1] > 1 else 1.0


def qualities(scores: Scores) -> dict[tuple[str, str, int], dict[str, float | None]]:
    """(method, metric, draws) -> score, quality and undefined of the best of so many draws, means over images.

    quality is the score, or its negative where lower is better; draws are 1, and the powers of 2 and the number made.
    undefined is the share of images without a score.
    """
    found: dict[tuple[str, str, int], dict[str, float | None]] = {}
    for (method, metric), values in scores.items():
        made = values.shape[1]
        for draws in sorted({made, *(2**k for k in range(made.bit_length()) if 2**k <= made)}):
            best = best_of(values, draws, METRICS[metric].higher_is_better)
            missing = float(np.isnan(best).mean())
            score = float(np.nanmean(best)) if missing < 1 else None
            sign = 1 if METRICS[metric].higher_is_better else -1
            quality = None if score is None else sign * score
            found[method, metric, draws] = {"score": score, "quality": quality, "undefined": missing}
    return found


def score_table(scores: Scores) -> pa.Table:
    """Columns method, metric, image_id, draw (from 1), score: one row a draw."""
    tables = []
    for (method, metric), values in scores.items():
        images, draws = np.indices(values.shape, dtype=np.int32)
        names = {"method": [method] * values.size, "metric": [metric] * values.size}
        numbers = {"image_id": images.reshape(-1), "draw": draws.reshape(-1) + 1, "score": values.reshape(-1)}
        tables.append(pa.table(names | numbers))
    return pa.concat_tables(tables)


def arm_table(arms: dict[tuple[str, str], np.ndarray]) -> pa.Table:
    """Columns phase, metric, draw (from 0), arm (a number of FAMILIES): one row a draw, in the order drawn."""
    tables = [
        pa.table({"phase": [phase] * len(a), "metric": [metric] * len(a), "draw": np.arange(len(a)), "arm": a})
        for (phase, metric), a in arms.items()
    ]
    return pa.concat_tables(tables)


def policy_tensors(policies: dict[str, Thompson]) -> dict[str, np.ndarray]:
    """<metric>.<name> -> array of every policy's state."""
    return {
        f"{metric}.{key}": value for metric, policy in policies.items() for key, value in policy.state_dict().items()
    }
