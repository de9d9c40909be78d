"""Clouds of points, and a cluster layer at given centres."""

import torch

from winnow.train.cluster_layer import ClusterLayer


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def layer(centres, normalise=False, alpha=1e-3):
    made = ClusterLayer(centres.shape[1], len(centres), alpha, normalise).to(centres.dtype)
    made.set_centres(centres)
    return made


def clouds(seed=0, n=60, d=4, k=3):
    centres = 4 * draws(k, d, seed=seed)
    return centres[torch.arange(n) % k] + 0.4 * draws(n, d, seed=seed + 1)
