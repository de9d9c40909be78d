"""Charts of language models draw what their tables hold."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn, found
from winnow.errors import InputError
from winnow.evaluate.language_charts import LINE, by_parameters, costs, learning, speeds, trade
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows


def rows(values, variant, seed=0, split="train"):
    return metric_rows(values, system="language_models", workload="w", variant=variant, seed=seed, split=split)


def marks(chart):
    return [mark["type"] if isinstance(mark, dict) else mark for mark in found(chart.to_dict(), "mark")]


def curve(shift=0.0):
    return [("bits_per_byte", 4.0 - 0.1 * step + shift, step) for step in range(1, 21)]


def test_learning_is_drawn_as_lines_with_points_and_levels():
    valid = [("valid_bits_per_byte", 1.75, 20)]
    history = pa.concat_tables(
        [rows(curve() + valid, "net", 0), rows(curve(0.2) + valid, "net", 1), rows(curve(1.0), "big")]
    )
    metrics = [rows({"bits_per_byte": 2.5}, "3-gram", seed, "valid") for seed in (0, 1)]
    metrics += [rows({"bits_per_byte": 2.3}, "6-gram", 0, "valid"), rows({"bits_per_byte": 9.0}, "6-gram", 0, "test")]
    chart = learning(history, pa.concat_tables([*metrics, rows({"bits_per_byte": 2.2}, "net", split="valid")]))
    shown = drawn(chart)
    means = {(row["variant"], row.get("step")): row["mean"] for row in shown}
    assert means["net", 5] == pytest.approx(3.6) and means["big", 20] == pytest.approx(3.0)
    assert means["3-gram", None] == pytest.approx(2.5) and means["6-gram", None] == pytest.approx(2.3)
    assert len(shown) == 20 + 20 + 1 + 2 and sum(row["mean"] == pytest.approx(1.75) for row in shown) == 1
    assert marks(chart) == ["area", "line", "point", "rule", "text", "rule", "text"]


def test_the_axis_leaves_out_the_first_steps_where_all_is_new():
    steep = [("bits_per_byte", 9.0 if step == 1 else 2.0, step) for step in range(1, 41)]
    chart = learning(rows(steep, "net"), METRICS_SCHEMA.empty_table())
    scales = found(chart.to_dict(), "scale")
    domains = [scale["domain"] for scale in scales if "domain" in scale]
    assert [pytest.approx(1.9), pytest.approx(2.1)] in domains and [0, pytest.approx(40.8)] in domains
    assert {row["mean"] for row in drawn(chart)} == {2.0}


def test_without_steps_there_is_nothing_to_draw():
    with pytest.raises(InputError, match="steps of training"):
        learning(METRICS_SCHEMA.empty_table(), METRICS_SCHEMA.empty_table())


def test_speeds_have_a_line_for_each_model_over_texts_side_by_side():
    timings = [
        rows({f"tokens_per_second_batch{n}": speed * n + seed for n in (1, 8)} | {"other": 1.0}, name, seed)
        for name, speed in (("net", 300.0), ("3-gram", 900.0))
        for seed in (0, 2)
    ]
    chart = speeds(pa.concat_tables(timings))
    means = {(row["variant"], row["batch"]): row["mean"] for row in drawn(chart)}
    assert means == {("net", 1): 301, ("net", 8): 2401, ("3-gram", 1): 901, ("3-gram", 8): 7201}
    assert marks(chart) == ["area", "line", "point"] and [1, 8] in found(chart.to_dict(), "values")
    with pytest.raises(InputError, match="speeds"):
        speeds(rows({"bits_per_byte": 1.0}, "net"))


def compressed(models):
    return pa.concat_tables(
        metric_rows(
            {"bits_per_byte": bits, "bytes": size}, system=dense, workload="w", variant=name, seed=0, split="texts"
        )
        for dense, name, bits, size in models
    )


def test_the_trade_writes_names_where_they_do_not_cover_one_another():
    models = [("a", "a", 2.0, 4000), ("a", "a-half-s50", 2.0, 4000), ("b", "b", 3.0, 4000), ("b", "b-bits", 2.0, 4100)]
    chart = trade(compressed([*models, ("a", "far", 2.0, 400_000)]))
    low, high = next(each for each in found(chart.to_dict(), "domain") if each[0] == pytest.approx(1.92))
    line = LINE * (high - low) / chart.height
    placed = {row["variant"]: row["at"] for row in drawn(chart)}
    assert placed["b"] == 3.0 and placed["far"] == 2.0
    together = sorted(placed[name] for name in ("a", "a-half-s50", "b-bits"))
    # Two lines have no room below: all stand as low as the picture lets them.
    assert together == pytest.approx([low + line / 2, low + 3 / 2 * line, low + 5 / 2 * line])
    assert placed["a"] == together[-1] == pytest.approx(2.0, abs=line / 2)


def test_loss_is_drawn_against_parameters_of_what_has_them():
    table = compressed([("a", "a", 2.0, 4000), ("a", "a-half-s50", 2.5, 4000), ("3-gram", "3-gram", 4.0, 1)])
    sizes = {"a": ("a", 30_000), "a-half-s50": ("a", 15_000), "3-gram": ("3-gram", 900_000)}
    counted = [
        metric_rows({"parameters": size}, system=dense, workload="w", variant=name, seed=0, split="texts")
        for name, (dense, size) in sizes.items()
    ]
    shown = drawn(by_parameters(pa.concat_tables([table, *counted[1:]])))
    assert {row["variant"]: (row["size"], row["mean"]) for row in shown} == {
        "a-half-s50": (15_000, 2.5), "3-gram": (900_000, 4.0),
    }  # fmt: skip
    assert {row["system"] for row in shown} == {"a", "3-gram"}
    with pytest.raises(InputError, match="the table has no models"):
        by_parameters(table)


def test_costs_show_compressed_models_below_the_dense_one_they_came_from():
    models = [("a", "a", 2.0, 4000), ("b", "b", 3.0, 9000), ("a", "a-half-s50", 2.0, 2000), ("b", "bits", 3.0, 900)]
    chart = costs(compressed(models), METRICS_SCHEMA.empty_table())
    assert ["a", "a-half-s50", "b", "bits"] in found(chart.to_dict(), "sort")
