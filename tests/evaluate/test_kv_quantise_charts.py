"""Charts of caches of few bits: divergence by bits and order, bits by age, bytes by tokens."""

from types import SimpleNamespace

import pyarrow as pa
import pytest

from tests.evaluate.drawing import check_look, drawn, filled, sorts, titles
from winnow.errors import InputError
from winnow.evaluate import kv_quantise_charts as charts
from winnow.pipeline.tables import metric_rows

CUT = SimpleNamespace(segment=4, group=2, segments=3)
CACHES = [
    ("uniform", "8", 8.0, 1e-3),
    ("uniform", "2", 2.0, 0.5),
    ("staircase", "8-4-2", 4.5, 0.01),
    ("mixed", "8-4-2", 4.5, 0.05),
    ("direct", "8-4-2", 4.5, 0.02),
    ("spread", "8-4-2", 4.5, 0.03),
    ("reverse", "8-4-2", 4.5, 0.04),
    ("full", "16", 16.0, 0.0),
]


def metrics():
    labels = {"workload": "python", "split": "test"}
    return pa.concat_tables(
        [
            metric_rows(
                {"divergence": value * (seed + 1), "bits": bits},
                system=system, variant=f"{levels}-t{tokens}", seed=seed, **labels,
            )
            for tokens in (12, 24)
            for seed in (0, 1)
            for system, levels, bits, value in CACHES
        ]
    )  # fmt: skip


def test_divergence_stands_over_mean_bits_uniform_caches_as_a_line():
    chart = charts.quality(metrics())
    panels = filled(chart)["concat"]
    assert [panel["title"] for panel in panels] == ["12 tokens", "24 tokens"]
    line, others = panels[1]["layer"][0]["layer"][0], panels[1]["layer"][1]
    found = {(r["levels"], r["bits"]): r["mean"] for r in line["data"]["values"]}
    assert found == pytest.approx({("8", 8.0): 1.5e-3, ("2", 2.0): 0.75})
    assert [(r["cache"], r["levels"], r["bits"], round(r["mean"], 9)) for r in others["data"]["values"]] == [
        ("staircase", "8-4-2", 4.5, 0.015),
        ("mixed widths", "8-4-2", 4.5, 0.075),
    ]
    # Words of the others would hide those of staircases.
    assert [r["cache"] for r in panels[1]["layer"][2]["data"]["values"]] == ["staircase"]
    # Intervals of a scale of logarithms end above 0.
    assert min(r["low"] for r in drawn(chart)) == charts.LEAST == 1e-7
    assert titles(chart) == {"bits of a number", "divergence (nats, log scale)"}


def test_orders_of_the_same_bits_stand_in_their_order():
    chart = charts.orders(metrics())
    panels = filled(chart)["concat"]
    assert [panel["title"] for panel in panels] == ["12 tokens", "24 tokens"]
    found = {r["order"]: r["mean"] for r in panels[0]["layer"][0]["data"]["values"]}
    assert found == pytest.approx(
        {"staircase, in a chain": 0.015, "staircase, direct": 0.03, "spread": 0.045, "reverse": 0.06}
    )
    assert sorts(chart, "x") == [list(charts.ORDERS.values())]
    assert titles(chart) == {"divergence (nats, log scale)"}


def test_bits_fall_with_age_a_segment_a_step_after_those_kept_in_full():
    chart = charts.ages(CUT, [[8, 4, 2], [4, 2]])
    found = {}
    for row in drawn(chart):
        found.setdefault(row["levels"], []).append((row["age"], row["bits"]))
    assert [bits for _, bits in found["4-2"]][:10] == [16, 16, 4, 4, 4, 4, 2, 2, 2, 2]
    assert [bits for _, bits in found["8-4-2"]][:14] == [16] * 2 + [8] * 4 + [4] * 4 + [2] * 4
    assert [age for age, _ in found["4-2"]][:4] == [0, 0.5, 1.5, 2.5]
    assert titles(chart) == {"age (tokens)", "bits of a number"}


SIZES = [
    {"system": system, "levels": levels, "segment": segment, "segments": segments, "tokens": tokens}
    | {"bytes": size * tokens + segments}
    for system, levels, size in (
        ("full", "16", 160), ("uniform", "8", 80), ("uniform", "2", 20), ("uniform", "4", 40), ("staircase", "4-2", 30),
        ("staircase", "8-4-2", 50), ("staircase", "8-8", 82),
    )
    for segment in (4, 8)
    for segments in (1, 3)
    for tokens in (4, 8)
]  # fmt: skip


def test_bytes_of_the_longest_caches_are_drawn_the_full_one_and_the_two_smallest_of_each_kind():
    chart = charts.sizes(SIZES)
    panels = filled(chart)["concat"]
    assert [panel["title"] for panel in panels] == ["segments of 4 tokens", "segments of 8 tokens"]
    names = ["full 16", "uniform 2", "uniform 4", "staircase 4-2", "staircase 8-4-2"]
    for panel in panels:
        assert panel["encoding"]["color"]["scale"]["domain"] == names
        found = {(r["cache"], r["tokens"]): r["kilobytes"] for r in panel["data"]["values"]}
        assert len(found) == 10 and found["uniform 4", 8] == pytest.approx((40 * 8 + 3) / 1000)
    assert titles(chart) == {"tokens", "cache of a head (kB)"}


@pytest.mark.parametrize(
    "draw",
    [
        lambda: charts.quality(metrics()),
        lambda: charts.orders(metrics()),
        lambda: charts.ages(CUT, [[8, 4, 2], [4, 2]]),
        lambda: charts.sizes(SIZES),
    ],
)
def test_a_chart_can_be_read_in_a_report(draw, tmp_path):
    check_look(draw, tmp_path, largest=(1000, 650), least=13)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: charts.quality(metrics().slice(0, 0)), "no caches"),
        (lambda: charts.orders(metrics().slice(0, 0)), "no caches"),
        (lambda: charts.sizes([]), "no sizes"),
    ],
)
def test_a_table_without_the_rows_of_a_chart_is_named(draw, said):
    with pytest.raises(InputError, match=said):
        draw()
