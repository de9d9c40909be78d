"""The language of claims.yaml: what a paper says, as a comparison over metrics rows."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from difflib import get_close_matches
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from winnow.errors import InputError

Scale = Literal["smoke", "laptop", "paper"]
SCALES: tuple[Scale, ...] = ("smoke", "laptop", "paper")
Test = Literal["bootstrap", "paired_t", "sign", "exact"]
Key = Literal["system", "workload", "variant", "seed", "split", "step"]


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _as_side(value: Any) -> Any:
    return {"value": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class Part(BaseModel):
    """A part of an entry: unknown keys and values that are not finite are errors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        str_strip_whitespace=True,
        use_attribute_docstrings=True,
    )


Names = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_as_list), Field(min_length=1)]


class Selector(Part):
    """Which rows of metrics.parquet are meant: one name or several, with * for any run of characters."""

    system: Names | None = None
    workload: Names | None = None
    variant: Names | None = None
    split: Names | None = None
    metric: str | None = None
    step: int | Literal["last", "every"] | None = None
    """A step, the last one, or every step; left out, rows that have no step."""


class Side(Selector):
    """One side of a comparison: rows, or a constant."""

    value: float | None = None
    """A constant in place of rows; `right: 0.9` is short for `right: {value: 0.9}`."""


OneSide = Annotated[Side, BeforeValidator(_as_side)]
Sides = Annotated[list[OneSide], BeforeValidator(lambda v: v if isinstance(v, list) else [v]), Field(min_length=1)]


class Point(Selector):
    """What differs at one point; laid over the measure, and its sides over the measure's sides."""

    left: Selector = Selector()
    right: OneSide = Side()


class Condition(Part):
    """Only pairs count in which this metric of one side has this value."""

    side: Literal["left", "right"]
    metric: str
    equals: float


class Measure(Selector):
    """A comparison of two sides. What stands here holds for both; a side and a point override it."""

    left: Selector = Selector()
    """The claim's own rows."""
    right: Sides = [Side()]
    """What they are compared with: one selector, several, or a constant."""
    against: Literal["every", "best"] = "every"
    """With several right-hand sides: each of them in its own comparison, or the best of them in each pair."""
    direction: Literal["higher", "lower"]
    """Which values are good."""
    compare: Literal["difference", "ratio"] = "difference"
    """Above 0 (difference) or 1 (ratio, a geometric mean judged on the log scale) where left is better."""
    points: dict[str, Point] = {}
    """Named conditions at which the claim is tested, such as sparsities."""
    at_equal: str | None = None
    """Compare at an equal value of this metric: the right-hand rows form a curve over it for each pair."""
    pair_by: Key = "seed"
    """Rows with the same value of this column are a pair; pairs are what is resampled."""
    pool: list[Key] = []
    """Columns whose values are matched and then averaged within a pair."""
    where: Condition | None = None

    @property
    def comparisons(self) -> int:
        """How many comparisons are made."""
        return max(1, len(self.points)) * (1 if self.against == "best" else len(self.right))


class Paper(Part):
    """Where the claim comes from."""

    title: str = Field(min_length=1)
    authors: str = Field(min_length=1)
    venue: str = Field(min_length=1)
    year: int = Field(ge=1800, le=2200)


class Claim(Part):
    """One entry of claims.yaml."""

    id: str = Field(pattern=r"^[a-z0-9_]+$")
    system: str = Field(min_length=1)
    paper: Paper
    statement: str = Field(min_length=1)
    """The claim in our words."""
    needs: Literal["people"] | None = None
    """What a check would need that no machine has; such an entry has no measure."""
    measure: Measure | None = None
    effect: float | None = None
    """Smallest effect that counts: a difference (0: any, below 0: no worse than by so much) or a ratio."""
    within: tuple[float, float] | None = None
    """Bounds that the whole interval must lie in, instead of an effect: a claim of equivalence."""
    test: Test = "bootstrap"
    """Over pairs: bootstrap or Student's t of the mean, sign test of the median; exact: every pair counts."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    minimum_pairs: int = Field(5, ge=1)
    """Pairs below which nothing is judged."""
    require: int | Literal["all"] = "all"
    """Comparisons that must come out right for the claim to hold."""
    correction: Literal["holm"] | None = None
    """Adjust for the number of comparisons, where `require` asks for some of many."""
    scale: Scale = "laptop"
    """Smallest scale at which it may be judged."""
    covers: list[str] = []
    """Ids of the claims that this one is a control of: where it does not hold, their notes say so."""

    @property
    def bounds(self) -> tuple[float, float]:
        """What the interval is held against: bounds of equivalence, or the smallest effect and infinity."""
        return self.within or (self.effect or 0.0, inf)

    @model_validator(mode="after")
    def _whole(self) -> Claim:
        if self.needs:
            if self.measure or self.effect is not None or self.within:
                raise ValueError(f"needs {self.needs}, yet has a measure; leave out one of them")
            return self
        if not self.measure:
            raise ValueError("has no measure; add one, or needs: people")
        if (self.effect is None) == (self.within is None):
            raise ValueError("must have either effect or within")
        if self.within and self.within[0] > self.within[1]:
            raise ValueError(f"within is {list(self.within)}; the first must not be above the second")
        if self.test in ("bootstrap", "paired_t") and self.minimum_pairs < 2:
            raise ValueError(f"minimum_pairs is 1; {self.test} needs 2 or more")
        if self.test == "exact" and self.correction:
            raise ValueError("exact has no p-value to correct; leave out correction")
        _check_bounds(self)
        _check_measure(self.measure)
        return self


def _check_bounds(claim: Claim) -> None:
    if claim.measure and claim.measure.compare == "ratio":
        for name, bound in (("effect", claim.effect), ("within", claim.within and claim.within[0])):
            if bound is not None and bound <= 0:
                raise ValueError(f"{name} is {bound:g}; a ratio is above 0")
    count = claim.measure.comparisons if claim.measure else 0
    if claim.require != "all" and not 1 <= claim.require <= count:
        raise ValueError(f"require is {claim.require}; it must be from 1 to the {count} comparisons, or all")


def _check_measure(measure: Measure) -> None:
    if measure.pair_by in measure.pool:
        raise ValueError(f"measure.pool names {measure.pair_by}, by which rows are paired; leave it out")
    if measure.at_equal and "variant" in (measure.pair_by, *measure.pool):
        raise ValueError("measure.at_equal runs over variants, so variant can be neither in pair_by nor in pool")
    if measure.where and measure.where.side == "right" and measure.against == "best" and len(measure.right) > 1:
        raise ValueError("measure.where asks the right side, of which against: best has several; ask the left side")
    for name, point in (measure.points or {"": Point()}).items():
        where = f"measure.points.{name}" if name else "measure"
        if not (point.left.metric or measure.left.metric or point.metric or measure.metric):
            raise ValueError(f"{where}: the left side has no metric; add one")


class _Loader(yaml.CSafeLoader):
    """YAML in which a key that stands twice is an error, not a silent replacement."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        repeated = [key for i, key in enumerate(keys) if key in keys[:i]]
        if repeated:
            raise yaml.MarkedYAMLError(problem=f"key {repeated[0]!r} stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def load_claims(path: Path | str) -> list[Claim]:
    """The entries of a claims.yaml, checked, in its order.

    Raises InputError with one line per fault: the file, the entry and key, what is wrong, the nearest name.
    """
    try:
        entries = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); correct the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{path}: must be a list of entries, each beginning with - id: ...")
    claims, faults, seen = [], [], set()
    for number, entry in enumerate(entries, 1):
        name = entry.get("id", f"entry {number}")
        if name in seen:
            faults.append(f"{path}: {name}: this id stands twice; rename one of the two entries")
        seen.add(name)
        try:
            claims.append(Claim.model_validate(entry))
        except ValidationError as error:
            faults += [f"{path}: {name}{line}" for line in _lines(error)]
    for claim in claims:
        for other in claim.covers:
            if other == claim.id or other not in seen:
                known = [name for name in seen if name != claim.id]
                faults.append(f"{path}: {claim.id}.covers: {other!r} is no other claim; {_nearest(other, known)}")
    if faults:
        raise InputError("\n".join(faults))
    return claims


def _lines(error: ValidationError) -> Iterable[str]:
    for fault in error.errors(include_url=False):
        key = "".join(f".{part}" for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            yield f"{key}: unknown key; {_nearest(str(fault['loc'][-1]), _keys(fault['loc'][:-1]))}"
        elif fault["type"] == "missing":
            yield f"{key}: is missing; add it"
        else:
            message = fault["msg"].removeprefix("Value error, ")
            shown = "" if fault["type"] == "value_error" else f"is {fault['input']!r:.60}; "
            yield f"{key}: {shown}{message[0].lower()}{message[1:]}"


def _keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys that may stand where a location of pydantic's points."""
    parts: dict[int | str, type[Part]] = {
        "paper": Paper,
        "measure": Measure,
        "where": Condition,
        "points": Point,
        "right": Side,
        "left": Selector,
    }
    model: type[Part] = Claim
    for part in location:
        model = parts.get(part, model)
    return list(model.model_fields)


def _nearest(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"it can be {', '.join(known)}"
