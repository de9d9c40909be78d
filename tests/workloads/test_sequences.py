"""Documents are padded and padding is left out of every measure; what the metadata do not allow is refused."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from winnow.errors import InputError
from winnow.pipeline.tables import write_parquet
from winnow.workloads import load_workload
from winnow.workloads.names_language import (
    documents,
    vocabulary,
)
from winnow.workloads.sequences import SequenceMeta, sequence_meta


def read(row):
    return " ".join(vocabulary()[token] for token in row)


@pytest.fixture
def folder(tmp_path):
    metadata = SequenceMeta(vocabulary(), 32, "algorithmic").encode()
    for split, count in (("train", 64), ("valid", 16), ("test", 16)):
        write_parquet(documents(split, count, 0), tmp_path / f"{split}.parquet", metadata=metadata)
    return tmp_path


def test_a_workload_pads_and_leaves_padding_out(folder):
    workload = load_workload(folder)
    tokens = workload.tokens("valid")
    assert [read(row[row > 0]) for row in tokens] == [read(r) for r in documents("valid", 16, 0)["tokens"].to_pylist()]
    model = workload.build("hooked_transformer", width=8, layers=1, heads=2)
    x, y = next(iter(workload.batches("valid", 16)))
    logits = model(x).double()
    losses = [-logits[i, t].log_softmax(-1)[y[i, t]] for i in range(16) for t in range(y.shape[1]) if y[i, t]]
    assert float(workload.loss(model, (x, y)).detach()) == pytest.approx(float(sum(losses) / len(losses)), rel=1e-5)
    assert workload.metrics(model, "valid")["cross_entropy"] == pytest.approx(
        float(sum(losses) / len(losses)), rel=1e-5
    )
    shuffled = [x for x, _ in workload.batches("train", 10, seed=1)]
    assert len(shuffled) == 6 and len({tuple(row.tolist()) for x in shuffled for row in x}) >= 55
    assert not torch.equal(shuffled[0], next(iter(workload.batches("train", 10, seed=1, epoch=1)))[0])


def test_documents_and_tokens_that_the_metadata_do_not_allow_are_refused(folder):
    short = SequenceMeta(vocabulary(), 12).encode()
    write_parquet(documents("train", 20, 0), folder / "train.parquet", metadata=short)
    with pytest.raises(InputError, match="train.parquet: a document is of 2 to 12 tokens"):
        load_workload(folder).tokens("train")
    few = SequenceMeta(vocabulary()[:50], 32).encode()
    write_parquet(documents("train", 20, 0), folder / "train.parquet", metadata=few)
    with pytest.raises(InputError, match="a token is outside 1 to 49"):
        load_workload(folder).tokens("train")
    empty = SequenceMeta(vocabulary(), 32).encode()
    write_parquet(documents("train", 20, 0).slice(0, 0), folder / "train.parquet", metadata=empty)
    with pytest.raises(InputError, match="train.parquet: a document is of 2 to 32 tokens; run the curate stage again"):
        load_workload(folder).tokens("train")


def test_metadata_of_another_kind_are_refused():
    with pytest.raises(InputError, match="t: is no table of generated sequences .*; run the curate stage again"):
        sequence_meta(pa.table({"tokens": [[1, 2]]}), "t")
    other = pa.table({"tokens": [[1, 2]]}).replace_schema_metadata(
        {k: v.replace("sequences", "texts") for k, v in SequenceMeta(["a"], 3).encode().items()}
    )
    with pytest.raises(InputError, match="its kind is another"):
        sequence_meta(other, "t")


def test_batches_in_stored_order_keep_the_remainder_and_drawn_ones_leave_it_out(folder):
    workload = load_workload(folder)
    tokens = workload.tokens("train")
    plain = list(workload.batches("train", 10))
    assert [len(x) for x, _ in plain] == [10] * 6 + [4]
    assert torch.equal(torch.cat([x for x, _ in plain]), tokens[:, :-1])
    assert torch.equal(torch.cat([y for _, y in plain]), tokens[:, 1:])
    assert [len(x) for x, _ in workload.batches("train", 10, seed=0)] == [10] * 6
    assert [len(x) for x, _ in workload.batches("train", 99, seed=0)] == [64]  # unless it is all there is
    drawn = torch.cat([x for x, _ in workload.batches("train", 16, seed=2)])
    assert sorted(drawn.tolist()) == sorted(tokens[:, :-1].tolist()) and not torch.equal(drawn, tokens[:, :-1])
    with pytest.raises(InputError, match="batch size is 0; it must be at least 1"):
        next(workload.batches("train", 0))
    assert torch.equal(workload.example_inputs(3), tokens[:3, :-1])


def test_accuracy_is_the_share_of_tokens_foreseen_and_the_mode_is_left_alone(folder):
    workload = load_workload(folder)

    class Same(torch.nn.Module):
        """Foretells the latest token."""

        def forward(self, x):
            assert not self.training
            return 3.0 * torch.nn.functional.one_hot(x, len(vocabulary())).float()

    model = Same().train()
    found, tokens = workload.metrics(model, "valid"), workload.tokens("valid")
    kept = tokens[:, 1:] > 0
    right = (tokens[:, 1:] == tokens[:, :-1]) & kept
    assert found["accuracy"] == pytest.approx(float(right.sum() / kept.sum())) and model.training
    sure = np.log(len(vocabulary()) - 1 + np.exp(3.0))
    assert found["cross_entropy"] == pytest.approx(float(sure - 3 * right.sum() / kept.sum()), rel=1e-6)
    assert workload.hook_points(workload.build("hooked_transformer", width=8, layers=1, heads=2))
