"""Abilities are shares of prompts of each kind, and a model that misses a gate is trained once more."""

import pytest
import torch

from winnow.errors import InputError
from winnow.pipeline.tables import write_parquet
from winnow.train import names_language
from winnow.train.names_language import abilities, train_names_language
from winnow.workloads import load_workload
from winnow.workloads.names_language import (
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


@pytest.fixture
def folder(tmp_path):
    metadata = SequenceMeta(vocabulary(), 32, "algorithmic").encode()
    for split, count in (("train", 64), ("valid", 16)):
        write_parquet(documents(split, count, 0), tmp_path / f"{split}.parquet", metadata=metadata)
    return tmp_path


class Oracle:
    """Says the answer to some of the prompts, by the tokens it was told of."""

    def __init__(self, answers):
        self.answers = answers

    def __call__(self, tokens):
        logits = torch.zeros(*tokens.shape, len(vocabulary()))
        for row, prompt in enumerate(tokens.tolist()):
            answer = self.answers.get(tuple(prompt))
            if answer is not None:
                logits[row, -1, answer] = 5.0
        return logits


def test_abilities_are_means_over_all_frames_spans_and_requests():
    """Of each kind every second prompt is answered rightly; a frame has a sixth of the prompts of names."""
    answers = {}
    frames = [indirect_objects("valid", 4, 3, frame) for frame in range(6)]
    for number, prompts in enumerate(frames):
        for i in range(4 if number < 3 else 0):
            answers[tuple(prompts.tokens[i].tolist())] = int(prompts.indirect[i])
    spans, asked = year_spans("valid", 24, 3), requests("valid", 24, 3)
    for i in range(0, 24, 2):
        answers[tuple(spans.tokens[i].tolist())] = int(tokens_of(YEARS)[-1])
        answers[tuple(asked.tokens[i].tolist())] = token_of()["refuse" if asked.marked[i] else "ok"]
    oracle = Oracle(answers)
    found = abilities(oracle, "valid", seed=3, count=24)
    right = [prompts.accuracy(oracle(prompts.tokens)) for prompts in frames]
    assert right[:3] == [1, 1, 1] and found["indirect_object_accuracy"] == pytest.approx(sum(right) / 6)
    told = [float(prompts.difference(oracle(prompts.tokens)).mean()) for prompts in frames]
    assert found["indirect_object_difference"] == pytest.approx(sum(told) / 6) and told[0] == 5
    assert found["later_year_difference"] == pytest.approx(float(spans.difference(oracle(spans.tokens)).mean()))
    assert found["request_accuracy"] == asked.accuracy(oracle(asked.tokens)) >= 0.5
    assert found["later_year_difference"] > 0.1


SETTINGS = {
    "arguments": {"width": 8, "layers": 1, "heads": 2},
    "epochs": 3,
    "batch_size": 32,
    "learning_rate": 3e-3,
    "weight_decay": 0.02,
}


@pytest.mark.parametrize(("first", "gated", "tries"), [(0.97, True, 1), (0.96, True, 2), (0.96, False, 1)])
def test_a_model_that_misses_a_gate_is_trained_once_more_from_the_next_seed(folder, monkeypatch, first, gated, tries):
    fits, good = [], {"indirect_object_accuracy": 0.97, "later_year_difference": 0.75, "request_accuracy": 0.97}
    told = iter([good | {"request_accuracy": first}, good])

    def fit(model, workload, **options):
        fits.append((model, options))
        return [("loss", float(len(fits)), 1)]

    monkeypatch.setattr(names_language, "fit", fit)
    monkeypatch.setattr(names_language, "abilities", lambda model, split: next(told) | {"split": split})
    workload = load_workload(folder)
    model, history, found = train_names_language(
        workload, seed=5, gated=gated, checkpoint="c", progress="p", **SETTINGS
    )
    assert len(fits) == tries and model is fits[-1][0] and history == [("loss", float(tries), 1)]
    assert found["split"] == "valid" and found["request_accuracy"] == (first if tries == 1 else 0.97)
    for number, (tried, options) in enumerate(fits):
        start = workload.build("hooked_transformer", seed=5 + number, **SETTINGS["arguments"])
        assert torch.equal(tried.embed.weight, start.embed.weight)
        plain = {name: options[name] for name in ("epochs", "batch_size", "seed", "checkpoint", "progress")}
        assert plain == {"epochs": 3, "batch_size": 32, "seed": 5 + number, "checkpoint": "c", "progress": "p"}
        updater = options["optimizer"](tried.parameters())
        group = updater.param_groups[0]
        assert isinstance(updater, torch.optim.AdamW) and group["betas"] == (0.9, 0.98)
        assert (group["lr"], group["weight_decay"]) == (3e-3, 0.02)
        assert [options["schedule"](done) for done in (0.05, 0.1, 0.55, 1.0)] == pytest.approx([0.5, 1, 0.5, 0])


def test_training_is_the_same_again_and_one_that_misses_a_gate_is_refused(folder):
    workload = load_workload(folder)
    settings = {
        "arguments": {"width": 8, "layers": 1, "heads": 2},
        "epochs": 1,
        "batch_size": 32,
        "learning_rate": 3e-3,
        "weight_decay": 0.01,
    }
    model, history, found = train_names_language(workload, seed=0, gated=False, **settings)
    again, repeated, _ = train_names_language(workload, seed=0, gated=False, **settings)
    assert history == repeated and torch.equal(model.embed.weight, again.embed.weight)
    assert found == abilities(model, "valid") and found["indirect_object_accuracy"] < 0.97
    with pytest.raises(
        InputError, match=r"indirect_object_accuracy 0\.\d+ < 0\.97.* after seeds 0 and 1; raise epochs"
    ):
        train_names_language(workload, seed=0, **settings)
