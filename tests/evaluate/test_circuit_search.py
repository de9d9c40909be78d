"""Circuits from scores: rounds, outliers and pruning beside their definitions, and faithfulness beside its own."""

import pytest
import torch

from tests.evaluate.circuits import TOKENS, a_task, every, random_transformer
from winnow.errors import InputError
from winnow.evaluate import circuit_discovery as discovery
from winnow.evaluate import circuit_search as search
from winnow.evaluate.ablated_circuits import Ablated
from winnow.evaluate.circuit_search import ranked
from winnow.evaluate.contextual_decomposition import Node


def test_rounds_keep_the_larger_score_and_who_reads_whom_is_told_between_chosen_nodes():
    model = random_transformer(layers=3)
    for method, score in (("cdt", discovery.decomposition), ("path", discovery.path_patching)):
        direct = score(model, a_task(model))
        best = [node for node in ranked(direct) if node.layer > 0][:2]
        told = [[float(direct[node]) for node in best]] if method == "cdt" else []
        later = score(model, a_task(model), best, *told)
        scores, number = search.in_rounds(model, a_task(model), method, 2, 2)
        torch.testing.assert_close(scores, torch.where(later.abs() > direct.abs(), later, direct))
        assert torch.equal(number == 1, later.abs() > direct.abs())
        assert torch.equal(search.in_rounds(model, a_task(model), method, 1, 2)[0], direct)
    each = sum(discovery.path_patching(model, a_task(model), [node]) for node in best)
    scores, _ = search.in_rounds(model, a_task(model), "path_single", 2, 2)
    torch.testing.assert_close(scores, torch.where(each.abs() > direct.abs(), each, direct))
    # Targets of one round are not those of the next, and there may be none left.
    assert search.in_rounds(model, a_task(model), "path", 9, 8)[1].max() <= 2
    nodes = [Node(0, 1, 0), Node(2, 3, 1), Node(1, 3, 0)]
    found = search.edges(model, a_task(model), nodes)
    assert [(a, b) for a, b, _ in found] == [(nodes[0], nodes[1]), (nodes[2], nodes[1]), (nodes[0], nodes[2])]
    expected = discovery.decomposition(model, a_task(model), [nodes[2]], [1.0])[nodes[0]]
    assert found[2][2] == pytest.approx(float(expected))
    for rounds, keep in ((0, 1), (1, 0)):
        with pytest.raises(InputError, match="at least 1"):
            search.in_rounds(model, a_task(model), "cdt", rounds, keep)


def test_a_round_may_go_to_a_single_node():
    model = random_transformer(layers=3)
    direct = discovery.path_patching(model, a_task(model))
    best = next(node for node in ranked(direct) if node.layer > 0)
    later = discovery.path_patching(model, a_task(model), [best])
    for method in ("path", "path_single"):
        scores, number = search.in_rounds(model, a_task(model), method, 2, 1)
        torch.testing.assert_close(scores, torch.where(later.abs() > direct.abs(), later, direct))
        assert torch.equal(number == 1, later.abs() > direct.abs())


def test_faithfulness_is_one_of_all_nodes_none_of_none_and_its_definition_between():
    model = random_transformer()
    task, order = a_task(model), every(model)[::-1]

    def measured(nodes):
        patch = {}
        for layer in range(2):
            hook = f"blocks.{layer}.attn.hook_z"

            def taken(value, hook=hook):
                value = value.clone()
                for node in set(order) - set(nodes):
                    if node.hook == hook:
                        node.of(value)[:] = node.of(task.means[hook])
                return value

            patch[hook] = taken
        return float((model.run(TOKENS, patch=patch)[0][:, -1] * task.weights).sum(1).mean())

    faithfulness = search.Faithfulness(model, task)
    found = faithfulness(order, [0, 5, 16])
    assert found[0] == 0 and found[2] == pytest.approx(1)
    share = (measured(order[:5]) - measured([])) / (measured(order) - measured([]))
    assert found[1] == pytest.approx(share, abs=1e-10)
    for sizes in ([], [-1], [17]):
        with pytest.raises(InputError, match="16 nodes"):
            faithfulness(order, sizes)
    assert faithfulness([*order[4::-1], *order[5:]], [5, 0, 16]) == [found[1], found[0], found[2]]
    task.weights.fill_(0)
    with pytest.raises(InputError, match="train the model longer"):
        search.Faithfulness(model, task)


def test_orders_go_from_high_to_low_and_chance_names_every_node_once():
    scores = torch.tensor([[[0.0, 2.0], [0.0, -3.0]]])
    assert ranked(scores) == [Node(0, 0, 1), Node(0, 0, 0), Node(0, 1, 0), Node(0, 1, 1)]
    model = random_transformer()
    orders = [search.random_order(model, a_task(model), seed) for seed in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == every(model) and orders[0] != orders[1]


def test_outliers_lie_three_deviations_above_the_mean_of_what_is_scored():
    scores = torch.zeros(3, 4, 5)
    scores[:2] = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))
    scores[1, 2, 3], scores[0, 1, 1], scores[0, 0, 0] = 9.0, 7.5, -20.0
    scored = scores[:2].double().numpy()
    least = scored.mean() + 3 * scored.std(ddof=1)
    assert search.outliers(scores) == [n for n in ranked(scores) if float(scores[n]) > least]
    scores[0, 0, 0] = 0.1
    assert search.outliers(scores) == [Node(1, 2, 3), Node(0, 1, 1)]
    assert search.outliers(torch.zeros(1, 2, 2)) == search.outliers(torch.ones(1, 1, 1)) == []


def test_outliers_of_rounds_are_those_of_each_towards_those_of_the_one_before(monkeypatch):
    monkeypatch.setattr(search, "OUTLIER", 0.0)
    model = random_transformer(layers=3)
    direct = discovery.decomposition(model, a_task(model))
    first = search.outliers(direct)
    targets = [node for node in first if node.layer > 0]
    assert targets
    later = discovery.decomposition(model, a_task(model), targets, [float(direct[node]) for node in targets])
    assert search.outliers_in_rounds(model, a_task(model), 1, direct) == first
    second = [node for node in search.outliers(later) if node not in first]
    assert search.outliers_in_rounds(model, a_task(model), 2, direct) == first + second


def test_pruning_leaves_no_node_without_which_the_measure_would_not_fall():
    model = random_transformer(layers=3)
    task = a_task(model)
    nodes = every(model)[:12]
    before = task.blocks
    left = search.pruned(model, task, nodes)
    assert left == [node for node in nodes if node in left] and len(left) < len(nodes) and task.blocks > before
    measured = Ablated(model, task).measure
    whole = measured(left)
    assert whole >= measured(nodes)
    for node in left:
        assert measured([other for other in left if other != node]) < whole
    # Removing a node that hurts makes the circuit better.
    assert search.pruned(model, task, []) == []
