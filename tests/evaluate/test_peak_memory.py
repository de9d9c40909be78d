"""Bytes that are alive at a time, where they can be counted by hand."""

import torch

from winnow.evaluate.peak_memory import PeakMemory


def test_bytes_are_counted_while_they_live_and_their_most_is_kept():
    weight = torch.zeros(1000)
    with PeakMemory([weight]) as memory:
        assert memory.now == memory.peak == 4000
        made = weight + 1
        assert memory.now == 8000
        view = made.view(10, 100)[:5]
        del made
        assert memory.now == 8000  # the view keeps all of it
        del view
        assert memory.now == 4000
        made = (weight * 2) * 3
        assert memory.now == 8000 and memory.peak == 12000
        for _ in range(5):
            small = torch.zeros(500)
    assert memory.now == 10000 and memory.peak == 12000 and small.sum() == 0 == made.sum()


def test_what_shares_memory_counts_once_and_nothing_counts_for_nothing():
    weight = torch.zeros(6, dtype=torch.float64)
    memory = PeakMemory([weight, weight[2:], weight.view(2, 3), torch.zeros(0)])
    assert memory.now == 48 == memory.peak


def test_a_matrix_product_needs_its_operands_and_its_result():
    a, b = torch.zeros(20, 30), torch.zeros(30, 40)
    with PeakMemory([a, b]) as memory:
        a @ b
    assert memory.peak == 4 * (600 + 1200 + 800) and memory.now == 4 * 1800
