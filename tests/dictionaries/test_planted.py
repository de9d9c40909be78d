import math
from dataclasses import FrozenInstanceError

import pytest
import torch

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.planted import (
    hierarchy_absorption,
    planted_dictionary,
    planted_hierarchy,
    recovery,
    sample_hierarchy,
)
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


def test_a_repeated_draw_counts_once_wherever_it_stands_among_the_others():
    planted = planted_dictionary(3, 8, 7)
    weights = torch.linalg.lstsq(planted.atoms.T, planted.sample(20_000, seed=0).T).solution.T
    hit = weights[weights.abs() > 1e-3]
    # 1 + |normal|, whose standard deviation is 0.6: the mean of 50,000 is off by 0.003.
    assert len(hit) > 50_000 and float(hit.mean()) == pytest.approx(1 + (2 / math.pi) ** 0.5, abs=0.015)


def test_frequencies_are_the_probabilities_of_one_draw():
    total = 1 + 1 / 2 + 1 / 3 + 1 / 4
    assert planted_dictionary(4, 2, 1).frequency.tolist() == pytest.approx([1 / j / total for j in (1, 2, 3, 4)])


def test_what_is_planted_where_nothing_else_is_asked():
    planted = planted_dictionary()
    assert planted.atoms.shape == (800, 128) and planted.active == 12
    same = planted_dictionary(800, 128, 12, exponent=1.0, seed=0)
    assert torch.equal(planted.atoms, same.atoms) and torch.equal(planted.frequency, same.frequency)
    hierarchy = planted_hierarchy()
    assert hierarchy.parents.shape == (8, 64) and hierarchy.children.shape == (8, 4, 64)
    assert torch.equal(hierarchy.parents, planted_hierarchy(8, 4, 64, seed=0).parents)
    found = sample_hierarchy(hierarchy, 20_000, seed=1)
    assert float(found.parent_active.double().mean()) == pytest.approx(0.2, abs=0.01)
    with_child = found.child[found.parent_active] >= 0
    assert float(with_child.double().mean()) == pytest.approx(0.6, abs=0.01)


def test_what_is_planted_is_not_changed_afterwards():
    with pytest.raises(FrozenInstanceError):
        planted_dictionary(4, 2, 1).active = 2


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


def test_recovery_is_the_definition_on_atoms_of_any_length_and_angle():
    generator = torch.Generator().manual_seed(0)
    atoms, decoder = torch.randn(6, 3, generator=generator), torch.randn(9, 3, generator=generator)
    best = [max(float(torch.cosine_similarity(a, b, dim=0)) for b in decoder) for a in atoms]
    assert recovery(decoder, atoms) == pytest.approx(sum(best) / 6, abs=1e-6)


def absorbing(planted):
    """A dictionary in which the children of parent 0 take it over: their latents show both, its own falls silent."""
    (p, c, d), half = planted.children.shape, 0.5**0.5
    children = planted.children.flatten(0, 1)
    decoder = torch.cat([planted.parents, children])
    encoder = decoder.clone()
    decoder[p : p + c] = (planted.parents[0] + children[:c]) * half
    encoder[p : p + c] = children[:c] / half
    encoder[0] -= children[:c].sum(0)
    m = len(decoder)
    return Dictionary(
        encoder.T.contiguous(), torch.zeros(m), decoder, torch.zeros(d), torch.zeros(d), torch.full((m,), 1e-3),
        "relu_l1", "jumprelu",
    )  # fmt: skip


def test_absorption_of_a_hierarchy_is_the_mean_over_its_parents_judged_on_the_second_half():
    planted = planted_hierarchy(2, 10, 22)
    dictionary = absorbing(planted)
    # Ten rare children: none of their latents adds the gain that would make it a main one.
    sampled = sample_hierarchy(planted, 3001, seed=2, parent_rate=0.5, child_rate=0.2)
    torch.testing.assert_close(dictionary.reconstruct(sampled.rows), sampled.rows, atol=1e-5, rtol=0)
    assert sampled.parent_active[1500, 0]  # the first row that is judged counts
    judged = sampled.child[1500:, 0][sampled.parent_active[1500:, 0]]
    taken_over = float((judged >= 0).double().mean())
    assert 0.1 < taken_over < 0.3
    assert hierarchy_absorption(dictionary, sampled) == pytest.approx(taken_over / 2)  # parent 1 is never absorbed
    # A parent that no row shows, and that is rare: the probe never says yes.
    unseen = torch.arange(3001) % 100 == 0
    three = sampled._replace(parent_active=torch.stack([*sampled.parent_active.T, unseen], dim=1))
    assert hierarchy_absorption(dictionary, three) == pytest.approx(taken_over / 2)
    assert hierarchy_absorption(dictionary, sampled._replace(parent_active=unseen[:, None])) is None


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
    for features, d, active in ((0, 4, 1), (4, 0, 1), (4, 4, 0)):
        with pytest.raises(InputError, match=f"features, d, active: {features}, {d}, {active}; all must be at least"):
            planted_dictionary(features, d, active)
    for parents, children in ((0, 4), (4, 0), (0, 0)):
        with pytest.raises(InputError, match=f"parents, children: {parents}, {children}; both must be at least 1"):
            planted_hierarchy(parents, children, 40)


def test_the_smallest_plants_are_possible():
    assert planted_dictionary(1, 1, 1).sample(3, seed=0).shape == (3, 1)
    planted = planted_hierarchy(1, 1, 2)
    assert planted.parents.shape == (1, 2) and planted.children.shape == (1, 1, 2)
