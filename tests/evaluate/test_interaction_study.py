import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from winnow.dictionaries.interaction_basis import interaction_basis, layer_values
from winnow.dictionaries.local_interaction_basis import local_interaction_basis
from winnow.evaluate.interaction_study import (
    BASES,
    agreement,
    all_strengths,
    attributions,
    bases_of,
    edge_rows,
    final_losses,
    invariance,
    loss_without_edges,
    modular_graph,
    purity,
    same_directions,
    strengths_of,
)
from winnow.pipeline.tables import metric_rows


def normal(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(2)
    parts = [nn.Sequential(nn.Linear(4, 6), nn.ReLU()), nn.Sequential(nn.Linear(6, 5), nn.ReLU()), nn.Linear(5, 4)]
    return [part.double().requires_grad_(False) for part in parts], normal(0, 300, 4), torch.eye(4).double()


def test_each_kind_is_that_of_its_own_function(network):
    parts, x, output = network
    expected = {kind: local_interaction_basis(parts, x, output, kind, seed=3) for kind in ("pca", "neuron", "random")}
    expected["ib"] = [*interaction_basis(parts, x, output), expected["pca"][-1]]
    assert set(BASES) == set(expected)
    for kind, layers in expected.items():
        found = bases_of(kind, parts, x, output, seed=3)
        assert len(found) == 4
        # Layers are named alike in both, so random turns are the same.
        assert all(a.into.equal(b.into) for a, b in zip(found, layers, strict=True))


def test_attributions_are_squared_shares_in_each_group(network):
    parts, x, output = network
    values, bases = layer_values(parts, x), bases_of("neuron", parts, x, output)
    found = attributions(parts[2:], values[2], bases[2], bases[-1], [1, 3])
    weight = parts[2].weight.square().T * (values[2] - values[2].mean(0)).square().mean(0)[:, None]
    np.testing.assert_allclose(found[:, 0], weight[:, 0], rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(found[:, 1], weight[:, 1:].sum(1), rtol=1e-10, atol=1e-15)


def test_purity_is_the_share_of_the_main_group_and_of_all_together():
    each, together = purity(np.array([[3.0, 1.0], [0.0, 0.0], [2.0, 2.0], [0.0, 8.0]]))
    np.testing.assert_array_equal(each, [0.75, np.nan, 0.5, 1.0])
    assert together == (3 + 2 + 8) / 16


def test_edges_are_kept_as_rows_and_read_again(network):
    parts, x, output = network
    strengths = all_strengths(parts, x, bases_of("ib", parts, x, output))
    assert [tuple(s.shape) for s in strengths] == [(4, 4), (4, 4), (4, 4)] or all((s >= 0).all() for s in strengths)
    table = pa.Table.from_pylist(edge_rows("ib", strengths) + edge_rows("pca", [strengths[0] + 1]))
    for own, found in zip(strengths, strengths_of(table, "ib"), strict=True):
        assert own.equal(found)
    assert strengths_of(table, "pca")[0].equal(strengths[0] + 1)
    assert edge_rows("ib", strengths)[1] == {
        "basis": "ib", "layer": 0, "from": 0, "to": 1, "strength": float(strengths[0][0, 1])
    }  # fmt: skip


def test_without_its_weak_edges_each_layer_is_made_from_the_rest(network):
    parts, x, output = network
    bases = bases_of("neuron", parts, x, output)
    strengths = all_strengths(parts, x, bases)
    threshold = float(torch.cat([s.flatten() for s in strengths]).median())
    seen = []
    loss_without_edges(parts, x, bases, strengths, lambda made: seen.append(made) or 0.0)(threshold)
    made = x
    for part, basis, strength in zip(parts, bases, strengths, strict=False):
        columns = []
        for j in range(strength.shape[1]):
            alone = torch.where(strength[:, j] >= threshold, made, basis.mean)
            columns.append(part(alone)[:, j])
        made = torch.stack(columns, 1)
    torch.testing.assert_close(seen[0], made)


def test_a_graph_of_two_networks_side_by_side_has_two_modules():
    parts = [nn.Sequential(nn.Linear(4, 4), nn.ReLU()).double(), nn.Linear(4, 4).double()]
    for part, linear in ((parts[0], parts[0][0]), (parts[1], parts[1])):
        part.requires_grad_(False)
        linear.weight.copy_(torch.block_diag(normal(1, 2, 2), normal(2, 2, 2)))
    x, output = normal(3, 400, 4), torch.eye(4).double()
    bases = bases_of("neuron", parts, x, output)
    strengths, target = all_strengths(parts, x, bases), parts[1](parts[0](x))

    def loss(made):
        return float((made - target).square().mean())

    measures, labels, threshold = modular_graph(parts, x, bases, strengths, loss, 1e-12, 0)
    assert [layer.tolist() for layer in labels[1:]] == [labels[1].tolist()] * 2
    assert agreement(labels[2], np.array([0, 0, 1, 1])) == 1
    assert measures["edges"] <= 16 and measures["edge_share"] == measures["edges"] / 32
    assert 0 < threshold <= min(float(s[s > 0].min()) for s in strengths) * 1.0000001
    assert 0.2 < measures["modularity"] <= 0.5 and measures["modularity_excess"] < measures["modularity"]
    assert measures["modularity_excess"] > 0.1


def test_agreement_is_over_nodes_of_which_both_are_known():
    assert agreement(np.array([0, 0, 1, 1, -1, 2]), np.array([5, 5, 3, 3, 3, -1])) == 1
    assert agreement(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])) < 0
    assert agreement(np.array([-1, 0]), np.array([0, 0])) == 0


def test_directions_are_compared_by_rank_and_degenerate_ones_left_out(network):
    parts, x, output = network
    own = bases_of("pca", parts, x, output)[0]
    np.testing.assert_allclose(same_directions(own, own, x, x), np.ones(4))
    turned = own._replace(into=-own.into, back=-own.back)
    np.testing.assert_allclose(same_directions(own, turned, x, x), np.ones(4))
    crossed = own._replace(into=own.into[:, [1, 0, 2, 3]])
    np.testing.assert_allclose(same_directions(own, crossed, x, x), [0, 0, 1, 1], atol=1e-9)
    fewer = own._replace(into=own.into[:, :3])
    np.testing.assert_allclose(same_directions(own, fewer, x, x), [1, 1, 1, 0], atol=1e-9)
    values = own.eigenvalues.clone()
    values[1] = values[2] * 1.0005
    near = own._replace(eigenvalues=values)
    assert len(same_directions(near, own, x, x)) == 2 and len(same_directions(near, own, x, x, 1e-4)) == 4


def test_a_disguise_leaves_the_interaction_basis_and_not_principal_components(network):
    parts, x, output = network
    mixing = normal(7, 6, 6)

    def first(rows):
        return torch.cat([parts[0](rows) @ mixing, rows @ normal(8, 4, 2)], dim=1)

    other = [first, lambda rows: parts[1](rows[:, :6] @ torch.linalg.inv(mixing)), parts[2]]
    found = {kind: invariance(parts, other, x, output, kind) for kind in ("ib", "pca")}
    assert found["ib"]["smallest_correlation"] > 0.9999 and found["pca"]["smallest_correlation"] < 0.9
    assert found["ib"]["compared"] == sum(len(b.eigenvalues) for b in bases_of("ib", parts, x, output)[1:3])
    assert found["pca"]["smallest_correlation"] < found["pca"]["mean_correlation"] < 1


def test_the_loss_of_a_training_is_its_last_whatever_the_order_of_rows():
    told = {"system": "s", "workload": "w", "seed": 0, "split": "train"}
    rows = [("loss", 0.3, 50), ("loss", 0.9, 25), ("other", 7.0, 75)]
    history = pa.concat_tables([metric_rows(rows, variant="a", **told), metric_rows(rows[1:], variant="b", **told)])
    assert final_losses(history) == {"a": 0.3, "b": 0.9}
