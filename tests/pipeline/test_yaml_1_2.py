"""What is read of a YAML file is what ruamel.yaml reads, by which DVC reads the same files."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from winnow.pipeline.yaml_1_2 import DoubledKey, Loader

ROOT = Path(__file__).parents[2]
FILES = ["params.yaml", "claims.yaml", "dvc.yaml", "data/sources.yaml", "scales/smoke.yaml", "scales/paper.yaml"]
# Where ruamel.yaml departs from the core schema (.5e3 is a word; dates, 1_000, 0b1 and +0x1 are not) is left out.
WORDS = st.sampled_from(
    ["true", "False", "yes", "no", "on", "Off", "null", "~", "Null", "nan", ".nan", ".inf", "-.INF"]
)
NUMBERS = st.from_regex(r"\A[-+]?[0-9]{0,3}\.?[0-9]{0,3}([eE][-+]?[0-9]{0,2})?\Z") | st.from_regex(
    r"\A0[ox][0-7]{1,4}\Z"
)
PLAIN = WORDS | NUMBERS | st.text("0123456789.+-eExoaflnrtuyN~", max_size=6)


def read(text):
    return yaml.load(text, Loader=Loader)


def by_ruamel(text):
    return YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize("name", FILES)
def test_files_of_this_repository_are_read_alike(name):
    text = (ROOT / name).read_text()
    assert repr(read(text)) == repr(by_ruamel(text))


@given(PLAIN.filter(lambda word: not re.match(r"[-+]?\.[0-9]+[eE]|[-+]0[xo]", word)))
def test_plain_words_mean_the_same(word):
    assert repr(read(f"[{word}]")) == repr(by_ruamel(f"[{word}]"))


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="ascii"), max_size=5)
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc-", max_size=3), inner))


@given(TREES)
def test_what_is_written_is_read_again(tree):
    assert repr(read(yaml.dump(tree, sort_keys=False))) == repr(tree)


def test_a_merged_key_may_be_set_again_and_a_doubled_one_may_not():
    assert read("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\n")["b"] == {"k": 3, "l": 2}
    with pytest.raises(DoubledKey, match="'k' stands twice, in line 3"):
        read("a:\n  k: 1\n  k: 1\n")
    with pytest.raises(DoubledKey):
        read("1: a\n0x1: b\n")
