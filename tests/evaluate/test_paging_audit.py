"""Exact expectations are means of simulations, all traces are there once, and a false bound is found out."""

import numpy as np
import pytest

from winnow.compress.paging import simulate
from winnow.errors import InputError
from winnow.evaluate import paging_audit
from winnow.evaluate.paging_audit import audit_all, audit_search, canonical_traces, expected_cost, harmonic


@pytest.mark.parametrize("policy", ["marker", "mark0", "mark0_returning", "mark_and_predict"])
def test_expected_costs_are_the_means_of_simulations(policy):
    generator = np.random.default_rng(0)
    for _ in range(4):
        trace, bits = generator.integers(0, 5, 10), generator.integers(0, 2, 10)
        faults = [simulate(trace, bits, 3, policy, seed).faults for seed in range(2000)]
        error = np.std(faults) / np.sqrt(2000)
        assert abs(np.mean(faults) - expected_cost(trace, bits, 3, policy)) <= 4 * error + 1e-9


def test_canonical_traces_are_all_up_to_names():
    found = [tuple(trace) for trace in canonical_traces(5, 5)]
    assert len(found) == len(set(found)) == 52  # Bell's number of 5
    assert len(list(canonical_traces(5, 2))) == 1 + 15  # Stirling's numbers {5, 1} + {5, 2}


def test_the_bound_of_flush_holds_and_exchanged_it_does_not():
    found = audit_search(12, 3, "flush_when_all_0", starts=5, steps=200, seed=0)
    assert found.violations == 0 and found.exchanged_violations > 0 and found.tightest == pytest.approx(1)
    for policy in ("mark0", "mark0_returning", "mark_and_predict"):
        assert audit_all(4, 2, policy).violations == 0


def test_a_search_climbs_where_wrong_bits_cost_and_not_where_none_is_wrong():
    """Of what its bound adds for wrong bits, flush-when-all-0 takes all: k - 1 for a wrong 0."""
    for k in (2, 3):
        found = audit_search(4 * k, k, "flush_when_all_0", starts=6, steps=300, seed=0)
        assert found.of_added == pytest.approx(1) and found.violations == 0
    marked = audit_search(9, 2, "mark0", starts=4, steps=150, seed=0)
    assert 0 < marked.of_added <= 1 + 1e-9


def test_an_audit_without_wrong_bits_has_no_share(monkeypatch):
    monkeypatch.setattr(paging_audit, "errors", lambda bits, truth: (0, 0))
    found = audit_all(2, 2, "flush_when_all_0")
    assert np.isnan(found.of_added) and found.violations == found.exchanged_violations == 0


def test_a_bound_that_is_false_is_found_out(monkeypatch):
    monkeypatch.setattr(paging_audit, "bound", lambda policy, k: (1.0, 0.5, 0.5))
    assert audit_all(5, 2, "flush_when_all_0").violations > 0
    assert audit_search(9, 2, "mark0", starts=3, steps=100, seed=0).violations > 0


def test_a_policy_without_bound_is_refused():
    assert harmonic(3) == pytest.approx(11 / 6)
    with pytest.raises(InputError, match="'lru' has no bound"):
        paging_audit.bound("lru", 3)
