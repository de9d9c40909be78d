"""Charts of circuits draw means over seeds of known methods, nodes beside effects, and what feeds what."""

import pytest

from tests.evaluate.drawing import check_look, filled, sorts, spans, titles
from winnow.errors import InputError
from winnow.evaluate import circuit_charts as charts

CURVES = [
    {"method": method, "task": task, "seed": seed, "size": size, "faithfulness": value + 0.2 * seed}
    for method, value in (("cdt", 0.3), ("random", 0.1), ("unknown", 9.0), ("path", 0.95))
    for task in ("names0", "years", "other")
    for seed in (0, 1)
    for size in (3, 20)
]
CURVES += [
    {"method": "pruned", "task": "years", "seed": seed, "size": 4 + 2 * seed, "faithfulness": 0.5 + seed}
    for seed in (0, 1)
] + [{"method": "outliers", "task": "years", "seed": 0, "size": 0, "faithfulness": 0.0}]


def test_faithfulness_is_a_mean_of_values_capped_at_1_a_panel_a_task():
    chart = charts.faithfulness(CURVES)
    panels = filled(chart)["concat"]
    assert [panel["title"] for panel in panels] == ["indirect object", "later year", "other"]
    found = {(r["by"], r["size"]): round(r["mean"], 6) for r in panels[1]["layer"][0]["data"]["values"]}
    means = {"decomposition": 0.4, "chance": 0.2, "path patching": (0.95 + 1) / 2}
    assert found == {(name, size): pytest.approx(mean) for name, mean in means.items() for size in (3, 20)} | {
        ("outliers, pruned", 5): pytest.approx(0.75)
    }
    rows = [row for panel in panels for row in panel["layer"][0]["data"]["values"]]
    assert max(row["high"] for row in rows) == 1 and min(row["low"] for row in rows) == -1
    assert titles(chart) == {"heads at positions kept", "faithfulness"} and spans(chart) == {("low", "high")}


NODES = [
    {"method": method, "task": task, "layer": layer, "head": head, "position": position}
    | {"score": layer + head / 10 + shift, "effect": -2.0 * position * (seed + 1)}
    for method, shift in (
        ("cdt", 0.0),
        ("cdt_split", 1.0),
        ("cdt_clean_signs", 2.0),
        ("attribution", 3.0),
        ("path", 9.0),
    )
    for task in ("names0", "years")
    for seed in (0, 1)
    for layer in (0, 1)
    for head in (0, 1)
    for position in (0, 1, 2)
]


def node(name, layer, head, position, word, score, task="names0", seed=0):
    told = {"from": name, "to": "", "layer": layer, "head": head, "position": position, "word": word}
    return told | {"score": score, "task": task, "seed": seed}


def feeds(source, target, share, task="names0", seed=0):
    told = {"from": source, "to": target, "layer": 0, "head": 0, "position": 0, "word": ""}
    return told | {"score": share, "task": task, "seed": seed}


CIRCUIT = [
    node("0.1 at 2", 0, 1, 2, "Anna", 0.5),
    node("1.0 at 3", 1, 0, 3, "gave", 2.0),
    feeds("0.1 at 2", "1.0 at 3", 0.4),
    feeds("0.1 at 2", "1.0 at 3", 0.09),
    node("0.0 at 9", 0, 0, 9, "else", 9.0, task="years"),
    node("0.0 at 8", 0, 0, 8, "else", 9.0, seed=1),
]


def test_scores_of_the_first_tasks_heads_stand_beside_their_effects():
    chart = charts.node_map(NODES, CIRCUIT)
    left, right = filled(chart)["concat"]
    assert (left["title"], right["title"]) == ("by decomposition", "taken away")
    found = {(r["head"], r["position"]): r["mean"] for r in left["data"]["values"]}
    assert len(found) == 12 and found["1.1", 2] == pytest.approx(1.1)
    effects = {(r["head"], r["position"]): r["mean"] for r in right["data"]["values"]}
    assert effects["0.1", 2] == pytest.approx(-6) and effects["0.1", 0] == 0
    # Colours of both signs are as far apart as the largest of either.
    assert left["encoding"]["color"]["scale"]["domain"] == pytest.approx([-1.1, 1.1])
    assert right["encoding"]["color"]["scale"]["domain"] == pytest.approx([-6, 6])
    nothing = [row | {"score": 0.0} for row in NODES]
    assert filled(charts.node_map(nothing, CIRCUIT))["concat"][0]["encoding"]["color"]["scale"]["domain"] == [-1, 1]


def test_under_many_positions_every_other_one_is_told():
    axes = []
    for length in (10, 15):
        rows = [row | {"position": row["position"] * (length - 1) // 2} for row in NODES]
        axes += [panel["encoding"]["x"]["axis"]["values"] for panel in filled(charts.node_map(rows, CIRCUIT))["concat"]]
    assert axes == [list(range(10))] * 2 + [list(range(0, 15, 2))] * 2


def test_each_node_of_the_names_is_a_mark_in_the_panel_of_its_method():
    panels = filled(charts.effects(NODES))["concat"]
    assert [panel["title"] for panel in panels] == [
        "decomposition",
        "decomposition, patterns split",
        "decomposition, signs cleaned",
        "attribution patching",
    ]
    for shift, panel in enumerate(panels):
        rows = panel["data"]["values"]
        assert len(rows) == 24 and {row["task"] for row in rows} == {"names0"}
        assert min(row["score"] for row in rows) == shift and min(row["effect"] for row in rows) == -8


def test_nodes_lie_at_their_word_and_layer_and_lines_join_what_feeds_enough():
    chart = charts.circuit(CIRCUIT)
    arcs, boxes, names = (layer["data"]["values"] for layer in filled(chart)["layer"])
    assert [(box["label"], box["column"], box["level"], box["score"]) for box in boxes] == [
        ("0.1", 2, 0, 0.5),
        ("1.0", 3, 1, 2.0),
    ]
    assert names == boxes
    first, last = arcs[0], arcs[-1]
    assert {arc["size"] for arc in arcs} == {0.4} and [(arc["from"], arc["to"]) for arc in (first, last)] == [
        ("0.1 at 2", "1.0 at 3")
    ] * 2
    assert [(end["x"], end["y"]) for end in (first, last)] == [(box["x"], box["y"]) for box in boxes]
    assert {row["size"] for row in filled(charts.circuit(CIRCUIT, least=0.09))["layer"][0]["data"]["values"]} == {
        0.4,
        0.09,
    }
    fill = filled(chart)["layer"][1]["encoding"]["fill"]
    assert (fill["title"], fill["scale"]["domain"]) == ("score [logits]", [0, 2.0])
    assert titles(chart) == {"word of the prompt, and its position"}
    assert spans(chart) == {("left", "right"), ("low", "high")}


def test_nodes_that_nothing_feeds_are_drawn_without_lines(tmp_path):
    alone = [row for row in CIRCUIT if not row["to"]]
    arcs, boxes, _ = (layer["data"]["values"] for layer in filled(charts.circuit(alone))["layer"])
    assert arcs == [] and len(boxes) == 2
    check_look(lambda: charts.circuit(alone), tmp_path)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: charts.faithfulness(CURVES),
        lambda: charts.node_map(NODES, CIRCUIT),
        lambda: charts.effects(NODES),
        lambda: charts.circuit(CIRCUIT),
    ],
)
def test_a_chart_can_be_read_in_a_report(draw, tmp_path):
    check_look(draw, tmp_path, largest=(1000, 700))
    assert sorts(draw()) == []


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: charts.faithfulness([]), "no circuits"),
        (lambda: charts.node_map([], CIRCUIT), "no nodes"),
        (lambda: charts.effects([]), "no nodes"),
        (lambda: charts.circuit([]), "no nodes"),
    ],
)
def test_a_table_without_the_rows_of_a_chart_is_named(draw, said):
    with pytest.raises(InputError, match=said):
        draw()
