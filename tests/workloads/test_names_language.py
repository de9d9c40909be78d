"""Sentences of the small language, counted and read word by word."""

import re

import numpy as np
import pytest
import torch

from winnow.errors import InputError
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


def read(row):
    return " ".join(vocabulary()[token] for token in row)


def people(sentence):
    return [word for word in sentence.split() if word in NAMES]


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


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="word 'nobody': is not of the language"):
        tokens_of(["nobody"])
    with pytest.raises(InputError, match="documents: 3 of train; ask for at least 4"):
        documents("train", 3, 0)
