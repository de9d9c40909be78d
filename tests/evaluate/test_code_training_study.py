"""Arms have equal budgets and start from one state; scores of a model that knows nothing are those of a uniform one."""

import copy
import math
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from winnow.curate.byte_pairs import train_byte_pairs
from winnow.errors import InputError
from winnow.evaluate import code_sources
from winnow.evaluate import code_training_study as study

PARAMS = SimpleNamespace(
    context=256,
    judged=3,
    width=8,
    layers=1,
    heads=2,
    batch_size=4,
    stable_steps=6,
    decay_steps=3,
    learning_rate=1e-2,
    floor=0.1,
    broad_windows=4,
    task_windows=6,
    tuning_rate=1e-2,
    longest=5,
)
SHARES = {"algorithms": 0.2, "snippets": 0.1, "textbooks": 0.1}


def module(name, count):
    parts = [
        f'def find_{name}_{i}(x, y):\n    """Find {name} of {i}."""\n    z = x + {i}\n    return z * y\n'
        for i in range(count)
    ]
    return "\n\n".join(parts)


TABLE = pa.table({"package": ["one", "two"], "text": [module("one", 40), module("two", 40)]})
HELD = pa.table({"package": ["apart"], "text": [module("apart", 12)]})
TOKENIZER = train_byte_pairs(TABLE["text"].to_pylist() * 3, 320)
MADE = code_sources.made(40, 0.3, 3, 0.3, seed=0)
CORPUS = study.gathered(TABLE, HELD, MADE, TOKENIZER, PARAMS, 0)
STATE = study.stable(CORPUS, TOKENIZER, PARAMS, 0, lambda done, total: None)


def quiet(done, total):
    """No report."""


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_the_corpus_has_a_stream_for_each_source_and_judges_by_what_is_held_out():
    assert set(CORPUS.streams) == {"original", "algorithms", "snippets", "textbooks", "unverified"}
    assert len(CORPUS.streams["unverified"]) > len(CORPUS.streams["snippets"])
    whole = "".join(HELD["text"].to_pylist())
    assert CORPUS.held.shape[1] == 257 and len(CORPUS.held) <= 3
    assert CORPUS.held_bytes == pytest.approx(len(whole.encode()) / len(study.tokens_of([whole], TOKENIZER)))
    assert all(f.text in whole for f in CORPUS.functions) and len(CORPUS.functions) == 3
    assert len(CORPUS.tasks) == 80 + len(MADE.verified)
    again = study.gathered(TABLE, HELD, MADE, TOKENIZER, PARAMS, 1)
    assert again.functions == CORPUS.functions and np.array_equal(again.held, CORPUS.held)
    assert not np.array_equal(again.streams["original"], CORPUS.streams["original"])
    with pytest.raises(InputError, match="held out: 0 windows and 0 documented functions; give more files"):
        short = pa.table({"package": ["apart"], "text": ["x = 1\n"]})
        study.gathered(TABLE, short, MADE, TOKENIZER, PARAMS, 0)


def test_every_mixture_is_whole_and_leaves_out_or_keeps_what_its_name_says():
    found_ = study.mixtures(SHARES)
    assert all(sum(shares.values()) == pytest.approx(1) for shares in found_.values())
    assert found_["plain"] == {"original": 1} and found_["mixture"] == pytest.approx({"original": 0.6, **SHARES})
    assert found_["without snippets"] == pytest.approx({"original": 0.7, "algorithms": 0.2, "textbooks": 0.1})
    assert found_["snippets alone"] == pytest.approx({"original": 0.6, "snippets": 0.4})
    assert found_["unverified alone"] == pytest.approx({"original": 0.6, "unverified": 0.4})
    assert len(found_) == 9


def test_the_rate_decays_over_the_last_steps_alone():
    rates = [study._rate(PARAMS, step) for step in range(9)]
    assert rates[:6] == pytest.approx([1e-2] * 6)
    assert rates[6:] == pytest.approx([1e-2 * 0.1 ** (i / 3) for i in (1, 2, 3)])


def test_decays_start_from_one_state_and_leave_it_as_it_is():
    before = weights(STATE[0])
    moments = copy.deepcopy(STATE[1].state_dict())
    plain, passes = study.annealed(STATE, CORPUS, {"original": 1.0}, PARAMS, 0, quiet)
    again, _ = study.annealed(STATE, CORPUS, {"original": 1.0}, PARAMS, 0, quiet)
    other, told = study.annealed(STATE, CORPUS, study.mixtures(SHARES)["mixture"], PARAMS, 0, quiet)
    assert torch.equal(weights(STATE[0]), before) and torch.equal(weights(plain), weights(again))
    assert all(
        torch.equal(a["exp_avg"], b["exp_avg"])
        for a, b in zip(moments["state"].values(), STATE[1].state_dict()["state"].values(), strict=True)
    )
    assert not torch.equal(weights(plain), weights(other)) and not torch.equal(weights(plain), before)
    assert passes == {"original": pytest.approx(12 * 256 / len(CORPUS.streams["original"]))}
    assert sum(told[name] * len(CORPUS.streams[name]) for name in told) == pytest.approx(12 * 256)


def test_ways_of_tuning_see_as_many_windows(monkeypatch):
    seen = {}
    for arm in ("broad", "tasks", "mixed", "two stages"):
        taken = []

        def train(model, optimizer, windows, rate, batch_size, counted, report, taken=taken):
            taken.append((windows.copy(), counted.copy(), [rate(i) for i in range(-(-len(windows) // batch_size))]))

        monkeypatch.setattr(study, "train_on", train)
        study.tuned(STATE[0], CORPUS, arm, PARAMS, 0, quiet)
        seen[arm] = taken
    assert {arm: [len(w) for w, _, _ in taken] for arm, taken in seen.items()} == {
        "broad": [10],
        "tasks": [10],
        "mixed": [10],
        "two stages": [4, 6],
    }
    both = np.concatenate([w for w, _, _ in seen["two stages"]])
    assert sorted(map(tuple, both)) == sorted(map(tuple, seen["mixed"][0][0]))
    tasks = [tuple(w) for w in seen["two stages"][1][0]]
    assert len(set(tasks)) == 2 and all(tasks.count(w) == 3 for w in set(tasks))  # three passes over a third
    assert all(rates[0] == 1e-2 for taken in seen.values() for _, _, rates in taken)


def test_a_model_that_knows_nothing_needs_the_bits_of_a_uniform_one():
    model = copy.deepcopy(STATE[0])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    each = math.log2(TOKENIZER.get_vocab_size())
    scores = study.judged(model, CORPUS, TOKENIZER, PARAMS, instructed=False)
    assert scores["held_out"]["bits_per_byte"] == pytest.approx(each / CORPUS.held_bytes, rel=1e-6)
    pairs = code_sources.bodies(CORPUS.functions, TOKENIZER)
    tokens = sum(len(body) + 1 for _, body in pairs)
    size = sum(len(f.body.encode()) for f in CORPUS.functions)
    assert scores["functions"]["bits_per_byte"] == pytest.approx(tokens * each / size, rel=1e-6)
    assert scores["exercises"]["pass_rate"] == 0 and set(scores) == {"held_out", "functions", "exercises"}
    told = study.judged(model, CORPUS, TOKENIZER, PARAMS, instructed=True)
    tasks = code_sources.instructed([code_sources.code_tasks([f], "")[0] for f in CORPUS.functions], TOKENIZER)
    tokens = sum(len(answer) + 1 for _, answer in tasks)
    size = sum(len(f.text.encode()) for f in CORPUS.functions)
    assert told["functions"]["bits_per_byte"] == pytest.approx(tokens * each / size, rel=1e-6)
    assert set(told) == {"held_out", "functions", "exercises", "questions"}
