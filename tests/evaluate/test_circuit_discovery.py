"""Scores of nodes beside single runs of the model with one thing replaced."""

import pytest
import torch

from tests.evaluate.circuits import TOKENS, a_task, every, random_transformer
from winnow.evaluate import circuit_discovery as discovery
from winnow.evaluate.contextual_decomposition import Node, _Propagation, reference_means
from winnow.workloads.names_language import indirect_objects, vocabulary, year_spans


def drop(model, task, patch):
    with torch.no_grad():
        logits = model.run(task.tokens)[0] - model.run(task.tokens, patch=patch)[0]
    return float((logits[:, -1] * task.weights).sum(1).mean())


def put(node, output):
    def patched(value):
        value = value.clone()
        node.of(value)[:] = output
        return value

    return patched


@pytest.mark.parametrize("rows", [3, 9, 1024])
def test_patching_is_what_single_runs_give_and_every_block_is_counted(rows, monkeypatch):
    monkeypatch.setattr(discovery, "NEIGHBOURS", rows)
    model = random_transformer(layers=3)
    task = a_task(model)
    found = discovery.activation_patching(model, task)
    for node in every(model):
        alone = drop(model, task, {node.hook: put(node, node.of(task.means[node.hook]))})
        assert float(found[node]) == pytest.approx(alone, abs=1e-10)
    # At the first position all sentences are alike, so that nothing changes there but by rounding.
    assert not found[2, :-1].any() and found[:2, 1:].all()
    assert task.blocks == 3 * 3 + 3 * 8 * (3 + 2 + 1)


def test_attribution_is_the_slope_of_moving_a_node_to_its_mean():
    model = random_transformer()
    task = a_task(model)
    found = discovery.attribution_patching(model, task)
    assert task.blocks == 3 * 3 * 2 and not found.requires_grad
    plain = model.run(TOKENS, save=["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"])[1]
    for node in every(model)[::3]:
        own = node.of(plain[node.hook])
        nearer = own + 1e-5 * (node.of(task.means[node.hook]) - own)
        slope = drop(model, task, {node.hook: put(node, nearer)}) / 1e-5
        assert float(found[node]) == pytest.approx(slope, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("rows", [3, 9, 1024])
def test_work_of_a_decomposition_is_every_block_that_is_run(rows, monkeypatch):
    """Counted at the attention's patterns, which a plain run has once in each block, and two parts a node."""
    model, ran = random_transformer(layers=3), []
    task = a_task(model)
    monkeypatch.setattr(discovery, "ROWS", rows)
    plain, parts = model.run, _Propagation.block
    monkeypatch.setattr(model, "run", lambda tokens, **kept: ran.append(len(tokens) * 3) or plain(tokens, **kept))

    def block(self, both, *arguments):
        ran.append(2 * len(self.sources) * len(TOKENS))
        return parts(self, both, *arguments)

    monkeypatch.setattr(_Propagation, "block", block)
    discovery.decomposition(model, task)
    assert task.blocks == sum(ran)
    discovery.decomposition(model, task, [Node(2, 1, 0)], [1.0])
    assert task.blocks == sum(ran)


def linear_transformer():
    model = random_transformer(normalization="none")
    with torch.no_grad():
        for block in model.blocks:
            block.mlp.down.weight.fill_(0)
            # Without biases that parts share, the parts of a linear network are exact.
            for bias in (block.mlp.down.bias, block.attn.value.bias, block.attn.output.bias):
                bias.fill_(0)
    return model


def test_in_the_last_layer_of_a_linear_network_all_methods_agree():
    model = linear_transformer()
    by_run = discovery.activation_patching(model, a_task(model))[1]
    assert by_run.abs().max() > 0.1
    for method in ("decomposition", "attribution_patching", "path_patching"):
        found = getattr(discovery, method)(model, a_task(model))
        torch.testing.assert_close(found[1].double(), by_run.double(), atol=1e-6, rtol=0)


def by_two_runs(model, task, source, receivers):
    """Path patching by its definition, with whole runs."""
    hooks = [f"blocks.{i}.attn.hook_z" for i in range(len(model.blocks))]
    plain = model.run(TOKENS, save=hooks)[1]
    recorded = {}

    def first(hook):
        def patched(value):
            recorded.update({node: node.of(value).clone() for node in receivers if node.hook == hook})
            kept = plain[hook].clone()
            if source.hook == hook:
                source.of(kept)[:] = source.of(task.means[hook])
            return kept

        return patched

    frozen = {hook: first(hook) for hook in hooks}
    if not receivers:
        return drop(model, task, frozen)
    model.run(TOKENS, patch=frozen)

    def second(hook):
        def patched(value):
            value = value.clone()
            for node, output in recorded.items():
                if node.hook == hook and node.layer > source.layer:
                    node.of(value)[:] = output
            return value

        return patched

    return drop(model, task, {hook: second(hook) for hook in hooks})


@pytest.mark.parametrize("receivers", [None, [Node(2, 3, 1)], [Node(1, 3, 0), Node(2, 2, 0), Node(2, 3, 1)]])
def test_path_patching_is_its_two_runs(receivers, monkeypatch):
    monkeypatch.setattr(discovery, "ROWS", 9)  # three nodes at once
    model = random_transformer(layers=3)
    task = a_task(model)
    found = discovery.path_patching(model, task, receivers)
    sources = [node for node in every(model) if receivers is None or node.layer < 2]
    for node in sources[::3] + sources[-1:]:
        assert float(found[node]) == pytest.approx(by_two_runs(model, task, node, receivers or []), abs=1e-10)
    assert receivers is None or not found[2].any()


def test_decomposition_towards_targets_is_a_weighted_share_of_what_they_differ_by():
    model = linear_transformer()
    task = a_task(model)
    with torch.no_grad():
        model.blocks[1].attn.query.weight.fill_(0)  # patterns that do not depend on what is read
        model.blocks[1].attn.query.bias.fill_(0)
        task.means = {name: torch.zeros_like(mean) for name, mean in task.means.items()}
        target = Node(1, 3, 1)
        whole = target.of(model.run(TOKENS, save=[target.hook])[1][target.hook])
        found = discovery.decomposition(model, task, [target, Node(1, 2, 0)], [2.0, 0.0])
        for node in every(model)[:8]:
            less = model.run(TOKENS, save=[target.hook], patch={node.hook: put(node, 0.0)})[1][target.hook]
            share = ((whole - target.of(less)) * whole).sum() / whole.square().sum()
            assert float(found[node]) == pytest.approx(2 * float(share), abs=1e-6)
    assert not found[1].any()


def test_tasks_measure_what_their_prompts_do():
    model = random_transformer(vocabulary=len(vocabulary()), dtype=torch.float32)
    logits = torch.randn(5, 20, len(vocabulary()), generator=torch.Generator().manual_seed(0))
    task = discovery.names_task(model, "test", 5, 7, 3, 1)
    prompts = indirect_objects("test", 5, 3, 1)
    assert torch.equal(task.tokens, prompts.tokens)
    torch.testing.assert_close(task.measure(logits[:, -1]), prompts.difference(logits))
    reference = reference_means(model, indirect_objects("train", 7, 3, 1).reference)
    assert all(torch.equal(task.means[name], mean) for name, mean in reference.items())
    years = discovery.years_task(model, "test", 5, 7, 3)
    first = vocabulary().index("y00")
    for weights, start in zip(years.weights, year_spans("test", 5, 3).start.tolist(), strict=True):
        of_years = weights[first : first + 100]
        assert (of_years[: start + 1] < 0).all() and (of_years[start + 1 :] > 0).all()
        assert float(of_years[: start + 1].sum()) == pytest.approx(-1, abs=1e-5)
        assert float(of_years.sum()) == pytest.approx(0, abs=1e-5) and int((weights != 0).sum()) == 100
