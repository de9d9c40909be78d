from types import SimpleNamespace

import numpy as np
import pytest
import torch

from winnow.dictionaries.interaction_basis import behavioural_hessian, layer_values, logit_gauge
from winnow.evaluate.interaction_study import all_strengths, bases_of, purity
from winnow.evaluate.pair_judge import PairJudge
from winnow.evaluate.pair_networks import network_of, pair_accuracy, pair_loss, train_pairs
from winnow.workloads.digit_pairs import digit_pairs, rotation

SETTINGS = SimpleNamespace(
    allowed=0.05, seed=0, condition=10.0, junk=2, tolerances=[0.1, 0.01], probes=60, lanczos_steps=300
)
CLASSES = 3


@pytest.fixture(scope="module")
def judged():
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(30) % CLASSES
    images = torch.randn(CLASSES, 4, generator=draw)[labels] + 0.3 * torch.randn(30, 4, generator=draw)
    pairs = digit_pairs(images, labels, 200, rotation(8, 0), 0, "train")
    tensors = {}
    for name, question in (("network", "apart"), ("apart", "apart"), ("coupled", "coupled")):
        arguments = {"batch_size": 32, "learning_rate": 0.02, "weight_decay": 0.0, "seed": 0, "name": name}
        model, _ = train_pairs(pairs.x, pairs.answers(question, CLASSES), [7, 7], CLASSES, steps=80, **arguments)
        tensors |= {f"{name}.{key}": value for key, value in model.state_dict().items()}
    return PairJudge(tensors, pairs, SETTINGS, CLASSES), tensors, pairs


@pytest.fixture(scope="module")
def told(judged):
    judge, _, _ = judged
    bases = bases_of("ib", judge.parts, judge.x, logit_gauge([CLASSES] * 2))
    return judge.basis("ib", bases, all_strengths(judge.parts, judge.x, bases)), bases


def test_layers_have_their_rank_and_purity_and_the_basis_the_means_of_hidden_ones(told):
    (measures, nodes, _), bases = told
    assert set(measures) == {"ib", "ib-input", "ib-hidden1", "ib-hidden2", "ib-output"}
    assert [measures[f"ib-{layer}"]["rank"] for layer in ("input", "hidden1", "hidden2", "output")] == [
        len(basis.eigenvalues) for basis in bases
    ]
    assert measures["ib-hidden2"]["rank"] <= 4  # six logits of two softmaxes
    assert measures["ib-output"]["purity"] == pytest.approx(1)
    for name in ("purity", "weighted_purity"):
        hidden = [measures[f"ib-{layer}"][name] for layer in ("hidden1", "hidden2")]
        assert measures["ib"][name] == pytest.approx(np.mean(hidden))
    for layer in ("input", "hidden1"):
        mine = np.array([[node["first"], node["second"]] for node in nodes if node["layer"] == layer])
        each, together = purity(mine)
        assert measures[f"ib-{layer}"]["purity"] == pytest.approx(each.mean())
        assert measures[f"ib-{layer}"]["weighted_purity"] == pytest.approx(together)
        assert [node["purity"] for node in nodes if node["layer"] == layer] == pytest.approx(each)


def test_edges_that_cannot_be_spared_join_nodes_of_neighbouring_layers(told):
    (measures, nodes, edges), _ = told
    assert len(edges) == measures["ib"]["edges"] and all(edge["weight"] > 0 for edge in edges)
    known = {(node["layer"], node["node"]): node["module"] for node in nodes}
    after = {"input": "hidden1", "hidden1": "hidden2", "hidden2": "output"}
    for edge in edges:
        assert known[edge["layer"], edge["from"]] >= 0 and known[after[edge["layer"]], edge["to"]] >= 0


def test_modules_agree_with_tasks_by_the_rand_index_over_all_layers(told):
    from sklearn.metrics import adjusted_rand_score

    (measures, nodes, _), _ = told
    both = [node for node in nodes if node["module"] >= 0 and node["first"] + node["second"] > 0]
    truth = [node["second"] > node["first"] for node in both]
    expected = adjusted_rand_score(truth, [node["module"] for node in both])
    assert measures["ib"]["agreement"] == pytest.approx(expected)


def test_the_loss_is_that_of_the_networks_own_questions(judged):
    judge, tensors, pairs = judged
    logits = network_of(tensors, "network").double()(pairs.x.double())
    assert judge.loss(logits) == pytest.approx(float(pair_loss(logits, pairs.digits)))
    torch.testing.assert_close(layer_values(judge.parts, judge.x)[-1], logits)


def test_the_interaction_basis_is_invariant_and_components_are_not(judged):
    found = judged[0].invariances()
    assert found["invariance-ib"]["smallest_correlation"] > 0.999 > found["invariance-pca"]["smallest_correlation"]


def test_effective_parameters_are_those_of_the_exact_hessian(judged):
    judge, tensors, pairs = judged
    calls = []
    measures, rows = judge.freedom(lambda *done: calls.append(done))
    assert set(measures) == {"apart", "coupled"} and calls[-1] == (60, 60)
    for name in ("apart", "coupled"):
        model = network_of(tensors, name).double()
        logits, answers = model(pairs.x.double()), pairs.answers(name, CLASSES)
        values = torch.linalg.eigvalsh(behavioural_hessian(model, pairs.x.double(), output=logit_gauge([CLASSES] * 2)))
        own = measures[name]
        assert own["parameters"] == len(values) and own["largest"] == pytest.approx(float(values[-1]))
        for tolerance in SETTINGS.tolerances:
            exact = int((values > tolerance * values[-1]).sum())
            assert abs(own[f"effective_{tolerance:g}"] - exact) < 4 * own[f"effective_{tolerance:g}_error"]
            exact = int((values > tolerance * max(measures[of]["largest"] for of in measures)).sum())
            assert abs(own[f"common_{tolerance:g}"] - exact) < 4 * own[f"common_{tolerance:g}_error"]
        assert own["loss"] == pytest.approx(float(pair_loss(logits, answers)))
        assert own["accuracy"] == pair_accuracy(logits, answers)
        mine = [row for row in rows if row["what"] == name]
        assert len(mine) == 40 and [row["above"] for row in mine] == sorted(row["above"] for row in mine)
        assert mine[-1]["value"] == pytest.approx(1e-5) and mine[0]["seed"] == 0 and mine[0]["predicted"] is None
        nearest = min(mine, key=lambda row: abs(np.log10(row["value"]) + 2))
        assert nearest["above"] == pytest.approx(own["effective_0.01"])
