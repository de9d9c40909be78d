"""Changes of images are what their names say; an adversary stays in its bounds and moves the peaks it is after."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from winnow.evaluate.prototype_scores import moves, perturb
from winnow.evaluate.prototype_views import RADIUS, as_jpeg, attacked, displacement, views

SIDE = 8


def pixels(n=5, channels=3, seed=0):
    """Smooth images, as JPEG has them."""
    coarse = torch.rand(n, channels, 3, 3, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, size=(24, 24), mode="bicubic").clamp(0, 1)
    return (fine * 255).byte().movedim(1, 3).numpy()


def standardise(images):
    return torch.from_numpy(images).movedim(3, 1).float() / 255 - 0.5


def test_a_shift_moves_what_is_in_the_image_by_the_moves_told():
    x = torch.zeros(60, 1, SIDE, SIDE)
    x[:, 0, 3, 4] = 1
    where = [(int(i % SIDE), int(i // SIDE)) for i in perturb(x, "shift", seed=2).flatten(1).argmax(1)]
    told = moves(60, seed=2)
    assert where == [(4 + right, 3 + down) for right, down in told.tolist()]
    assert {tuple(move) for move in told.tolist()} == {(0, 1), (0, -1), (1, 0), (-1, 0)}
    edge = torch.arange(SIDE * SIDE, dtype=torch.float32).view(1, 1, SIDE, SIDE)
    for right, down in {tuple(move) for move in told.tolist()}:
        i = told.tolist().index([right, down])
        shifted = perturb(edge.expand(60, 1, SIDE, SIDE), "shift", seed=2)[i, 0]
        rows = (torch.arange(SIDE) - down).clamp(0, SIDE - 1)
        columns = (torch.arange(SIDE) - right).clamp(0, SIDE - 1)
        assert torch.equal(shifted, edge[0, 0][rows][:, columns])


@pytest.mark.parametrize("channels", [1, 3])
def test_images_come_back_from_jpeg_changed_a_little(channels):
    images = pixels(channels=channels)
    found = as_jpeg(images)
    assert found.shape == images.shape and found.dtype == np.uint8
    error = np.abs(found.astype(int) - images).mean()
    finest = np.abs(as_jpeg(images, quality=100).astype(int) - images).mean()
    assert 0 < finest < error < 10 and finest < 2
    file = io.BytesIO()
    Image.fromarray(images[2] if channels == 3 else images[2, :, :, 0]).save(file, "JPEG")  # Pillow's own quality
    assert np.array_equal(found[2].squeeze(), np.asarray(Image.open(file)))


def test_every_network_gets_the_same_views_and_layers_see_all_of_them():
    images = pixels()
    x = standardise(images)
    seen = views(x, images, standardise)
    assert torch.equal(seen.still, x) and torch.equal(seen.noisy, perturb(x))
    assert list(seen.others) == ["brightness", "shift", "jpeg"]
    assert torch.equal(seen.others["brightness"].x, perturb(x, "brightness"))
    assert torch.equal(seen.others["shift"].x, perturb(x, "shift"))
    assert torch.equal(seen.others["jpeg"].x, standardise(as_jpeg(images)))
    for name, changed in seen.others.items():
        assert changed.rows.tolist() == [0, 1, 2, 3, 4]
        assert changed.moved.tolist() == (moves(5) if name == "shift" else np.zeros((5, 2))).tolist()
    after = seen.after(lambda batch: batch[:, :1] + 1)
    assert torch.equal(after.still, x[:, :1] + 1) and torch.equal(after.noisy, seen.noisy[:, :1] + 1)
    assert torch.equal(after.others["jpeg"].x, seen.others["jpeg"].x[:, :1] + 1)
    assert after.others["shift"].moved is seen.others["shift"].moved


def test_displacement_is_the_lead_of_other_places_over_the_peak():
    maps = torch.tensor([[[[1.0, 4.0], [2.0, 3.0]], [[0.0, 1.0], [5.0, 2.0]]]])
    assert displacement(maps, torch.tensor([[1, 2]])).tolist() == [3.0 - 4.0 + 2.0 - 5.0]
    assert displacement(maps, torch.tensor([[0, -1]])).tolist() == [4.0 - 1.0]
    assert displacement(maps, torch.tensor([[-1, -1]])).tolist() == [0.0]


class Brightest:
    """Prototype j fires where channel j is brightest, twice as strongly seen as it is."""

    def maps(self, x):
        return 2 * x

    def class_of(self):
        return torch.tensor([0, 1, 1])


def test_an_adversary_moves_peaks_that_it_can_reach_and_no_others():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(30, 3, SIDE, SIDE, generator=generator) * 0.01
    near = torch.arange(30) % 3 == 0
    x[:, :, 2, 5] = torch.where(near, 0.05, 1.0)[:, None]  # a lead below twice the bound, or far above it
    labels = torch.arange(30) % 2
    labels[27:] = 2  # a class without a prototype
    found = attacked(Brightest(), lambda images: images, x, labels)
    rows = found.rows
    assert rows.tolist() == sorted(rows.tolist())
    for label in (0, 1, 2):
        assert [i for i in rows if labels[i] == label] == [i for i in range(30) if labels[i] == label][:10]
    delta = found.x - x[rows]
    assert float(delta.abs().max()) == pytest.approx(RADIUS, abs=1e-6)
    own = labels[rows][:, None] == Brightest().class_of()
    assert (delta.flatten(2).abs().amax(2)[~own] == 0).all()  # prototypes of other classes are left alone
    at = found.x.flatten(2).argmax(2)
    moved = at != 2 * SIDE + 5
    assert (moved == (own & near[rows][:, None])).all()
    assert found.moved.tolist() == np.zeros((len(rows), 2)).tolist()


def test_an_adversary_takes_five_steps_from_where_the_peaks_are():
    asked = []

    class Counted(Brightest):
        def maps(self, x):
            asked.append(x)
            return super().maps(x)

    x = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    attacked(Counted(), lambda images: images, x, torch.zeros(4, dtype=torch.int64))
    assert len(asked) == 1 + 5 and torch.equal(asked[0], x) and torch.equal(asked[1], x)


def test_an_adversary_sees_through_the_layers_before():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(90, 3, SIDE, SIDE, generator=generator) * 0.01  # more than a batch
    x[:, :, 2, 5] = 0.05
    labels = torch.arange(90) % 9
    turned = attacked(Brightest(), lambda images: -3 * images.flip(3), -x.flip(3) / 3, labels)
    at = turned.x.flatten(2).argmax(2)
    own = labels[turned.rows][:, None] == Brightest().class_of()
    assert turned.x.shape == (90, 3, SIDE, SIDE) and (at[own] != 2 * SIDE + 5).all()
    assert (at[~own] == 2 * SIDE + 5).all()
