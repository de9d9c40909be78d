"""The browser of features on models and dictionaries whose features are known."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from tests.evaluate.feature_examples import ROWS, Passing, axes, content, rows_of, table_of
from winnow.dictionaries.dictionary import Dictionary
from winnow.errors import InputError
from winnow.evaluate.feature_browser import (
    Examples,
    examples_of,
    feature_table,
    fired,
    strongest,
    without_feature,
)
from winnow.evaluate.feature_page import feature_page


def test_features_on_axes_fire_where_their_coordinate_is_above_0():
    table, where, _ = table_of(ROWS)
    first, second, third, fourth, dead = table.to_pylist()
    assert (first["density"], first["mean"], first["largest"]) == (0.75, 2.0, 3.0)
    assert (first["examples"], first["activations"]) == ([0, 3, 2], [3.0, 2.0, 1.0])
    assert (second["examples"], second["activations"], second["density"]) == ([1], [5.0], 0.25)
    assert third["examples"] == dead["examples"] == [] and third["raised"] == [] and dead["density"] == 0
    assert fourth["examples"] == [0, 1, 2]  # equal activations by number
    assert first["neighbours"][0] == 4 and first["cosines"][0] == pytest.approx(1.0)
    assert where.features.tolist() == sorted(where.features.tolist()) and where.rows_per_example == 1


def test_an_effect_is_the_change_of_log_probabilities_without_the_coordinate():
    table, _, _ = table_of(ROWS, top=1)
    second = table.to_pylist()[1]
    absent = torch.tensor([0.0, 0, 0, 1])
    change = (absent.log_softmax(0) - ROWS[1].log_softmax(0)).tolist()
    assert second["lowered"][0] == "b" and second["lowered_by"][0] == pytest.approx(change[1], rel=1e-5)
    assert set(second["raised"]) < set("acd") and second["raised_by"] == pytest.approx([change[0]] * 2, rel=1e-5)


def test_rows_without_the_feature_stay_as_they_are():
    edited = without_feature(axes(), 1)(ROWS)
    assert torch.equal(edited[[0, 2, 3]], ROWS[[0, 2, 3]]) and edited[1].tolist() == [0, 0, 0, 1]


def test_positions_of_tokens_count_one_by_one_and_padding_not_at_all():
    model = nn.Sequential()
    model.embed = nn.Embedding.from_pretrained(torch.eye(4) * torch.tensor([9.0, 1, 2, 3])[:, None])
    tokens = torch.tensor([[1, 2, 2, 0], [3, 1, 0, 0]])
    words = ["<pad>", "one", "two", "three"]
    kept = tokens != 0
    examples = Examples(tokens, kept, words, lambda i: [words[t] for t in tokens[i][kept[i]].tolist()])
    dictionary = axes()
    where = fired(dictionary, model, examples, "embed")
    table = feature_table(dictionary, model, examples, "embed", where, 5)
    padding, one, two, three, _ = table.to_pylist()
    assert padding["density"] == 0 and one["density"] == two["density"] == 0.4 and three["density"] == 0.2
    assert (one["examples"], one["positions"]) == ([0, 1], [0, 1])
    assert (two["examples"], two["positions"], two["activations"]) == ([0], [1], [2.0])
    assert two["lowered"][0] == "two"
    shown = content(feature_page(table, where, examples, "t"))["features"]
    assert shown[2]["seen"] == [
        {"activation": 2.0, "at": 1, "example": 0, "strength": [0, 2.0, 2.0], "tokens": ["one", "two", "two"]}
    ]


def test_strongest_takes_each_example_once():
    values, examples = np.array([1.0, 4, 3, 4, 2]), np.array([0, 0, 1, 2, 2])
    assert strongest(values, examples, 5).tolist() == [1, 3, 2] and strongest(values, examples, 2).tolist() == [1, 3]
    assert strongest(values[:0], examples[:0], 3).tolist() == []


def test_maps_fire_at_their_places():
    class Maps(nn.Module):
        def __init__(self):
            super().__init__()
            self.hook = nn.Identity()

        def forward(self, x):
            return self.hook(x).mean((2, 3))

    x = torch.zeros(2, 4, 2, 2)
    x[1, 2, 0, 1] = 7.0
    model, dictionary, examples = Maps(), axes(), rows_of(x)
    where = fired(dictionary, model, examples, "hook")
    table = feature_table(dictionary, model, examples, "hook", where, 2)
    assert table["density"].to_pylist()[2] == 1 / 8 and table["positions"].to_pylist()[2] == [1]
    assert content(feature_page(table, where, examples, "t"))["features"][2]["seen"][0]["map"] == [0, 7.0, 0, 0]


def test_what_cannot_be_browsed_is_refused():
    class Table:
        kind = "table"

    with pytest.raises(InputError, match="its kind, table, has no pictures and no tokens"):
        examples_of(Table(), "valid", 3)
    a = axes()
    wide = Dictionary(a.W_enc, a.b_enc, torch.eye(5), a.b_dec_in, torch.zeros(5), a.threshold, "relu_l1", "jumprelu")
    with pytest.raises(InputError, match="maps 4 to 5 dimensions; a browser shows autoencoders"):
        fired(wide, Passing(), rows_of(ROWS), "hook")


def test_the_table_has_its_schema():
    table, _, _ = table_of(ROWS)
    assert table.schema.field("examples").type == pa.list_(pa.int32()) and table.num_rows == 5
