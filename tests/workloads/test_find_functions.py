"""Functions of the library are what their records say, and answer what their trees say."""

import json

import numpy as np
import pytest

from winnow import sandbox
from winnow.errors import InputError
from winnow.randomness import numpy_generator
from winnow.workloads import find_numeric
from winnow.workloads.find_functions import (
    BudgetExceeded,
    Function,
    Shares,
    entity_functions,
    evaluator,
    library,
    normalised_error,
    numeric_functions,
    numeric_record,
    relation_functions,
    string_functions,
)

SHARES = Shares(0.25, 0.3, 0.1, 0.2)


@pytest.fixture(scope="module")
def records():
    return numeric_functions(60, 0, SHARES)


def test_code_agrees_with_the_second_evaluator_on_a_thousand_points(records):
    x = np.linspace(-find_numeric.EDGE, find_numeric.EDGE, 1000)
    outcomes = sandbox.run([sandbox.Case(record["code"], "f", x.tolist()) for record in records])
    for record, outcome in zip(records, outcomes, strict=True):
        true = find_numeric.truth(json.loads(record["spec"]), x)
        # Networks and polynomials are sums of terms as large as their largest value.
        np.testing.assert_allclose(outcome.values, true, rtol=1e-12, atol=1e-12 * np.nanmax(np.abs(true)))


@pytest.mark.parametrize(
    ("tree", "x", "y"),
    [
        (["polynomial", 1.0, 2.0, 3.0], 2.0, 17.0),
        (["absolute", 2.0, 3.0, 1.0], -1.0, 9.0),
        (["root", 2.0, 1.0, 1.0], 10.0, 7.0),
        (["root", 2.0, 1.0, 1.0], 0.0, np.nan),
        (["logarithm", 2.0, 1.0, 1.0], 1.0 + np.e, 3.0),
        (["logarithm", 2.0, 1.0, 1.0], 1.0, np.nan),
        (["step", 3.0, 1.0, 2.0], 1.0, 2.0),
        (["step", 3.0, 1.0, 2.0], 1.5, 5.0),
        (["relu", 3.0, 0.5, 1.0, 2.0], 3.0, 8.0),
        (["relu", 3.0, 0.5, 1.0, 2.0], -1.0, 1.0),
        (["tanh", 2.0, 1.0, 1.0, 3.0], 1.0, 3.0),
        (["sin", 2.0, np.pi, 0.0, 1.0], 0.5, 3.0),
        (["cos", 2.0, np.pi, 0.0, 1.0], 1.0, -1.0),
        (["reciprocal", 4.0, 1.0, 1.0], 3.0, 3.0),
        (["reciprocal", 4.0, 1.0, 1.0], 1.0, np.nan),
        (["gaussian", 2.0, 1.0, 2.0, 3.0], 3.0, 2 * np.exp(-0.5) + 3),
        (["rational", [1.0, 2.0], [0.0, 0.0, 1.0]], 2.0, 1.25),
        (["rational", [1.0, 2.0], [0.0, 0.0, 1.0]], 0.0, np.nan),
        (["rectangle", 2.0, 1.0, 3.0, 5.0], 2.0, 7.0),
        (["rectangle", 2.0, 1.0, 3.0, 5.0], 3.0, 5.0),
        (["square_wave", 2.0, 4.0, 1.0, 5.0], 2.0, 7.0),
        (["square_wave", 2.0, 4.0, 1.0, 5.0], 0.0, 3.0),
        (["ceil", 2.0, 1.0], 1.2, 5.0),
        (["floor", 2.0, 1.0], 1.2, 3.0),
        (["sum", ["constant", 2.0], ["linear", 3.0, 1.0]], 2.0, 9.0),
        (["product", ["constant", 2.0], ["linear", 3.0, 1.0]], 2.0, 14.0),
        (["network", 1.0, 2.0, [0.0, 2.0], [3.0, 5.0]], 3.0, 21.0),
    ],
)
def test_trees_give_what_is_computed_by_hand(tree, x, y):
    np.testing.assert_allclose(find_numeric.values(tree, np.array([x])), [y], rtol=1e-14)
    (outcome,) = sandbox.run([sandbox.Case(find_numeric.source(tree), "f", [x])])
    np.testing.assert_allclose(outcome.values, [y], rtol=1e-14)


def test_the_same_seed_gives_the_same_library_and_another_seed_shares_no_tree(records):
    again = library(numeric_functions(60, 0, SHARES))
    assert again.equals(library(records))
    others = numeric_functions(60, 1, SHARES)
    assert not {r["spec"] for r in records} & {r["spec"] for r in others}


def test_complications_exclude_one_another_and_come_in_their_shares():
    drawn = [r for r in numeric_functions(300, 0, Shares(0.25, 0.3, 0.0, 0.5)) if not r["twin_of"]]
    counts = {name: sum(r["complication"] == name for r in drawn) / 300 for name in ("noise", "corruption", "clean")}
    assert counts == pytest.approx({"noise": 0.25, "corruption": 0.3, "clean": 0.45}, abs=0.08)
    assert sum(r["composed"] for r in drawn) / 300 == pytest.approx(0.5, abs=0.08)
    for record in drawn:
        spec = json.loads(record["spec"])
        assert bool(spec["noise"]) == (record["complication"] == "noise") == bool(record["noise"])
        assert bool(spec["corruption"]) == (record["complication"] == "corruption")


def test_a_record_says_what_its_function_is_made_of(records):
    for record in records:
        tree = json.loads(record["spec"])["tree"]
        if record["complication"] != "approximation":  # whose tree is a network
            parts = [part[0] for part in tree[1:]] if tree[0] in ("sum", "product") else [tree[0]]
            assert record["family"] == " ".join(parts) and record["composed"] == (len(parts) == 2)
            assert not find_numeric.spoiled(tree) and record["approximation_error"] is None
        known = json.loads(record["spec"])["noise"]
        assert record["noise"] == ("" if known is None else known)
        low, high = json.loads(record["domain"]) or (None, None)
        told = record["description"].split(", but near ")
        assert len(told) == (2 if record["complication"] == "corruption" else 1)
        if len(told) == 2:
            level = json.loads(record["spec"])["corruption"]["level"]
            assert told[1] == f"{level:g} from {low:g} to {high:g}"
    assert [r["function_id"] for r in records if not r["twin_of"]] == [f"numeric{i:04d}" for i in range(60)]
    assert all(r["function_id"] == f"{r['twin_of']}-clean" for r in records if r["twin_of"])
    assert numeric_functions(1, 0, SHARES) == records[: 1 + (records[0]["complication"] == "corruption")]


def test_kinds_of_noise_come_in_the_published_shares():
    generator = numpy_generator(0, "t")
    drawn = [numeric_record("a", ["constant", 1.0], "noise", generator)["noise"] for _ in range(3000)]
    for name, share in {"uniform": 0.44, "normal": 0.34, "poisson": 0.22}.items():
        assert drawn.count(name) / 3000 == pytest.approx(share, abs=0.03)


def test_exemplars_are_the_words_that_a_function_answers_to_most_the_first_of_ties():
    (record,) = entity_functions(1, 0)
    of, words = evaluator(record), ["dog", "oak", "csv", "cat", "pine", "chess", "python", "go", "iron"]
    function = Function(record, 0, 0)
    found = function.exemplars(words, 9)
    assert sorted(found) == sorted(words) and function.calls == 0
    for before, after in zip(found, found[1:], strict=False):
        assert of(before) > of(after) or (of(before) == of(after) and words.index(before) < words.index(after))
    assert function.exemplars(words, 3) == found[:3]


@pytest.mark.parametrize("make", [string_functions, entity_functions, relation_functions])
def test_records_without_numbers_answer_as_their_code_does(make):
    kind = make.__name__.split("_")[0]
    records = make(40, 0)
    assert make(1, 0) == records[:1] and library(records).to_pylist() == records
    assert [r["function_id"] for r in records] == [f"{kind}{i:04d}" for i in range(40)]
    for record in records[:5]:
        scope = {}
        exec(record["code"], scope)
        inputs = ["dog", "france", "iron", "KeyError", "a b"]
        assert Function(record, 0, 5).query(inputs) == [scope["f"](given) for given in inputs]
        assert (record["kind"], record["twin_of"], record["noise"]) == (kind, "", "")
        corrupted = kind == "relation"
        assert record["complication"] == ("corruption" if corrupted else "clean")
        assert (json.loads(record["domain"]) is not None) == corrupted and record["approximation_error"] is None
    share = np.mean([r["composed"] for r in make(200, 1)])
    assert share == pytest.approx(0.0 if corrupted else 0.3, abs=0.0 if corrupted else 0.1)


def test_a_corrupted_function_is_its_clean_twin_but_for_a_stretch_near_its_mean(records):
    x = find_numeric.half_integers()
    twins = {r["twin_of"]: r for r in records if r["twin_of"]}
    spoiled = [r for r in records if r["complication"] == "corruption"]
    assert {r["function_id"] for r in spoiled} == set(twins)
    for record in spoiled:
        low, high = json.loads(record["domain"])
        clean = find_numeric.truth(json.loads(twins[record["function_id"]]["spec"]), x)
        told = Function(record, 0, len(x)).query(x)
        inside = (x > low) & (x < high)
        assert inside.any() and not inside.all()
        np.testing.assert_array_equal(told[~inside], clean[~inside])
        # The level is rounded to a tenth, and answers deviate from it by a tenth.
        assert np.all(np.abs(told[inside] - np.nanmean(clean)) < 0.05 + 6 * find_numeric.SPREAD)


@pytest.mark.parametrize(("noise", "mean", "variance"), [("uniform", 0, 1 / 3), ("normal", 0, 1), ("poisson", 1, 1)])
def test_noise_is_drawn_afresh_with_its_mean_and_variance(noise, mean, variance):
    spec = {"tree": ["constant", 5.0], "noise": noise, "corruption": None}
    told = find_numeric.answers(spec, np.zeros(20_000), numpy_generator(0, "t")) - 5
    # Six standard errors.
    assert np.mean(told) == pytest.approx(mean, abs=6 * np.sqrt(variance / 20_000))
    assert np.var(told) == pytest.approx(variance, rel=0.1)


def test_a_networks_stored_error_is_what_it_misses_its_tree_by():
    generator = numpy_generator(0, "t")
    tree = ["tanh", 5.0, 0.1, 0.0, 1.0]
    record = numeric_record("a", tree, "approximation", generator)
    x = find_numeric.half_integers()
    network = find_numeric.values(json.loads(record["spec"])["tree"], x)
    true = find_numeric.values(tree, x)
    assert record["approximation_error"] == pytest.approx(np.sum((network - true) ** 2) / np.sum(true**2))
    assert 0 < record["approximation_error"] < 1e-3
    # Its outer weights are a least-squares solution: no other line added to them comes nearer.
    x = np.linspace(-128, 128, find_numeric.SAMPLES)
    residual = find_numeric.values(tree, x) - find_numeric.values(json.loads(record["spec"])["tree"], x)
    assert abs(residual.mean()) < 1e-9 and abs((residual * x).mean()) < 1e-7


def test_order_of_queries_changes_no_answer_without_noise(records):
    clean = next(r for r in records if r["complication"] == "clean")
    x = np.linspace(-100, 100, 31)
    forth, back = (Function(clean, 0, 31).query(order) for order in (x, x[::-1]))
    np.testing.assert_array_equal(forth, back[::-1])


def test_calls_are_counted_and_a_budget_is_never_passed(records):
    function = Function(records[0], 0, 5)
    function.query([1.0, 2.0])
    assert (function.calls, function.left) == (2, 3)
    with pytest.raises(BudgetExceeded, match="4 inputs are asked, 3 of 5 are left"):
        function.query([0.0] * 4)
    assert function.calls == 2


def test_the_error_is_normalised_and_skips_what_is_not_defined():
    true = np.array([3.0, np.nan, 4.0])
    assert normalised_error(true, np.array([3.0, 1e9, 4.0])) == 0
    assert normalised_error(true, np.array([0.0, 0.0, 0.0])) == pytest.approx(1)
    assert normalised_error(true, np.array([3.0, 0.0, 3.0])) == pytest.approx(1 / 25)
    assert normalised_error(true, np.array([3.0, 0.0, np.nan])) == np.inf
    assert normalised_error(np.zeros(2), np.zeros(2)) == 0
    assert normalised_error(np.zeros(2), np.full(2, 1e-9)) == np.inf
    assert normalised_error(np.zeros(2), np.full(2, 0.2), 0.01) == pytest.approx(4)
    assert normalised_error(np.full(2, 3.0), np.full(2, 3.3), 0.01) == pytest.approx(0.01)
    assert normalised_error(true * 1e200, true * 1e200 * 1.1) == pytest.approx(0.01)
    # One large value among zeros: the mean square is below the floor, which then counts, though the value is not.
    rare, off = np.array([0.3] + [0.0] * 9), np.array([0.3, 0.2] + [0.0] * 8)
    assert normalised_error(rare, off, 0.01) == pytest.approx(0.004 / 0.01)
    assert normalised_error(rare, off) == pytest.approx(0.04 / 0.09)


def test_no_function_is_an_error():
    with pytest.raises(InputError, match="find_benchmark.numeric: 0 functions"):
        numeric_functions(0, 0, SHARES)
