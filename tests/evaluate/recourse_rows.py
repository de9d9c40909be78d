"""Rows with a signal, models fitted to them, and one thread for those that are small networks."""

import numpy as np
import pytest
import torch

from winnow.attribution.influence import influence
from winnow.evaluate.recourse_audit import Refit
from winnow.evaluate.robust_recourse import outputs


def data(n=60, d=3, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, d))
    y = (x @ np.linspace(1, 2, d) + generator.logistic(size=n) > 0).astype(float)
    return (x - x.mean(axis=0)) / x.std(axis=0), y


def fitted(n=40, d=3, seed=0, ridge=0.1):
    """Rows, labels, the logistic regression with its influence, and its refits."""
    x, y = data(n, d, seed)
    model = influence(x, y, ridge)
    return x, y, model, Refit(x, y, ridge, model.theta)


def rejected(x, model):
    """The row that is farthest on the wrong side."""
    return x[np.argmin(outputs(x, model.theta))]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small products do not gain from more."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
