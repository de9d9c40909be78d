"""Small prototype networks on images of three colours, for the tests of their training and of what follows it."""

import torch

from winnow.models import build
from winnow.train.protopnet import compute_fronts

IMAGE = {"in_channels": 3, "height": 32, "width": 32, "classes": 3}
CLASS_OF = torch.tensor([0, 0, 1, 1, 2, 2])


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def network(similarity="projection", head="aggregate", seed=0):
    return build("protopnet", seed=seed, similarity=similarity, head=head, channels=8, per_class=2, **IMAGE)


def coloured(n=24, seed=0):
    """Images of three colours under noise, and which colour."""
    labels = torch.arange(n) % 3
    x = 0.3 * randn(n, 3, 32, 32, seed=seed)
    x[torch.arange(n), labels] += 1.5
    return x, labels


def fronts(model, n=24):
    return {s: compute_fronts(model.eval(), *coloured(n, seed)) for seed, s in enumerate(("train", "valid"))}
