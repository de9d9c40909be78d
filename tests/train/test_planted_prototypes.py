"""The small network with prototypes learns what is plain to see, and its maps are what they are said to be."""

import torch
from torch.nn import functional

from winnow.train.planted_prototypes import SmallPrototypes, fit_small


def coloured(count):
    """Dark noise with one bright patch, red or green, anywhere."""
    generator = torch.Generator().manual_seed(0)
    x, labels = torch.randn(count, 3, 16, 16, generator=generator) * 0.1, torch.arange(count) % 2
    for i, (row, column) in enumerate(torch.randint(0, 12, (count, 2), generator=generator).tolist()):
        x[i, labels[i], row : row + 4, column : column + 4] += 2
    return x, labels


def test_it_tells_patches_of_two_colours():
    x, labels = coloured(160)
    model = fit_small(x[:128], labels[:128], 2, per_class=2, channels=8, epochs=15, batch_size=16)
    assert (model(x[128:]).argmax(dim=1) == labels[128:]).double().mean() >= 0.9
    assert torch.allclose(model.prototypes.norm(dim=1), torch.ones(4), atol=1e-5)
    again = fit_small(x[:128], labels[:128], 2, per_class=2, channels=8, epochs=1, batch_size=16)
    other = fit_small(x[:128], labels[:128], 2, per_class=2, channels=8, epochs=1, batch_size=16)
    assert torch.equal(again.prototypes, other.prototypes)


def test_a_map_is_the_product_with_the_unit_prototype_at_each_place_of_a_grid_of_a_quarter():
    model = SmallPrototypes(3, per_class=2, channels=5).eval()
    with torch.no_grad():
        model.prototypes.mul_(7)
        x = torch.randn(2, 3, 16, 24)
        maps, features = model.maps(x), model.trunk(x)
    assert maps.shape == (2, 6, 4, 6)
    unit = functional.normalize(model.prototypes.detach())
    assert torch.allclose(maps[1, 4, 3, 2], features[1, :, 3, 2] @ unit[4], atol=1e-5)
    assert torch.allclose(model(x)[0], model.head @ maps[0].flatten(1).max(dim=1).values, atol=1e-5)
    assert model.class_of().tolist() == [0, 0, 1, 1, 2, 2]
    # Group norm: an image does not depend on its batch (convolutions differ by rounding).
    assert torch.allclose(model.maps(x[:1]), maps[:1], atol=1e-5)
