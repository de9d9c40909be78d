"""The study kit: a page that stands alone, a balanced plan, and an analysis that finds what was planted."""

import json
import re

import numpy as np
import pytest

from winnow.errors import InputError
from winnow.evaluate.concept_study import (
    Task,
    analyse_study,
    clustered_slope,
    power_table,
    ranked_concepts,
    study_page,
    study_plan,
)

COEFFICIENTS = {
    "cat": {"red": 0.1, "</script>": 2.0, "tail": -1.0},
    "dog": {"red": -0.2, "</script>": -1.0, "tail": 1.5},
}
TASKS = [Task(f"{i}", b"png", frozenset({"red", "unlisted"}), "cat") for i in range(5)]


def test_concepts_are_ranked_by_their_weight_over_classes():
    assert ranked_concepts(COEFFICIENTS, None) == ["</script>", "tail", "red"]
    assert ranked_concepts(COEFFICIENTS, 2) == ["</script>", "tail"]


def test_arms_are_equal_orders_are_drawn_anew_and_large_sizes_become_all():
    plan = study_plan(TASKS, 20, (8, 16, 32), 30, seed=0)
    counts = np.unique([entry["size"] for entry in plan], return_counts=True)
    assert counts[0].tolist() == [8, 16, 20] and counts[1].tolist() == [10, 10, 10]
    assert all(sorted(entry["order"]) == list(range(5)) for entry in plan)
    assert len({tuple(entry["order"]) for entry in plan}) > 10
    assert plan == study_plan(TASKS, 20, (8, 16, 32), 30, seed=0) != study_plan(TASKS, 20, (8, 16, 32), 30, seed=1)
    with pytest.raises(InputError, match="0 pictures for 3 people"):
        study_plan([], 20, (8,), 3, seed=0)


def test_the_page_holds_all_it_needs_and_no_data_ends_its_script():
    page = study_page(TASKS, COEFFICIENTS, sizes=(2,), people=4)
    assert not re.search(r"(src|href)=[\"']?https?:", page) and "%CONTENT%" not in page and "voluntary" in page
    (embedded,) = re.findall(r'id="content">(.*?)</script>', page, flags=re.S)
    content = json.loads(embedded)
    assert content["concepts"] == ["</script>", "tail", "red"] and content["coefficients"] == COEFFICIENTS
    assert content["tasks"][0] == {"image": "0", "png": "cG5n", "present": ["red"], "predicted": "cat"}
    assert page == study_page(TASKS, COEFFICIENTS, sizes=(2,), people=4)


def test_the_clustered_error_is_the_sandwich_and_larger_where_people_differ():
    generator = np.random.default_rng(0)
    person = np.repeat(np.arange(40), 6)
    x = np.repeat(generator.integers(3, 6, 40), 6).astype(float)
    y = 0.5 * x + np.repeat(generator.normal(0, 1, 40), 6) + generator.normal(0, 0.1, 240)
    found = clustered_slope(x, y, person)
    design = np.stack([np.ones(240), x], axis=1)
    slope = np.linalg.lstsq(design, y, rcond=None)[0]
    assert found.slope == pytest.approx(slope[1])
    # With x constant within people, the clustered error is that of a regression of 40 means, up to n / (n - 1).
    means = y.reshape(40, 6).mean(axis=1)
    small = design[::6]
    residual = means - small @ slope
    bread = np.linalg.inv(small.T @ small)
    expected = bread @ (small.T * residual**2) @ small @ bread * 40 / 39
    assert found.error == pytest.approx(np.sqrt(expected[1, 1]))
    each_for_itself = clustered_slope(x, y, np.arange(240))
    assert found.error > 1.8 * each_for_itself.error and found.p_value < 0.05
    with pytest.raises(InputError, match="2 people"):
        clustered_slope(np.array([1.0, 2]), np.array([1.0, 2]), np.array([0, 1]))


def test_chance_is_found_significant_as_often_as_the_level_says():
    generator = np.random.default_rng(1)
    person = np.repeat(np.arange(30), 4)
    found = []
    for _ in range(300):
        x = np.repeat(generator.integers(0, 3, 30), 4).astype(float)
        found.append(clustered_slope(x, np.repeat(generator.normal(size=30), 4), person).p_value)
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.05, abs=0.035)


def responses():
    generator = np.random.default_rng(0)
    found = []
    for i in range(24):
        size = (8, 16, 32)[i % 3]
        answers = []
        for k in range(4):
            missed = ["c"] * (1 + size // 16 + int(generator.integers(2)))
            answers.append(
                {"image": str(k), "size": size, "ticked": ["a", "b"], "missed": missed, "wrong": ["b"] if k else []}
                | {"chosen": "cat" if k < 3 else "dog", "predicted": "cat", "milliseconds": 1000 * size}
            )
        found.append({"person": i, "preferred": 8 if i % 2 else "all", "answers": answers})
    return found


def test_the_analysis_counts_recall_precision_foresight_and_time():
    report = analyse_study(responses())
    assert report["people"] == 24 and report["preferred"] == {"8": 0.5, "all": 0.5}
    assert report["means"]["seconds"] == {8: 8.0, 16: 16.0, 32: 32.0}
    assert report["means"]["foresight"] == {8: 0.75, 16: 0.75, 32: 0.75}
    assert report["means"]["precision"][8] == pytest.approx((1 + 3 * 0.5) / 4)
    recalls = [
        (2 - len(answer["wrong"])) / (2 - len(answer["wrong"]) + len(answer["missed"]))
        for response in responses()
        for answer in response["answers"]
        if answer["size"] == 8
    ]
    assert report["means"]["recall"][8] == pytest.approx(np.mean(recalls))
    assert report["effects"]["recall"].slope < 0 and report["effects"]["recall"].p_value < 0.01
    assert report["effects"]["seconds"].slope == pytest.approx(12, abs=0.5)
    with pytest.raises(InputError, match="a response lacks 'answers'"):
        analyse_study([{"person": 1}])


def test_power_grows_with_the_difference_and_is_the_level_at_none():
    rows = power_table()
    assert [row["people"] for row in rows] == [31.0] * 5
    power = [row["power"] for row in rows]
    assert power == sorted(power) and 0.05 < power[0] < 0.2 and power[-1] > 0.95
    # Eight tenths, 26 in an arm: the textbook's power of .8 (Cohen, 1988).
    assert power_table(104)[3]["power"] == pytest.approx(0.82, abs=0.02)
