import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import transcoder_charts as charts
from winnow.pipeline.tables import metric_rows

PROMPT = "the war lasted from"


def edge(source, target, value, seed=0):
    names = ("kind", "layer", "unit", "token")
    return (
        {f"from_{name}": part for name, part in zip(names, source, strict=True)}
        | {f"to_{name}": part for name, part in zip(names, target, strict=True)}
        | {"value": value, "share": value, "seed": seed, "prompt": PROMPT}
    )


LOGITS, LATENT = ("logits", -1, -1, 3), ("latent", 1, 7, 3)
EDGES = [
    edge(LATENT, LOGITS, 2.0),
    edge(("head", 0, 2, 1), LATENT, -1.0),
    edge(("embedding", -1, -1, 1), ("head", 0, 2, 1), 0.5),
    edge(("latent", 0, 3, 3), LOGITS, 1.0),
    edge(("head", 1, 5, 0), LOGITS, 9.0, seed=1),
]
CURVES = [
    {"units": units, "size": size, "value": value + 0.1 * seed, "seed": seed}
    for units, size, value in (
        ("latents", 0, 0.2),
        ("latents", 4, 0.6),
        ("neurons", 0, 0.1),
        ("neurons", 4, 0.3),
        ("all latents", 20, 0.7),
        ("all neurons", 32, 0.8),
        ("model", 0, 0.8),
    )
    for seed in (0, 1)
]
YEARS = [
    {"latent": latent, "year": year, "read": -2.0 * year, "added": 3.0, "active": None, "seed": 0}
    for latent in range(9)
    for year in range(5)
]


def test_a_circuit_is_that_of_the_first_seed_with_words_from_left_to_right():
    chart = charts.circuit(EDGES)
    rows = drawn(chart)
    labels = {row["label"]: (row["x"], row["y"]) for row in rows if "label" in row}
    assert set(labels) == {"later", "#7", "0.2", "war", "#3"}
    assert labels["war"][0] == labels["0.2"][0] < labels["#7"][0] == labels["later"][0]
    assert labels["war"][1] < labels["0.2"][1] < labels["#3"][1] < labels["#7"][1] < labels["later"][1]
    arcs = {row["edge"]: (row["size"], row["sign"]) for row in rows if "edge" in row}
    assert sorted(arcs.values()) == [(0.25, "raises"), (0.5, "lowers"), (0.5, "raises"), (1.0, "raises")]


def test_curves_are_means_over_seeds_beside_the_model_and_all_latents():
    rows = drawn(charts.curves(CURVES))
    found = {(row["by"], row["size"]): row["mean"] for row in rows if "by" in row}
    assert found["latents of the transcoder", 4] == pytest.approx(0.65)
    assert found["neurons of the layer", 0] == pytest.approx(0.15)
    text = str(charts.curves(CURVES).to_dict())
    assert "all latents" in text and "all neurons" not in text


def test_years_are_of_the_best_latents_as_shares_of_the_largest():
    rows = drawn(charts.years(YEARS))
    assert {row["value"] for row in rows if row["series"] == "read, by weights"} == {-0.0, -0.25, -0.5, -0.75, -1.0}
    assert {row["value"] for row in rows if row["series"] == "added to the logit"} == {1.0}
    assert len(charts.years(YEARS).to_dict()["concat"]) == charts.SHOWN


def test_the_loss_added_is_told_by_layer_and_kind():
    tables = [
        metric_rows(
            {"ce_clean": 1.0, "ce_reconstructed": 1.0 + added, "l0": 4.0, "ablation_cost": 0.5},
            system=system, variant=f"layer{layer}-k4", workload="algorithmic", seed=seed, split="test",
        )
        for system, added in (("transcoder", 0.3), ("transcoder_sae", 0.2))
        for layer in (0, 2)
        for seed in (0, 1)
    ]  # fmt: skip
    import pyarrow as pa

    chart = charts.pareto(pa.concat_tables(tables))
    assert [panel["title"] for panel in chart.to_dict()["concat"]] == [
        "layer 0: ablated, 0.5 nats",
        "layer 2: ablated, 0.5 nats",
    ]
    found = {(row["kind"], row["mean"]) for row in drawn(chart)}
    assert {kind for kind, _ in found} == set(charts.KINDS.values())
    assert sorted({round(mean, 9) for _, mean in found}) == [0.2, 0.3]


@pytest.mark.parametrize("draw", [charts.circuit, charts.years, charts.curves])
def test_a_table_without_rows_is_refused(draw):
    with pytest.raises(InputError, match="chart: the table has no"):
        draw([])
