import numpy as np
import pyarrow as pa
import pytest
import torch

from tests.evaluate.circuits import random_transformer
from winnow.dictionaries.interaction_basis import layer_values
from winnow.dictionaries.local_interaction_basis import local_interaction_basis
from winnow.evaluate.ablation_study import (
    Ablations,
    ablated,
    direction_rows,
    labels_of,
    mean_shares,
    merged,
    modular,
    own_order,
    strengths_by,
    strongest_edges,
)
from winnow.evaluate.basis_ablation import Edges, continued, counts_to, greedy_order, strongest, with_directions
from winnow.evaluate.fourier_labels import single_frequencies
from winnow.evaluate.interaction_modules import edge_strengths, functional_strengths, modules, smallest_needed
from winnow.evaluate.interaction_study import loss_without_edges
from winnow.evaluate.network_sections import sections_of_layers, sections_of_sums
from winnow.models.mlp import MLP


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    x, told = torch.randn(80, 1, 8, 8), torch.randn(90, 1, 8, 8)
    model = MLP(1, 8, 8, 4, hidden=(7, 6))
    labels = model(x).argmax(1)  # the network is right about all
    sections = sections_of_layers(model, told, model(told).argmax(1), x, labels)
    return sections, local_interaction_basis(sections.parts, sections.x, sections.output, "pca")


def test_strengths_are_those_of_each_formula(network):
    sections, bases = network
    # On as many rows as are judged, and none of them.
    values = layer_values(sections.parts, sections.x[:80])
    found = {name: strengths_by(name, sections, bases) for name in ("gradient", "integrated", "functional")}
    for i in (1, 2):
        of = sections.parts[i], values[i], bases[i], bases[i + 1]
        assert found["gradient"][i].equal(edge_strengths(*of))
        assert found["integrated"][i].equal(edge_strengths(*of, "gauss"))
        assert found["functional"][i].equal(functional_strengths(*of))
    assert list(found["gradient"]) == [1, 2]  # none from pixels


def test_directions_come_by_falling_eigenvalue(network):
    basis = network[1][1]
    shuffled = basis._replace(eigenvalues=basis.eigenvalues.flip(0))
    assert own_order(basis).tolist() == list(range(len(basis.eigenvalues)))
    assert own_order(shuffled).tolist() == list(reversed(range(len(basis.eigenvalues))))


def test_counts_are_the_smallest_with_which_the_loss_rises_by_no_more(network):
    sections, bases = network
    work = Ablations(sections, bases, [0.05, 0.3])
    assert work.full == 0
    found, curves = work.directions(1)
    values, rank = layer_values(sections.parts, sections.judged)[1], len(bases[1].eigenvalues)

    def loss(count):
        kept = torch.arange(rank) < count
        return sections.loss(continued(sections.parts[1:], with_directions(values, bases[1], kept)))

    assert found["rank"] == rank
    assert [(c, v) for what, c, v in curves if what == "directions"] == [(c, loss(c)) for c in counts_to(rank)]
    for drop in (0.05, 0.3):
        count = int(found[f"directions_{drop:g}"])
        assert loss(count) <= drop and (count == 0 or loss(count - 1) > drop)
        assert found[f"best_directions_{drop:g}"] <= rank
        order = greedy_order(
            sections.parts[1:], layer_values(sections.parts, sections.x)[1], bases[1], sections.told_loss
        )
        best = torch.zeros(rank, dtype=torch.bool)
        best[order[: int(found[f"best_directions_{drop:g}"])]] = True
        assert sections.loss(continued(sections.parts[1:], with_directions(values, bases[1], best))) <= drop
    assert {what for what, _, _ in curves} == {"directions", "best_directions"}


def test_edges_are_kept_from_the_strongest(network):
    sections, bases = network
    work = Ablations(sections, bases, [0.1])
    strengths = strengths_by("gradient", sections, bases)[1]
    found, curves = work.edges(1, {"gradient": strengths})
    values = layer_values(sections.parts, sections.judged)[1]

    def loss(count):
        made = Edges(sections.parts[1], values, bases[1], bases[2])(strongest(strengths, count))
        return sections.loss(continued(sections.parts[2:], made))

    assert found["possible_edges"] == strengths.numel()
    assert all(value == loss(count) for _, count, value in curves)
    assert curves[-1][1] == strengths.numel() and {what for what, _, _ in curves} == {"gradient_edges"}
    assert loss(int(found["gradient_edges_0.1"])) <= 0.1


def test_measures_of_a_basis_are_those_of_its_layers(network):
    sections, bases = network
    strengths = {name: strengths_by(name, sections, bases) for name in ("integrated", "gradient")}
    calls = []
    measures, curves = ablated("pca", sections, bases, strengths, [0.05, 0.3], lambda *told: calls.append(told))
    assert set(measures) == {"pca", "pca-input", "pca-hidden1", "pca-hidden2"} and calls == [(1, 3), (2, 3), (3, 3)]
    # By the further formula edges are ablated between the layers that are compared, of the bases that are compared.
    assert "gradient_edges_0.05" in measures["pca-hidden1"] and "gradient_edges_0.05" not in measures["pca-hidden2"]
    assert "integrated_edges_0.05" in measures["pca-hidden2"]
    other = ablated("random", sections, bases, strengths, [0.05])[0]
    assert not any(name.startswith("gradient_edges") for values in other.values() for name in values)
    assert measures["pca"]["edges"] == measures["pca-hidden1"]["integrated_edges_0.05"]
    layers = [measures[f"pca-{name}"] for name in ("input", "hidden1", "hidden2")]
    assert measures["pca"]["directions"] == sum(layer["directions_0.05"] for layer in layers)
    assert measures["pca"]["loss"] == 0 and "possible_edges" not in measures["pca-input"]
    assert {(row["basis"], row["layer"]) for row in curves} == {
        ("pca", name) for name in ("input", "hidden1", "hidden2")
    }
    assert {row["what"] for row in curves if row["layer"] == "input"} == {"directions", "best_directions"}
    assert curves[0] == {"basis": "pca", "layer": "input", "what": "directions", "count": 0, "loss": curves[0]["loss"]}


def test_frequencies_are_told_of_the_layers_at_the_last_position():
    sections = sections_of_sums(random_transformer(3, vocabulary=6, layers=1, normalization="none"), 9, 0)
    bases = local_interaction_basis(sections.parts, sections.x, sections.output, "random")
    labels = labels_of(sections, bases)
    values = layer_values(sections.parts, sections.everything)
    assert list(labels) == [1, 2]
    expected = single_frequencies(bases[2].coordinates(values[2]).numpy())
    assert all((a == b).all() for a, b in zip(labels[2], expected, strict=True))
    rows = direction_rows("random", sections, bases, labels, {})
    assert [row["layer"] for row in rows] == ["embedding"] * 6 + ["middle"] * 6 + ["end"] * 6
    assert rows[0]["frequency"] is None and rows[0]["share"] is None
    assert [row["share"] for row in rows[12:]] == expected[1].tolist()
    assert [row["frequency"] for row in rows[12:]] == expected[0].tolist()
    assert [row["eigenvalue"] for row in rows[6:12]] == bases[1].eigenvalues.tolist()
    means = mean_shares("random", sections, bases, labels)
    assert means["random-end"]["single_frequency"] == pytest.approx(expected[1].mean())
    assert direction_rows("random", sections, bases, {}, {})[7]["frequency"] is None
    modules = {1: np.arange(6), 3: np.arange(6) + 1}
    rows = direction_rows("random", sections, bases, {}, modules)
    assert [row["module"] for row in rows[:12]] == [None] * 6 + list(range(6)) and rows[-1]["module"] == 6
    assert rows[-1]["layer"] == "logits" and rows[-1]["eigenvalue"] is None


def test_the_mean_is_over_the_first_directions_by_eigenvalue(monkeypatch):
    monkeypatch.setattr("winnow.evaluate.ablation_study.LABELLED", 2)
    sections = sections_of_sums(random_transformer(3, vocabulary=6, layers=1, normalization="none"), 9, 0)
    bases = local_interaction_basis(sections.parts, sections.x, sections.output, "neuron")
    labels = labels_of(sections, bases)
    first = np.argsort(-bases[1].eigenvalues.numpy(), kind="stable")[:2]
    found = mean_shares("neuron", sections, bases, labels)["neuron-middle"]["single_frequency"]
    assert found == pytest.approx(labels[1][1][first].mean())


def test_measures_are_merged_by_variant():
    assert merged({"a": {"x": 1.0}, "b": {"y": 2.0}}, {"a": {"z": 3.0}}) == {"a": {"x": 1.0, "z": 3.0}, "b": {"y": 2.0}}


def test_the_strongest_edges_of_each_layer_are_kept_for_the_picture():
    rows = [
        {"basis": basis, "layer": layer, "from": i, "to": 0, "strength": float(i), "formula": formula}
        for basis in ("pca", "random")
        for layer in (1, 2)
        for i in range(5)
        for formula in ("gradient", "functional")
    ]
    found = strongest_edges(pa.Table.from_pylist(rows), ["input", "hidden1", "hidden2", "logits"], "gradient", 2)
    assert len(found) == 8 and {row["formula"] for row in found} == {"gradient"}
    first = [row for row in found if (row["basis"], row["layer"]) == ("pca", "hidden1")]
    assert [(row["from"], row["next"]) for row in first] == [(4, "hidden2"), (3, "hidden2")]
    assert len(strongest_edges(pa.Table.from_pylist(rows), ["a", "b", "c", "d"], "gradient", 9)) == 16  # 0 is no edge


@pytest.mark.parametrize("allowed", [1e-4, 99.0])
def test_modules_are_those_of_the_graph_of_edges_on_rows_that_are_not_judged(network, monkeypatch, allowed):
    monkeypatch.setattr("winnow.evaluate.ablation_study.ALLOWED", allowed)
    sections, bases = network
    strengths = strengths_by("gradient", sections, bases)
    measures, labels = modular(sections, bases, strengths, 0)
    threshold = smallest_needed(
        list(strengths.values()),
        loss_without_edges(
            sections.parts[1:],
            layer_values(sections.parts, sections.x)[1],
            bases[1:],
            list(strengths.values()),
            sections.told_loss,
        ),
        allowed,
    )
    expected = modules(list(strengths.values()), threshold)
    assert measures["modularity"] == pytest.approx(expected.modularity)
    assert measures["module_edges"] == sum(int((strength > threshold).sum()) for strength in strengths.values())
    # Where all may go, no node has an edge.
    assert (measures["module_edges"] > 0) == (allowed < 1) == bool((np.concatenate(list(labels.values())) >= 0).any())
    assert list(labels) == [1, 2, 3]
    assert all((labels[i + 1] == own).all() for i, own in enumerate(expected.labels))
