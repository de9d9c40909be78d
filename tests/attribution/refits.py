"""Rows with a signal, and fits without some of them by scikit-learn."""

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge


def data(n=60, d=4, seed=0, loss="logistic"):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n, d))
    signal = x @ np.linspace(-1, 1, d) + 0.3
    y = (
        signal + generator.normal(size=n)
        if loss == "squared"
        else (signal + generator.logistic(size=n) > 0).astype(float)
    )
    return x, y


def refit(x, y, kept, ridge, loss="logistic"):
    """By scikit-learn on the rows that are left, with the penalty that the whole set had."""
    if loss == "squared":
        model = Ridge(alpha=ridge * len(y)).fit(x[kept], y[kept])
        return np.append(model.coef_, model.intercept_)
    model = LogisticRegression(C=1 / (ridge * len(y)), tol=1e-12, solver="newton-cholesky", max_iter=1000)
    model.fit(x[kept], y[kept])
    return np.append(model.coef_[0], model.intercept_)
