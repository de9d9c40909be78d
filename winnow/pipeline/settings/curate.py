"""Settings of curation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import Names, Section

Fraction = Annotated[float, Field(gt=0, lt=1)]
Limits = Annotated[list[float | None], Field(min_length=2, max_length=2)]


def _known_signals(told: dict[str, list[float | None]]) -> dict[str, list[float | None]]:
    from winnow.curate.code_signals import THRESHOLDS

    for name, (low, high) in told.items():
        if name not in THRESHOLDS:
            raise ValueError(f"{name} is no signal; it can be {', '.join(THRESHOLDS)}")
        if low is not None and high is not None and low > high:
            raise ValueError(f"{name} has the limits {low:g} and {high:g}; the first must not be above the second")
    return told


Thresholds = Annotated[dict[str, Limits], AfterValidator(_known_signals)]


class Split(Section):
    """How a set is split."""

    split_salt: str = Field("winnow", min_length=1)
    """Word mixed into the hash that splits; another word makes another split."""
    fractions: list[Fraction] = Field([0.7, 0.1, 0.2], min_length=3, max_length=3)
    """Shares of train, valid and test."""

    @model_validator(mode="after")
    def _whole(self) -> Split:
        if abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(f"fractions add up to {sum(self.fractions):g}; they must add up to 1")
        return self


class CurateImages(Split):
    """What is kept of a set of images, and how it is split."""

    near_duplicate_distance: float = Field(0.02, ge=0, le=1)
    """Root mean square pixel distance, of 1, up to which two images count as the same; 0 keeps all but exact copies."""
    limit: int | None = Field(None, ge=1)
    """Keep only the first so many images of each split by hash; null keeps all."""


class CurateTable(Split):
    """What is kept of the rows of a table, and how they are split."""

    duplicates: Literal["drop", "keep"] = "drop"
    """drop leaves one of equal rows, and none of those that differ in their class alone; keep leaves all of them."""
    folds: list[Annotated[int, Field(ge=1, le=100)]] = Field([5, 2], min_length=2, max_length=2)
    """Repetitions and folds of the stratified cross-validation that small tables get beside their split."""
    folds_below: int = Field(500, ge=0)
    """Rows below which a table is small."""
    limit: int | None = Field(None, ge=1)
    """Keep only the first so many rows of each split by hash; null keeps all."""

    @model_validator(mode="after")
    def _folds_divide(self) -> CurateTable:
        if self.folds[1] < 2:
            raise ValueError(f"folds is {self.folds}; give repetitions and folds, of which there must be two or more")
        return self


class CurateText(Split):
    """What is kept of a set of source files, how it is split, and its tokens."""

    fractions: list[Fraction] = Field([0.8, 0.1, 0.1], min_length=3, max_length=3)
    """Shares of train, valid and test, in bytes."""
    held_out: list[str] = []
    """Packages, or top folders of a folder of one's own, that are a split of their own: held_out."""
    licences: Names | None = None
    """Licences that are taken; null takes all."""
    near_duplicate_similarity: float = Field(0.85, gt=0, le=1)
    """Jaccard similarity of runs of five tokens from which on two files count as the same."""
    related_similarity: float = Field(0.5, gt=0, le=1)
    """Similarity from which on files stay in one split."""
    shards: int = Field(4, ge=1, le=10_000)
    """Parts of the files that are judged and hashed by a job each; the results do not depend on it."""
    signals: bool = False
    """Measure the signals of OpenCoder's filter, and drop files for which one lies outside its limits."""
    thresholds: Thresholds = {}
    """Signal -> lowest and highest value, null for none, over the filter's own."""
    clean: bool = False
    """Cut headers of copyright and licence, and put placeholders for e-mail and public IP addresses and passwords."""
    downsample: float = Field(1.0, ge=0, le=1)
    """Share of the tests and tables of data in Python that stays; packages held out keep theirs."""
    vocabulary: int = Field(1024, ge=257, le=65536)
    """Tokens of the byte-pair encoding."""
    context: int = Field(256, ge=8, le=8192)
    """Tokens of a window that models are trained on."""
    tables: bool = False
    """Make tables of the functions, syntax, relations and examples of the Python among the files, beside the splits."""

    @model_validator(mode="after")
    def _related_before_equal(self) -> CurateText:
        if self.related_similarity > self.near_duplicate_similarity:
            raise ValueError(
                f"related_similarity is {self.related_similarity}, above near_duplicate_similarity "
                f"{self.near_duplicate_similarity}; lower it"
            )
        return self
