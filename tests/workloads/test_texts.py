"""Windows cover the tokens, bits per byte are those of counted frequencies, files become rows whole or not at all."""

import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from winnow.errors import InputError
from winnow.pipeline.tables import write_parquet
from winnow.workloads import load_workload
from winnow.workloads.text_tables import (
    RAW,
    TextMeta,
    language_of,
    raw_text_table,
    read_text_folder,
    text_folder_digest,
)
from winnow.workloads.texts import Texts

CONTEXT = 8


def written(folder, documents, split="train", vocabulary=20, sizes=None):
    """A curated table of documents, given as lists of tokens."""
    sizes = sizes or [3 * len(d) for d in documents]
    tokens = pa.array(documents, pa.large_list(pa.uint16()))
    write_parquet(
        pa.table({"tokens": tokens, "bytes": pa.array(sizes, pa.int64())}),
        folder / f"{split}.parquet",
        metadata=TextMeta(vocabulary, CONTEXT, "w").encode(),
    )


@pytest.fixture
def workload(tmp_path):
    generator = np.random.default_rng(0)
    documents = [[*generator.integers(1, 20, 30).tolist(), 0] for _ in range(7)]
    written(tmp_path, documents)
    written(tmp_path, documents[:3], "valid")
    found = load_workload(tmp_path)
    assert isinstance(found, Texts)
    return found


class Unigram(nn.Module):
    """The same distribution after every token."""

    def __init__(self, probabilities):
        super().__init__()
        self.logits = nn.Parameter(torch.log(torch.tensor(probabilities)))

    def forward(self, x):
        return self.logits.expand(*x.shape, -1)


def test_windows_in_order_cover_all_tokens_once(workload):
    tokens = workload.tokens("train")
    x = torch.cat([x.flatten() for x, _ in workload.batches("train", 3)])
    y = torch.cat([y.flatten() for _, y in workload.batches("train", 3)])
    windows = (len(tokens) - 1) // CONTEXT
    assert x.tolist() == tokens[: windows * CONTEXT].tolist()
    assert y.tolist() == tokens[1 : windows * CONTEXT + 1].tolist()


def test_halves_are_every_second_document(workload):
    documents = np.split(workload.tokens("train"), range(31, 7 * 31, 31))
    even, odd = workload.halves("train")
    assert workload.tokens(even).tolist() == np.concatenate(documents[::2]).tolist()
    assert workload.tokens(odd).tolist() == np.concatenate(documents[1::2]).tolist()
    assert workload.bytes_per_token(odd) == 3


def test_a_half_without_a_window_is_refused(tmp_path):
    written(tmp_path, [[*range(1, 12), 0], [1, 0]])
    with pytest.raises(InputError, match=r"train.parquet: half of it has no window of 8 tokens; add documents"):
        Texts(tmp_path).halves("train")


def test_windows_of_an_epoch_are_shifted_and_mixed_by_seed_and_epoch_alone(workload):
    def epoch(seed, epoch):
        return [x.tolist() for x, _ in workload.batches("train", 4, seed, epoch)]

    tokens = workload.tokens("train").tolist()
    assert epoch(0, 0) == epoch(0, 0)
    assert len({str(epoch(seed, e)) for seed in (0, 1) for e in (0, 1)}) == 4
    offsets = set()
    for e in range(40):
        for x, y in workload.batches("train", 5, 0, e):
            assert torch.equal(x[:, 1:], y[:, :-1])
        seen = sorted(tuple(row) for batch in epoch(0, e) for row in batch)
        (offset,) = [
            o
            for o in range(2 * CONTEXT)
            if sorted(tuple(tokens[o + i * CONTEXT : o + (i + 1) * CONTEXT]) for i in range(len(seen))) == seen
        ]
        offsets.add(offset)
    assert len(offsets) > CONTEXT / 2


def test_bits_per_byte_are_those_of_counted_frequencies(workload):
    tokens = workload.tokens("valid")
    windows = (len(tokens) - 1) // CONTEXT
    foreseen = tokens[1 : windows * CONTEXT + 1].tolist()
    counts = Counter(foreseen)
    probabilities = [(counts[i] or 1e-3) / len(foreseen) for i in range(20)]
    probabilities = [p / sum(probabilities) for p in probabilities]
    entropy = -sum(math.log2(probabilities[t]) for t in foreseen) / len(foreseen)
    found = workload.metrics(Unigram(probabilities), "valid")
    bytes_ = 3 * len(tokens)
    assert found["bits_per_byte"] == pytest.approx(entropy * (len(tokens) - 1) / bytes_, rel=1e-5)
    assert found["cross_entropy"] == pytest.approx(entropy * math.log(2), rel=1e-5)
    assert found["accuracy"] == pytest.approx(max(counts.values()) / len(foreseen))


def test_a_small_transformer_learns_what_repeats(tmp_path):
    from winnow.train.adamw import fit_adamw

    written(tmp_path, [list(range(1, 17)) * 40 + [0]])
    written(tmp_path, [list(range(1, 17)) * 4 + [0]], "valid")
    workload = load_workload(tmp_path)
    model = workload.build("transformer", width=16, layers=1, heads=2)
    before = workload.metrics(model, "valid")
    fit_adamw(
        model, workload, epochs=6, batch_size=8, learning_rate=2e-2, weight_decay=0.01, warmup=0.1, label_smoothing=0.0,
        seed=0,
    )  # fmt: skip
    after = workload.metrics(model, "valid")
    assert after["accuracy"] > 0.95 > 0.3 > before["accuracy"]
    assert after["bits_per_byte"] < before["bits_per_byte"] / 3


def test_a_split_shorter_than_a_window_and_a_foreign_table_are_refused(tmp_path):
    written(tmp_path, [[1, 2, 0]])
    with pytest.raises(InputError, match=r"train\.parquet: has 3 tokens, no window of 8; add documents"):
        load_workload(tmp_path).tokens("train")
    with pytest.raises(InputError, match="batch size is 0"):
        next(load_workload(tmp_path).batches("train", 0))
    write_parquet(pa.table({"tokens": []}), tmp_path / "train.parquet", metadata={"winnow": '{"kind": "text"}'})
    with pytest.raises(InputError, match="is no table of curated documents"):
        _ = load_workload(tmp_path).meta


def test_files_of_an_archive_are_rows_in_the_order_of_their_paths():
    files = {
        "b/x.py": b"x = 1\n",
        "a.py": "é".encode("latin-1"),
        "b/data.json": b"{}",
        "b/huge.py": b"#" * (8 << 20) + b"#",
    }
    table = raw_text_table(files, "source", "package", "MIT")
    assert table.schema == RAW
    assert table["path"].to_pylist() == ["a.py", "b/huge.py", "b/x.py"]
    assert table["text"].to_pylist() == [None, None, "x = 1\n"]
    assert table["bytes"].to_pylist() == [1, (8 << 20) + 1, 6]
    with pytest.raises(InputError, match=r"source: holds no file that ends in \.py"):
        raw_text_table({"a.txt": b""}, "source", "package", "MIT")


def test_prose_and_sources_are_read_by_suffix_in_any_letters(tmp_path):
    for name in ("a.md", "b.TXT", "c.rs", "d.rst", "e.json", "f", "g.py"):
        (tmp_path / name).write_text("words\n")
    table = read_text_folder(tmp_path)
    assert table["path"].to_pylist() == ["a.md", "b.TXT", "c.rs", "d.rst", "g.py"]
    languages = [language_of(path) for path in (*table["path"].to_pylist(), "e.json", "f", "deep/.py")]
    assert languages == ["markdown", "text", "rust", "restructuredtext", "python", None, None, None]


def test_a_folder_of_ones_own_has_a_package_for_each_sub_folder(tmp_path):
    outside = tmp_path / "outside.py"
    outside.write_text("secret = 1\n")
    root = tmp_path / "corpus"
    for name in ("one/a.py", "one/deep/b.py", "two/c.py", "top.py", ".hidden/d.py", "one/.e.py", "two/f.bin"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"name = {name!r}\n")
    (root / "two/link.py").symlink_to(outside)
    table = read_text_folder(root)
    rows = dict(zip(table["path"].to_pylist(), table["package"].to_pylist(), strict=True))
    assert rows == {"one/a.py": "one", "one/deep/b.py": "one", "top.py": "", "two/c.py": "two"}
    assert table["row"].to_pylist() == [0, 1, 2, 3]
    digest = text_folder_digest(root)
    (root / "two/f.bin").write_text("changed")
    assert text_folder_digest(root) == digest
    (root / "two/c.py").write_text("changed = 1")
    assert text_folder_digest(root) != digest
    for path, words in ((tmp_path / "none", "no such folder"), (root / "empty", "holds no file")):
        (root / "empty").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=words):
            read_text_folder(path)
