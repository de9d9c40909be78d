"""Settings of recourse under deletion of training rows."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from winnow.pipeline.settings.base import System, _distinct

Budgets = Annotated[
    list[Annotated[float, Field(gt=0, lt=0.5)]], Field(min_length=1), AfterValidator(_distinct), AfterValidator(sorted)
]


class RobustRecourse(System):
    """Recourses of rejected rows, and whether they outlive the erasure of training rows."""

    pictures = ("validity", "front", "influence_error", "changes")
    favourable: str
    """The class that counts as accepted; for a target that is a number, high or low: above or below its median."""
    ridge: float = Field(0.01, gt=0)
    """Penalty of the weights, beside the mean loss; scikit-learn's C is 1 over rows times this."""
    budgets: Budgets = [0.005, 0.01, 0.02, 0.05]
    """Shares of the training rows that may be erased."""
    queries: int = Field(60, ge=1)
    """Rejected test rows that ask for a recourse, at most."""
    margin: float = Field(1e-3, ge=0)
    """Least output of a recourse, in logits, where the adversary is taken to first order."""
    refit_margin: float = Field(1e-2, ge=0)
    """Least output where the model is fitted again, or takes a Newton step."""
    roar_deltas: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1), AfterValidator(sorted)] = [
        0.02,
        0.05,
        0.1,
        0.2,
        0.5,
    ]
    """Shifts of each parameter that ROAR withstands; its authors' is .1."""
    immutable: list[str] = []
    """Columns that a person cannot change."""
    limit: int | None = Field(None, ge=20)
    """Rows used, the first by hash; null takes all."""
    network: bool = False
    """Also a network of softplus units, by its linearisation and by local surrogates."""
    network_budgets: Budgets = [0.01, 0.05]
    """Shares of the training rows erased from the network's."""
    network_queries: int = Field(10, ge=1)
    """Rejected test rows that ask the network for a recourse, at most."""
