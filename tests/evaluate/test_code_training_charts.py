"""Charts of annealing and tuning hold what the tables say."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import drawn, found
from winnow.errors import InputError
from winnow.evaluate import code_training_charts as charts
from winnow.evaluate.chart_parts import save_chart
from winnow.pipeline.tables import metric_rows


def test_charts_draw_gaps_to_the_plain_decay_ways_of_tuning_and_outcomes(tmp_path):
    def rows(variant, seed, split, **values):
        return metric_rows(
            values, system="opencoder_training", workload="python", variant=variant, split=split, seed=seed
        )

    metrics = pa.concat_tables(
        [
            rows(arm, seed, split, bits_per_byte=2 + gap + seed)
            for arm, gap in (("plain", 0), ("mixture", -0.25), ("stable", 1))
            for split in ("held_out", "functions", "exercises")
            for seed in (0, 1)
        ]
        + [rows("tuned: broad", 0, split, bits_per_byte=3.0) for split in ("functions", "exercises", "questions")]
        + [rows("tuned: broad", 0, "exercises", pass_rate=0.5)]
    )
    chart = charts.annealing(metrics)
    gaps = [row for row in drawn(chart) if "mean" in row]
    assert [(row["arm"], row["split"], row["mean"]) for row in gaps] == [
        ("mixture", split, -0.25) for split in ("held_out", "functions", "exercises")
    ]
    assert "bits a byte, less those of the plain decay (below 0 is better)" in found(chart.to_dict(), "title")
    tuned = [row for row in drawn(charts.tuning(metrics)) if "mean" in row]
    assert {(row["split"], row["mean"]) for row in tuned} == {
        ("functions", 3.0), ("exercises", 3.0), ("questions", 3.0), ("solved", 0.5),
    }  # fmt: skip
    solutions = pa.table({"fault": ["", "", "loop"], "outcome": ["passed", "passed", "limit"]})
    counted = drawn(charts.verification(solutions))
    assert {(row["fault"], row["outcome"], row["number"]) for row in counted} == {
        ("none", "passed", 2),
        ("no end", "limit", 1),
    }
    save_chart(charts.verification(solutions), tmp_path / "verification.svg")
    assert (tmp_path / "verification.svg").stat().st_size > 1000
    with pytest.raises(InputError):
        charts.verification(solutions.slice(0, 0))
