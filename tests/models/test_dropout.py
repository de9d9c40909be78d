"""What is dropped follows one uniform number each, at its rate, and nothing is where nothing trains."""

import pytest
import torch

from winnow.models.dropout import Dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_drops_by_one_uniform_number_each(p):
    x = torch.randn(40, 50, generator=torch.Generator().manual_seed(1), requires_grad=True)
    torch.manual_seed(2)
    kept = torch.rand(40, 50) < 1 - p
    after = torch.rand(3)
    torch.manual_seed(2)
    found = Dropout(p)(x)
    assert torch.equal(found, x * kept.float().div_(1 - p))
    assert torch.equal(torch.rand(3), after)
    found.sum().backward()
    assert torch.equal(x.grad, kept.float().div_(1 - p))


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_keeps_what_is_expected_of_each_number(p):
    torch.manual_seed(3)
    drops = Dropout(p)
    found = torch.stack([drops(torch.ones(50)) for _ in range(4000)])
    # Standard errors: of a mean of 4,000 for each number, of 200,000 for all of them.
    deviation = (p / (1 - p)) ** 0.5
    assert (found.mean(0) - 1).abs().max() < 4.5 * deviation / 4000**0.5
    assert abs(float(found.mean()) - 1) < 4 * deviation / 200_000**0.5
    assert set(found.unique().tolist()) == {0.0, float(torch.ones(1).div_(1 - p))}


def test_changes_nothing_where_nothing_trains():
    x = torch.randn(4, 5)
    assert Dropout(0.3).eval()(x) is x
    assert Dropout(0.0)(x) is x
