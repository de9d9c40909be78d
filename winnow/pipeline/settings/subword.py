"""Settings of the comparison of sub-word vocabularies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from winnow.pipeline.settings.base import Seeds, System, _distinct

Sizes = Annotated[list[Annotated[int, Field(ge=257, le=4096)]], Field(min_length=1), AfterValidator(_distinct)]
Method = Literal[
    "bpe",
    "bpe_viterbi",
    "wordpiece",
    "wordpiece_viterbi",
    "wordpiece_ratio",
    "wordpiece_ratio_viterbi",
    "unigram",
    "swe_search",
    "swe",
]
Methods = Annotated[list[Method], Field(min_length=1), AfterValidator(_distinct)]


class Subword(System):
    """Sub-word vocabularies of the highest likelihood beside BPE, WordPiece and the unigram model."""

    pictures = ("code_length", "piece_lengths", "exchanged", "cuts")
    sizes: Sizes = [300, 1024, 2048]
    """Pieces of each vocabulary, 256 bytes among them."""
    share: float = Field(0.5, gt=0, le=1)
    """Of the training files, drawn for each seed."""
    longest: int = Field(16, ge=2, le=64)
    """Bytes of a piece at most."""
    tries: int = Field(4000, ge=0)
    """Exchanges of pieces that are tried."""
    alpha: float = Field(0.1, gt=0)
    """Added to each count for the code of held-out words, whatever the method."""
    corpora: int = Field(50, ge=1)
    """Small corpora of which the optimum is proved."""
    model_size: int = Field(1024, ge=257, le=4096)
    """Size of the vocabularies that language models are trained with; one of sizes."""
    modelled: Methods = ["bpe", "wordpiece", "unigram", "swe"]
    """Methods whose tokens language models are trained on."""
    order: int = Field(5, ge=1, le=5)
    """Longest runs of tokens that the n-gram model counts."""
    context_bytes: int = Field(256, ge=16)
    """Bytes that a window of the transformer holds, on average."""
    steps: int = Field(800, ge=1)
    """Steps of the transformer, 4 windows each."""
    seeds: Seeds | None = [0, 1, 2]
    """Halves of the files, and starts of the transformer."""

    @model_validator(mode="after")
    def _size_is_made(self) -> Subword:
        if self.model_size not in self.sizes:
            raise ValueError(f"model_size is {self.model_size}, none of sizes {self.sizes}; add it there")
        return self
