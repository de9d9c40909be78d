"""Attention over pairs of tokens, or longer tuples: exactly, and in nearly linear time where entries are bounded.

Alman and Song, "How to Capture Higher-order Correlations? Generalizing Matrix Softmax Attention to Kronecker
Computation", ICLR 2024. The matching task: Sanford, Hsu and Telgarsky, "Representational Strengths and Limitations of
Transformers", NeurIPS 2023.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache, reduce
from itertools import count, takewhile
from operator import mul
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor, nn

from winnow.errors import InputError

LARGEST_RANK = 50_000
Basis = Literal["taylor", "chebyshev"]


class Bounds(NamedTuple):
    """What a polynomial in place of exp amounts to."""

    rank: int
    """Monomials, C(d + degree, degree)."""
    largest: float
    """Bound of the scaled scores: scale * d * the product of the largest entries."""
    relative: float
    """Largest error of the polynomial relative to exp on [-largest, largest]."""
    negative: int
    """Queries whose approximate sum of weights is not above 0: their output means nothing."""


def khatri_rao(parts: Sequence[Tensor]) -> Tensor:
    """float[..., n^k, d] of k matrices float[..., n, d]: products of their rows, the last index running fastest."""
    return reduce(lambda a, b: (a[..., :, None, :] * b[..., None, :, :]).flatten(-3, -2), parts)


def kronecker_attention(
    query: Tensor,
    keys: Sequence[Tensor],
    values: Sequence[Tensor],
    scale: float | None = None,
    causal: bool = False,
    chunk: int = 64,
) -> Tensor:
    """Softmax over all tuples (j1, .., jk) of scale * sum_c q_ic k1_j1c .. kk_jkc, times v1_j1c .. vk_jkc.

    All float[..., n, d]; two keys and two values make attention of third order, O(n^3 d). scale None is 1 / d.
    causal: no member of a tuple may come after the query. Works on `chunk` queries at a time. Raises InputError for
    fewer than two keys, as many values that are not as many, other shapes, and entries that are not finite.
    """
    _check(query, keys, values)
    scale = 1 / query.shape[-1] if scale is None else scale
    front, worth = khatri_rao(keys[:-1]), khatri_rao(values[:-1])
    places = torch.arange(query.shape[-2])
    # Of a tuple's members but the last, the one that comes latest.
    latest = reduce(lambda a, b: torch.maximum(a[:, None], b).flatten(), [places] * (len(keys) - 1))
    found = []
    for start in range(0, query.shape[-2], chunk):
        some = query[..., start : start + chunk, :]
        joined = (some[..., :, None, :] * front[..., None, :, :]).flatten(-3, -2)
        # One large product for all queries is faster than one for each.
        scores = (joined @ keys[-1].mT * scale).unflatten(-2, (some.shape[-2], -1))
        if causal:
            here = places[start : start + chunk, None, None]
            scores = scores.masked_fill((latest[:, None] > here) | (places > here), -torch.inf)
        # One softmax over all tuples, not one after another.
        weights = scores.flatten(-2).softmax(-1).unflatten(-1, scores.shape[-2:])
        mixed = (weights.flatten(-3, -2) @ values[-1]).unflatten(-2, scores.shape[-3:-1])
        found.append((mixed * worth[..., None, :, :]).sum(-2))
    return torch.cat(found, dim=-2)


def polynomial(degree: int, largest: float, basis: Basis) -> np.ndarray:
    """Coefficients float64[degree + 1], the constant first, of a stand-in for exp on [-largest, largest]."""
    if basis == "taylor":
        return np.array([1 / math.factorial(t) for t in range(degree + 1)])
    fitted = Chebyshev.interpolate(np.exp, degree, domain=[-largest, largest])
    coefficients = fitted.convert(kind=Polynomial, domain=[-1, 1], window=[-1, 1]).coef
    return np.pad(coefficients, (0, degree + 1 - len(coefficients)))


def kronecker_attention_polynomial(
    query: Tensor,
    keys: Sequence[Tensor],
    values: Sequence[Tensor],
    degree: int,
    basis: Basis = "taylor",
    scale: float | None = None,
    causal: bool = False,
) -> tuple[Tensor, Bounds]:
    """The same with exp replaced by a polynomial: O(n r d) for rank r = C(d + degree, degree), without a tuple formed.

    Raises InputError besides for a degree below 0, a rank above 50,000 and a causal mask, which does not factor.
    """
    _check(query, keys, values)
    if causal:
        raise InputError("causal: a mask over tuples does not factor; use the exact method")
    size = query.shape[-1]
    rank = math.comb(size + degree, max(degree, 0))
    if degree < 0 or rank > LARGEST_RANK:
        raise InputError(f"degree: is {degree}, rank {rank} at {size} dimensions; give 0 to a rank of {LARGEST_RANK}")
    scale = 1 / size if scale is None else scale
    largest = abs(scale) * size * float(math.prod(part.detach().abs().max() for part in (query, *keys)))
    series = polynomial(degree, largest, basis)
    found, negative = quotient(power_sums(query, keys, values, degree, scale), series)
    grid = np.linspace(-largest, largest, 1001)
    relative = np.abs(np.polynomial.polynomial.polyval(grid, series) / np.exp(grid) - 1).max()
    return found, Bounds(rank, largest, float(relative), negative)


def power_sums(query: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], degree: int, scale: float) -> Tensor:
    """float[degree + 1, ..., n, d + 1]: over all tuples, each power of the scaled score times the product of values.

    The last column is without values. Any polynomial's attention is a quotient of sums over these.
    """
    size = query.shape[-1]
    asked = features(query, degree) * monomial_weights(np.ones(degree + 1), size, scale).to(query.dtype)
    worth = [torch.cat([value, torch.ones_like(value[..., :1])], -1) for value in values]
    mixed = reduce(mul, (features(key, degree).mT @ value for key, value in zip(keys, worth, strict=True)))
    counts = [math.comb(size + power - 1, power) for power in range(degree + 1)]
    parts = zip(asked.split(counts, -1), mixed.split(counts, -2), strict=True)
    return torch.stack([ours @ theirs for ours, theirs in parts])


def quotient(sums: Tensor, series: np.ndarray) -> tuple[Tensor, int]:
    """Attention by a polynomial's coefficients and `power_sums`, and how many queries' weights sum to 0 or less."""
    total = torch.tensordot(torch.from_numpy(series).to(sums.dtype), sums, 1)
    return total[..., :-1] / total[..., -1:], int((~(total[..., -1] > 0)).sum())


def degrees_below(rank: int, size: int) -> Iterator[int]:
    """Degrees from 0 on whose monomials of `size` variables number less than a rank."""
    return takewhile(lambda degree: math.comb(size + degree, degree) < rank, count())


def monomial_weights(series: np.ndarray, size: int, scale: float) -> Tensor:
    """float64[rank]: of each monomial, as `monomials` has them, in a series of scale times a sum of `size` products."""
    exponents, _, _ = monomials(size, len(series) - 1)
    # A power of the sum spreads over monomials by multinomial coefficients: t! / prod a_c!.
    spread = [series[t] * scale**t * math.factorial(t) for t in exponents.sum(1).tolist()]
    shares = [math.prod(math.factorial(a) for a in row) for row in exponents.tolist()]
    return torch.tensor([s / share for s, share in zip(spread, shares, strict=True)], dtype=torch.float64)


@lru_cache(maxsize=32)
def monomials(size: int, degree: int) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Exponents int64[rank, size] by degree; and for each degree above 0 the monomial of one less, and the variable."""
    rows, parents, variables = [[0] * size], [], []
    first, last = 0, 1
    for _ in range(degree):
        made = [
            (at, c) for at in range(first, last) for c in range(size) if not any(rows[at][c + 1 :])
        ]  # each monomial once: the variable that joins is none before the last that is there
        rows += [[a + (i == c) for i, a in enumerate(rows[at])] for at, c in made]
        parents.append(torch.tensor([at - first for at, _ in made]))
        variables.append(torch.tensor([c for _, c in made]))
        first, last = last, len(rows)
    return torch.tensor(rows), tuple(parents), tuple(variables)


def features(x: Tensor, degree: int) -> Tensor:
    """float[..., n, rank]: all monomials of the entries of each row up to a degree, in the order of `monomials`."""
    _, parents, variables = monomials(x.shape[-1], degree)
    found = [torch.ones_like(x[..., :1])]
    for parent, variable in zip(parents, variables, strict=True):
        found.append(found[-1][..., parent] * x[..., variable])
    return torch.cat(found, dim=-1)


class KroneckerAttention(nn.Module):
    """Attention of several heads over tuples: float[n, t, width] -> the same, without biases.

    order: of the correlations, 3 for pairs of keys. degree: of a polynomial in place of exp, None for the exact one.
    Raises InputError for a polynomial with a causal mask, and in a forward where its weights sum to 0 or less.
    """

    def __init__(self, width: int, heads: int, order: int = 3, degree: int | None = None, causal: bool = False) -> None:
        super().__init__()
        if order < 3:
            raise InputError(f"order: is {order}; give 3 or more, 2 is ordinary attention")
        if heads < 1 or width % heads:
            raise InputError(f"width: is {width}, no multiple of the {heads} heads; change one of them")
        if causal and degree is not None:
            raise InputError(f"degree: is {degree} with a causal mask, which does not factor; give None")
        self.heads, self.degree, self.causal = heads, degree, causal
        self.query, self.output = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.keys, self.values = (
            nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(order - 1)) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        def split(part: nn.Module) -> Tensor:
            return part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)

        query, keys, values = split(self.query), [split(k) for k in self.keys], [split(v) for v in self.values]
        if self.degree is None:
            mixed = kronecker_attention(query, keys, values, causal=self.causal)
        else:
            mixed, told = kronecker_attention_polynomial(query, keys, values, self.degree, causal=self.causal)
            if told.negative:
                raise InputError(
                    f"degree: is {self.degree}; weights of {told.negative} queries sum to 0 or less, as scores reach "
                    f"{told.largest:.4g}; raise it, give an even one, or None"
                )
        return self.output(mixed.transpose(1, 2).flatten(-2))


def match_task(n: int, modulus: int, order: int, batch: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Numbers int64[batch, n] below the modulus, and of each whether it and order - 1 others make 0, float32[batch, n].

    Others may be the number itself, and one may count several times, as Sanford et al. have it.
    """
    if order < 2 or n < 1 or modulus < 1:
        raise InputError(f"match: order {order}, {n} numbers below {modulus}; give 2 or more, and 1 or more")
    numbers = generator.integers(0, modulus, (batch, n))
    reached = np.zeros((batch, modulus), bool)
    np.put_along_axis(reached, numbers, True, 1)
    first, residues = reached, np.arange(modulus)
    less = (residues[:, None] - residues) % modulus
    for _ in range(order - 2):
        # Sums of one more number: those from which one that is there leads to a sum so far.
        reached = np.any(reached[:, less] & first[:, None], axis=2, keepdims=False)
    labels = np.take_along_axis(reached, -numbers % modulus, 1)
    return torch.from_numpy(numbers), torch.from_numpy(labels.astype(np.float32))


def match_construction(numbers: Tensor, modulus: int) -> Tensor:
    """The labels of the task of order 3, bool[batch, n], by one head of four dimensions and nothing learned.

    Scores are cos(2 pi (x_i + x_j1 + x_j2) / modulus), which four products make; a large scale lets the best pair win.
    """
    angle = numbers.double() * (2 * math.pi / modulus)
    cosine, sine = angle.cos(), angle.sin()
    query = torch.stack([cosine, -cosine, -sine, -sine], -1)
    first = torch.stack([cosine, sine, cosine, sine], -1)
    second = torch.stack([cosine, sine, sine, cosine], -1)
    gap = 1 - math.cos(2 * math.pi / modulus) if modulus > 1 else 1.0
    # All other pairs together then weigh less than a hundredth of the best.
    scale = math.log(100 * numbers.shape[1] ** 2) / gap
    mixed = kronecker_attention(query, [first, second], [first, second], scale=scale)
    return (query * mixed).sum(-1) > 1 - gap / 2


def _check(query: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    if len(keys) < 2 or len(values) != len(keys):
        raise InputError(f"keys: {len(keys)}, values: {len(values)}; give two or more, and as many values as keys")
    if any(part.shape != query.shape for part in (*keys, *values)):
        shapes = [tuple(part.shape) for part in (query, *keys, *values)]
        raise InputError(f"shapes: are {shapes}; give queries, keys and values of one shape")
    if not all(torch.isfinite(part).all() for part in (query, *keys, *values)):
        raise InputError("attention: an entry is NaN or infinite; lower the learning rate or mend the input")
