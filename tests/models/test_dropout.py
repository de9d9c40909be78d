"""What is dropped follows torch's seed, at its rate and each number alone, and nothing is where nothing trains."""

import pytest
import torch

from winnow.models.dropout import Dropout


def dropped(p, seed, shape=(40, 51)):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
    torch.manual_seed(seed)
    return x, Dropout(p)(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_goes_through_and_comes_back_is_0_or_divided_by_the_share_that_is_kept(dtype):
    x = torch.randn(40, 51, dtype=dtype).requires_grad_()
    found = Dropout(0.25)(x)
    factors = found.detach() / x.detach()
    assert found.dtype == dtype and torch.allclose(factors[factors > 0], torch.tensor(4 / 3, dtype=dtype))
    found.sum().backward()
    assert torch.equal(x.grad == 0, found == 0) and torch.allclose(x.grad, factors)


def test_torchs_seed_decides_what_is_dropped():
    assert torch.equal(dropped(0.3, 1)[1], dropped(0.3, 1)[1])
    assert not torch.equal(dropped(0.3, 1)[1], dropped(0.3, 2)[1])
    torch.manual_seed(1)
    drops, x = Dropout(0.3), torch.ones(40, 51)
    assert not torch.equal(drops(x), drops(x))


def test_one_number_that_is_dropped_tells_nothing_of_those_beside_it():
    torch.manual_seed(4)
    kept = (Dropout(0.5)(torch.ones(4000, 53)) > 0).double() - 0.5
    for apart in (1, 2, 3, 4, 8):  # four draws share a word; a standard error is 0.25 / sqrt(pairs)
        together = (kept[:, apart:] * kept[:, :-apart]).mean()
        assert abs(float(together)) < 4 * 0.25 / (4000 * (53 - apart)) ** 0.5


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_keeps_what_is_expected_of_each_number(p):
    torch.manual_seed(3)
    drops = Dropout(p)
    found = torch.stack([drops(torch.ones(50)) for _ in range(4000)])
    # Standard errors: of a mean of 4,000 for each number, of 200,000 for all of them.
    deviation = (p / (1 - p)) ** 0.5
    assert (found.mean(0) - 1).abs().max() < 4.5 * deviation / 4000**0.5
    assert abs(float(found.mean()) - 1) < 4 * deviation / 200_000**0.5
    assert found.unique().tolist() == pytest.approx([0.0, 1 / (1 - p)], rel=1e-4)


def test_changes_nothing_where_nothing_trains():
    x = torch.randn(4, 5)
    assert Dropout(0.3).eval()(x) is x
    assert Dropout(0.0)(x) is x
