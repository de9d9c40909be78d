"""Circuits of any size are laid out so that no box covers another, and lines keep clear of boxes where they can."""

import re
from itertools import pairwise

import altair as alt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluate.drawing import check_look, filled
from winnow.evaluate import circuit_picture as pictures

SENTENCE = ["<bos>", "when", "i", "and", "alexandra", "went", "to", "the", "supermarket", ",", "it's"]
WORDS = dict(enumerate(SENTENCE))
cells = st.dictionaries(
    st.tuples(st.sampled_from(sorted(WORDS)), st.integers(0, 12)), st.integers(1, 7), min_size=1, max_size=15
)


def nodes_of(counts, label="{level}.{place}"):
    """As many nodes as are asked for at each column and level."""
    return [
        {"node": (column, level, place), "column": column, "level": level}
        | {"label": label.format(level=level, place=place)}
        for (column, level), count in counts.items()
        for place in range(count)
    ]


def sides(place, node):
    (x, y), half = place.nodes[node], place.boxes[node] / 2
    return x - half, x + half, y - pictures.TALL / 2, y + pictures.TALL / 2


def apart(first, second, room=0.0):
    left, right, low, high = first
    return second[0] >= right + room or second[1] <= left - room or second[2] >= high + room or second[3] <= low - room


@settings(max_examples=40)
@given(cells, st.sampled_from(["{level}.{place}", "place {place} of level {level}"]))
def test_boxes_keep_apart_and_inside_and_are_as_wide_as_their_labels(counts, label):
    nodes = nodes_of(counts, label)
    place = pictures.layout(nodes, WORDS)
    boxes = {node["node"]: sides(place, node["node"]) for node in nodes}
    assert len(boxes) == sum(counts.values())
    for node, (left, right, low, high) in boxes.items():
        assert left >= 0 and right <= place.width and low >= 0 and high <= place.height
        # What is of another level is far enough for lines to be seen between them.
        for other in boxes:
            assert other == node or apart(boxes[node], boxes[other], 5 if other[1] == node[1] else 40)
    # Digits of the widest common fall-back, DejaVu Sans, are 0.636 of the type's size wide.
    assert all(place.boxes[node["node"]] >= 0.636 * 14 * len(node["label"]) for node in nodes)


@given(cells)
def test_columns_are_in_the_order_of_words_which_keep_apart_and_levels_go_up(counts):
    nodes = nodes_of(counts)
    place = pictures.layout(nodes, WORDS)
    columns = sorted({column for column, _ in counts})
    assert sorted(place.columns) == columns and sorted(place.levels) == sorted({level for _, level in counts})
    halves = {column: 0.6 * 16 * len(WORDS[column]) / 2 for column in columns}
    for first, second in pairwise(columns):
        assert place.columns[first] + halves[first] < place.columns[second] - halves[second]
        right = max(sides(place, n["node"])[1] for n in nodes if n["column"] == first)
        assert right < min(sides(place, n["node"])[0] for n in nodes if n["column"] == second)
    for lower, upper in pairwise(sorted(place.levels)):
        below = max(sides(place, node["node"])[3] for node in nodes if node["level"] == lower)
        assert below < min(sides(place, node["node"])[2] for node in nodes if node["level"] == upper)


def test_what_is_missing_leaves_no_gap_and_what_is_few_is_spread():
    near, far = ({(0, 0): 1, (column, level): 1} for column, level in ((1, 1), (9, 11)))
    assert sorted(pictures.layout(nodes_of(near), WORDS).levels.values()) == sorted(
        pictures.layout(nodes_of(far), WORDS).levels.values()
    )
    place = pictures.layout(nodes_of(far), WORDS)
    assert place.width == pytest.approx(pictures.NARROWEST)
    xs = sorted(x for x, _ in place.nodes.values())
    assert xs[0] < place.width / 2 < xs[1]


def test_a_picture_that_would_be_too_wide_has_several_rows_instead():
    few, many = ({(column, 0): count for column in WORDS} for count in (1, 8))
    assert len({y for _, y in pictures.layout(nodes_of(few), WORDS).nodes.values()}) == 1
    place = pictures.layout(nodes_of(many), WORDS)
    assert len({y for _, y in place.nodes.values()}) > 1
    wide = pictures.layout(nodes_of({(0, 0): 8}), WORDS)
    assert len({y for _, y in wide.nodes.values()}) == 1


def crossed(place, points, ends, room=0.0):
    """How many boxes of others a line meets, or comes as near to: looked at in steps of at most 2."""
    fine = []
    for (x, y), (x2, y2) in pairwise(points):
        parts = max(1, int(max(abs(x2 - x), abs(y2 - y)) / 2) + 1)
        fine += [(x + (x2 - x) * part / parts, y + (y2 - y) * part / parts) for part in range(parts + 1)]
    boxes = [sides(place, node) for node in place.nodes if node not in ends]
    return sum(
        any(left - room <= x <= right + room and low - room <= y <= high + room for x, y in fine)
        for left, right, low, high in boxes
    )


def test_lines_bend_around_boxes_that_are_in_their_way_and_are_straight_otherwise():
    place = pictures.layout(nodes_of({(0, 0): 1, (0, 1): 2, (0, 2): 3, (0, 3): 1, (3, 3): 1}), WORDS)
    start = (0, 0, 0)
    around = pictures.line(place, start, (0, 3, 0))
    assert around[0] == place.nodes[start] and around[-1] == place.nodes[0, 3, 0]
    straight = pictures._bow(place.nodes[start], place.nodes[0, 3, 0], 0)
    assert crossed(place, straight, (start, (0, 3, 0))) == 1 and crossed(place, around, (start, (0, 3, 0))) == 0
    (x, y), (x2, y2) = place.nodes[0, 1, 0], place.nodes[0, 2, 0]
    direct = pictures.line(place, (0, 1, 0), (0, 2, 0))
    assert all((px - x) * (y2 - y) == pytest.approx((py - y) * (x2 - x)) for px, py in direct)


@given(cells, st.randoms(use_true_random=False))
def test_a_line_crosses_no_more_boxes_than_a_straight_one(counts, random):
    place = pictures.layout(nodes_of(counts), WORDS)
    start, end = random.choice(sorted(place.nodes)), random.choice(sorted(place.nodes))
    if start[1] < end[1]:
        points, straight = pictures.line(place, start, end), [place.nodes[start], place.nodes[end]]
        assert crossed(place, points, (start, end)) <= crossed(place, straight, (start, end), pictures.CLEAR)
        assert points[0] == pytest.approx(place.nodes[start]) and points[-1] == pytest.approx(place.nodes[end])


def drawn(words=WORDS):
    nodes = nodes_of({(0, 0): 2, (4, 1): 3, (8, 2): 1, (10, 2): 1})
    edges = [{"from": (0, 0, 0), "to": (8, 2, 0), "size": 1.0}, {"from": (4, 1, 2), "to": (10, 2, 0), "size": 0.2}]
    return pictures.picture(
        nodes, edges, words, {0: "low", 1: "middle", 2: "top"}, "given", stroke=alt.value("#7F7F7F")
    )


def test_words_stand_in_the_picture_whatever_signs_they_have(tmp_path):
    words = WORDS | {0: "it's", 4: 'a "b"', 8: "back\\slash"}
    check_look(lambda: drawn(words), tmp_path)
    text = (tmp_path / "first.svg").read_text()
    told = {found.strip() for found in re.findall(r">([^<>]+)<", text)}
    assert {"it's", 'a "b"', "back\\slash", "(0)", "(8)", "low", "middle", "top"} <= {
        word.replace("&quot;", '"').replace("&apos;", "'").replace("&#39;", "'") for word in told
    }


def test_each_edge_is_one_line_from_its_node_to_the_other():
    arcs, boxes, _ = (layer["data"]["values"] for layer in filled(drawn())["layer"])
    assert {(arc["edge"], arc["size"]) for arc in arcs} == {(0, 1.0), (1, 0.2)}
    places = {(box["column"], box["label"]): (box["x"], box["y"]) for box in boxes}
    ends = [[(arc["x"], arc["y"]) for arc in arcs if arc["edge"] == edge] for edge in (0, 1)]
    assert [(line[0], line[-1]) for line in ends] == [
        (places[0, "0.0"], places[8, "2.0"]),
        (places[4, "1.2"], places[10, "2.0"]),
    ]
