"""Costs are those of the rows that the model itself reads, and what it says is untouched."""

import numpy as np
import pytest
import torch

from tests.models.language_backends import small
from winnow.models.counted import Counted
from winnow.models.prefix_cache import PrefixCache


@pytest.fixture
def model():
    return small()


@pytest.fixture
def rows(model, monkeypatch):
    """Rows of each time that the net reads."""
    found, read = [], model.net.read

    def spy(x, *arguments, **options):
        found.append(len(x))
        return read(x, *arguments, **options)

    monkeypatch.setattr(model.net, "read", spy)
    return found


class Never:
    """A mask that allows two tokens and then nothing."""

    def __init__(self):
        self.told = 0

    def allowed(self, row):
        return np.full(300, self.told < 2)

    def advance(self, row, token):
        self.told += 1


@pytest.mark.parametrize("options", [{}, {"n": 3, "stop": ["a", "e"]}, {"n": 2, "max_tokens": 1}, {"top_k": 1}])
def test_passes_of_samples_are_the_rows_that_the_net_reads(model, rows, options):
    counted, plain = Counted(model), small()
    prompts = [model.encode("def add"), model.encode("")]
    found = counted.sample(prompts, **{"max_tokens": 12, "seed": 4, **options})
    expected = plain.sample(prompts, **{"max_tokens": 12, "seed": 4, **options})
    assert [[s.text for s in group] for group in found] == [[s.text for s in group] for group in expected]
    told = counted.taken()
    assert told == {
        "calls": 1,
        "prompt_tokens": len(prompts[0]),
        "generated_tokens": sum(len(sample.token_ids) for group in found for sample in group),
        "forward_passes": sum(rows),
    }
    assert set(counted.taken().values()) == {0}


def test_where_the_mask_allows_nothing_the_last_token_was_read(model, rows):
    counted = Counted(model)
    ((sample,),) = counted.sample([model.encode("x")], mask=Never())
    assert sample.finish == "mask" and counted.taken()["forward_passes"] == sum(rows) == 3


def test_states_scores_and_hidden_states_count_a_pass_a_row(model, rows):
    counted = Counted(model)
    state = counted.start([model.encode("def"), model.encode("x = 1")])
    state = counted.extend(counted.select(state, np.array([0, 1, 1])), np.array([1, 2, 3]))
    assert counted.next(state).shape == (3, 300) and counted.vocab_size == model.vocab_size
    sizes = [len(model.encode(text)) for text in ("def", "x = 1", "print(x)", "x")]
    assert counted.taken() == {
        "calls": 2, "prompt_tokens": sizes[0] + sizes[1], "generated_tokens": 3, "forward_passes": sum(rows)
    }  # fmt: skip
    rows.clear()
    scores = counted.score(["print(x)", "x"], prefix="def")
    assert [len(each.token_ids) for each in scores] == sizes[2:]
    assert counted.taken() == {
        "calls": 1, "prompt_tokens": 2 * sizes[0] + sizes[2] + sizes[3], "generated_tokens": 0, "forward_passes": 2
    }  # fmt: skip
    assert sum(rows) == 2 and torch.is_tensor(torch.from_numpy(counted.hidden(["x = 1"])[0]))
    assert counted.taken()["prompt_tokens"] == sizes[1]


def test_what_is_remembered_outside_is_not_counted(model):
    counted = Counted(model)
    cache = PrefixCache(counted)
    prompt = model.encode("def add")
    cache.start([prompt])
    before = counted.taken()["forward_passes"]
    cache.start([prompt])
    assert before == 1 and counted.taken()["forward_passes"] == 0
