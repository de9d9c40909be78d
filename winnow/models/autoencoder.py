"""Autoencoders for clustering: the two of TELL's authors, a multilayer perceptron and a small convolutional one.

Peng, Li, Tsang, Zhu, Lv and Zhou, "XAI Beyond Classification: Interpretable Neural Clustering", JMLR 23 (2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from winnow.errors import InputError
from winnow.randomness import stream_seed


def mlp_autoencoder(
    features: int, hidden: Sequence[int] = (500, 500, 2000), latent: int = 10, dropout: float = 0.2, seed: int = 0
) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder rows[n, features] -> [n, latent] with dropout before each layer, and the mirrored decoder into (0, 1)."""
    widths = [features, *hidden, latent]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "autoencoder", "mlp"))
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        for fan_in, fan_out in zip(widths, widths[1:], strict=False):
            encoder += [nn.Dropout(dropout), nn.Linear(fan_in, fan_out), nn.ReLU()]
        for fan_in, fan_out in zip(widths[::-1], widths[-2::-1], strict=False):
            decoder += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    # Neither the latent nor the reconstruction is rectified.
    return nn.Sequential(*encoder[:-1]), nn.Sequential(*decoder[:-1], nn.Sigmoid())


def conv_autoencoder(channels: int, side: int, latent: int = 10, seed: int = 0) -> tuple[nn.Sequential, nn.Sequential]:
    """Encoder images[n, channels, side, side] -> [n, latent] of four convolutions, and its mirror into (0, 1).

    side: a multiple of 4, since two of the convolutions stride. Raises InputError for another.
    """
    if side < 8 or side % 4:
        raise InputError(f"side is {side}; the convolutional autoencoder takes multiples of 4 from 8")
    grid = side // 4

    def block(layer: nn.Module, width: int) -> list[nn.Module]:
        return [layer, nn.BatchNorm2d(width), nn.ReLU()]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "autoencoder", "conv"))
        encoder = nn.Sequential(
            *block(nn.Conv2d(channels, 16, 3, padding=1), 16),
            *block(nn.Conv2d(16, 32, 3, stride=2, padding=1), 32),
            *block(nn.Conv2d(32, 32, 3, padding=1), 32),
            *block(nn.Conv2d(32, 16, 3, stride=2, padding=1), 16),
            *[nn.Flatten(), nn.Linear(16 * grid * grid, 256), nn.ReLU(), nn.Linear(256, latent)],
        )
        decoder = nn.Sequential(
            *[nn.Linear(latent, 256), nn.ReLU(), nn.Linear(256, 16 * grid * grid), nn.Unflatten(1, (16, grid, grid))],
            *block(nn.ConvTranspose2d(16, 32, 3, stride=2, padding=1, output_padding=1), 32),
            *block(nn.ConvTranspose2d(32, 32, 3, padding=1), 32),
            *block(nn.ConvTranspose2d(32, 16, 3, stride=2, padding=1, output_padding=1), 16),
            *[nn.ConvTranspose2d(16, channels, 3, padding=1), nn.Sigmoid()],
        )
    return encoder, decoder
