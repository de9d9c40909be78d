"""What charts of rerouting draw, counted in their data."""

import pytest

from winnow.errors import InputError
from winnow.evaluate import rerouting_charts as charts


def drawn(chart):
    """All values of a chart's data, of panels and layers too."""
    told = chart.to_dict() if hasattr(chart, "to_dict") else chart
    found = []

    def walk(part):
        if isinstance(part, dict):
            values = part.get("values")
            if isinstance(values, list) and values and isinstance(values[0], dict):
                found.extend(values)
            for rows in part.get("datasets", {}).values():
                found.extend(rows)
            for name, value in part.items():
                if name not in ("values", "datasets"):
                    walk(value)
        elif isinstance(part, list):
            for value in part:
                walk(value)

    walk(told)
    return found


def attack(objective, work, success, slots=2, seed=0):
    return {"objective": objective, "slots": slots, "success": success, "layer_forwards": work, "seed": seed}


def test_success_counts_prompts_rerouted_within_the_work():
    rows = [attack("gcg", 100, 1.0), attack("gcg", 10_000, 1.0), attack("gcg", 50, 0.0), attack("gcg", 90, 0.0)]
    rows += [attack("random", 0, 0.5), attack("gcg", 20, 1.0, slots=8)]
    chart = charts.work(rows)
    assert [panel.title for panel in chart.concat] == ["2 tokens", "8 tokens"]
    first = {row["spent"]: row["mean"] for row in drawn(chart.concat[0])}
    assert {value for at, value in first.items() if at < 99} == {0.0}
    assert {value for at, value in first.items() if 101 < at < 9999} == {0.25}
    assert first[max(first)] == 0.5
    assert {row["by"] for row in drawn(chart)} == {"answer, all blocks (GCG)"}


def test_cosines_are_means_of_prompts_for_each_block_and_seed():
    rows = [
        {"way": way, "prompt": i, "layer": layer, "cosine": base + i, "seed": seed}
        for way, base in (("plain", 0.0), ("rerouted", -0.5))
        for i in range(2)
        for layer in range(3)
        for seed in range(2)
    ]
    rows += [{"way": "steered", "prompt": -1, "success": 0.5}, rows[0] | {"way": "steered"}]
    found = {(row["by"], row["block"]): row["mean"] for row in drawn(charts.cosines(rows))}
    assert found == {(by, block): mean for by, mean in (("refused", 0.5), ("rerouted", 0.0)) for block in (1, 2, 3)}


def test_the_plane_has_a_mark_a_prompt():
    rows = [{"way": way, "x": float(i), "y": 1.0} for way in ("accepted", "plain", "steered") for i in range(4)]
    found = drawn(charts.plane(rows))
    assert len(found) == 12
    assert {row["by"] for row in found} == {"accepted", "refused", "steered"}


def test_a_detector_that_tells_all_is_at_one_everywhere_and_a_blind_one_on_the_diagonal():
    rows = [
        {"detector": name, "attack": kind, "score": score, "seed": seed}
        for seed in range(2)
        for name, scores in (("monitor", (2.0, 1.0)), ("surprise", (1.0, 1.0)))
        for kind, score in zip((True, False), scores, strict=True)
        for _ in range(5)
    ]
    found = {(row["by"], round(row["flagged"], 2)): row["mean"] for row in drawn(charts.detectors(rows))}
    assert found["probes at every position", 0.5] == 1
    assert found["surprising words", 0.5] == pytest.approx(0.5)


@pytest.mark.parametrize("draw", [charts.work, charts.cosines, charts.plane, charts.detectors])
def test_charts_without_rows_are_refused(draw):
    with pytest.raises(InputError, match="chart: the table has no"):
        draw([])
