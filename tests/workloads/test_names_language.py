"""Sentences of the small language, counted and read word by word, and the workload made of them."""

import re

import numpy as np
import pytest
import torch

from winnow.errors import InputError
from winnow.pipeline.tables import write_parquet
from winnow.workloads import load_workload
from winnow.workloads.names_language import (
    NAMES,
    YEARS,
    documents,
    indirect_objects,
    requests,
    token_of,
    tokens_of,
    vocabulary,
    year_spans,
)
from winnow.workloads.sequences import SequenceMeta


def read(row):
    return " ".join(vocabulary()[token] for token in row)


def people(sentence):
    return [word for word in sentence.split() if word in NAMES]


@pytest.fixture
def folder(tmp_path):
    metadata = SequenceMeta(vocabulary(), 32, "algorithmic").encode()
    for split, count in (("train", 64), ("valid", 16), ("test", 16)):
        write_parquet(documents(split, count, 0), tmp_path / f"{split}.parquet", metadata=metadata)
    return tmp_path


def test_every_document_keeps_the_rules_of_its_kind():
    table = documents("train", 400, 3)
    kinds = table["generator"].to_pylist()
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"names": 200, "years": 100, "requests": 100}
    for row in table.to_pylist():
        text = read(row["tokens"])
        assert text.startswith("<bos> ")
        if row["generator"] == "names":
            first, second, giver, receiver = people(text)
            assert {giver, receiver} == {first, second} and text.endswith(receiver)
        elif row["generator"] == "years":
            told = re.fullmatch(r"<bos> the \w+ lasted from the year (c\d\d) y(\d\d) to the year (c\d\d) y(\d\d)", text)
            assert told[1] == told[3] and 2 <= int(told[2]) < int(told[4])
        else:
            assert text.endswith("refuse" if " vault " in text else "ok")


def test_both_orders_and_all_frames_occur_and_half_of_the_requests_are_marked():
    rows = [r for r in documents("train", 2000, 0).to_pylist() if r["generator"] == "names"]
    orders = [people(read(row["tokens"])) for row in rows]
    assert 0.4 < np.mean([first == giver for first, _, giver, _ in orders]) < 0.6
    assert len({read(row["tokens"]).split()[1] for row in rows}) == 6
    assert 0.4 < requests("test", 500, 0).marked.double().mean() < 0.6


def test_no_pair_place_and_object_stands_in_two_splits():
    def told(split):
        found = set()
        for row in documents(split, 4000, 0).to_pylist():
            words = read(row["tokens"]).split()
            if row["generator"] == "names":
                found.add((frozenset(people(" ".join(words))), *(w for w in words if w not in NAMES)))
        return {(pair, tuple(words)) for pair, *words in found}

    train, test = told("train"), told("test")
    assert len(test) > 1000 and not train & test


def test_prompts_leave_out_the_answer_and_references_tell_nothing():
    prompts = indirect_objects("test", 50, 1, frame=2)
    for row, reference, indirect, subject in zip(
        prompts.tokens, prompts.reference, prompts.indirect, prompts.subject, strict=True
    ):
        first, second, giver = people(read(row))
        assert read([subject]) == giver and {read([indirect]), giver} == {first, second}
        assert len(set(people(read(reference)))) == 3
        assert [w for w in read(row).split() if w not in NAMES] == [
            w for w in read(reference).split() if w not in NAMES
        ]
    spans = year_spans("test", 20, 1)
    for row, reference, start in zip(spans.tokens, spans.reference, spans.start, strict=True):
        assert f"y{start:02d}" in read(row).split() and read(reference) == read(row).replace(f"y{start:02d}", "y02")


def test_scores_of_prompts_by_hand():
    words = len(vocabulary())
    prompts = indirect_objects("test", 2, 0, frame=0)
    logits = torch.zeros(2, 3, words)
    logits[0, -1, prompts.indirect[0]], logits[1, -1, prompts.subject[1]] = 4.0, 1.0
    assert prompts.difference(logits).tolist() == [4.0, -1.0] and prompts.accuracy(logits) == 0.5
    spans = year_spans("test", 1, 0)
    sure = torch.full((1, 1, words), -100.0)
    sure[0, 0, tokens_of([YEARS[spans.start[0] + 1]])], sure[0, 0, tokens_of([YEARS[spans.start[0]]])] = 0.0, 0.0
    assert spans.difference(sure).item() == pytest.approx(0.0)
    sure[0, 0, tokens_of([YEARS[spans.start[0]]])] = -100.0
    assert spans.difference(sure).item() == pytest.approx(1.0)
    asked = requests("test", 4, 0)
    answers = torch.zeros(4, 1, words)
    answers[:, :, token_of()["refuse"]] = 1.0
    assert asked.accuracy(answers) == asked.marked.double().mean()


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


def test_what_cannot_be_is_refused(folder):
    with pytest.raises(InputError, match="word 'nobody': is not of the language"):
        tokens_of(["nobody"])
    with pytest.raises(InputError, match="documents: 3 of train; ask for at least 4"):
        documents("train", 3, 0)
    short = SequenceMeta(vocabulary(), 12).encode()
    write_parquet(documents("train", 20, 0), folder / "train.parquet", metadata=short)
    with pytest.raises(InputError, match="train.parquet: a document is of 2 to 12 tokens"):
        load_workload(folder).tokens("train")
    few = SequenceMeta(vocabulary()[:50], 32).encode()
    write_parquet(documents("train", 20, 0), folder / "train.parquet", metadata=few)
    with pytest.raises(InputError, match="a token is outside 1 to 49"):
        load_workload(folder).tokens("train")
