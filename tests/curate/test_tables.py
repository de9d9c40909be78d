"""Types are told once, rows are dropped with a reason, counts add up, and no copy reaches two splits."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.curate.tables import REASONS, content_hashes, curate_table
from winnow.errors import InputError
from winnow.pipeline.tables import read_parquet, write_parquet
from winnow.workloads.image_tables import SPLITS, metadata_of
from winnow.workloads.table_columns import raw_table, table_meta


def people(count=60, seed=0):
    """Rows that differ, with a number, a category and an ordinal, and a class that depends on them."""
    generator = np.random.default_rng(seed)
    age = generator.permutation(count).astype(float)
    return {
        "age": age.tolist(),
        "town": generator.choice(["Bonn", "Kiel", "Ulm"], count).tolist(),
        "size": generator.choice(["small", "large"], count).tolist(),
        "ill": np.where(age < count / 2, "no", "yes").tolist(),
    }


def raw(data, **options):
    options = {"source": "here", "target": "ill", **options}
    return raw_table(pa.table(data), **options)


def curate(table, **options):
    return curate_table(table, workload="people", **options)


def rows_of(curated, *names):
    """Split -> list of the rows' values of some columns."""
    return {s: list(zip(*(curated.tables[s][n].to_pylist() for n in names), strict=True)) for s in curated.tables}


def assert_adds_up(table, curated):
    report = curated.report
    sizes = {s: curated.tables[s].num_rows for s in SPLITS}
    assert report["rows_in"] == table.num_rows == report["kept"] + sum(report["dropped"].values())
    assert report["kept"] == sum(sizes.values()) and {s: report["splits"][s]["kept"] for s in SPLITS} == sizes
    for reason in REASONS:
        assert report["dropped"][reason] == curated.dropped["reason"].to_pylist().count(reason)
    for name, part in report["classes"].items():
        assert part["rows_in"] == part["kept"] + sum(part["dropped"].values())
        label = list(report["classes"]).index(name)
        for s in SPLITS:
            assert report["splits"][s]["classes"][name] == curated.tables[s]["target"].to_pylist().count(label)
    ids = [i for s in SPLITS for i in curated.tables[s]["row_id"].to_pylist()]
    assert len(set(ids)) == len(ids) and min(ids) >= 0
    for s in SPLITS:
        assert curated.tables[s]["row_id"].to_pylist() == sorted(curated.tables[s]["row_id"].to_pylist())
    json.dumps(report, allow_nan=False)


def test_types_are_told_from_values_and_what_is_said_comes_first():
    columns = people() | {"code": [f"0{i % 4}" for i in range(60)], "year": [2000 + i % 3 for i in range(60)]}
    said = {"size": ["small", "large"], "code": "category", "year": "category"}
    curated = curate(raw(columns, columns=said, units={"age": "years"}))
    found = {c["name"]: (c["type"], c["levels"], c["unit"], c["missing"]) for c in curated.columns.to_pylist()}
    assert found == {
        "age": ("numeric", [], "years", 0),
        "town": ("category", ["Bonn", "Kiel", "Ulm"], "", 0),
        "size": ("ordinal", ["small", "large"], "", 0),
        "code": ("category", ["00", "01", "02", "03"], "", 0),
        "year": ("category", ["2000", "2001", "2002"], "", 0),
    }
    assert curated.report["columns"]["types"] == {"numeric": 1, "category": 3, "ordinal": 1}
    assert curated.classes.to_pylist() == [{"label": 0, "name": "no"}, {"label": 1, "name": "yes"}]


def test_levels_and_missing_values_of_the_other_splits_do_not_enter_the_vocabulary():
    columns = people(100)
    splits = ["train"] * 60 + ["valid"] * 20 + ["test"] * 20
    columns["town"][99], columns["town"][98] = "Rome", None
    curated = curate(raw(columns, splits=splits))
    town = {c["name"]: c for c in curated.columns.to_pylist()}["town"]
    assert town["levels"] == ["Bonn", "Kiel", "Ulm"] and town["missing"] == 1
    assert "Rome" in curated.tables["test"]["town"].to_pylist()
    assert curated.report["columns"]["unknown_levels"] == {"town": 1}


def test_rows_are_dropped_by_the_first_reason_that_applies():
    columns = people(40)
    table = pa.table(columns).append_column("row_name", pa.array([f"r{i % 30}" for i in range(40)]))
    extra = [
        {"age": 1.5, "town": "Ulm", "size": None, "ill": None, "row_name": "no target"},
        {"age": None, "town": None, "size": None, "ill": "yes", "row_name": None},
        {"age": 2.5, "town": "Ulm", "size": "small", "ill": "yes", "row_name": "twice"},
        {"age": 2.5, "town": "Ulm", "size": "small", "ill": "yes", "row_name": "twice"},
        {"age": 3.5, "town": "Ulm", "size": "small", "ill": "yes", "row_name": "both"},
        {"age": 3.5, "town": "Ulm", "size": "small", "ill": "no", "row_name": "both"},
        {"age": 3.5, "town": "Ulm", "size": "small", "ill": "no", "row_name": "both"},
    ]
    table = pa.concat_tables([table, pa.Table.from_pylist(extra, table.schema)])
    given_rows = raw_table(table, source="here", target="ill", columns={"row_name": "category"})
    curated = curate(given_rows)
    assert_adds_up(given_rows, curated)
    dropped = dict(zip(curated.dropped["row"].to_pylist(), curated.dropped["reason"].to_pylist(), strict=True))
    assert dropped == {
        40: "no_target",
        41: "no_features",
        43: "exact_duplicate",
        44: "conflicting_label",
        45: "conflicting_label",
        46: "conflicting_label",
    }
    stayed = curated.dropped["kept"].to_pylist()
    kept = {i for s in SPLITS for i in curated.tables[s]["row_id"].to_pylist()}
    assert [k for k in stayed if k is not None] == [k for k in stayed if k in kept] and sum(
        k is not None for k in stayed
    ) == 1
    expected = {"conflicting_rows": 3, "conflicting_keys": 1, "repeated_rows": 2}
    assert {key: curated.report[key] for key in expected} == expected


def test_duplicates_that_are_kept_stay_together_and_have_ids_of_their_own():
    columns = people(200)
    for name in columns:
        columns[name] += columns[name][:50] * 2
    flipped = {"yes": "no", "no": "yes"}
    columns["ill"][-10:] = [flipped[v] for v in columns["ill"][-10:]]
    table = raw(columns)
    curated = curate(table, duplicates="keep")
    assert_adds_up(table, curated)
    assert curated.report["kept"] == 300 and curated.report["conflicting_keys"] == 10
    assert curated.report["conflicting_rows"] == 30 and curated.report["repeated_rows"] == 90
    ages = {s: {a for (a,) in rows_of(curated, "age")[s]} for s in SPLITS}
    assert not ages["train"] & ages["test"] and not ages["train"] & ages["valid"] and not ages["valid"] & ages["test"]


def test_results_do_not_depend_on_the_order_of_rows_or_columns():
    table = raw(people(80))
    one = curate(table)
    order = np.random.default_rng(1).permutation(80)
    shuffled = table.select(["size", "target", "source", "row", "town", "age"]).take(pa.array(order))
    other = curate(shuffled.replace_schema_metadata(table.schema.metadata))
    for s in SPLITS:
        assert other.tables[s].select(one.tables[s].schema.names).equals(one.tables[s])


def test_another_salt_makes_another_split_and_a_limit_a_subset():
    table = raw(people(300))
    one, other, small = curate(table), curate(table, split_salt="other"), curate(table, limit=20)
    ids = {
        n: {s: set(c.tables[s]["row_id"].to_pylist()) for s in SPLITS}
        for n, c in (("one", one), ("other", other), ("small", small))
    }
    for s in SPLITS:
        assert ids["one"][s] != ids["other"][s]
        assert ids["small"][s] < ids["one"][s] and len(ids["small"][s]) == 20
    assert small.report["dropped"]["beyond_limit"] == 240


def test_fractions_are_exact_in_each_class():
    curated = curate(raw(people(200)))
    for split, count in {"train": 70, "valid": 10, "test": 20}.items():
        assert curated.report["splits"][split]["classes"] == {"no": count, "yes": count}


def test_rows_of_a_group_stay_in_one_split():
    columns = people(120) | {"household": [f"h{i // 4}" for i in range(120)]}
    columns["household"][5] = None
    curated = curate(raw(columns, group="household"))
    found = rows_of(curated, "group")
    groups = {s: {g for (g,) in found[s] if g is not None} for s in SPLITS}
    assert sum(len(g) for g in groups.values()) == len(set.union(*groups.values())) == 30
    assert "household" not in curated.tables["train"].schema.names
    assert table_meta(curated.tables["test"]).group == "household"


def test_a_published_split_is_honoured_and_completed_from_its_train():
    columns = people(100)
    splits = ["train"] * 70 + ["test"] * 30
    table = raw(columns, splits=splits)
    curated = curate(table)
    assert_adds_up(table, curated)
    ages = {s: [a for (a,) in rows_of(curated, "age")[s]] for s in SPLITS}
    assert sorted(ages["test"]) == sorted(columns["age"][70:])
    assert sorted(ages["train"] + ages["valid"]) == sorted(columns["age"][:70])
    assert len(ages["valid"]) == pytest.approx(70 / 8, abs=1)
    assert curated.report["published_splits"]["train"]["rows_in"] == 70


def test_small_tables_get_repeated_stratified_folds_and_large_ones_none():
    table = raw(people(100))
    curated = curate(table, folds=[3, 5])
    folds = np.concatenate([np.array(curated.tables[s]["fold"].to_pylist()) for s in SPLITS])
    labels = np.concatenate([curated.tables[s]["target"].to_numpy() for s in SPLITS])
    assert folds.shape == (100, 3) and curated.report["folds"] == [3, 5]
    for repeat in range(3):
        for label in (0, 1):
            assert np.bincount(folds[labels == label, repeat]).tolist() == [10] * 5
    assert (folds[:, 0] != folds[:, 1]).any() and (folds[:, 1] != folds[:, 2]).any()
    large = curate(table, folds_below=100)
    assert "fold" not in large.tables["train"].schema.names and large.report["folds"] is None


def test_regression_is_stratified_by_target_and_keeps_its_numbers():
    columns = people(400)
    columns["ill"] = [float(i) for i in range(400)]
    curated = curate(raw(columns, task="regression"))
    assert curated.tables["train"]["target"].type == pa.float64() and not curated.classes.num_rows
    for split, share in {"train": 0.7, "valid": 0.1, "test": 0.2}.items():
        targets = np.array([t for (t,) in rows_of(curated, "target")[split]])
        counts = np.histogram(targets, np.linspace(0, 400, 11))[0]
        assert counts.tolist() == [round(40 * share)] * 10
    assert curated.report["conflicting_rows"] == 0


def test_regression_rows_of_one_content_stay_together_with_different_targets():
    columns = {"x": [float(i // 3) for i in range(90)], "ill": [float(i) for i in range(90)]}
    curated = curate(raw(columns, task="regression"))
    found = rows_of(curated, "x")
    values = {s: {x for (x,) in found[s]} for s in SPLITS}
    assert curated.report["kept"] == 90 and sum(map(len, values.values())) == 30


def test_the_tables_survive_parquet(tmp_path):
    curated = curate(raw(people()))
    write_parquet(curated.tables["train"], tmp_path / "train.parquet", metadata=curated.metadata)
    again = read_parquet(tmp_path / "train.parquet")
    assert again.equals(curated.tables["train"]) and metadata_of(again) == curated.metadata
    meta = table_meta(again)
    assert (meta.workload, meta.target, meta.classes) == ("people", "ill", ("no", "yes"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": [f"n{i}" for i in range(60)]}, "column 'name' has 60 different texts in 60 rows"),
        ({"ill": ["no"] * 60}, "target 'ill' has one class"),
        ({"ill": ["yes"] + ["no"] * 59, "split": ["test"] * 10 + ["train"] * 50}, "class 'yes' has no row left"),
        ({"split": ["test"] * 60}, "has no 'train'"),
    ],
)
def test_what_cannot_be_learnt_from_is_named(change, message):
    with pytest.raises(InputError, match=message):
        curate(raw(people() | change))


def test_columns_without_a_value_are_left_out_and_constant_ones_reported():
    columns = people() | {"empty": [None] * 60, "same": [1.0] * 60, "gaps": [None, 2.0] * 30}
    report = curate(raw(columns)).report["columns"]
    assert (
        report["without_values"] == ["empty"] and report["constant"] == ["same"] and report["missing"] == {"gaps": 30}
    )


cells = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.0, 1.5, -2.0]))
words = st.one_of(st.none(), st.sampled_from(["", "a", "b", "ab"]))


@given(st.lists(st.tuples(cells, words), min_size=2, max_size=30))
@settings(max_examples=60, deadline=None)
def test_rows_have_equal_keys_exactly_where_their_values_are_equal(rows):
    table = pa.table(
        {"x": pa.array([x for x, _ in rows], pa.float64()), "w": pa.array([w for _, w in rows], pa.string())}
    )
    keys = content_hashes(table)
    assert (content_hashes(table.select(["w", "x"])) == keys).all()
    for i, one in enumerate(rows):
        for j, other in enumerate(rows):
            assert (keys[i] == keys[j]) == (one == other)
    renamed = content_hashes(table.rename_columns(["y", "w"]))
    assert (renamed != keys).all()
