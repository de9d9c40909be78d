import math

import pytest
import torch

from winnow.dictionaries.planted import planted_dictionary, planted_hierarchy, recovery, sample_hierarchy
from winnow.errors import InputError


def test_rows_are_sparse_sums_of_unit_atoms():
    planted = planted_dictionary(10, 40, 3)
    torch.testing.assert_close(planted.atoms.norm(dim=1), torch.ones(10))
    rows = planted.sample(200, seed=1)
    weights = torch.linalg.lstsq(planted.atoms.T, rows.T).solution.T  # ten atoms in 40 dimensions: unique
    active = weights.abs() > 1e-3
    assert rows.shape == (200, 40) and active.sum(1).max() == 3 and active.any(1).all()
    assert (weights[active] >= 1 - 1e-3).all()


def test_an_atom_drawn_twice_counts_once():
    norms = planted_dictionary(1, 4, 3).sample(20_000, seed=0).norm(dim=1)
    assert float(norms.mean()) == pytest.approx(1 + (2 / math.pi) ** 0.5, abs=0.02)


@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_frequencies_follow_zipf(exponent):
    planted = planted_dictionary(50, 64, 1, exponent=exponent)
    rows = planted.sample(60_000, seed=0)
    hit = (torch.nn.functional.normalize(rows, dim=1) @ planted.atoms.T).argmax(1)
    share = torch.bincount(hit, minlength=50) / len(rows)
    expected = torch.arange(1, 51) ** -exponent
    torch.testing.assert_close(share, expected / expected.sum(), atol=0.01, rtol=0)


def test_rows_depend_on_the_seed_and_noise_is_added():
    planted = planted_dictionary(10, 8, 2, seed=1)
    assert torch.equal(planted.sample(5, 3), planted.sample(5, 3))
    assert not torch.equal(planted.sample(5, 3), planted.sample(5, 4))
    noise = planted.sample(4000, 3, noise=0.5) - planted.sample(4000, 3)
    assert float(noise.std()) == pytest.approx(0.5, rel=0.05)
    assert not torch.equal(planted.atoms, planted_dictionary(10, 8, 2, seed=2).atoms)


def test_recovery_is_the_mean_of_the_best_cosines():
    atoms = torch.tensor([[1.0, 0, 0], [0, 5.0, 0], [0, 0, 1]])
    assert recovery(torch.tensor([[3.0, 0, 0], [0, 1, 1]]), atoms) == pytest.approx((1 + 2 * 0.5**0.5) / 3)
    assert recovery(-torch.eye(3), atoms) == 0
    assert recovery(torch.eye(3)[[2, 0, 1]], atoms) == pytest.approx(1)


def test_children_are_active_only_with_their_parent():
    planted = planted_hierarchy(3, 2, 16)
    basis = torch.cat([planted.parents, planted.children.flatten(0, 1)])
    torch.testing.assert_close(basis @ basis.T, torch.eye(9), atol=1e-5, rtol=0)
    found = sample_hierarchy(planted, 8000, seed=0, parent_rate=0.3, child_rate=0.5)
    assert not (found.child[~found.parent_active] >= 0).any()
    weights = found.rows @ basis.T
    torch.testing.assert_close(weights[:, :3], found.parent_active.float(), atol=1e-5, rtol=0)
    for p in range(3):
        for c in range(2):
            torch.testing.assert_close(weights[:, 3 + 2 * p + c], (found.child[:, p] == c).float(), atol=1e-5, rtol=0)
    assert float(found.parent_active.float().mean()) == pytest.approx(0.3, abs=0.02)
    shares = [(found.child[found.parent_active] == c).float().mean().item() for c in (-1, 0, 1)]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.02)


def test_impossible_plants_are_named():
    with pytest.raises(InputError, match="raise d to at least 40"):
        planted_hierarchy(8, 4, 39)
    with pytest.raises(InputError, match="must be at least 1"):
        planted_dictionary(0, 4, 1)
