"""Rows with a signal for small networks, and one thread to fit these on."""

import numpy as np
import pytest
import torch


def data(n=60, d=3, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, d))
    y = (x @ np.linspace(1, 2, d) + generator.logistic(size=n) > 0).astype(float)
    return (x - x.mean(axis=0)) / x.std(axis=0), y


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small products do not gain from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
