import pytest
import yaml

from winnow.errors import InputError
from winnow.evaluate.claims_schema import Claim, Measure, load_claims

GOOD = """
- id: first
  system: ours
  paper: {title: T, authors: A, venue: V, year: 2020}
  statement: Ours is better.
  measure:
    metric: accuracy
    direction: higher
    left: {system: ours}
    right: {system: theirs}
  effect: 0
"""


def load(tmp_path, text):
    path = tmp_path / "claims.yaml"
    path.write_text(text)
    return load_claims(path)


def changed(**changes):
    """The good entry with some keys changed; None takes one away, a dotted key goes into the measure."""
    entry = yaml.safe_load(GOOD)[0]
    for key, value in changes.items():
        place = entry["measure"] if key.startswith("measure_") else entry
        name = key.removeprefix("measure_")
        if value is None:
            del place[name]
        else:
            place[name] = value
    return yaml.safe_dump([entry])


def test_a_minimal_entry_gets_the_documented_defaults(tmp_path):
    claim = load(tmp_path, GOOD)[0]
    assert (claim.test, claim.confidence, claim.minimum_pairs, claim.require) == ("bootstrap", 0.95, 5, "all")
    assert (claim.scale, claim.needs, claim.correction, claim.within) == ("laptop", None, None, None)
    measure = claim.measure
    assert (measure.compare, measure.against, measure.pair_by, measure.pool) == (
        "difference",
        "every",
        "seed",
        [],
    )
    assert measure.left.system == ["ours"] and measure.right[0].system == ["theirs"]
    assert measure.step is None and measure.where is None and measure.at_equal is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"statment": "x"}, "first.statment: unknown key; did you mean statement?"),
        ({"measure_metrc": "x"}, "first.measure.metrc: unknown key; did you mean metric?"),
        ({"measure_left": {"sytem": "x"}}, "first.measure.left.sytem: unknown key; did you mean system?"),
        (
            {"measure_left": {"value": 1}},
            "first.measure.left.value: unknown key; it can be system, workload, variant",
        ),
        (
            {"measure_right": [{"varint": "x"}]},
            "first.measure.right.0.varint: unknown key; did you mean variant?",
        ),
        (
            {"measure_points": {"95 %": {"spilt": "x"}}},
            "first.measure.points.95 %.spilt: unknown key; did you mean split?",
        ),
        ({"measure_where": {"sde": 1}}, "first.measure.where.sde: unknown key; did you mean side?"),
        ({"paper": {"titel": "T"}}, "first.paper.titel: unknown key; did you mean title?"),
        ({"paper": {"title": "T"}}, "first.paper.authors: is missing; add it"),
        ({"system": None}, "first.system: is missing; add it"),
        ({"id": "Has Blank"}, "Has Blank.id: is 'Has Blank'; string should match pattern"),
        (
            {"measure_direction": "up"},
            "first.measure.direction: is 'up'; input should be 'higher' or 'lower'",
        ),
        ({"measure_metric": None}, "first: measure: the left side has no metric; add one"),
        ({"measure": None}, "first: has no measure; add one, or needs: people"),
        ({"needs": "people"}, "first: needs people, yet has a measure"),
        ({"needs": "people", "measure": None}, "first: needs people, yet has a measure"),
        ({"needs": "money"}, "first.needs: is 'money'; input should be 'people'"),
        ({"effect": None}, "first: must have either effect or within"),
        ({"within": [0, 1]}, "first: must have either effect or within"),
        ({"effect": None, "within": [1, 0]}, "first: within is [1.0, 0.0]; the first must not be above"),
        ({"effect": float("nan")}, "first.effect: is nan; input should be a finite number"),
        ({"measure_compare": "ratio"}, "first: effect is 0; a ratio is above 0"),
        (
            {"measure_compare": "ratio", "effect": None, "within": [-1, 2]},
            "first: within is -1; a ratio is above 0",
        ),
        ({"minimum_pairs": 1}, "first: minimum_pairs is 1; bootstrap needs 2 or more"),
        ({"minimum_pairs": 1, "test": "paired_t"}, "first: minimum_pairs is 1; paired_t needs 2 or more"),
        ({"minimum_pairs": 0, "test": "sign"}, "first.minimum_pairs: is 0"),
        ({"confidence": 0.5}, "first.confidence: is 0.5"),
        ({"confidence": 1}, "first.confidence: is 1"),
        ({"test": "exact", "correction": "holm"}, "first: exact has no p-value to correct"),
        ({"require": 2}, "first: require is 2; it must be from 1 to the 1 comparisons, or all"),
        ({"require": 0}, "first: require is 0; it must be from 1"),
        ({"measure_pool": ["seed"]}, "first: measure.pool names seed, by which rows are paired"),
        ({"measure_pool": ["colour"]}, "first.measure.pool.0: is 'colour'"),
        (
            {"measure_at_equal": "l0", "measure_pool": ["variant"]},
            "first: measure.at_equal runs over variants",
        ),
        (
            {"measure_at_equal": "l0", "measure_pair_by": "variant"},
            "first: measure.at_equal runs over variants",
        ),
        (
            {
                "measure_right": [{"system": "theirs"}, {"system": "others"}],
                "measure_against": "best",
                "measure_where": {"side": "right", "metric": "collapsed", "equals": 1},
            },
            "first: measure.where asks the right side, of which against: best has several; ask the left side",
        ),
        ({"measure_right": []}, "first.measure.right: is []"),
        ({"measure_left": {"system": ""}}, "first.measure.left.system.0: is ''"),
        ({"measure_right": True}, "first.measure.right.0: is True"),
    ],
)
def test_each_fault_is_one_line_with_file_key_and_remedy(tmp_path, changes, message):
    with pytest.raises(InputError) as error:
        load(tmp_path, changed(**changes))
    lines = str(error.value).splitlines()
    assert any(line.startswith(f"{tmp_path}/claims.yaml: {message}") for line in lines), lines


def test_all_faults_are_listed_together(tmp_path):
    with pytest.raises(InputError) as error:
        load(tmp_path, GOOD.replace("statement", "statment") + GOOD.replace("effect", "efect"))
    lines = [line.removeprefix(f"{tmp_path}/claims.yaml: ") for line in str(error.value).splitlines()]
    assert "first.statment: unknown key; did you mean statement?" in lines
    assert "first: this id stands twice; rename one of the two entries" in lines
    assert "first.efect: unknown key; did you mean effect?" in lines


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1", "must be a list of entries"),
        ("- 1", "must be a list of entries"),
        ("", "must be a list of entries"),
        ("- id: [", "is not YAML"),
        ("- id: a\n  id: b", "key 'id' stands twice"),
        ("- !!python/object:os.system {}", "is not YAML"),
        ("- system: x", "entry 1.id: is missing"),
    ],
)
def test_a_file_that_is_not_a_list_of_entries_is_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as error:
        load(tmp_path, text)
    assert str(error.value).startswith(str(tmp_path / "claims.yaml"))
    assert all(line.startswith(str(tmp_path)) for line in str(error.value).splitlines())


def test_a_control_names_claims_of_the_same_file(tmp_path):
    second = GOOD.replace("first", "second") + "  covers: [first]\n"
    claims = load(tmp_path, GOOD + second)
    assert [claim.covers for claim in claims] == [[], ["first"]]
    for wrong, told in (("frist", "did you mean first?"), ("second", "did you mean"), ("9", "it can be first")):
        with pytest.raises(InputError) as error:
            load(tmp_path, GOOD + second.replace("[first]", f"[{wrong!r}]"))
        expected = f"{tmp_path}/claims.yaml: second.covers: '{wrong}' is no other claim; "
        assert str(error.value).startswith(expected) and ("\n" not in str(error.value))
        assert told in str(error.value) or wrong == "second"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.yaml: cannot be read"):
        load_claims(tmp_path / "nothing.yaml")


def test_merged_mappings_may_be_overridden(tmp_path):
    second = "- <<: *first\n  id: second\n  effect: 0.5\n"
    claims = load(tmp_path, GOOD.replace("- id: first", "- &first\n  id: first") + second)
    assert [(c.id, c.effect) for c in claims] == [("first", 0.0), ("second", 0.5)]


def test_comparisons_are_points_times_sides():
    sides = {
        "direction": "higher",
        "right": [{"system": "a"}, {"system": "b"}],
        "points": {"x": {}, "y": {}, "z": {}},
    }
    assert Measure(**sides).comparisons == 6
    assert Measure(**sides, against="best").comparisons == 3
    assert Measure(direction="higher").comparisons == 1


def test_a_claim_that_needs_people_needs_no_measure():
    paper = {"title": "T", "authors": "A", "venue": "V", "year": 2020}
    assert Claim(id="a", system="s", paper=paper, statement="x", needs="people").measure is None
