"""Tables that are gathered from a raw table are those that the texts in memory would make."""

from contextlib import closing

import pyarrow as pa
import pytest

from tests.curate.test_texts import CORPUS, curate_texts, program, raw
from winnow.curate import text_documents
from winnow.curate.byte_pairs import encode, train_byte_pairs
from winnow.curate.text_documents import CURATED, Documents
from winnow.curate.texts import SPLITS


@pytest.fixture(scope="module")
def table():
    return raw(CORPUS)


@pytest.fixture(scope="module")
def curated(table):
    return curate_texts(table, workload="w", held_out=["apart"])


@pytest.mark.parametrize(("run", "block"), [(1 << 23, 1 << 20), (3000, 100), (1, 1)])
def test_whatever_the_size_of_the_parts_the_tables_are_those_of_all_texts(
    table, curated, tmp_path, run, block, monkeypatch
):
    monkeypatch.setattr(text_documents, "RUN", run)
    monkeypatch.setattr(text_documents, "BLOCK", block)
    with closing(Documents(curated.fates, tmp_path / "texts")) as documents:
        for first in range(0, table.num_rows, 10):
            documents.add(table.slice(first, 10))
        tokenizer = train_byte_pairs(documents.texts_of("train"), 300)
        for split in SPLITS:
            expected = curated.tables[split]
            texts = expected["text"].to_pylist()
            assert list(documents.texts_of(split)) == texts
            parts = list(documents.tokenised(split, tokenizer))
            assert all(part.schema == CURATED for part in parts)
            limit = max(run, max(expected["bytes"].to_pylist()))
            assert all(sum(part["bytes"].to_pylist()) <= limit for part in parts)
            found = pa.concat_tables(parts)
            assert found.drop_columns(["tokens"]).select(expected.schema.names).equals(expected)
            tokens = encode(tokenizer, texts)
            assert found["tokens"].to_pylist() == tokens.to_pylist()
            assert documents.tokens[split] == len(tokens.values)
    if run == 1:
        assert len(parts) == len(texts)
    elif run > 3000:
        assert len(parts) == 1


def test_a_split_without_documents_has_no_tables(table, tmp_path):
    fates = curate_texts(table, workload="w").fates
    with closing(Documents(fates, tmp_path / "texts")) as documents:
        documents.add(table)
        assert list(documents.tokenised("held_out", train_byte_pairs(documents.texts_of("train"), 300))) == []
        assert documents.tokens["held_out"] == 0


@pytest.mark.parametrize("block", [1, 4, 8, 100])
def test_texts_are_tokenised_some_at_a_time_in_their_order(block, monkeypatch):
    monkeypatch.setattr(text_documents, "BLOCK", block)
    texts = ["a" * n for n in (3, 5, 1, 0, 9, 2, 2)]
    blocks = list(text_documents._blocks(texts))
    assert [text for part in blocks for text in part] == texts
    assert all(len("".join(part[1:])) < block or len(part) == 1 for part in blocks)
    assert len(blocks) == 1 if block == 100 else len(blocks) > 1


def test_texts_are_kept_as_clean_as_they_were_judged(tmp_path):
    header = b"# Copyright of someone\n"
    table = raw({"p": {f"p/{i}.py": header + b"mail = 'a@b.c'\n" + program(i) for i in range(30)}})
    fates = curate_texts(table, workload="w", clean=True).fates
    with closing(Documents(fates, tmp_path / "texts", clean=True)) as documents:
        documents.add(table)
        kept = [text for split in SPLITS for text in documents.texts_of(split)]
        assert sorted(kept) == sorted("mail = '<EMAIL>'\n" + program(i).decode() for i in range(30))
        tokenizer = train_byte_pairs(documents.texts_of("train"), 300)
        for split in SPLITS:
            for part in documents.tokenised(split, tokenizer):
                assert [len(text) for text in part["text"].to_pylist()] == part["bytes"].to_pylist()
