"""Work beside products of shapes."""

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from winnow.models.transformer import Transformer
from winnow.models.work import Work


def counted(run):
    with torch.no_grad(), Work() as work:
        run()
    return work.multiply_adds, work.entries, work.largest


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda: torch.zeros(3, 4) @ torch.zeros(4, 5), (60, 27 + 5, 20)),
        (lambda: torch.zeros(2, 3, 4) @ torch.zeros(2, 4, 5), (120, 64, 40)),
        (lambda: torch.zeros(6) + 1, (0, 12, 6)),
        (lambda: torch.zeros(6).view(2, 3).T[:1], (0, 6, 6)),
        (lambda: torch.empty(50), (0, 0, 50)),
        (lambda: torch.ones(2, 3).softmax(1), (0, 12, 6)),
        (lambda: torch.ones(2, 3).sum(), (0, 7, 6)),
    ],
)
def test_products_are_multiply_adds_and_the_rest_what_it_writes(run, expected):
    assert counted(run) == expected


def test_a_linear_layer_is_its_weights_times_its_rows():
    layer, x = nn.Linear(7, 3), torch.zeros(5, 2, 7)
    assert counted(lambda: layer(x))[0] == 5 * 2 * 7 * 3


@pytest.mark.parametrize("mask", [None, torch.ones(4, 6, dtype=torch.bool)])
def test_attention_is_two_products_masked_or_not(mask):
    query, key = torch.zeros(2, 3, 4, 8), torch.zeros(2, 3, 6, 8)
    assert counted(lambda: scaled_dot_product_attention(query, key, key, attn_mask=mask))[0] == 2 * 3 * 4 * 6 * 16


def test_a_model_is_what_torchs_own_counter_says_and_its_attention():
    model, x = Transformer(11, width=16, layers=2, heads=2), torch.zeros(3, 7, dtype=torch.int64)
    with torch.no_grad(), FlopCounterMode(display=False) as theirs:
        model(x)
    attention = 2 * 3 * 2 * 7 * 7 * 16  # layers, texts, heads, tokens squared, dimensions of keys and values
    assert counted(lambda: model(x))[0] == theirs.get_total_flops() // 2 + attention


def test_it_counts_inside_its_block_alone_and_adds_up():
    with Work() as work:
        torch.ones(4)
    torch.ones(9)
    assert (work.entries, work.total, work.largest) == (4, 4, 4)
    with Work() as work:
        torch.ones(2, 3) @ torch.ones(3, 2)
    assert work.total == 12 + 12
