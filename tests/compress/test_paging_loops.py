"""Each compiled loop does request by request what its policy says, written out with lists and sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.compress import _paging_loops as loops

traces = st.lists(st.integers(0, 6), min_size=1, max_size=40)
sizes = st.integers(1, 4)
POLICIES = {
    "lru": loops.LRU, "lfu": loops.LFU, "fifo": loops.FIFO, "marker": loops.MARKER, "blind": loops.BLIND,
    "flush": loops.FLUSH, "mark0": loops.MARK0, "mark_predict": loops.MARK_PREDICT,
    "mark_predict_lru": loops.MARK_PREDICT_LRU, "mark0_returning": loops.MARK0_RETURNING,
}  # fmt: skip


def numbered(trace):
    """Pages from 0 on without gaps, as the loops take them."""
    return np.unique(np.array(trace), return_inverse=True)[1].astype(np.int64)


def victims(cache, policy, draw):
    """The pages that leave a full cache; cache: slots, and of each page its bit, mark, last use, entry and uses."""
    slots, told = cache["slots"], [page for page in cache["slots"] if cache["bit"][page] == 1]
    recent = cache["last"].get
    if policy == "flush":
        return [min(told, key=recent)] if told else list(slots)
    if policy == "blind" and told:
        return [min(told, key=recent)]
    if policy == "fifo":
        return [min(slots, key=cache["entered"].get)]
    if policy == "lfu":
        return [min(slots, key=lambda page: (cache["uses"][page], recent(page)))]
    if policy in ("lru", "blind"):
        return [min(slots, key=recent)]
    if all(page in cache["marked"] for page in slots):
        cache["marked"].clear()
        cache["old"] = set(slots)
    unmarked = [page for page in slots if page not in cache["marked"]]
    if policy.startswith("mark_predict"):
        unmarked = [page for page in unmarked if cache["bit"][page] == 1] or unmarked
    if policy == "mark_predict_lru":
        return [min(unmarked, key=recent)]
    return [unmarked[int(draw * len(unmarked))]]


def served(trace, bits, k, policy, draws):
    """(hits, (page, request) of each eviction) of a policy, written out."""
    cache = {"slots": [], "bit": {}, "marked": set(), "last": {}, "entered": {}, "uses": {}, "old": set()}
    hits, gone = [], []

    def leave(page, t):
        gone.append((page, t))
        slots, place = cache["slots"], cache["slots"].index(page)
        slots[place], slots[-1] = slots[-1], slots[place]  # the last one takes its place
        slots.pop()
        cache["marked"].discard(page)

    for t, (page, bit) in enumerate(zip(trace, bits, strict=True)):
        hits.append(page in cache["slots"])
        if not hits[-1]:
            # An old page is one that was held when the phase began; others of its kind are those not yet marked.
            returns = page in cache["old"] and not set(cache["slots"]) <= cache["marked"]
            if len(cache["slots"]) == k or (policy == "mark0_returning" and returns):
                for other in victims(cache, policy, draws[t]):
                    leave(other, t)
            cache["slots"].append(page)
            cache["entered"][page], cache["uses"][page] = t, 0
        cache["bit"][page], cache["last"][page] = bit, t
        cache["uses"][page] += 1
        cache["marked"].add(page)
        if policy in ("mark0", "mark0_returning") and bit == 1:
            leave(page, t)
    return hits, gone


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=60)
@given(trace=traces, k=sizes, seed=st.integers(0, 99))
def test_a_policy_serves_and_evicts_as_written_out(policy, trace, k, seed):
    generator = np.random.default_rng(seed)
    pages, bits, draws = numbered(trace), generator.integers(0, 2, len(trace)), generator.random(len(trace))
    hits, gone, when = loops.serve(pages, bits.astype(np.uint8), k, POLICIES[policy], draws)
    expected, left = served(pages.tolist(), bits.tolist(), k, policy, draws.tolist())
    assert hits.tolist() == expected
    assert sorted(zip(gone.tolist(), when.tolist(), strict=True)) == sorted(left)
    assert when.tolist() == sorted(when.tolist())


@settings(max_examples=60)
@given(traces, sizes)
def test_furthest_ahead_goes_and_of_pages_that_never_come_again_the_least_number(trace, k):
    pages = numbered(trace).tolist()

    def coming(page, t):
        return next((i for i in range(t + 1, len(pages)) if pages[i] == page), len(pages))

    following = np.array([coming(page, t) for t, page in enumerate(pages)])
    held, hits, truth = {}, [], [0] * len(pages)  # page -> the request that last brought or met it
    for t, page in enumerate(pages):
        hits.append(page in held)
        if page not in held and len(held) == k:
            out = max(held, key=lambda other: (following[held[other]], -other))
            truth[held.pop(out)] = 1
        held[page] = t
    found, bits = loops.lfd(np.array(pages), following, k)
    assert found.tolist() == hits and bits.tolist() == truth


@given(traces, sizes)
def test_a_phase_ends_before_the_page_that_would_be_one_too_many(trace, k):
    expected, seen = [], set()
    for page in trace:
        if len(seen | {page}) > k:
            seen = set()
            expected.append(expected[-1] + 1)
        else:
            expected.append(expected[-1] if expected else 0)
        seen.add(page)
    assert loops.phases(numbered(trace), k).tolist() == expected


def follower(trace, k, both, switch):
    """(hits, evictions) of a cache that follows one of two until it costs `switch` times what the other does."""
    held, own, cost, follows = [set(), set()], set(), [0, 0], 0
    hits, evictions = [], 0
    for t, page in enumerate(trace):
        for a, (served_, gone) in enumerate(both):
            cost[a] += not served_[t]
            held[a] = (held[a] | {page}) - {other for other, at in gone if at == t}
        if cost[follows] > switch * cost[1 - follows]:
            follows = 1 - follows
        hits.append(page in own)
        if page not in own and len(own) == k:
            own.remove(min(own - held[follows]))
            evictions += 1
        own.add(page)
    return hits, evictions


@settings(max_examples=80)
@given(
    trace=traces,
    k=sizes,
    seed=st.integers(0, 99),
    first=st.sampled_from(["flush", "mark0"]),
    switch=st.sampled_from([1.0, 2.0]),
)
def test_a_robust_policy_evicts_what_the_one_it_follows_does_not_hold(trace, k, seed, first, switch):
    generator = np.random.default_rng(seed)
    pages, draws = numbered(trace), generator.random(len(trace))
    bits = generator.integers(0, 2, len(trace)).astype(np.uint8)
    both = [loops.serve(pages, bits, k, POLICIES[name], draws) for name in (first, "lru")]
    hits, evictions = loops.follow(pages, k, *both, switch)
    plain = [(served_.tolist(), list(zip(gone.tolist(), when.tolist(), strict=True))) for served_, gone, when in both]
    assert (hits.tolist(), evictions) == follower(pages.tolist(), k, plain, switch)


def test_an_empty_trace_is_served():
    empty = np.zeros(0, np.int64)
    hits, gone, when = loops.serve(empty, empty.astype(np.uint8), 2, loops.LRU, np.zeros(0))
    assert not len(hits) and not len(gone) and not len(when) and not len(loops.phases(empty, 2))
    assert loops.follow(empty, 2, (hits, gone, when), (hits, gone, when), 2.0)[1] == 0
    assert [len(part) for part in loops.lfd(empty, empty, 2)] == [0, 0]
