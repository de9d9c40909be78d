import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate.known_charts import answers

ROWS = [
    {"measure": measure, "seed": seed, "draw": draw, "score": score + 0.02 * seed * spread, "floor": 0.1 - draw * 0.2}
    for measure, score, spread in (("sure", 0.95, 1), ("never", 0.2, 1), ("sometimes", 0.79, 1))
    for seed in (0, 1)
    for draw in (0, 1)
]


def test_each_measure_has_its_means_and_a_verdict_over_all_seeds():
    rows = drawn(answers(ROWS))
    cells = {(row["measure"], row["column"]): row["cell"] for row in rows if "cell" in row}
    verdicts = {measure: cells[measure, "verdict"] for measure in ("sure", "never", "sometimes")}
    assert verdicts == {"sure": "recovered", "never": "missed", "sometimes": "not at every seed"}
    assert cells["sure", "score"] == "0.96" and cells["never", "floor"] in ("0.00", "-0.00")
    points = {(row["measure"], row["against"]): row["mean"] for row in rows if "against" in row}
    assert points["sometimes", "what was planted"] == pytest.approx(0.80) and len(points) == 6


def test_a_table_without_rows_is_refused():
    with pytest.raises(InputError, match="chart: the table has no"):
        answers([])
