"""The study's numbers are those of simulations, of bits that are flipped as told, and of the bounds' own formula."""

import math

import numpy as np
import pytest

from winnow.compress.paging import DISCARD, PHASE, RANDOMISED, errors, lfd, phase_truth, simulate
from winnow.compress.paging_bits import fit_bits
from winnow.evaluate.paging_audit import harmonic
from winnow.evaluate.paging_study import (
    DRAWS,
    FLIPS,
    NOISE_DRAWS,
    NOISY,
    PLAIN,
    PREDICTED,
    block_gaps,
    faults_of_runs,
    hits_of_runs,
    noise_sweep,
    on_layers,
    on_trace,
    served,
    timeline,
    told,
    worst,
)
from winnow.workloads.traces import cyclic_trace, zipf_trace

TRACE = zipf_trace(40, 900, np.random.default_rng(3))


@pytest.fixture(scope="module")
def found():
    return on_trace(TRACE, 6, seed=1)


def test_policies_are_simulated_on_the_second_half_with_bits_learned_on_the_first(found):
    test, k = TRACE[450:], 6
    optimum, discard = lfd(test, k)
    truths = {"discard": discard, "phase": phase_truth(test, k)}
    assert list(found) == [*PLAIN, *PREDICTED, "lfd"]
    lru = simulate(test, None, k, "lru").faults
    for policy, values in found.items():
        kind = "phase" if policy in PHASE else "discard"
        bits = fit_bits(TRACE[:450], k, kind, 1).bits(test) if policy in PREDICTED else None
        faults = faults_of_runs(test, bits, k, policy, 1).mean()
        assert values["faults"] == faults and values["faults_over_optimum"] == pytest.approx(faults / optimum)
        assert values["gap_closed"] == pytest.approx((lru - faults) / (lru - optimum))
        assert values["hit_rate"] == pytest.approx(1 - faults / len(test))
        if bits is None:
            assert set(values) == {"faults", "faults_over_optimum", "hit_rate", "gap_closed"}
        else:
            zeros, ones = errors(bits, truths[kind])
            assert (values["eta_0"], values["eta_1"]) == (zeros, ones)
            assert values["error"] == pytest.approx(float((bits != truths[kind]).mean()))
    assert found["lru"]["gap_closed"] == 0 and found["lfd"]["gap_closed"] == found["lfd"]["faults_over_optimum"] == 1


def test_faults_of_randomised_policies_are_means_over_runs_that_no_other_seed_shares():
    test = TRACE[450:]
    runs = [simulate(test, None, 6, "marker", seed).faults for seed in range(3 * DRAWS)]
    for seed in range(3):
        assert faults_of_runs(test, None, 6, "marker", seed).tolist() == runs[DRAWS * seed : DRAWS * (seed + 1)]
    assert len(set(runs)) > 1
    assert faults_of_runs(test, None, 6, "lru", 7).tolist() == [simulate(test, None, 6, "lru").faults]


def test_stretches_share_out_what_is_saved_of_the_gap(found):
    ran = served(TRACE, 6, seed=1, draws=DRAWS)
    assert told(TRACE[450:], 6, ran) == found
    gaps = block_gaps(ran, 7)
    for policy, each in gaps.items():
        assert each.shape == (7,)
        # 450 requests do not part evenly: the mean over stretches is that of their sums.
        assert each.mean() == pytest.approx(found[policy]["gap_closed"])
    test, lru, best = TRACE[450:], ran.hits["lru"][0], ran.hits["lfd"][0]
    hits = np.array([simulate(test, None, 6, "marker", seed).hits for seed in range(DRAWS, 2 * DRAWS)])
    assert (hits_of_runs(test, None, 6, "marker", 1) == hits).all() and len(ran.hits["mark0"]) == DRAWS
    first = hits[:, :65].mean(0).sum() - lru[:65].sum()  # 450 = 2 * 65 + 5 * 64
    assert gaps["marker"][0] == pytest.approx(first / ((best.sum() - lru.sum()) / 7))
    assert np.isnan(block_gaps(served(settled(), 2, seed=0), 3)["lru"]).all()


def test_policies_are_left_out_whose_bits_cannot_be_learned():
    """A cache as large as the first half's pages: no page is ever to be discarded there."""
    trace = np.concatenate([np.tile([0, 1, 2], 40), zipf_trace(12, 120, np.random.default_rng(0))])
    found = on_trace(trace, 4, seed=0)
    assert list(found) == [*PLAIN, "lfd"]
    layers = on_layers(np.concatenate([trace, 12 + zipf_trace(12, 240, np.random.default_rng(1))]), 12, 8, seed=0)
    assert list(layers) == [*PLAIN, "lfd"]


def settled():
    """A trace that comes to two pages alone in its second half."""
    return np.concatenate([zipf_trace(10, 100, np.random.default_rng(0)), np.tile([0, 1], 50)])


def test_there_is_no_gap_to_close_where_lru_is_optimal():
    found = on_trace(settled(), 2, seed=0)
    assert found["lru"]["faults"] == found["lfd"]["faults"] == 2
    assert all(math.isnan(told["gap_closed"]) for told in found.values())
    layers = on_layers(settled(), experts=10, k=2, seed=0)
    assert math.isnan(layers["mark0"]["gap_closed"]) and layers["lru"]["faults_over_optimum"] == 1


def test_each_layer_has_a_cache_of_its_own_share_and_faults_add_up():
    generator = np.random.default_rng(5)
    trace = np.empty(1200, np.int64)
    for layer in range(3):  # layers take turns
        trace[layer::3] = 10 * layer + zipf_trace(10, 400, generator)
    found = on_layers(trace, experts=10, k=11, seed=2)
    each = [on_trace(trace[layer::3], 3, 2) for layer in range(3)]
    assert set(found) == set(each[0])
    lru, optimum = (sum(part[policy]["faults"] for part in each) for policy in ("lru", "lfd"))
    for policy, values in found.items():
        faults = sum(part[policy]["faults"] for part in each)
        assert values["faults"] == faults and values["faults_over_optimum"] == pytest.approx(faults / optimum)
        assert values["gap_closed"] == pytest.approx((lru - faults) / (lru - optimum))
        assert values["hit_rate"] == pytest.approx(1 - faults / 600)
    # A cache of one page tells no phases apart.
    assert "mark_and_predict" not in on_layers(trace, experts=10, k=2, seed=2)


@pytest.fixture(scope="module")
def sweep():
    steps = []
    traces = {"zipf": (TRACE[:300], 5), "short": (TRACE[:60], 3)}
    rows = noise_sweep(traces, [0.0, 0.3, 1.0], 4, lambda done, total: steps.append((done, total)))
    return rows, steps


def test_a_sweep_has_every_policy_flip_and_chance_of_each_trace(sweep):
    rows, steps = sweep
    told = [(row["trace"], row["policy"], row["flipped"], row["chance"]) for row in rows]
    assert told == [
        (name, policy, flipped, chance)
        for name in ("zipf", "short")
        for policy in NOISY
        for flipped in FLIPS
        for chance in (0.0, 0.3, 1.0)
    ]
    assert steps == [(n, 72) for n in range(1, 73)]


def check_faults(row, trace, bits, k):
    """The mean of runs and Student's interval, by the table: 15 degrees of freedom, .001 at each end."""
    runs = faults_of_runs(trace, bits, k, row["policy"], 4, NOISE_DRAWS)
    assert len(runs) == (16 if row["policy"] in RANDOMISED else 1) and row["faults"] == runs.mean()
    half = 3.7328 * runs.std(ddof=1) / 4 if len(runs) > 1 else 0.0
    assert (row["low"], row["high"]) == pytest.approx((runs.mean() - half, runs.mean() + half), rel=1e-4)


def test_true_bits_are_flipped_of_the_kind_and_with_the_chance_that_is_told(sweep):
    rows, _ = sweep
    trace, k = TRACE[:300], 5
    for row in rows:
        if row["trace"] != "zipf":
            continue
        truth = lfd(trace, k)[1] if row["policy"] in DISCARD else phase_truth(trace, k)
        most = {
            "keep told as evict": (0, int((truth == 0).sum())),
            "evict told as keep": (int((truth == 1).sum()), 0),
            "both": (int((truth == 1).sum()), int((truth == 0).sum())),
        }[row["flipped"]]
        for wrong, all_of_them in zip((row["eta_0"], row["eta_1"]), most, strict=True):
            spread = 4 * (all_of_them * row["chance"] * (1 - row["chance"])) ** 0.5
            assert abs(wrong - row["chance"] * all_of_them) <= spread
        assert row["optimum"] == lfd(trace, k)[0]
        if row["chance"] == 0:
            check_faults(row, trace, truth, k)
        if row["flipped"] == "both" and row["chance"] == 1:
            check_faults(row, trace, 1 - truth, k)


def test_more_of_the_same_bits_are_flipped_with_a_higher_chance(sweep):
    rows, _ = sweep
    for policy in NOISY:
        for flipped in FLIPS:
            mine = [r for r in rows if (r["trace"], r["policy"], r["flipped"]) == ("zipf", policy, flipped)]
            counts = [row["eta_0"] + row["eta_1"] for row in mine]
            assert counts == sorted(counts) and counts[0] == 0 < counts[1] < counts[2]
    others = noise_sweep({"zipf": (TRACE[:300], 5)}, [0.3], 5, lambda done, total: None)
    assert [row["eta_0"] for row in others] != [r["eta_0"] for r in rows if r["trace"] == "zipf" and r["chance"] == 0.3]


def test_bounds_are_those_of_the_theorems_and_robust_forms_have_none(sweep):
    rows, _ = sweep
    for row in rows:
        k = 5 if row["trace"] == "zipf" else 3
        optimum, zeros, ones = row["optimum"], row["eta_0"], row["eta_1"]
        allowed = {
            "flush_when_all_0": optimum + (k - 1) * zeros + ones,
            "mark0": optimum + 2 * harmonic(k) * zeros + ones,
            "mark_and_predict": 2 * optimum + harmonic(k) * zeros + ones,
            "robust_flush": None,
        }[row["policy"]]
        assert row["bound"] == (None if allowed is None else pytest.approx(allowed))
        factor = {"flush_when_all_0": k - 1, "mark0": 2 * harmonic(k), "mark_and_predict": harmonic(k)}
        if allowed is None:
            assert row["exchanged"] is None
        else:
            assert row["exchanged"] == pytest.approx(allowed + (factor[row["policy"]] - 1) * (ones - zeros))


def test_wrong_bits_on_a_cycle_tell_each_bound_from_its_exchanged_form():
    """All bits 0 make Mark0 and mark-and-predict a marking algorithm, which expects H_k faults a phase of a cycle."""
    rows = noise_sweep({"cycle": (cyclic_trace(21, 6000), 20)}, [0.0, 1.0], 0, lambda done, total: None)
    for policy in ("flush_when_all_0", "mark0", "mark_and_predict"):
        found = worst(rows, policy)
        assert found["high_over_bound"] <= 1 + 1e-9 and found["low_over_exchanged"] > 1.07
    all_zero = [r for r in rows if (r["policy"], r["flipped"], r["chance"]) == ("mark0", "evict told as keep", 1.0)]
    assert all_zero[0]["faults"] / all_zero[0]["optimum"] == pytest.approx(harmonic(20), rel=0.2)


def test_a_time_line_tells_the_last_requests_of_four_policies_with_true_bits():
    rows = timeline(TRACE, 6, 100, 2)
    truths = {"flush_when_all_0": lfd(TRACE, 6)[1], "mark_and_predict": phase_truth(TRACE, 6)}
    assert [row["policy"] for row in rows[::100]] == ["lru", "marker", "mark_and_predict", "flush_when_all_0"]
    for first in range(0, 400, 100):
        mine = rows[first : first + 100]
        hits = simulate(TRACE, truths.get(mine[0]["policy"]), 6, mine[0]["policy"], 2).hits
        assert [row["request"] for row in mine] == list(range(100))
        assert [row["hit"] for row in mine] == hits[-100:].tolist() and type(mine[0]["hit"]) is bool


def test_a_claim_needs_the_worst_of_a_policys_rows():
    def row(policy, chance, faults, optimum, bound, exchanged):
        told = {"policy": policy, "chance": chance, "faults": faults, "low": faults - 1, "high": faults + 2}
        return told | {"optimum": optimum, "bound": bound, "exchanged": exchanged}

    rows = [
        row("mark0", 0.0, 12, 10, 12.5, 12.5),
        row("mark0", 0.0, 11, 10, 10.0, 10.0),
        row("mark0", 0.5, 30, 20, 60.0, 20.0),
        row("robust_flush", 0.0, 10, 10, None, None),
        row("robust_flush", 1.0, 90, 10, None, None),
    ]
    assert worst(rows, "mark0") == {
        "true_bits_over_optimum": 1.4,
        "high_over_optimum": 1.6,
        "high_over_bound": 1.3,
        "low_over_exchanged": 1.45,
    }
    assert worst(rows, "robust_flush") == {"true_bits_over_optimum": 1.2, "high_over_optimum": 9.2}
    assert worst(rows[:1], "mark0")["high_over_bound"] == 14 / 12.5
