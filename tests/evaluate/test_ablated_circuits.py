"""Circuits beside plain runs of the model in which every other head is patched."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.circuits import a_task, every, random_transformer
from winnow.evaluate.ablated_circuits import Ablated
from winnow.evaluate.contextual_decomposition import Node


def patched(model, task, nodes):
    """The mean measure of a run of all blocks."""
    patch = {}
    for layer in range(len(model.blocks)):
        hook = f"blocks.{layer}.attn.hook_z"

        def taken(value, hook=hook):
            value = value.clone()
            for node in set(every(model)) - set(nodes):
                if node.hook == hook:
                    node.of(value)[:] = node.of(task.means[hook])
            return value

        patch[hook] = taken
    with torch.no_grad():
        return float((model.run(task.tokens, patch=patch)[0][:, -1] * task.weights).sum(1).mean())


@settings(max_examples=40, deadline=None)
@given(
    chosen=st.sets(st.integers(0, 23)),
    seed=st.integers(0, 9),
    normalization=st.sampled_from(["ln", "none"]),
)
def test_any_circuit_is_a_run_with_all_other_heads_at_their_means(chosen, seed, normalization):
    model = random_transformer(seed, layers=3, normalization=normalization)
    task = a_task(model)
    nodes = [every(model)[i] for i in sorted(chosen)]
    expected = patched(model, task, nodes)
    assert abs(Ablated(model, task).measure(nodes) - expected) <= 1e-10 * max(1, abs(expected))


def test_a_circuit_runs_once_and_again_only_where_a_node_counts_and_is_counted_each_time(monkeypatch):
    model = random_transformer(layers=3)
    task = a_task(model)
    circuits, run = Ablated(model, task), []
    own = circuits._measured
    monkeypatch.setattr(circuits, "_measured", lambda circuit: run.append(circuit) or own(circuit))
    nodes, blocks = [Node(0, 1, 0), Node(2, 3, 1)], task.blocks
    value = circuits.measure(nodes)
    # In the last block nothing reads what a head writes before the last position.
    assert circuits.measure(nodes[::-1]) == circuits.measure([*nodes, Node(2, 1, 1)]) == value and len(run) == 1
    assert circuits.measure(nodes[:1]) != value and len(run) == 2
    assert task.blocks == blocks + 4 * 3 * 3
