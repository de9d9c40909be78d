"""What is dropped is what torch's Bernoulli numbers drop, and nothing where nothing trains."""

import pytest
import torch

from winnow.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_drops_by_torchs_bernoulli_numbers(p):
    x = torch.randn(40, 50, generator=torch.Generator().manual_seed(1), requires_grad=True)
    torch.manual_seed(2)
    # A tensor of chances, unlike one chance for all, has the same numbers on every processor.
    kept = torch.bernoulli(torch.full((40, 50), 1 - p, dtype=torch.float64))
    after = torch.rand(3)
    torch.manual_seed(2)
    found = Dropout(p)(x)
    assert torch.equal(found, x * kept.float().div_(1 - p))
    assert torch.equal(torch.rand(3), after)
    found.sum().backward()
    assert torch.equal(x.grad, kept.float().div_(1 - p))


def test_changes_nothing_where_nothing_trains():
    x = torch.randn(4, 5)
    assert Dropout(0.3).eval()(x) is x
    assert Dropout(0.0)(x) is x
