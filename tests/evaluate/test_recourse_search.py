"""Searches for recourses against the closed form of a linear model."""

import numpy as np
import torch

from tests.evaluate.recourse_rows import data, one_thread  # noqa: F401  a fixture
from winnow.attribution.influence import influence
from winnow.evaluate.nearest_point import nearest
from winnow.evaluate.recourse_search import cchvae, fit_autoencoder, linear_least, wachter
from winnow.evaluate.robust_recourse import outputs


def test_the_descent_comes_close_to_the_nearest_valid_point():
    x, y = data()
    model = influence(x, y, 0.1)
    queries = x[outputs(x, model.theta) < 0][:8]
    other = model.theta + np.array([-0.3, 0.2, 0.1, -0.2])
    thetas = np.tile(np.stack([model.theta, other]), (8, 1, 1))
    found = wachter(torch.from_numpy(queries), linear_least(torch.from_numpy(thetas)), margin=0.05).numpy()
    for query, point in zip(queries, found, strict=True):
        best = nearest(query, thetas[0][:, :-1], 0.05 - thetas[0][:, -1])
        assert outputs(point, thetas[0]).min() >= 0.05
        assert (
            np.linalg.norm(best - query) <= np.linalg.norm(point - query) <= 1.2 * np.linalg.norm(best - query) + 0.02
        )


def test_the_descent_says_where_nothing_is_valid():
    x = torch.zeros((2, 3), dtype=torch.float64)
    found = wachter(x, lambda p: -1 - 0 * p[:, 0], phases=2, steps=5)
    assert found.isnan().all()


def test_growing_spheres_decode_valid_points_from_the_first_shell_that_has_one():
    x, y = data(120)
    x = x + 2 * x[:, :1]  # what features share is what a code can hold
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    model = influence(x, y, 0.1)
    rows = torch.from_numpy(x)
    autoencoder = fit_autoencoder(rows, seed=0, latent=3, hidden=16, steps=300)
    decoded = autoencoder.decoder(autoencoder.encode(rows)[0])
    assert ((decoded - rows) ** 2).mean() < 0.5 * (rows**2).mean()
    queries = rows[(outputs(x, model.theta) < 0)][:5]
    least = linear_least(torch.from_numpy(np.tile(model.theta, (5, 1, 1))))
    found = cchvae(queries, least, autoencoder, seed=0, samples=200)
    assert torch.isfinite(found).all() and (least(found) >= 1e-3).all()
    again = cchvae(
        queries[:1], linear_least(torch.from_numpy(model.theta[None, None])), autoencoder, seed=0, samples=200
    )
    assert torch.allclose(again, found[:1])
    never = cchvae(queries, lambda p: -1 - 0 * p[..., 0], autoencoder, seed=0, samples=10, shells=3)
    assert never.isnan().all()
