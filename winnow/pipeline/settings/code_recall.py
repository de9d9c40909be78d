"""Settings of the recall of pages about a subject."""

from __future__ import annotations

from pydantic import Field

from winnow.pipeline.settings.base import Names, Seeds, System


class CodeRecall(System):
    """Documentation of some packages recalled from that of all, in rounds that start with a few pages of one."""

    pictures = ("recall",)
    wanted: Names = ["flask", "httpx", "jinja2", "requests", "werkzeug"]
    """Packages that are the subject."""
    share: float = Field(0.3, gt=0, lt=1)
    """Of one such package's pages, with which the first round starts."""
    rounds: int = Field(3, ge=1)
    """Rounds of learning, scoring and looking through domains."""
    domain_share: float = Field(0.1, ge=0, lt=1)
    """Share of a package's pages above which it is looked through."""
    seeds: Seeds | None = [0, 1, 2, 3, 4]
    """Pages of the start, and negatives."""
