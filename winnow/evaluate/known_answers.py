"""Measures of interpretability held against planted answers: latents, modules, circuits and features that are known.

Each measure ranks or groups what a planted network has, and its score says how well that agrees with what was planted:
1 is perfect, 0 is chance. The floor of a measure is the score of the same ranking against what is planted in another
draw. A measure is worth what it finds here before what it says of networks whose answers nobody knows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.planted import PlantedHierarchy, planted_dictionary, planted_hierarchy, sample_hierarchy
from winnow.randomness import torch_generator

ENOUGH = 0.8
"""Score from which on a measure counts as recovering what was planted."""
LATENTS, WIDTH, ACTIVE, NEAR = 96, 48, 6, 0.95
"""Planted dictionary; half of its latents are atoms, at this cosine, and the others are random directions."""
PARENTS, ROWS = 8, 4000
"""Parents, half of which are taken over, and rows of the data that latents are judged on."""
INPUTS, PAIRS = 16, 3
"""Inputs of a planted function, and pairs of them of which either is enough."""


@dataclass(frozen=True)
class Answer:
    """What measures say of one draw, by measure; and how well anything they say agrees with what is planted there."""

    said: dict[str, Any]
    agreement: Callable[[Any], float]


def ranking(planted: Tensor) -> Callable[[Tensor], float]:
    """Twice the area under the ROC curve less 1, of scores of the same shape as planted bool."""
    from sklearn.metrics import roc_auc_score

    truth = planted.flatten().numpy()
    return lambda said: 2 * float(roc_auc_score(truth, said.flatten().double().numpy())) - 1


def _half(count: int, generator: torch.Generator) -> Tensor:
    """bool[count], half of it True."""
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[torch.randperm(count, generator=generator)[: count // 2]] = True
    return chosen


def latents(seed: int) -> Answer:
    """Which latents of a dictionary are atoms of the data: by F1, by a second dictionary's directions and codes."""
    from winnow.evaluate.feature_survival import activation_correlation, cosine_similarity
    from winnow.evaluate.transcoder_comparison import best_f1

    generator = torch_generator(seed, "known answers", "latents")
    planted, true = planted_dictionary(LATENTS, WIDTH, ACTIVE, seed=seed), _half(LATENTS, generator)
    rows = planted.sample(ROWS, seed)
    present = _dictionary(planted.atoms).dense(rows) > 0

    def near() -> Dictionary:
        drawn = torch.randn(planted.atoms.shape, generator=generator)
        along = (drawn * planted.atoms).sum(1, keepdim=True)
        aside = torch.nn.functional.normalize(drawn - along * planted.atoms, dim=1)
        atoms = NEAR * planted.atoms + (1 - NEAR**2) ** 0.5 * aside
        return _dictionary(torch.where(true[:, None], atoms, torch.nn.functional.normalize(drawn, dim=1)))

    first, second = near(), near()
    codes = [of.dense(rows) for of in (first, second)]
    cosines = cosine_similarity(first.W_dec.numpy(), second.W_dec.numpy())
    correlations = activation_correlation(codes[0].numpy(), codes[1].numpy())
    said = {
        "latents: F1": best_f1(codes[0] > 0, {str(i): of for i, of in enumerate(present.T)}).nan_to_num(),
        "latents: stable directions": torch.from_numpy(cosines.max(1)),
        "latents: stable codes": torch.from_numpy(correlations.max(1)),
    }
    return Answer(said, ranking(true))


def _dictionary(atoms: Tensor, threshold: float = 0.8) -> Dictionary:
    """Reads and writes unit rows float32[m, d], above a threshold."""
    zero, level = torch.zeros(atoms.shape[1]), torch.full((len(atoms),), threshold)
    return Dictionary(atoms.T.contiguous(), torch.zeros(len(atoms)), atoms, zero, zero, level, "relu", "jumprelu", None)


def absorbed(seed: int) -> Answer:
    """Which parents are silent where a child is active, whose latent has taken them over: by the absorption rate.

    Parents have many rare children, or few frequent ones, whose latents a sparse probe takes for the parent's own.
    """
    from winnow.dictionaries.metrics import absorption

    generator, train = torch_generator(seed, "known answers", "absorbed"), torch.arange(ROWS) < ROWS // 2
    true, said = _half(PARENTS, generator), {}
    for name, children, rate in (("rare children", 12, 0.3), ("frequent children", 3, 0.6)):
        planted = planted_hierarchy(PARENTS, children, PARENTS * (1 + children), seed=seed)
        sampled = sample_hierarchy(planted, ROWS, seed, parent_rate=0.3, child_rate=rate)
        dictionary = absorbing(planted, true)
        rates = [absorption(dictionary, sampled.rows, active, train=train).rate for active in sampled.parent_active.T]
        said[f"absorption: {name}"] = torch.tensor([rate or 0.0 for rate in rates])
    return Answer(said, ranking(true))


def absorbing(planted: PlantedHierarchy, taken: Tensor) -> Dictionary:
    """A latent a parent and a child; of parents bool[p] that are taken over, the children's latents write them too."""
    parents = torch.where(taken[:, None], planted.parents - planted.children.sum(1), planted.parents)
    with_parent = (planted.children + planted.parents[:, None]) / 2**0.5
    children = torch.where(taken[:, None, None], with_parent, planted.children)
    strength = torch.where(taken, 2**0.5, 1.0).repeat_interleave(planted.children.shape[1])[:, None]
    read = torch.cat([parents, planted.children.flatten(0, 1) * strength])
    written = torch.cat([planted.parents, children.flatten(0, 1)])
    zero, level = torch.zeros(written.shape[1]), torch.full((len(written),), 0.5)
    return Dictionary(read.T.contiguous(), torch.zeros(len(read)), written, zero, zero, level, "relu", "jumprelu", None)


def directions(seed: int) -> Answer:
    """Which of a layer's directions the next one reads, where others vary more: the first of several bases."""
    from winnow.dictionaries.local_interaction_basis import local_interaction_basis

    read, width = 4, 16
    generator = torch_generator(seed, "known answers", "directions")

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    turn = torch.linalg.qr(normal(width, width)).Q
    space, first, second = turn[:read], normal(12, read), normal(3, 12)
    spread = torch.cat([torch.ones(read), torch.linspace(0.5, 3, width - read)]).double()
    x = (normal(1000, width) * spread) @ turn

    def agreement(said: Tensor) -> float:
        """How much of the space of the first directions float64[width, read] is planted, above chance."""
        shared = float((space @ torch.linalg.qr(said).Q).square().sum()) / read
        return (shared - read / width) / (1 - read / width)

    parts, names = [lambda rows: (rows @ space.T @ first.T).relu() @ second.T], {"jacobian": "local interaction basis"}
    names |= {"pca": "principal components", "random": "random directions"}
    said = {}
    for kind, name in names.items():
        found = local_interaction_basis(parts, x, torch.eye(3, dtype=torch.float64), kind, seed=seed)[0]  # type: ignore[arg-type]
        said[f"directions: {name}"] = found.into[:, :read]
    return Answer(said, agreement)


def modules_of(seed: int) -> Answer:
    """Which outputs belong to one of three networks side by side, all turned: by modules of graphs of several bases."""
    from winnow.evaluate.basis_ablation import continued
    from winnow.evaluate.interaction_planted import SPARED
    from winnow.evaluate.interaction_study import agreement, all_strengths, bases_of, modular_graph
    from winnow.evaluate.planted_degeneracy import modular_parts
    from winnow.randomness import numpy_generator

    parts, x, truth = modular_parts(3, 4, seed)
    # Outputs in an order of their own, or the answer would be the same in every draw.
    order = torch.from_numpy(numpy_generator(seed, "known answers", "modules").permutation(len(truth)))
    parts, truth = [parts[0], torch.nn.Sequential(parts[1], _Chosen(order))], truth[order]
    target, output = continued(parts, x), torch.eye(len(truth), dtype=torch.float64)
    scale, said = float(target.var(0).sum()), {}
    for kind, name in (("ib", "interaction basis"), ("pca", "principal components"), ("neuron", "neurons")):
        bases = bases_of(kind, parts, x, output, seed=seed)  # type: ignore[arg-type]
        strengths = all_strengths(parts, x, bases)

        def loss(made: Tensor) -> float:
            return float((made - target).square().sum(1).mean()) / scale

        said[f"modules: {name}"] = modular_graph(parts, x, bases, strengths, loss, SPARED, seed)[1][-1]
    return Answer(said, lambda labels: agreement(labels, truth.numpy()))


class _Chosen(torch.nn.Module):
    """Columns in an order."""

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x[..., self.order]


class EitherOf(torch.nn.Module):
    """x float[n, d] -> logits [n, 2]: a sum of min(1, x_i + x_j) over pairs, and small weights of all inputs.

    Where both of a pair are 1, neither changes the sum alone.
    """

    def __init__(self, pairs: Tensor, small: Tensor) -> None:
        super().__init__()
        self.pairs, self.small = pairs, small

    def forward(self, x: Tensor) -> Tensor:
        logit = x[:, self.pairs].sum(2).clamp(max=1).sum(1) + x @ self.small.to(x.dtype)
        return torch.stack([torch.zeros_like(logit), logit], 1)


def inputs(seed: int) -> Answer:
    """Which inputs a function uses, each with another that is enough without it: by gradients and by hiding inputs."""
    from winnow.attribution import gradients, perturbation

    generator = torch_generator(seed, "known answers", "inputs")
    order, small = torch.randperm(INPUTS, generator=generator), 0.05 * torch.randn(INPUTS, generator=generator)
    model, used = EitherOf(order[: 2 * PAIRS].view(PAIRS, 2), small), torch.zeros(INPUTS, dtype=torch.bool)
    used[order[: 2 * PAIRS]] = True
    x, target = torch.ones(1, INPUTS), torch.ones(1, dtype=torch.int64)

    def f(rows: Tensor) -> Tensor:
        return model(rows.double())[:, 1]

    # The gradient at a kink is anyone's choice; a step above it, it is the function's own.
    above = x + 1e-3
    draws = torch_generator(seed, "known answers", "masks")
    said = {
        "inputs: gradient": gradients.logit_gradient(model, above, target)[0],
        "inputs: integrated gradients": gradients.integrated_gradients(model, above, target)[0],
        "inputs: occlusion": perturbation.occlusion(f, x.double())[0],
        "inputs: LIME": perturbation.lime(f, x.double(), generator=draws).coefficients[0],
        "inputs: kernel SHAP": perturbation.kernel_shap(f, x.double(), generator=draws).coefficients[0],
    }
    return Answer(said, ranking(used))


CASES: tuple[Callable[[int], Answer], ...] = (latents, absorbed, directions, modules_of, inputs)


def scores(cases: Sequence[Callable[[int], Answer]], draws: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A row a measure and draw: score, and floor, its score against what is planted in the next draw."""
    for case in cases:
        answers = [case(draw) for draw in draws]
        for i, answer in enumerate(answers):
            other = answers[(i + 1) % len(answers)].agreement
            for measure, said in answer.said.items():
                told = {"planted": case.__name__.removesuffix("_of"), "measure": measure, "draw": draws[i]}
                yield told | {"score": answer.agreement(said), "floor": other(said)}


def slug(measure: str) -> str:
    """A measure's name as a variant."""
    return measure.lower().replace(": ", "-").replace(" ", "_")


def table(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Measure -> means over draws of its score and its floor, and recovered, the share of draws with enough."""
    found: dict[str, dict[str, float]] = {}
    for measure in dict.fromkeys(row["measure"] for row in rows):
        mine = [row for row in rows if row["measure"] == measure]
        score, floor = (np.array([row[name] for row in mine]) for name in ("score", "floor"))
        found[measure] = {"score": float(score.mean()), "floor": float(floor.mean())}
        found[measure]["recovered"] = float((score >= ENOUGH).mean())
    return found
