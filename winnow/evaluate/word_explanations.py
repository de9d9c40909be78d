"""What each word of a text adds to a classifier's logits: by decomposition, and by usual ways at the same cost.

LIME for texts: M. T. Ribeiro, S. Singh, C. Guestrin, "Why Should I Trust You?", KDD 2016, with the kernel, the drawn
masks and the ridge of its package. KernelSHAP: S. Lundberg, S.-I. Lee, NeurIPS 2017. Integrated gradients: M.
Sundararajan, A. Taly, Q. Yan, ICML 2017. A hidden word is the unknown one at its place. Cost is counted in runs of
the model on one text; a gradient's way back counts twice, and so do two parts that are pushed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from winnow.attribution.gradients import integrated_gradients
from winnow.attribution.least_squares import weighted_least_squares
from winnow.attribution.perturbation import Function, evaluate, kernel_shap, show
from winnow.evaluate.contextual_decomposition import Tokens, explain, explain_phrases
from winnow.models.text_encoder import TextEncoder
from winnow.randomness import torch_generator
from winnow.workloads.refusal_prompts import UNKNOWN

MANY = 10
"""Runs of the model for each word, of the arms that get more of them than decomposition needs."""
KERNEL_WIDTH = 25.0
"""Of LIME's kernel over cosine distances in percent, as in its package."""
Scores = Callable[[TextEncoder, Tensor, Tensor, int], Tensor]


def runs(words: int) -> int:
    """Runs that decomposition needs for a text of so many words: a plain one and one of two parts for each word."""
    return 1 + 2 * words


def of_presence(model: TextEncoder, row: Tensor, weights: Tensor) -> Function:
    """The sum of logits by weights as a function of which words are shown, float64[rows, words] of zeros and ones."""

    def function(shown: Tensor) -> Tensor:
        words = torch.where(shown > 0, row[1:], UNKNOWN)
        return (model(torch.cat([row[:1].expand(len(words), 1), words], 1)) * weights).sum(1)

    return function


def lime(model: TextEncoder, row: Tensor, weights: Tensor, samples: int, seed: int) -> Tensor:
    """float64[words]: coefficients of a ridge of the function on drawn masks, near ones weighing most."""
    generator, words = torch_generator(seed, "lime words"), len(row) - 1
    hidden = torch.randint(1, words + 1, (samples,), generator=generator)
    ranks = torch.rand(samples, words, generator=generator).argsort(1).argsort(1)
    masks = (ranks >= hidden[:, None]).double()
    masks[0] = 1
    values = evaluate(of_presence(model, row, weights), torch.ones(1, words).double(), masks[None], show)[0]
    return lime_fit(masks, values)


def lime_fit(masks: Tensor, values: Tensor) -> Tensor:
    """float64[words] from masks float64[m, words] of zeros and ones and values float64[m]."""
    distance = 100 * (1 - (masks.sum(1) / masks.shape[1]).sqrt())
    kernel = torch.exp(-((distance / KERNEL_WIDTH) ** 2)).sqrt()
    return weighted_least_squares(masks, values, kernel, ridge=1.0).coefficients


def outer_shap(model: TextEncoder, row: Tensor, weights: Tensor) -> Tensor:
    """float64[words]: KernelSHAP on the coalitions it weighs most, one word and all but one; 2 (words + 1) runs."""
    words = len(row) - 1
    alone = torch.eye(words, dtype=torch.float64)
    masks = torch.cat([torch.zeros(1, words), torch.ones(1, words), alone, 1 - alone]).double()
    values = evaluate(of_presence(model, row, weights), torch.ones(1, words).double(), masks[None], show)[0]
    whole = (torch.ones(1, words, dtype=torch.float64), (values[1] - values[0])[None])
    equal = torch.ones(2 * words, dtype=torch.float64)
    return weighted_least_squares(masks[2:], values[2:] - values[0], equal, bias=False, constraint=whole).coefficients


def many_shap(model: TextEncoder, row: Tensor, weights: Tensor, seed: int) -> Tensor:
    """float64[words]: KernelSHAP with MANY runs for each word."""
    words = len(row) - 1
    fit = kernel_shap(
        of_presence(model, row, weights),
        torch.ones(1, words, dtype=torch.float64),
        samples=MANY * words,
        generator=torch_generator(seed, "shap words"),
    )
    return fit.coefficients[0]


def leave_one_out(model: TextEncoder, row: Tensor, weights: Tensor, phrases: Sequence[Sequence[int]]) -> Tensor:
    """float64[phrases]: what hiding words at places of a text takes from the sum of logits by weights."""
    masks = torch.ones(1 + len(phrases), len(row) - 1, dtype=torch.float64)
    for i, places in enumerate(phrases, 1):
        masks[i, [place - 1 for place in places]] = 0
    values = evaluate(of_presence(model, row, weights), masks[:1], masks[None], show)[0]
    return values[0] - values[1:]


class _OfEmbeddings(nn.Module):
    """The sum of logits by weights, one output, as a function of embeddings."""

    def __init__(self, model: TextEncoder, weights: Tensor) -> None:
        super().__init__()
        self.model, self.weights = model, weights

    def forward(self, x: Tensor) -> Tensor:
        return (self.model(x) * self.weights).sum(1, keepdim=True)


def gradients(model: TextEncoder, row: Tensor, weights: Tensor, steps: int) -> Tensor:
    """float[words]: integrated gradients from a text of unknown words, summed over the embedding."""
    hidden = torch.cat([row[:1], torch.full_like(row[1:], UNKNOWN)])
    with torch.no_grad():
        x, start = model.embed(row[None]), model.embed(hidden[None])
    found = integrated_gradients(_OfEmbeddings(model, weights), x, torch.zeros(1, dtype=torch.long), start, steps)
    return found.sum(-1)[0, 1:]


@torch.no_grad()
def attention(model: TextEncoder, row: Tensor) -> Tensor:
    """float[words]: how much the first token looks at each word in the last block, on average over heads; no sign."""
    name = f"blocks.{len(model.blocks) - 1}.attn.hook_pattern"
    return model.run(row[None], save=[name])[1][name][0].mean(0)[0, 1:]


def _alone(model: TextEncoder, row: Tensor, weights: Tensor, seed: int) -> Tensor:
    return leave_one_out(model, row, weights, [[place] for place in range(1, len(row))])


METHODS: dict[str, Scores] = {
    "cdt": lambda model, row, weights, seed: explain(model, row[None], weights[None])[0, 1:],
    "cdt_split": lambda model, row, weights, seed: explain(model, row[None], weights[None], "split")[0, 1:],
    "lime": lambda model, row, weights, seed: lime(model, row, weights, runs(len(row) - 1), seed),
    "lime_many": lambda model, row, weights, seed: lime(model, row, weights, MANY * (len(row) - 1), seed),
    "shap": lambda model, row, weights, seed: outer_shap(model, row, weights),
    "shap_many": lambda model, row, weights, seed: many_shap(model, row, weights, seed),
    "integrated_gradients": lambda model, row, weights, seed: gradients(
        model, row, weights, max(1, runs(len(row) - 1) // 3)
    ),
    "leave_one_out": _alone,
    "attention": lambda model, row, weights, seed: attention(model, row),
    "random": lambda model, row, weights, seed: torch.randn(
        len(row) - 1, generator=torch_generator(seed, "random words")
    ),
}
"""Name -> function of a model, a text int64[1 + words], weights float[classes] and a seed: scores float[words]."""


def phrase_scores(model: TextEncoder, row: Tensor, weights: Tensor, places: Sequence[int]) -> dict[str, float]:
    """Scores of a phrase as one: by decomposition of both kinds, and what hiding all of it takes away."""
    found = {
        name: float(explain_phrases(model, row[None], [Tokens(places)], weights[None], pattern)[0, 0])
        for name, pattern in (("cdt", "fixed"), ("cdt_split", "split"))
    }
    return found | {"leave_one_out": float(leave_one_out(model, row, weights, [places])[0])}
