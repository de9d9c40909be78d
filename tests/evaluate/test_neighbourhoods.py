"""Noise by its moments, kernels by their formulas."""

import numpy as np
import pytest
import torch

from winnow.attribution.coalitions import shapley_kernel
from winnow.attribution.perturbation import every_mask
from winnow.errors import InputError
from winnow.evaluate.neighbourhoods import (
    by_size,
    gaussian,
    masks,
    near,
    one_at_a_time,
    replacement,
    shrinking,
    sized_masks,
)
from winnow.randomness import torch_generator


def points(n=3, features=5, seed=0):
    return torch.randn(n, features, generator=torch_generator(seed, "points"), dtype=torch.float64)


def test_draws_are_what_their_names_say():
    x, generator = points(200, 4), torch_generator(0)
    share = masks(0.3).draw(x, 50, generator)
    assert float(share.mean()) == pytest.approx(0.3, abs=0.01) and set(share.unique().tolist()) == {0.0, 1.0}
    sized = sized_masks().draw(x, 50, generator)
    sizes = sized.sum(-1).flatten()
    assert set(sizes.tolist()) == {1.0, 2.0, 3.0} and float((sizes == 1).double().mean()) == pytest.approx(
        1 / 3, abs=0.025
    )
    assert torch.allclose(sized.mean((0, 1)), torch.full((4,), 0.5).double(), atol=0.025)
    assert torch.equal(one_at_a_time().draw(x, 7, generator)[5], torch.eye(4, dtype=torch.float64))
    covariance = torch.tensor([[1.0, 0.8], [0.8, 2.0]], dtype=torch.float64)
    noise = gaussian(0.5, covariance).draw(x[:, :2], 200, generator).reshape(-1, 2)
    assert np.cov(noise.numpy().T) == pytest.approx(0.25 * covariance.numpy(), abs=0.02)
    assert float(gaussian(0.2).draw(x, 100, generator).std()) == pytest.approx(0.2, abs=0.005)
    a = shrinking(0.25, 0.75).draw(x, 100, generator)
    assert (a == a[..., :1]).all() and float(a.min()) >= 0.25 and float(a.max()) <= 0.75
    assert float(a.mean()) == pytest.approx(0.5, abs=0.01) and float(a.std()) == pytest.approx(0.5 / 12**0.5, abs=0.01)
    rows = replacement(x).baseline(x, share, generator)
    assert rows.shape == share.shape and {tuple(r) for r in rows[0].tolist()} <= {tuple(r) for r in x.tolist()}
    assert torch.allclose(replacement(x).centre, x.mean(0))


def test_kernels_are_the_formulas():
    x = points(2, 3)
    z = every_mask(3)[1:-1].repeat(2, 1, 1)
    inputs = x[:, None] * z
    expected = np.exp(-((x[:, None] - inputs) ** 2).sum(-1).numpy() / (0.75 * 3**0.5) ** 2)
    assert near(x, z, inputs).numpy() == pytest.approx(expected)
    # Shapley's kernel times the number of masks of each size and the number of sizes.
    sizes = z.sum(-1)
    drawn = 1 / ((3 - 1) * torch.tensor([1.0, 3, 3, 1], dtype=torch.float64)[sizes.long()])
    assert torch.allclose(by_size(x, z, inputs), shapley_kernel(sizes, 3) / drawn)


def test_the_usual_noises_are_the_documented_ones():
    x = points(200, 4)

    def drawn(noise):
        return noise.draw(x, 50, torch_generator(1))

    assert torch.equal(drawn(masks()), drawn(masks(0.5))) and torch.equal(drawn(gaussian()), drawn(gaussian(0.1)))
    assert torch.equal(drawn(shrinking()), drawn(shrinking(0.0, 1.0)))
    assert torch.equal(drawn(replacement(x)), drawn(masks(0.5)))
    assert torch.allclose(drawn(gaussian(0.3, torch.eye(4))), drawn(gaussian(0.3)))


def test_a_noise_tells_what_its_weights_are_multiplied_by_and_whom_it_is_for():
    x, covariance = points(6, 2), torch.eye(2)
    noises = [
        masks(),
        sized_masks(),
        one_at_a_time(),
        gaussian(),
        gaussian(0.5, covariance),
        shrinking(),
        replacement(x),
    ]
    assert [noise.scale for noise in noises] == ["wx", "wx", "wx", "w", "w", "wx", "wx"]
    assert [noise.features for noise in noises] == [None, None, None, None, 2, None, 2]
    assert [noise.random for noise in noises] == [True, True, False, True, True, True, True]
    assert [noise.name for noise in noises] == [
        "masks", "sized_masks", "one_at_a_time", "gaussian 0.1", "gaussian 0.5", "shrinking 0 1", "replacement",
    ]  # fmt: skip
    assert all(noise.baseline is None and noise.centre == 0 for noise in noises[:-1])


def test_masks_that_keep_some_and_drop_some_need_two_features():
    assert set(map(tuple, sized_masks().draw(points(3, 2), 40, torch_generator(0))[0].tolist())) == {(0, 1), (1, 0)}
    with pytest.raises(InputError, match="features: there is 1"):
        sized_masks().draw(points(3, 1), 4, torch_generator(0))


def test_correlated_noise_is_correlated_as_told_in_its_order():
    covariance = torch.tensor([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 4.0]])
    noise = gaussian(1.0, covariance).draw(points(10, 3), 4000, torch_generator(2)).reshape(-1, 3)
    # 40,000 draws: a standard error of a hundredth times the variance.
    assert np.cov(noise.numpy().T) == pytest.approx(covariance.numpy(), abs=0.15)
    assert abs(np.corrcoef(noise.numpy().T)[0, 1] - 0.9) < 0.01
