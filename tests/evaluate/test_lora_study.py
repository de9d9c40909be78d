"""Drawn heads reach what they are told to, fits are closed forms, and only adapters are trained."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from winnow.evaluate.lora_study import (
    ALPHA,
    bounded,
    drawn_head,
    entries_told,
    errors,
    fast_heads,
    finetuned,
    phase_map,
    rank_slope,
    reached,
    relative_error,
    tuning,
    work_and_time,
)
from winnow.models import build
from winnow.train.lora_limits import lora_gradients_exact, lora_gradients_polynomial

SETTINGS = SimpleNamespace(
    dimensions=3, rank=2, seed=0, adapter_rank=2, steps=5, batch_size=2, learning_rate=0.01,
    lengths=[8, 600, 700], longest_exact=600, map_lengths=[8, 20], map_gammas=[0.5, 1.5],
    map_dimensions=2, most_gain=0.5, cap=0.02, gains=[1.0, 4.0], fast_degree=2,
)  # fmt: skip


class Words:
    """Windows of drawn tokens."""

    def halves(self, split):
        return f"{split} learned", f"{split} unseen"

    def batches(self, split, size, seed=None, epoch=0):
        generator = torch.Generator().manual_seed({"test": 1, "held_out learned": 2}[split])
        for _ in range(3):
            yield torch.randint(9, (2, size, 6), generator=generator).unbind()

    def metrics(self, model, split):
        with torch.no_grad():
            self.judged.append(split)
            return {"cross_entropy": float(self.loss(model, next(self.batches("held_out learned", 4))))}

    judged = []

    def loss(self, model, batch, label_smoothing=0.0):
        return nn.functional.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def quiet_model():
    """A small transformer whose entries are small, so that all of its heads are fast."""
    model = build("transformer", vocabulary=9, width=8, layers=2, heads=2, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.mul_(0.1)
    return model


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


def test_ranks_are_fitted_over_all_lengths_and_lengths_limit_those_that_are_not_known():
    ranks = {1.0: 10, 2.0: 10 * np.e**3, 3.0: 10 * np.e**8}
    rows = [{"tokens": t, "gamma": g, "rank": r, "error": 1e-4} for g, r in ranks.items() for t in (10**5, 10**6)]
    rows += [{"tokens": 10**5, "gamma": 4.0, "rank": 9, "error": 1.0}]  # the line says 10 e^15
    rows += [{"tokens": 10**5, "gamma": 3.5, "rank": 9, "error": float("nan")}]
    assert rank_slope(rows) == {"slope": pytest.approx(1), "r2": pytest.approx(1)}
    rows += [{"tokens": 10**9, "gamma": 3.0, "rank": 9, "error": 1.0}]  # more than the line says
    assert rank_slope(rows)["slope"] > 1.1
    assert np.isnan(rank_slope(rows[:2])["slope"])


def test_only_adapters_learn_and_entries_are_told_as_they_do():
    model = quiet_model()
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


def test_work_is_counted_also_where_exact_gradients_are_not_run():
    ticks = iter(range(1000))
    rows = {(row["tokens"], row["method"]): row for row in work_and_time(SETTINGS, lambda: float(next(ticks)))}
    assert len(rows) == 6 and all(row["seconds"] == 1.0 for at, row in rows.items() if at != (700, "exact"))
    assert rows[700, "exact"]["seconds"] is None and rows[700, "fast"]["error"] is None
    assert 0 < rows[600, "fast"]["error"] < 0.1 and rows[600, "exact"]["error"] == 0
    # At least the scores, what is missed, and three gradients are products of L x L with d columns.
    assert rows[600, "exact"]["work"] > 5 * 3 * 600**2 and rows[700, "exact"]["work"] > 1.3 * rows[600, "exact"]["work"]
    assert rows[600, "exact"]["largest"] == 64 * 600  # some queries at a time
    assert rows[700, "fast"]["largest"] == 700 * 10 and rows[700, "fast"]["work"] / rows[600, "fast"]["work"] < 1.18


def test_chunks_of_queries_change_no_gradient():
    head, adapters = drawn_head(40, 3, 2, 1.0, 1)
    whole, parts = (lora_gradients_exact(head, adapters, ALPHA, 0.3, chunk) for chunk in (None, 7))
    for name in adapters:
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(whole[name], parts[name], strict=True))


def test_the_map_has_the_least_degree_that_serves():
    rows = phase_map(SETTINGS, lambda done, of: None)
    assert [(row["tokens"], row["gamma"]) for row in rows] == [(8, 0.5), (8, 1.5), (20, 0.5), (20, 1.5)]
    for row in rows:
        assert row["bound"] == pytest.approx(np.sqrt(np.log(row["tokens"])))
        head, adapters = drawn_head(row["tokens"], 2, 2, row["gamma"], 0)
        exact = lora_gradients_exact(head, adapters, ALPHA, 1.0)
        errors_by_degree = {
            d: relative_error(lora_gradients_polynomial(head, adapters, ALPHA, d, 1.0)[0], exact) for d in range(5)
        }
        last = {8: 2, 20: 4}[row["tokens"]]  # ranks 6 and 15
        serving = [d for d in range(last + 1) if errors_by_degree[d] <= 1e-3]
        assert row["degree"] == (serving[0] if serving else last)
        assert row["error"] == pytest.approx(errors_by_degree[row["degree"]], rel=1e-6)


def test_what_is_reached_ends_with_the_first_entry_that_fails():
    rows = [
        {"tokens": 9, "gamma": gamma, "error": error, "bound": 1.5}
        for gamma, error in ((2.0, 1e-4), (0.5, 1e-4), (1.0, 1e-3), (1.5, float("nan")))
    ]
    assert reached([*rows, {"tokens": 8, "gamma": 0.1, "error": 1.0, "bound": 1.0}], 9) == {
        "largest_feasible": 1.0,
        "bound": 1.5,
        "share_of_bound": pytest.approx(2 / 3),
    }
    assert reached([{"tokens": 8, "gamma": 0.1, "error": 1.0, "bound": 1.0}], 8)["largest_feasible"] == 0.0


def test_entries_are_told_by_the_larger_of_queries_and_keys():
    other = {"frozen_query": 0.1, "frozen_key": 0.1, "product": 0.1, "bound": 2.0}
    rows = [{"query": q, "key": k} | other for q, k in ((1.0, 3.0), (2.0, 0.5), (0.1, 0.2), (5.0, 1.0))]
    assert entries_told(rows) == {
        "largest_entry": 5.0, "heads_below_bound": 0.5, "largest_entry_full": 5.0, "heads_below_bound_full": 0.5
    }  # fmt: skip
    for name in ("frozen_query", "frozen_key", "product"):
        rows[1] |= other | {name: 6.0}
        told = entries_told(rows)
        assert (told["largest_entry"], told["largest_entry_full"], told["heads_below_bound_full"]) == (5.0, 6.0, 0.25)


def test_fast_and_exact_tuning_are_compared_where_exact_tuning_helps_and_a_head_is_fast(monkeypatch):
    model, words = quiet_model(), Words()
    words.judged = []
    told, entries = tuning(model, words, SETTINGS, lambda name: lambda done, of: None)
    assert [row[:2] for row in told] == [
        ("lora", "untuned"), ("lora", "gain 1"), ("lora", "gain 4"), ("lora_fast", "gain 4")
    ]  # fmt: skip
    assert set(words.judged) == {"held_out unseen"} and {row["gain"] for row in entries} == {1.0, 4.0}
    before, exact, fast = told[0][2]["cross_entropy"], told[2][2]["cross_entropy"], told[3][2]
    assert (fast["fast_heads"], fast["infeasible_heads"]) == (4, 0)
    assert fast["counts"] == float(exact < before - 0.02) == 0.0
    monkeypatch.setattr("winnow.evaluate.lora_study.SLACK", before - exact - 1e-4)
    assert tuning(model, words, SETTINGS, lambda name: lambda done, of: None)[0][3][2]["counts"] == 1.0
    with torch.no_grad():
        for block in model.blocks:
            block.attention.query.weight *= 1000
    assert tuning(model, words, SETTINGS, lambda name: lambda done, of: None)[0][3][2]["infeasible_heads"] == 4


def test_no_fast_head_is_nothing_to_compare(monkeypatch):
    monkeypatch.setattr("winnow.evaluate.lora_study.SLACK", -100.0)
    monkeypatch.setattr("winnow.evaluate.lora_study.fast_heads", lambda rows: [[False, False], [False, False]])
    model = quiet_model()
    told, _ = tuning(model, Words(), SETTINGS, lambda name: lambda done, of: None)
    assert told[3][2]["counts"] == 0.0


def test_heads_are_fast_by_layers():
    rows = [
        {"layer": layer, "head": head, "query": query, "key": key, "bound": 2.0}
        for layer, head, query, key in ((0, 0, 2.0, 1.0), (0, 1, 1.0, 2.1), (1, 0, 2.1, 0.0), (1, 1, 0.0, 0.0))
    ]
    assert fast_heads(rows) == [[True, False], [False, True]]


def test_bounds_lower_entries_or_scores_and_leave_the_model():
    model = quiet_model()
    with torch.no_grad():
        for block in model.blocks:
            block.attention.query.weight *= 30
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = bounded(model, Words(), SETTINGS)
    plain, clamped, capped = found["as it is"], found["gains up to 0.5"], found["scores capped at 0.02"]
    assert clamped["largest_entry"] < plain["largest_entry"] == pytest.approx(capped["largest_entry"], rel=0.05)
    assert capped["largest_score"] <= 0.02 < plain["largest_score"]
    assert clamped["cross_entropy"] != plain["cross_entropy"] != capped["cross_entropy"]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_heads_with_small_entries_are_tuned_by_fast_gradients():
    model = quiet_model()
    with torch.no_grad():
        model.blocks[1].attention.query.weight[:4] *= 1000  # the first head of the second layer
    exact, fast = (finetuned(model, Words(), 4.0, SETTINGS, lambda done, of: None, degree)[0] for degree in (None, 2))
    assert [block.attention.fast.tolist() for block in fast.blocks] == [[True, True], [False, True]]
    assert fast.blocks[0].attention.degree == 2
    for one, other in zip(exact.blocks, fast.blocks, strict=True):
        assert one.attention.query.up.shape == other.attention.query.up.shape
        assert not torch.equal(one.attention.query.up, other.attention.query.up)
        assert torch.allclose(one.attention.value.up, other.attention.value.up, atol=0.02)
