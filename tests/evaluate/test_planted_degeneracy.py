"""What is planted is there, nothing else is, and as much is free as a Jacobian of the behaviour says."""

import pytest
import torch

from winnow.dictionaries.interaction_basis import behavioural_jacobian
from winnow.evaluate.planted_degeneracy import KINDS, SPREAD, counts, modular_parts, planted_network


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_predicted_null_dimension_is_that_of_the_jacobian_and_of_the_hessian(kind, seed):
    found = counts(planted_network(kind, seed))
    assert found.predicted == found.counted == found.counted_in_hessian


def test_the_report_names_what_is_planted():
    layers = counts(planted_network("synchronised", 3)).layers
    assert [layer.layer for layer in layers] == ["0", "2", "4"]
    assert [layer.sync_blocks for layer in layers] == [1, 0, 0]
    assert layers[0].mixing == 3 * 3 + 5  # of the block, and scalings of the five others
    assert [(layer.inputs, layer.outputs) for layer in layers] == [(7, 8), (9, 8), (9, 3)]


def fired(planted):
    """bool[n, 8] of both layers of units."""
    with torch.no_grad():
        first = planted.model[:2](planted.x)
        return first > 0, planted.model[2:4](first) > 0


def test_a_network_has_its_sizes_and_600_rows_and_repeats_itself():
    model, x = planted_network("plain", 4)
    assert [(m.in_features, m.out_features) for m in model if isinstance(m, torch.nn.Linear)] == [
        (6, 8),
        (8, 8),
        (8, 3),
    ]
    assert x.shape == (600, 6) and x.dtype == model[0].weight.dtype == torch.float64
    assert len(planted_network("plain", 4, rows=50).x) == 50
    again, other = planted_network("plain", 4), planted_network("plain", 5)
    assert torch.equal(again.x, x) and torch.equal(again.model(x), model(x))
    assert not torch.allclose(other.x, x) and not torch.allclose(planted_network("duplicated", 4).x, x)
    assert abs(float(x.mean())) < 0.1 and float(x.std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_units_that_are_not_planted_fire_on_half_of_the_rows(kind):
    planted = planted_network(kind, 2)
    first, second = (found.double().mean(0) for found in fired(planted))
    odd = {"silent": [5], "always on": [5, 6], "synchronised": [0, 1, 2], "everything": [0, 1, 2]}.get(kind, [])
    rest = [unit for unit in range(8) if unit not in odd]
    assert first[rest].tolist() == [0.5] * len(rest) and second.tolist() == [0.5] * 8
    with torch.no_grad():
        made = planted.model[0](planted.x)
    if kind == "silent":
        assert float(made[:, 5].max()) == pytest.approx(-1)
    if kind == "always on":
        assert made[:, 5:7].min(0).values.tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("kind", KINDS)
def test_rows_span_all_inputs_or_four_dimensions_where_they_depend(kind):
    x = planted_network(kind, 1).x
    assert int(torch.linalg.matrix_rank(x)) == (4 if kind in ("dependent inputs", "everything") else 6)


@pytest.mark.parametrize("kind", KINDS)
def test_one_unit_is_another_times_a_factor_where_it_is_duplicated(kind):
    planted = planted_network(kind, 1)
    with torch.no_grad():
        made = planted.model[:2](planted.x)
    same = torch.corrcoef(made[:, made.std(0) > 0].T).fill_diagonal_(0) > 1 - 1e-9
    assert int(same.sum()) == (2 if kind in ("duplicated", "everything") else 0)
    if same.any():
        assert torch.allclose(made[:, 4], 1.7 * made[:, 3])


@pytest.mark.parametrize("kind", ["synchronised", "everything"])
@pytest.mark.parametrize("seed", range(3))
def test_three_units_fire_on_one_of_two_clusters_far_apart_and_the_next_layer_in_both(kind, seed):
    planted = planted_network(kind, seed)
    first, second = fired(planted)
    cluster = first[:, 0]
    assert torch.equal(first[:, :3], cluster[:, None].expand(-1, 3)) and 0.4 < float(cluster.double().mean()) < 0.6
    means = planted.x[cluster].mean(0), planted.x[~cluster].mean(0)
    apart = means[0] - means[1]
    assert float(apart.norm()) == pytest.approx(2 * SPREAD, rel=0.15)
    along = planted.x @ apart / apart.norm()
    # What else there was along that direction is down to a tenth: of 1, or of the longest axis of dependent inputs.
    most = 0.2 if kind == "synchronised" else 0.5
    assert float(along[cluster].std()) < most and float(along[~cluster].std()) < most
    with torch.no_grad():
        made = planted.model[0](planted.x)
    assert float(made[:, :3].abs().min()) > 1 and not planted.model[0].bias[:3].any()
    # They read the direction once to twice, and little else, each something else.
    read = planted.model[0].weight[:3].detach()
    shares = (read @ apart / apart.norm()).abs()
    assert float(shares.min()) > 0.9 and float(shares.max()) < 2.1
    assert int(torch.linalg.matrix_rank(read, atol=1e-3)) == 3 and float(read.norm(dim=1).max()) < 2.2
    for rows in (cluster, ~cluster):
        shares = second[rows].double().mean(0)
        assert float(shares.min()) > 0.02 and float(shares.max()) < 0.98
        others = first[rows][:, 3:].double().mean(0)
        assert float(others.min()) > 0.05 and float(others.max()) < 0.95


def test_free_directions_are_counted_among_all_parameters_by_the_tolerance_given():
    planted = planted_network("dependent inputs", 0)
    free = torch.linalg.svdvals(behavioural_jacobian(planted.model, planted.x))
    size = 6 * 8 + 8 + 8 * 8 + 8 + 8 * 3 + 3
    assert len(free) == size
    for tolerance in (1e-10, 0.1):
        assert counts(planted, tolerance).counted == size - int((free > tolerance * free.max()).sum())
    assert counts(planted).counted == counts(planted, 1e-10).counted < counts(planted, 0.1).counted


def test_an_output_of_a_module_depends_on_as_many_directions_as_it_has_inputs_and_on_no_other_modules():
    parts, x, module = modular_parts(3, 4, 0)
    assert x.shape == (1000, 12) and x.dtype == torch.float64 and module.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert float(x.mean()) == pytest.approx(0, abs=0.05) and float(x.std()) == pytest.approx(1, abs=0.05)
    whole = torch.nn.Sequential(*parts)
    assert not any(parameter.requires_grad for parameter in whole.parameters())
    slopes = torch.func.vmap(torch.func.jacrev(whole))(x[:100])
    reads = [slopes[:, 4 * m : 4 * m + 4].flatten(0, 1) for m in range(3)]
    assert [int(torch.linalg.matrix_rank(read, rtol=1e-9)) for read in reads] == [4] * 3
    for one in range(3):
        for other in range(one):
            assert float((reads[one] @ reads[other].T).abs().max()) < 1e-9
    # Not linear, and no input, nor what lies between the parts, shows a module by itself.
    assert not torch.allclose(slopes[0], slopes[1])
    assert all(
        float(weight.abs().min()) > 1e-6 for weight in (parts[0][0].weight, parts[0][2].weight, parts[1][0].weight)
    )
    assert int((parts[1][2].weight != 0).sum()) == 3 * 4 * 4
    between = parts[0](x)
    assert not torch.allclose(between, between.relu()) and not parts[0][2].bias.any() and parts[0][0].bias.all()


def test_what_lies_between_the_parts_is_turned_back_by_the_next():
    parts, x, _ = modular_parts(2, 3, 1)
    groups = parts[1][0].weight @ parts[0][2].weight  # from units of the first part to those of the second
    inside = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3)).bool()
    assert float(groups[~inside].abs().max()) < 1e-9 < float(groups[inside].abs().min())
    again, other = modular_parts(2, 3, 1), modular_parts(2, 3, 2)
    assert torch.equal(again[1], x) and not torch.allclose(other[1], x)
