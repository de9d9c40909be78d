"""Files of text become rows that say all of them, in one order, and a folder's digest follows what is read."""

import json
from hashlib import sha256

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import InputError
from winnow.workloads.image_tables import METADATA_KEY
from winnow.workloads.text_tables import (
    LANGUAGES,
    LARGEST_FILE,
    RAW,
    TextMeta,
    concat_text_tables,
    language_of,
    raw_text_table,
    read_text_folder,
    text_folder_digest,
    text_meta,
)

names = st.text(st.sampled_from("abcXYZ_é"), min_size=1, max_size=4)
contents = st.binary(max_size=20) | st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(str.encode)


@given(st.dictionaries(st.builds("{}/{}.py".format, names, names), contents, min_size=1, max_size=6))
def test_a_row_says_all_of_its_file_and_rows_are_in_the_order_of_paths(files):
    table = raw_text_table(files, "archive", "package", "MIT")
    rows = table.to_pylist()
    assert table.schema == RAW and [row["path"] for row in rows] == sorted(files)
    for i, row in enumerate(rows):
        content = files[row["path"]]
        assert (row["row"], row["source"], row["package"], row["licence"]) == (i, "archive", "package", "MIT")
        assert (row["bytes"], row["sha256"]) == (len(content), sha256(content).hexdigest())
        try:
            assert row["text"] == content.decode("utf-8-sig")
        except UnicodeDecodeError:
            assert row["text"] is None


def test_a_file_may_be_as_large_as_the_limit_and_no_larger():
    assert LARGEST_FILE == 8 * 1024 * 1024  # as OpenCoder has it
    files = {"a.py": b"#" * LARGEST_FILE, "b.py": b"#" * (LARGEST_FILE + 1)}
    table = raw_text_table(files, "s", "p", "")
    assert table["bytes"].to_pylist() == [LARGEST_FILE, LARGEST_FILE + 1]
    assert [text is None for text in table["text"].to_pylist()] == [False, True]


def test_a_mark_of_byte_order_is_no_part_of_the_text_but_of_the_file():
    (row,) = raw_text_table({"a.py": b"\xef\xbb\xbfx = 1"}, "s", "p", "").to_pylist()
    assert (row["text"], row["bytes"]) == ("x = 1", 8)


def test_tables_one_under_the_other_have_rows_of_one_count():
    one, two = (raw_text_table({f"{name}.py": b"", "z.py": b"1"}, name, name, "") for name in "ab")
    whole = concat_text_tables([one, two, one])
    assert whole["row"].to_pylist() == list(range(6)) and whole["package"].to_pylist() == ["a", "a", "b", "b", "a", "a"]
    assert whole.schema == RAW and whole["text"].num_chunks == 1


def test_suffixes_are_small_letters_and_every_name_of_them_is_known():
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in LANGUAGES)
    for suffix, language in LANGUAGES.items():
        assert language_of(f"deep.er/a{suffix}") == language_of(f"A{suffix.upper()}") == language
    assert language_of("a.py/readme") is None and language_of("py") is None and language_of("a.py.bak") is None


def test_metadata_are_read_as_they_were_written():
    meta = TextMeta(300, 64, "käse")
    assert text_meta(pa.table({"x": [1]}).replace_schema_metadata(meta.encode()), "t") == meta
    (text,) = meta.encode().values()
    assert text == '{"context": 64, "kind": "text", "vocabulary": 300, "workload": "käse"}'


@pytest.mark.parametrize(
    "told",
    [
        None,
        "no json",
        "[]",
        json.dumps({"kind": "images", "vocabulary": 1, "context": 1}),
        json.dumps({"vocabulary": 1, "context": 1}),
        json.dumps({"kind": "text", "vocabulary": 1}),
        json.dumps({"kind": "text", "vocabulary": 1, "context": 1, "more": 1}),
    ],
)
def test_metadata_of_another_kind_are_named(told):
    table = pa.table({"x": [1]}).replace_schema_metadata(None if told is None else {METADATA_KEY: told})
    with pytest.raises(InputError, match=r"here: is no table of curated documents \(.*\); run the curate stage") as e:
        text_meta(table, "here")
    assert "\n" not in str(e.value)


@pytest.fixture
def corpus(tmp_path):
    for name, content in (("one/a.py", "x = 1\n"), ("one/b.md", "words\n"), ("c.rs", "fn\n"), ("one/d.bin", "0")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_a_digest_follows_paths_and_contents_of_what_is_read_and_nothing_else(corpus, tmp_path_factory):
    before = text_folder_digest(corpus)
    copy = tmp_path_factory.mktemp("copy")
    for path in sorted(corpus.rglob("*"), reverse=True):
        if path.is_file():
            (copy / path.relative_to(corpus)).parent.mkdir(exist_ok=True)
            (copy / path.relative_to(corpus)).write_bytes(path.read_bytes())
    assert text_folder_digest(copy) == before  # wherever it lies, in whatever order it was written
    (corpus / "one/.hidden.py").write_text("x")
    (corpus / ".git").mkdir()
    (corpus / ".git/a.py").write_text("x")
    (corpus / "one/d.bin").write_text("1")
    assert text_folder_digest(corpus) == before
    (corpus / "one/a.py").rename(corpus / "one/e.py")
    moved = text_folder_digest(corpus)
    (corpus / "one/e.py").write_text("x = 2\n")
    assert len({before, moved, text_folder_digest(corpus)}) == 3


def test_content_that_moves_between_files_is_another_digest(corpus):
    (corpus / "one/a.py").write_text("12")
    (corpus / "one/b.md").write_text("3")
    before = text_folder_digest(corpus)
    (corpus / "one/a.py").write_text("1")
    (corpus / "one/b.md").write_text("23")
    assert text_folder_digest(corpus) != before


def test_links_inside_a_folder_are_read_and_links_to_nowhere_are_not(corpus):
    (corpus / "one/same.py").symlink_to(corpus / "one/a.py")
    (corpus / "one/gone.py").symlink_to(corpus / "one/never.py")
    table = read_text_folder(corpus)
    assert table["path"].to_pylist() == ["c.rs", "one/a.py", "one/b.md", "one/same.py"]
    assert table["source"].unique().to_pylist() == [str(corpus)] and set(table["licence"].to_pylist()) == {""}


def test_links_that_lead_outside_are_not_followed(corpus, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.py").write_text("secret = 1\n")
    (corpus / "one/link.py").symlink_to(outside / "secret.py")
    (corpus / "folder").symlink_to(outside)
    (corpus / "self").symlink_to(corpus / "one")
    assert read_text_folder(corpus)["path"].to_pylist() == ["c.rs", "one/a.py", "one/b.md"]


def test_a_package_is_the_top_folder_and_rows_are_counted(corpus):
    (corpus / "one/deep/er").mkdir(parents=True)
    (corpus / "one/deep/er/f.py").write_text("")
    rows = read_text_folder(corpus).to_pylist()
    packages = {"c.rs": "", "one/a.py": "one", "one/b.md": "one", "one/deep/er/f.py": "one"}
    assert {row["path"]: row["package"] for row in rows} == packages
    assert [row["row"] for row in rows] == list(range(4))


def test_a_name_that_is_no_utf8_is_read(corpus):
    import os

    (corpus / os.fsdecode(b"one/\xff.py")).write_text("x")
    assert "one/\ufffd.py" in read_text_folder(corpus)["path"].to_pylist()
    assert len(text_folder_digest(corpus)) == 32
