"""What every section of params.yaml has in common."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A section of params.yaml: unknown keys, wrong types and values that are not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _distinct(values: list) -> list:
    repeated = [value for i, value in enumerate(values) if value in values[:i]]
    if repeated:
        raise ValueError(f"{repeated[0]!r} stands twice; name it once")
    return values


Share = Annotated[float, Field(ge=0, lt=1)]
Sparsities = Annotated[list[Share], Field(min_length=1), AfterValidator(_distinct)]
Seeds = Annotated[list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1), AfterValidator(_distinct)]
Names = Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)]


class Part(Section):
    """A section whose results another target than the workload can make."""

    part_of: str | None = None
    """Target that makes these results in the place of the whole workload; null is the workload."""


class System(Part):
    """A section that a rule of its own makes, in stages/<family>/<system>.smk: one job for each seed."""

    pictures: ClassVar[tuple[str, ...]] = ()
    """Names of the pictures that the system's plot rule draws from the tables of all seeds."""
    works_on: ClassVar[str | None] = None
    """What the train variant that `model` names must be, where the system works on one kind of network alone."""
    optional: bool = False
    """Left out of the default target and of the claims."""
    seeds: Seeds | None = None
    """Seeds of this section; null takes the workload's."""
