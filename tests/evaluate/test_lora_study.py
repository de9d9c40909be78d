"""Drawn heads reach what they are told to, fits are closed forms, and only adapters are trained."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import lora_charts as charts
from winnow.evaluate.lora_study import ALPHA, drawn_head, errors, finetuned, rank_slope, relative_error
from winnow.models import build

SETTINGS = SimpleNamespace(
    dimensions=3, rank=2, seed=0, adapter_rank=2, steps=5, batch_size=2, learning_rate=0.01
)  # fmt: skip


class Words:
    """Windows of drawn tokens."""

    def batches(self, split, size, seed=None, epoch=0):
        generator = torch.Generator().manual_seed({"test": 1, "held_out": 2}[split])
        for _ in range(3):
            yield torch.randint(9, (2, size, 6), generator=generator).unbind()

    def loss(self, model, batch, label_smoothing=0.0):
        return nn.functional.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


@pytest.mark.parametrize("gamma", [0.5, 3.0])
def test_queries_and_keys_reach_gamma(gamma):
    head, adapters = drawn_head(40, 3, 2, gamma, 1)
    for name in ("query", "key"):
        b, a = adapters[name]
        assert (head.inputs @ (getattr(head, name) + ALPHA / 2 * b @ a)).abs().max().item() == pytest.approx(gamma)
    assert head.inputs.dtype == torch.float64 and head.inputs.shape == (40, 3)


def test_errors_rise_with_entries_and_fall_with_the_degree():
    rows = {(r["case"], r["gamma"], r["degree"]): r for r in errors([0.5, 2.0], [1, 3], 12, SETTINGS)}
    for case in ("partial", "full"):
        assert rows[case, 0.5, 3]["error"] < rows[case, 0.5, 1]["error"] < rows[case, 2.0, 1]["error"]
    assert {row["rank"] for row in rows.values()} == {4, 20} and len(rows) == 8


def test_the_error_is_the_worst_of_all_gradients():
    exact = {"query": (torch.tensor([3.0, 4.0]), torch.tensor([1.0]))}
    found = {"query": (torch.tensor([3.0, 3.0]), torch.tensor([1.1]))}
    assert relative_error(found, exact) == pytest.approx(0.2)


def test_ranks_are_fitted_where_some_degree_serves():
    ranks = {1.0: 10, 2.0: 10 * np.e**3, 3.0: 10 * np.e**8}
    rows = [{"case": "full", "gamma": g, "rank": r, "error": 1e-4} for g, r in ranks.items()]
    rows += [{"case": "full", "gamma": g, "rank": 2 * r, "error": 1e-5} for g, r in ranks.items()]
    rows += [{"case": "full", "gamma": 4.0, "rank": 9.0, "error": 1.0}]
    rows += [{"case": "partial", "gamma": 1.0, "rank": 1.0, "error": 0.0}]
    assert rank_slope(rows, 1e-3) == {"slope": pytest.approx(1), "r2": pytest.approx(1)}
    assert np.isnan(rank_slope(rows[:2], 1e-3)["slope"])


def test_only_adapters_learn_and_entries_are_told_as_they_do():
    model = build("transformer", vocabulary=9, width=8, layers=2, heads=2, seed=0)
    steps = []
    tuned, rows = finetuned(model, Words(), 4.0, SETTINGS, lambda done, of: steps.append((done, of)))
    assert steps == [(i, 5) for i in range(1, 6)]
    assert [row["step"] for row in rows] == [step for step in range(6) for _ in range(4)]
    for before, after in zip(model.blocks, tuned.blocks, strict=True):
        assert torch.equal(before.attention.query.weight, after.attention.query.base.weight)
        assert torch.equal(before.attention.key.weight, after.attention.key.weight)
        assert torch.all(after.attention.value.up.abs().sum(1) > 0) and after.attention.query.gain == 4
    assert torch.equal(model.embedding.weight, tuned.embedding.weight)
    assert model.embedding.weight.requires_grad and not tuned.embedding.weight.requires_grad
    assert rows[-1]["query"] != rows[0]["query"] and rows[-1]["step"] == 5


def test_charts_draw_errors_and_the_largest_entry():
    rows = [{"case": case, "gamma": 1.0, "degree": 2, "error": 0.1, "rank": 6} for case in ("partial", "full")]
    assert [row["terms"] for row in drawn(charts.errors(rows)) if "terms" in row] == ["2"]
    entries = [
        {"gain": 4.0, "step": 0, "seed": 0, "query": q, "key": k, "bound": 2.0} for q, k in ((1.0, 3.0), (2.0, 0.5))
    ]
    assert [row["mean"] for row in drawn(charts.growth(entries)) if "gain" in row] == [3.0]
    with pytest.raises(InputError, match="the table has no entries of heads"):
        charts.growth([])
