"""The descent of word2vec, one bag after another, compiled."""

from __future__ import annotations

import math

import numba
import numpy as np


@numba.njit(cache=True)
def descend(
    vectors: np.ndarray,
    context: np.ndarray,
    inputs: np.ndarray,
    starts: np.ndarray,
    rows: np.ndarray,
    labels: np.ndarray,
    counts: np.ndarray,
    rates: np.ndarray,
) -> float:
    """Move vectors and context float32[words, d] down each bag's gradient in turn; returns the sum of losses [nats].

    inputs, starts: input words of each bag. rows, labels, counts [bags, m]: outputs it is scored on, and which count.
    """
    d = vectors.shape[1]
    loss = 0.0
    hidden, into = np.empty(d, np.float32), np.empty(d, np.float32)
    for bag in range(len(rates)):
        size = starts[bag + 1] - starts[bag]
        hidden[:] = 0
        into[:] = 0
        for place in range(starts[bag], starts[bag + 1]):
            for k in range(d):
                hidden[k] += vectors[inputs[place], k]
        for k in range(d):
            hidden[k] /= size
        for m in range(rows.shape[1]):
            if counts[bag, m]:
                row, score = rows[bag, m], np.float32(0)
                for k in range(d):
                    score += context[row, k] * hidden[k]
                signed = score if labels[bag, m] else -score
                loss += math.log1p(math.exp(-abs(signed)))
                if signed < 0:
                    loss -= float(signed)
                # the derivative of -log sigmoid of the signed score
                slope = 1 / (1 + math.exp(signed)) if signed > -80 else 1.0
                step = np.float32(rates[bag] * slope)
                if not labels[bag, m]:
                    step = -step
                for k in range(d):
                    into[k] += step * context[row, k]
                    context[row, k] += step * hidden[k]
        for place in range(starts[bag], starts[bag + 1]):
            for k in range(d):
                vectors[inputs[place], k] += into[k] / size
    return loss
