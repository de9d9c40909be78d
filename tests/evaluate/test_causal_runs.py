"""What is computed only where a source reaches beside runs of all positions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.circuits import TOKENS, a_task, random_transformer
from tests.evaluate.test_circuit_discovery import by_two_runs
from winnow.evaluate import circuit_discovery as discovery
from winnow.evaluate.contextual_decomposition import MLP, Node, Tokens, propagate, reference_means

RULES = [("fixed", False), ("split", False), ("fixed", True), ("split", True)]
PLACE = st.tuples(st.integers(1, 2), st.integers(0, 3), st.integers(0, 1)).map(lambda place: Node(*place))


def close(found, expected):
    for part, whole in zip(found, expected, strict=True):
        torch.testing.assert_close(part, whole, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize(("pattern", "signs"), RULES)
@pytest.mark.parametrize("normalization", ["ln", "none"])
def test_parts_without_positions_before_the_sources_are_those_with_all(pattern, signs, normalization):
    """With something saved nothing is left out."""
    model = random_transformer(layers=3, normalization=normalization)
    means = reference_means(model, TOKENS.flip(0))
    lots = (
        [frozenset({Node(0, 2, 1)}), frozenset({Node(1, 3, 0), Node(0, 2, MLP)})],
        [frozenset({Node(2, 3, 0)})],
        [frozenset({Node(1, 1, 0)}), Tokens({2, 3})],
    )
    for sources in lots:
        arguments = (means, pattern, signs)
        found = propagate(model, TOKENS, sources, None, *arguments, last=True).logits
        whole = propagate(model, TOKENS, sources, None, *arguments, save=["blocks.2.hook_resid_post"]).logits
        close(found, [part[:, :, -1:] for part in whole])
        assert found.rel.abs().max() > 1e-3
        targets = [Node(2, position, head) for position in range(4) for head in (0, 1, MLP)]
        found = propagate(model, TOKENS, sources, targets, *arguments)
        whole = propagate(model, TOKENS, sources, targets, *arguments, save=["blocks.2.hook_resid_pre"])
        assert not found.saved and list(found.targets) == targets
        for target in targets:
            close(found.targets[target], whole.targets[target])


@pytest.mark.parametrize(("pattern", "signs"), RULES)
def test_nodes_at_near_positions_get_the_scores_they_get_all_at_once_for_the_same_work(pattern, signs, monkeypatch):
    model, targets = random_transformer(layers=3), [Node(2, 1, 0), Node(1, 2, 1)]
    tasks, scores = [], []
    for rows in (1024, 3, 9):
        monkeypatch.setattr(discovery, "NEIGHBOURS", rows)
        tasks.append(task := a_task(model))
        arguments = {"pattern": pattern, "clean_signs": signs}
        by_target = discovery.decomposition(model, task, targets, [1.0, 2.0], **arguments)
        given_by = discovery.shares(model, task, targets)
        scores.append([discovery.decomposition(model, task, **arguments), by_target, *given_by.values()])
        scores[-1].append(discovery.activation_patching(model, task))
    assert len({task.blocks for task in tasks}) == 1
    for found in scores[1:]:
        close(found, scores[0])


@settings(max_examples=25, deadline=None)
@given(
    receivers=st.sets(PLACE, min_size=1, max_size=4),
    source=PLACE.map(lambda node: node._replace(layer=node.layer - 1)),
    rows=st.sampled_from([3, 9, 1024]),
    normalization=st.sampled_from(["ln", "none"]),
)
def test_paths_to_any_receivers_are_two_whole_runs_and_counted_as_such(receivers, source, rows, normalization):
    model, receivers = random_transformer(layers=3, normalization=normalization), sorted(receivers)
    task, depth = a_task(model), max(node.layer for node in receivers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "ROWS", rows)
        found = discovery.path_patching(model, task, receivers)
    if source.layer < depth:
        expected = by_two_runs(model, task, source, receivers)
        assert abs(float(found[source]) - expected) <= 1e-9 * max(1, abs(expected))
    # A plain run, then of each of 8 nodes a layer and 3 sentences the blocks up to the receivers, and from them on.
    again = [3 - min(node.layer for node in receivers if node.layer > layer) for layer in range(depth)]
    assert task.blocks == 3 * 3 + 3 * 8 * sum(depth + 1 - layer + again[layer] for layer in range(depth))
