"""Paths against all paths of a length by brute force, and graphs written out by hand."""

import pytest
import torch

from tests.evaluate.transcoders import model_of, transcoders
from winnow.errors import InputError
from winnow.evaluate import transcoder_circuits as circuits
from winnow.evaluate.transcoder_circuits import Node
from winnow.evaluate.transcoder_paths import Step, greedy_paths, latent_target, logits_target, to_graph
from winnow.workloads.names_language import vocabulary, year_spans

ONE = year_spans("train", 1, 3).tokens
LAST = ONE.shape[1] - 1


@pytest.fixture(scope="module")
def run():
    return circuits.trace(model_of(1), transcoders(), ONE)


@pytest.fixture(scope="module")
def target(run):
    latent = int(run.codes[2][0, -1].argmax())
    return latent_target(run, 2, latent, -1)


def giving(run, vector):
    """Every node that is no bias, and what it gives, from the rows that tell of them."""
    rows = [row for row in circuits.contributions(run, vector).rows() if row["kind"] != "bias" and row["value"] != 0]
    return {Node(row["kind"], row["layer"], row["unit"], row["token"]): row["value"] for row in rows}


def behind(run, vector, node):
    if node.kind == "latent":
        return circuits.through_latent(run, vector, node.layer, node.unit)
    return circuits.through_head(run, vector, node.layer, node.unit, node.token) if node.kind == "head" else None


def told(path):
    return [step.node for step in path], path[-1].value


def test_one_step_is_to_what_gives_most_whichever_its_sign(run, target):
    found = greedy_paths(run, target, depth=1, branches=7)
    expected = sorted(giving(run, target.vector).items(), key=lambda item: -abs(item[1]))[:7]
    assert [(path[-1].node, path[-1].value) for path in found] == [(node, pytest.approx(v)) for node, v in expected]
    assert all(path[0] == target and len(path) == 2 for path in found)
    assert min(path[-1].value for path in found) < 0 < max(path[-1].value for path in found)


def test_with_many_branches_all_paths_of_two_steps_are_weighed(run, target):
    found = greedy_paths(run, target, depth=2, branches=60)
    first = sorted(giving(run, target.vector).items(), key=lambda item: -abs(item[1]))[:60]
    second = []
    for node, _ in first:
        vector = behind(run, target.vector, node)
        second += [([target.node, node, further], v) for further, v in giving(run, vector).items()] if vector else []
    second.sort(key=lambda item: -abs(item[1]))
    paths = [told(path) for path in found if len(path) == 3]
    assert len(paths) == 60
    for (nodes, value), (expected, wanted) in zip(paths, second, strict=False):
        assert nodes == expected and value == pytest.approx(wanted)


def test_a_step_gives_what_is_left_of_the_end_where_its_own_sources_are_followed(run, target):
    """Down a path of latents and heads values multiply: scaling what the last node reads scales its value alike."""
    for path in greedy_paths(run, target, depth=3, branches=8):
        for before, step in zip(path, path[1:], strict=False):
            if step.vector is not None:
                total = circuits.contributions(run, step.vector).total
                assert float(total[0]) == pytest.approx(step.value, rel=1e-4, abs=1e-7)
                assert step.vector.place < before.vector.place


def test_nothing_is_looked_for_behind_leaves(run, target):
    found = greedy_paths(run, target, depth=4, branches=30)
    leaves = [path for path in found if path[-1].node.kind in ("embedding", "position", "error")]
    assert leaves and all(path[-1].vector is None for path in leaves)
    inner = {step.node.kind for path in found for step in path[1:-1]}
    assert inner <= {"latent", "head"} and inner
    # Where all paths have ended, there are no longer ones.
    assert max(map(len, greedy_paths(run, latent_target(run, 0, 0, 0), depth=6, branches=100))) <= 3


def test_a_cap_holds_each_step_to_the_weakest_latent_before_it(run, target):
    plain, capped = (greedy_paths(run, target, 3, 12, cap=cap) for cap in (False, True))
    small = target._replace(value=0.01)
    held = greedy_paths(run, small, 3, 12, cap=True)
    for paths in (capped, held):
        for path in paths:
            for i, step in enumerate(path[1:], 1):
                limit = min(abs(before.value) for before in path[:i] if before.node.kind == "latent")
                assert abs(step.value) <= limit * (1 + 1e-12)
    assert any(abs(step.value) > 0.01 for path in plain for step in path[1:])
    assert {abs(path[1].value) for path in held if len(path) == 2} == {0.01}
    assert {path[1].value for path in held} == {0.01, -0.01}
    weights = torch.randn(len(vocabulary()), generator=torch.Generator().manual_seed(0))
    free = logits_target(run, weights, -1)._replace(value=1e-9)
    # What no latent stands before is not held.
    assert max(abs(path[-1].value) for path in greedy_paths(run, free, 1, 5, cap=True)) > 1e-3


def test_targets_tell_their_own_size(run):
    target = latent_target(run, 1, 3, -2)
    assert target.node == Node("latent", 1, 3, LAST - 1)
    assert target.value == float(run.codes[1][0, LAST - 1, 3])
    weights = torch.randn(len(vocabulary()), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = float(run.model(ONE)[0, -1] @ weights.double())
    found = logits_target(run, weights, -1)
    assert found.value == pytest.approx(expected) and found.node == Node("logits", -1, -1, LAST)


@pytest.mark.parametrize(("depth", "branches"), [(0, 3), (2, 0)])
def test_a_search_without_extent_is_named(run, target, depth, branches):
    with pytest.raises(
        InputError, match=f"1 prompts, depth {depth}, branches {branches}; give one prompt, at least 1 each"
    ):
        greedy_paths(run, target, depth, branches)


def test_several_prompts_are_named(run):
    two = circuits.trace(model_of(1), transcoders(), year_spans("train", 2, 3).tokens)
    with pytest.raises(InputError, match="2 prompts, depth 3, branches 5; give one prompt"):
        greedy_paths(two, latent_target(two, 1, 0, 0))


A, B, C, D = (Node("latent", layer, 0, 0) for layer in (3, 2, 1, 0))


def path(*steps):
    return tuple(Step(node, value, None) for node, value in steps)


def edges(rows):
    ends = ("kind", "layer", "unit", "token")
    return {tuple(Node(*(row[f"{e}_{n}"] for n in ends)).layer for e in ("from", "to")): row["value"] for row in rows}


def test_paths_are_merged_by_node_and_each_way_counts_once():
    paths = [
        path((A, 10.0), (B, 4.0)),
        path((A, 10.0), (C, 3.0)),
        path((A, 10.0), (B, 4.0), (C, 2.0)),
        path((A, 10.0), (B, 4.0), (C, 2.0), (D, 1.0)),
        path((A, 10.0), (C, 3.0), (D, -0.5)),
    ]
    rows = to_graph(paths)
    assert edges(rows) == {(2, 3): 4.0, (1, 3): 3.0, (1, 2): 2.0, (0, 1): 0.5}
    assert {row["share"] for row in rows} == {0.4, 0.3, 0.2, 0.05}
    assert [abs(row["value"]) for row in rows] == sorted((abs(row["value"]) for row in rows), reverse=True)


@pytest.mark.parametrize(
    ("coverage", "expected"), [(0.4, {(2, 3)}), (0.41, {(2, 3), (1, 3)}), (0.8, {(2, 3), (1, 3), (1, 2)}), (1.0, 4)]
)
def test_weak_edges_are_left_out(coverage, expected):
    paths = [path((A, 10.0), (B, -4.0), (C, 2.0), (D, 1.0)), path((A, 10.0), (C, 3.0))]
    found = edges(to_graph(paths, coverage))
    assert len(found) == expected if isinstance(expected, int) else set(found) == expected


def test_edges_that_the_target_does_not_hang_on_are_left_out_as_well():
    paths = [path((A, 10.0), (B, 1.0), (C, 5.0), (D, 4.0)), path((A, 10.0), (D, 6.0))]
    assert set(edges(to_graph(paths, 0.9))) == {(0, 3)}
    assert set(edges(to_graph(paths, 1.0))) == {(0, 3), (2, 3), (1, 2), (0, 1)}


def test_a_target_of_size_zero_has_shares_of_one():
    assert to_graph([path((A, 0.0), (B, 2.0))])[0]["share"] == 2.0


@pytest.mark.parametrize(
    ("paths", "coverage"), [([], 0.5), ([path((A, 1.0), (B, 1.0))], 0.0), ([path((A, 1.0), (B, 1.0))], 1.1)]
)
def test_a_graph_of_nothing_is_named(paths, coverage):
    with pytest.raises(InputError, match=f"{len(paths)} paths, coverage {coverage}; give at least one path"):
        to_graph(paths, coverage)
