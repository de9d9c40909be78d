"""Charts of dictionaries on a known task: three axes by dictionary, edits by their size, and two toys."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy import stats

from tests.evaluate.drawing import check_look, drawn, filled, sorts, spans, titles
from tests.evaluate.drawing import found as found_in
from winnow.errors import InputError
from winnow.evaluate import supervised_charts as charts
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows


def table(*told):
    """Rows of (system, variant, metric, value of the first seed); the second seed's is a tenth more."""
    return pa.concat_tables(
        [
            metric_rows(
                {metric: value + 0.1 * seed}, system=system, variant=variant, workload="w", seed=seed, split="test"
            )
            for system, variant, metric, value in told
            for seed in (0, 1)
        ]
    )


AXES = table(
    ("sae_topk", "all", "recovered", 1.2),
    ("random", "all", "recovered", -0.4),
    ("sae_topk", "one", "recovered", 9.0),
    ("unknown", "all", "recovered", 9.0),
    ("sae_topk", "indirect-1", "edit_accuracy", 0.8),
    ("supervised_mse", "indirect-1-aware", "edit_accuracy", 0.9),
    ("sae_topk", "indirect-2", "edit_accuracy", 0.1),
    ("sae_topk", "indirect-1-agnostic", "edit_accuracy", 0.1),
    ("sae_topk", "subject-1-agnostic", "edit_accuracy", 0.9),
    ("components", "all", "values_told_indirect", 0.25),
)


def test_three_axes_are_means_over_seeds_in_the_order_of_the_dictionaries():
    chart = charts.axes(AXES)
    panels = filled(chart)["hconcat"]
    found = [{r["dictionary"]: round(r["mean"], 6) for r in panel["layer"][0]["data"]["values"]} for panel in panels]
    assert found == [
        {"TopK": 1.25, "random directions": -0.35},
        {"TopK": 0.85, "supervised, least squares": 0.95},
        {"principal components": 0.3},
    ]
    # Shares end at 0 and 1; a difference that is recovered does not, and 1 of it is all.
    interval = stats.ttest_1samp([1.2, 1.3], 0).confidence_interval(0.95)
    topk = panels[0]["layer"][0]["data"]["values"][0]
    assert (topk["low"], topk["high"]) == pytest.approx((interval.low, interval.high))
    edited = panels[1]["layer"][0]["data"]["values"]
    assert max(row["high"] for row in edited) == 1
    assert [panel["layer"][-1]["data"]["values"] for panel in panels[:1]] == [[{"mean": 1.0}]]
    assert [len(panel["layer"]) for panel in panels] == [3, 2, 2]
    domains = [panel["layer"][1]["encoding"]["x"]["scale"]["domain"] for panel in panels]
    low = stats.ttest_1samp([-0.4, -0.3], 0).confidence_interval(0.95).low
    assert domains[0] == pytest.approx([low, interval.high]) and domains[1:] == [[0, 1], [0, 1]]
    assert titles(chart) == {
        "logit difference recovered",
        "names changed, one feature each way",
        "names to come that some feature tells",
    }
    assert sorts(chart) == [list(charts.NAMES.values())] and spans(chart) == {("low", "high")}
    axes = [panel["layer"][0]["encoding"]["y"]["axis"] for panel in panels]
    assert axes[0] is not None and axes[1:] == [None, None]


EDITS = table(
    *((name, f"{attribute}-{size}", "edit_accuracy", 0.1 * size)
      for name in ("random", "sae_topk") for attribute in ("indirect", "subject", "order") for size in (1, 4)),
    ("sae_topk", "indirect-4-agnostic", "edit_accuracy", 0.7),
    ("sae_topk", "indirect-4-aware", "edit_accuracy", 0.2),
    ("supervised_mean", "order-1-aware", "edit_accuracy", 0.6),
    ("ceiling", "indirect-1", "edit_accuracy", 0.8),
    ("unknown", "indirect-1", "edit_accuracy", 0.8),
)  # fmt: skip


def test_edits_stand_by_the_features_they_take_a_panel_an_attribute():
    chart = charts.edits(EDITS)
    panels = filled(chart)["hconcat"]
    assert [panel["title"] for panel in panels] == list(charts.ATTRIBUTES.values())
    found = [
        {
            (row["dictionary"], row["size"]): round(row["mean"], 6)
            for part in found_in(panel, "data")
            for row in part["values"]
            if "dictionary" in row
        }
        for panel in panels
    ]
    both = {(name, size): 0.1 * size + 0.05 for name in ("random directions", "TopK") for size in (1, 4)}
    # Of two ways of choosing features the better is drawn.
    assert found[0] == pytest.approx(both | {("TopK", 4): 0.75}) and found[1] == pytest.approx(both)
    assert found[2] == pytest.approx(both | {("supervised, means", 1): 0.65})
    rows = drawn(chart)
    assert [(r["label"], round(r["mean"], 6)) for r in rows if "label" in r] == [("ceiling", 0.85)]
    assert len(panels[0]["layer"]) > len(panels[1]["layer"]) == 1
    scale = panels[0]["layer"][0]["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert scale == ["supervised, means", "TopK", "random directions"]
    assert panels[0]["layer"][0]["layer"][0]["encoding"]["x"]["axis"]["values"] == [1, 4]
    assert titles(chart) == {"features each way (log scale)", "edits that work"}
    # All panels have the same axis, also where a ceiling is drawn.
    scales = [panel["layer"][0]["layer"][0]["encoding"]["y"]["scale"] for panel in panels]
    assert scales == [{"domain": [0, 1.05], "nice": False}] * 3


def test_attributes_without_edits_have_no_panel():
    panels = filled(charts.edits(AXES.filter(pc.not_equal(AXES["variant"], "subject-1-agnostic"))))["hconcat"]
    assert [panel["title"] for panel in panels] == [charts.ATTRIBUTES["indirect"]]


TOYS = table(
    *(
        ("toy", f"r{ratio}", what, value)
        for ratio in (0.5, 1.0)
        for what, value in (("larger", 0.9), ("smaller", ratio / 2))
    ),
    ("toy", "w16", "specific", 3.0),
    ("toy", "w64", "specific", 12.0),
)


def test_toys_are_drawn_by_their_ratio_and_their_width():
    chart = charts.toys(TOYS)
    left, right = filled(chart)["hconcat"]
    found = {(r["attribute"], r["ratio"]): round(r["mean"], 6) for r in left["layer"][0]["data"]["values"]}
    assert found == {("larger", 0.5): 0.95, ("larger", 1.0): 0.95, ("smaller", 0.5): 0.3, ("smaller", 1.0): 0.55}
    assert max(r["high"] for r in left["layer"][0]["data"]["values"]) == 1
    assert [(r["width"], round(r["mean"], 6)) for r in right["layer"][0]["data"]["values"]] == [(16, 3.05), (64, 12.05)]
    assert right["layer"][0]["encoding"]["x"]["axis"]["values"] == [16, 64]
    assert titles(chart) == {
        "length of the smaller attribute, of the larger",
        "best F1 of a value, mean",
        "features (log scale)",
        "features specific to a class",
    }


CLEAR = table(*(("sae_topk", f"f1-{level}", "clear_features", 10 - 10 * level) for level in (0.5, 0.8, 0.95)))


def test_features_are_counted_from_each_level_on():
    chart = charts.levels(CLEAR)
    rows = {row["level"]: round(row["mean"], 6) for row in drawn(chart) if "level" in row}
    assert rows == {0.5: 5.05, 0.8: 2.05, 0.95: 0.55}
    assert titles(chart) == {"F1 on other prompts, at least", "features of a head, mean"}


def feature(number, attribute, value, f1):
    return {"node": "1.2", "feature": number, "attribute": attribute, "value": value, "f1": f1}


VALUES = [
    feature(0, "order", 1, 0.9), feature(0, "indirect", 3, 0.2), feature(7, "subject", 5, 0.8),
    feature(2, "indirect", 9, 0.7), feature(3, "indirect", 1, 0.6), feature(3, "subject", 4, 0.5),
]  # fmt: skip


def test_features_stand_in_the_order_of_the_values_that_they_tell_best():
    panels = filled(charts.told(VALUES))["hconcat"]
    assert [panel["encoding"]["x"]["title"] for panel in panels] == ["name that comes", "name said again", "order"]
    assert all(panel["encoding"]["y"]["sort"] == [3, 2, 7, 0] for panel in panels)
    assert [len(panel["data"]["values"]) for panel in panels] == [3, 2, 1]
    assert panels[0]["encoding"]["y"]["title"] == "features of head 1.2"


def test_only_the_clearest_features_are_shown():
    many = [feature(i, "indirect", i % 40, 0.01 * i) for i in range(60)]
    panel = filled(charts.told(many))["hconcat"][0]
    assert {row["feature"] for row in panel["data"]["values"]} == set(range(60 - charts.SHOWN, 60))
    with pytest.raises(InputError, match="the table has no features"):
        charts.told([])


@pytest.mark.parametrize(("draw", "told", "said"), [
    (charts.axes, AXES, "logit difference recovered"),
    (charts.edits, EDITS, "edits"),
    (charts.toys, TOYS, "toys"),
    (charts.levels, CLEAR, "clear features"),
])  # fmt: skip
def test_a_table_without_the_rows_of_a_chart_is_named(draw, told, said):
    with pytest.raises(InputError, match=f"the table has no {said}"):
        draw(METRICS_SCHEMA.empty_table())


@pytest.mark.parametrize(("draw", "told"), [
    (charts.axes, AXES), (charts.edits, EDITS), (charts.toys, TOYS), (charts.levels, CLEAR), (charts.told, VALUES),
])  # fmt: skip
def test_a_chart_can_be_read_in_a_report(draw, told, tmp_path):
    check_look(lambda: draw(told), tmp_path, largest=(1020, 600))
