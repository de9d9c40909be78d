"""The documents of curated splits, gathered from a raw table without holding all of their texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from winnow.curate.byte_pairs import encode
from winnow.curate.opencoder import cleaned
from winnow.curate.texts import SPLITS, documents_of
from winnow.workloads.ordered_texts import OrderedTexts

if TYPE_CHECKING:
    from tokenizers import Tokenizer

RUN = 1 << 23
"""Bytes of text in memory at once, and of a row group of a curated table."""
BLOCK = 1 << 20
"""Characters of text that are tokenised at once."""
CURATED = pa.schema(
    {
        "file_id": pa.int64(),
        "source": pa.string(),
        "package": pa.string(),
        "path": pa.string(),
        "language": pa.string(),
        "licence": pa.string(),
        "text": pa.large_string(),
        "bytes": pa.int64(),
        "quality": pa.float32(),
        "cluster": pa.int64(),
        "tokens": pa.large_list(pa.uint16()),
    }
)
"""Columns of a curated table of documents, sorted by file_id; language: by suffix; quality: as fates have it."""


class Documents:
    """The documents that stay, split by split, their texts in a file; `tokens`: how many of each split were given."""

    def __init__(self, fates: pa.Table, path: Path, clean: bool = False) -> None:
        """fates: of all files, as `winnow.curate.texts.decide_fates` makes them. path: of a file for the texts.

        clean: they were judged so, and are kept so.
        """
        self.clean = clean
        self.tables_of = {split: documents_of(fates, split) for split in SPLITS}
        ends = np.cumsum([0, *(table.num_rows for table in self.tables_of.values())]).tolist()
        self.places = dict(zip(SPLITS, zip(ends, ends[1:], strict=False), strict=True))
        at = np.concatenate([table["at"].to_numpy() for table in self.tables_of.values()])
        self.place = np.full(fates.num_rows, -1, np.int64)
        self.place[at] = np.arange(len(at))
        self.texts = OrderedTexts(path, fates["bytes"].to_numpy()[at])
        self.tokens = dict.fromkeys(SPLITS, 0)
        self.added = 0

    def close(self) -> None:
        """End the use of the file."""
        self.texts.close()

    def add(self, raw: pa.Table) -> None:
        """Take the next rows of the raw table; those that are dropped are passed over."""
        place = self.place[self.added : self.added + raw.num_rows]
        kept = np.flatnonzero(place >= 0)
        texts = raw["text"].take(kept).to_pylist()
        self.texts.write(place[kept].tolist(), [cleaned(text) for text in texts] if self.clean else texts)
        self.added += raw.num_rows

    def texts_of(self, split: str) -> Iterator[str]:
        """The texts of a split, in the order of its table."""
        for run in self.texts.runs(*self.places[split], RUN):
            yield from self.texts.read(*run)

    def tokenised(self, split: str, tokenizer: Tokenizer) -> Iterator[pa.Table]:
        """The curated table of a split, columns CURATED, 8 MB of text at a time."""
        table, start = self.tables_of[split], self.places[split][0]
        for first, last in self.texts.runs(*self.places[split], RUN):
            texts = self.texts.read(first, last)
            part = table.slice(first - start, last - first)
            part = part.append_column("text", pa.array(texts, pa.large_string()))
            tokens = pa.chunked_array([encode(tokenizer, block) for block in _blocks(texts)])
            self.tokens[split] += sum(len(chunk.values) for chunk in tokens.chunks)
            yield part.append_column("tokens", tokens).select(CURATED.names)


def _blocks(texts: list[str]) -> Iterator[list[str]]:
    ends = np.cumsum([len(text) for text in texts]) // BLOCK
    for block in np.split(np.arange(len(texts)), np.flatnonzero(np.diff(ends)) + 1):
        yield [texts[i] for i in block]
