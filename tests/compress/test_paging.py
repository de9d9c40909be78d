"""The optimum is that of a search over all evictions, policies are the textbook's, perfect bits cost the optimum."""

import random
from collections import OrderedDict
from functools import cache
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.compress.paging import DISCARD, PHASE, POLICIES, errors, lfd, next_requests, phase_truth, phases, simulate
from winnow.errors import InputError

traces = st.lists(st.integers(0, 5), min_size=1, max_size=9)
ALL = (*POLICIES, "lfd", "robust_flush", "robust_mark0")


def optimum(trace, k):
    """Least faults over every choice of what to evict."""

    @cache
    def best(t, held):
        if t == len(trace):
            return 0
        if trace[t] in held:
            return best(t + 1, held)
        if len(held) < k:
            return 1 + best(t + 1, held | {trace[t]})
        return 1 + min(best(t + 1, held - {out} | {trace[t]}) for out in held)

    return best(0, frozenset())


def bits_for(policy, trace, k):
    if policy in DISCARD:
        return lfd(np.array(trace), k)[1]
    return phase_truth(np.array(trace), k) if policy in PHASE else None


@settings(deadline=None, max_examples=150)
@given(traces, st.integers(1, 4))
def test_furthest_in_the_future_faults_as_little_as_can_be(trace, k):
    assert lfd(np.array(trace), k)[0] == optimum(tuple(trace), k)


@settings(deadline=None, max_examples=100)
@given(traces, st.integers(1, 4), st.integers(0, 9))
def test_true_discard_bits_make_two_policies_optimal(trace, k, seed):
    for policy in ("flush_when_all_0", "mark0", "mark0_returning", "blind"):
        assert simulate(np.array(trace), bits_for(policy, trace, k), k, policy, seed).faults == optimum(tuple(trace), k)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 8), min_size=1, max_size=60), st.integers(1, 5), st.data())
def test_no_policy_beats_the_optimum_whatever_the_bits(trace, k, data):
    bits = np.array(data.draw(st.lists(st.integers(0, 1), min_size=len(trace), max_size=len(trace))))
    least = lfd(np.array(trace), k)[0]
    for policy in ALL:
        found = simulate(np.array(trace), bits if policy in (*DISCARD, *PHASE, *ALL[-2:]) else None, k, policy)
        assert found.faults >= least
        assert found.faults == (~found.hits).sum() and found.faults - found.evictions <= k


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=80), st.integers(1, 6))
def test_lru_and_fifo_are_ordered_dictionaries(trace, k):
    for policy in ("lru", "fifo"):
        held, hits = OrderedDict(), []
        for page in trace:
            hits.append(page in held)
            if page in held and policy == "lru":
                held.move_to_end(page)
            elif page not in held:
                if len(held) == k:
                    held.popitem(last=False)
                held[page] = None
        assert simulate(np.array(trace), None, k, policy).hits.tolist() == hits


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=80), st.integers(1, 6), st.integers(0, 99))
def test_marking_evicts_no_page_of_the_phase(trace, k, seed):
    """So it has at most k faults a phase, and none on a page that was met in it before."""
    phase = phases(np.array(trace), k)
    for policy in ("marker", "mark_and_predict", "mark_and_predict_lru"):
        bits = bits_for(policy, trace, k)
        hits = simulate(np.array(trace), bits, k, policy, seed).hits
        met = set()
        for page, number, hit in zip(trace, phase.tolist(), hits.tolist(), strict=True):
            assert hit or (page, number) not in met
            met.add((page, number))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(1, 4))
def test_phases_and_their_bits_are_those_of_the_definition(trace, k):
    expected, distinct, number = [], set(), 0
    for page in trace:
        if page not in distinct and len(distinct) == k:
            number, distinct = number + 1, set()
        distinct.add(page)
        expected.append(number)
    assert phases(np.array(trace), k).tolist() == expected
    pages = {n: {p for p, m in zip(trace, expected, strict=True) if m == n} for n in range(number + 2)}
    truth = [int(p not in pages[n + 1]) for p, n in zip(trace, expected, strict=True)]
    assert phase_truth(np.array(trace), k).tolist() == truth


def test_a_worked_example():
    trace = np.array([1, 2, 3, 1, 2, 4, 1])
    faults, bits = lfd(trace, 2)
    # 1, 2 come in; 3 takes the place of 2, which is furthest; 2 takes that of 3, then 4 that of 2.
    assert faults == 5 and bits.tolist() == [0, 1, 1, 0, 1, 0, 0]
    assert next_requests(trace).tolist() == [3, 4, 7, 6, 7, 7, 7]
    assert errors(np.array([0, 0, 1, 1, 1, 0, 0]), bits) == (1, 1)


def test_when_all_bits_are_0_everything_goes():
    found = simulate(np.array([1, 2, 3, 1, 2]), np.zeros(5, int), 2, "flush_when_all_0")
    assert found.hits.tolist() == [False] * 5 and found.evictions == 4


def test_mark0_keeps_no_page_whose_bit_is_1():
    assert simulate(np.array([1, 1, 1]), np.ones(3, int), 2, "mark0").faults == 3
    assert simulate(np.array([1, 1, 1]), np.array([0, 1, 0]), 2, "mark0").faults == 2


def test_an_old_page_that_comes_back_takes_the_place_of_another_though_there_be_room():
    """3 begins a phase, in which one of 1 and 2 goes, and leaves at once; where 1 went, it comes back for 2."""
    trace, bits = np.array([1, 2, 3, 1, 2]), np.array([0, 0, 1, 0, 0])
    assert {simulate(trace, bits, 2, "mark0", seed).faults for seed in range(40)} == {4}
    assert {simulate(trace, bits, 2, "mark0_returning", seed).faults for seed in range(40)} == {4, 5}
    hits = [simulate(trace, bits, 2, "mark0_returning", seed).hits.tolist() for seed in range(40)]
    assert {tuple(each[3:]) for each in hits} == {(False, False), (True, False)}


def test_on_a_cycle_wrong_bits_cost_mark_and_predict_a_logarithm():
    k = 8
    trace = np.arange(9 * 400) % 9
    least = lfd(trace, k)[0]
    wrong = 1 - phase_truth(trace, k)
    harmonic = (1 / np.arange(1, k + 1)).sum()
    mean = np.mean([simulate(trace, wrong, k, "mark_and_predict", seed).faults for seed in range(10)])
    assert mean <= 2 * harmonic * least
    assert simulate(trace, None, k, "lru").faults == len(trace)


def test_robust_forms_cost_little_more_than_the_better_of_the_two():
    generator = np.random.default_rng(0)
    trace = generator.zipf(1.3, 4000) % 60
    truth = lfd(trace, 6)[1]
    for bits in (truth, 1 - truth, np.zeros_like(truth)):
        better = min(simulate(trace, bits, 6, p).faults for p in ("flush_when_all_0", "lru"))
        assert simulate(trace, bits, 6, "robust_flush").faults <= 3 * better


def test_equal_seeds_choose_alike_and_names_of_pages_do_not_matter():
    trace = np.random.default_rng(1).integers(0, 30, 500)
    first = simulate(trace, None, 7, "marker", 3)
    assert simulate(trace * 1000 + 17, None, 7, "marker", 3).hits.tolist() == first.hits.tolist()
    assert simulate(trace, None, 7, "marker", 4).hits.tolist() != first.hits.tolist()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: lfd(np.array([1]), 0), "k: is 0"),
        (lambda: lfd(np.array([0.5]), 1), "trace: is float64"),
        (lambda: lfd(np.array([[1]]), 1), r"trace: is int64 of shape \(1, 1\)"),
        (lambda: simulate(np.array([1]), None, 1, "lur"), "policy: unknown name 'lur'"),
        (lambda: simulate(np.array([1]), None, 1, "mark0"), "bits: mark0 needs one for each request"),
        (lambda: simulate(np.array([1]), np.array([0, 1]), 1, "mark0"), "bits: are 2 for 1 requests"),
        (lambda: simulate(np.array([1]), np.array([2]), 1, "mark0"), "others than 0 and 1"),
    ],
)
def test_impossible_input_is_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()


def reference_trace(kind, seed):
    """1,500 requests of up to 150 pages, drawn by Python's own generator, which stays as it is."""
    draw = random.Random(seed)
    if kind == "skewed":
        return [int(150 ** draw.random()) for _ in range(1500)]
    if kind == "uniform":
        return [draw.randrange(150) for _ in range(1500)]
    if kind == "loop":
        return [t % 60 for t in range(1500)]
    return [step % 150 for step in accumulate(draw.randint(-2, 2) for _ in range(1500))]


# Misses of LRU, LFU, FIFO and Belady in libcachesim 0.3.5, every object of size 1, `next_access_vtime` set for Belady.
LIBCACHESIM = {
    ("skewed", 0, 5): (1228, 1085, 1247, 917),
    ("skewed", 0, 20): (824, 680, 897, 505),
    ("skewed", 0, 50): (483, 417, 551, 270),
    ("skewed", 1, 5): (1272, 1057, 1282, 930),
    ("skewed", 1, 20): (851, 714, 915, 509),
    ("skewed", 1, 50): (513, 429, 589, 276),
    ("uniform", 0, 5): (1456, 1454, 1457, 1233),
    ("uniform", 0, 20): (1293, 1294, 1288, 865),
    ("uniform", 0, 50): (1006, 977, 993, 521),
    ("uniform", 1, 5): (1454, 1462, 1453, 1234),
    ("uniform", 1, 20): (1303, 1317, 1302, 873),
    ("uniform", 1, 50): (1019, 1027, 994, 534),
    ("loop", 0, 5): (1500, 1500, 1500, 1400),
    ("loop", 0, 20): (1500, 1500, 1500, 1025),
    ("loop", 0, 50): (1500, 1500, 1500, 300),
    ("walk", 0, 5): (486, 1163, 516, 384),
    ("walk", 0, 20): (135, 1057, 151, 123),
    ("walk", 0, 50): (108, 696, 108, 108),
    ("walk", 1, 5): (532, 1127, 557, 429),
    ("walk", 1, 20): (210, 946, 242, 181),
    ("walk", 1, 50): (99, 511, 93, 93),
}


@pytest.mark.parametrize(("kind", "seed", "k"), LIBCACHESIM)
def test_faults_are_the_misses_of_libcachesim(kind, seed, k):
    trace = np.array(reference_trace(kind, seed))
    found = tuple(simulate(trace, None, k, policy).faults for policy in ("lru", "lfu", "fifo", "lfd"))
    assert found == LIBCACHESIM[kind, seed, k]


@pytest.mark.parametrize("bit", [2, -1, 0.5])
def test_one_bit_that_is_none_among_others_is_refused(bit):
    with pytest.raises(InputError, match="bits: there are others than 0 and 1; correct the predictor"):
        simulate(np.array([1, 2, 3]), np.array([0, bit, 1]), 2, "blind")
