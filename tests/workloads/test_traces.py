"""Requests are told in the order of the text, and drawn traces have the shares of their law."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from winnow.errors import InputError
from winnow.evaluate.paging_audit import harmonic
from winnow.workloads.traces import (
    cyclic_trace,
    items_in_time,
    own_trace,
    requests_of,
    trace_of,
    trace_table,
    zipf_trace,
)


def test_imports_and_calls_are_told_in_the_order_of_the_text():
    text = (
        "import os, a.b\nfrom . import c\nfrom ..d import e\nfrom x import y\nf(g(1)).h()\ndef k():\n    import late\n"
    )
    assert requests_of(text, ["p", "q", "m"], "imports") == ["os", "a.b", "p.q", "p.d", "x", "late"]
    assert sorted(requests_of(text, ["p", "q", "m"], "calls")) == ["f", "g", "h"]
    assert requests_of("def f(:", [], "calls") == []
    assert trace_of([("p/a.py", "import x, y, x"), ("p/b.py", "import y")], "imports").tolist() == [0, 1, 0, 1]


def test_made_up_traces():
    assert cyclic_trace(3, 7).tolist() == [0, 1, 2, 0, 1, 2, 0]
    share = np.bincount(zipf_trace(50, 40_000, np.random.default_rng(0)), minlength=50) / 40_000
    np.testing.assert_allclose(share[:3], (1 / np.arange(1, 4)) / harmonic(50), rtol=0.05)


def test_relative_imports_refer_to_the_file_s_own_name():
    text = "from . import a\nfrom .b import c\nfrom .. import d\nfrom ...e.f import g\nfrom h import i\n"
    assert requests_of(text, ["p", "q", "r", "m"], "imports") == ["p.q.r", "p.q.r.b", "p.q", "p.e.f", "h"]
    files = [("p/q/__init__.py", "from . import a"), ("p/q.py", "from . import a"), ("p/r.py", "import p.q, p")]
    # A package's own name is that of its folder.
    assert trace_of(files, "imports").tolist() == [0, 0, 1, 0]


def test_calls_are_named_by_what_stands_before_their_parentheses():
    assert requests_of("a.b.c(x)\nd[0](e())\n(lambda: 1)()\n", [], "calls") == ["c", "e"]
    assert requests_of("import os\nos.walk(1)", [], "calls") == ["walk"] and requests_of("f(1)", [], "imports") == []
    assert requests_of('"\\d"\nf()', [], "calls") == ["f"]  # an escape that Python warns of
    assert requests_of("f(\0)", [], "calls") == [] and requests_of("(" * 3000 + ")" * 3000, [], "calls") == []


def test_an_exponent_says_how_fast_requests_fall():
    for exponent in (0.0, 2.0):
        trace = zipf_trace(4, 40_000, np.random.default_rng(1), exponent)
        law = 1 / np.arange(1, 5) ** exponent
        np.testing.assert_allclose(np.bincount(trace, minlength=4) / 40_000, law / law.sum(), atol=0.01)
    assert zipf_trace(4, 7, np.random.default_rng(1)).shape == (7,)


def test_a_table_holds_every_request_of_every_trace_in_order():
    table = trace_table({"a": np.array([5, 5, 7]), "b": np.array([0])})
    assert table.to_pydict() == {"trace": ["a", "a", "a", "b"], "t": [0, 1, 2, 0], "key": [5, 5, 7, 0]}
    assert table.schema.field("key").type == pa.int32()
    assert trace_of([], "calls").dtype == np.int64 and len(trace_of([], "calls")) == 0


def test_items_come_in_the_order_of_time_whoever_took_them_and_of_rows_where_times_are_equal():
    train = pa.table({"user": [1, 1, 2], "item": [7, 9, 4], "time": [30.0, 10.0, 20.0], "row": [0, 1, 2]})
    test = pa.table({"user": [1, 2], "item": [9, 7], "time": [20.0, 20.0], "row": [9, 1]})
    assert items_in_time([train, test]).tolist() == [2, 1, 0, 2, 1]  # 9, then 7, 4 and 9 at one time, then 7
    with pytest.raises(InputError, match="events: are 3; a trace needs 4 or more"):
        items_in_time([train])


def test_a_trace_of_one_s_own_is_read_in_the_order_of_time(tmp_path):
    path = tmp_path / "trace.parquet"
    pq.write_table(pa.table({"t": [3, 1, 2, 9], "key": ["b", "a", "b", "c"], "size": [4, 4, 4, 4]}), path)
    assert own_trace(path).tolist() == [0, 1, 1, 2]
    table = trace_table({"a": np.array([5, 5, 7, 5])})
    pq.write_table(table, path)
    assert own_trace(path).tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("columns", "match"),
    [
        ({"t": [0, 1, 2, 3], "key": [1, 2, 1, 2], "size": [1, 1, 2, 1]}, "2 sizes of pages; pages of unequal size"),
        ({"t": [0, 1, 2, 3], "page": [1, 2, 1, 2]}, "no column 'key'; it has t, page"),
        ({"key": [1, 2, 1, 2]}, "no column 't'"),
        ({"t": [0, 1, 2, 3], "key": [1, None, 1, 2]}, "1 values of key are missing"),
        ({"t": [0, 1, 0, 1], "key": [1, 2, 1, 2]}, "has 4 requests at 2 times"),
        ({"t": [0, 1, 2], "key": [1, 2, 1]}, "has 3 requests at 3 times"),
    ],
)
def test_a_trace_that_cannot_be_served_is_refused(tmp_path, columns, match):
    path = tmp_path / "trace.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match=match):
        own_trace(path)
