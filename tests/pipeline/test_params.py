"""params.yaml is checked before anything is built: one line for each fault, naming the key and the remedy."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from winnow.errors import InputError
from winnow.pipeline.params import SCALES, json_schema, load_params, overlay, read_yaml
from winnow.pipeline.settings import dictionary_variants, pruned_variants

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "params.yaml").read_text()
TREE = YAML(typ="safe").load(TEXT)
# Below these keys stand names that a person chooses, which nothing can misspell.
OWN_NAMES = {
    (),
    *((w, *rest) for w in TREE for rest in (("train",), ("compress",), ("dictionaries",), ("evaluate", "criteria"))),
}


def places(tree, prefix=()):
    """The path of every key of a mapping, however deep."""
    for key, value in tree.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from places(value, (*prefix, key))


def given_scalars():
    return [p for p in places(TREE) if p[:-1] not in OWN_NAMES or not isinstance(TREE.get(p[0]), dict)]


def written(tmp_path, tree):
    path = tmp_path / "params.yaml"
    with path.open("w") as file:
        YAML().dump(tree, file)
    return path


def group_of(place):
    """Keys of a group do not hide each other's faults when all of them are misspelt.

    What lies below an unknown key is not looked at, nor the rest of a section whose kind or method is unknown; and of
    an architecture's arguments, which are looked at when all else is right, the first fault is told.
    """
    if "arguments" in place[:-1]:
        return ".".join(place)
    return f"depth {len(place)}" + f" {place[-1]}" * (place[-1] in ("kind", "method"))


@pytest.mark.parametrize("group", sorted({group_of(place) for place in given_scalars()}))
def test_every_key_misspelt_is_named_with_the_nearest_known_one(tmp_path, group):
    tree, misspelt = copy.deepcopy(TREE), [place for place in given_scalars() if group_of(place) == group]
    for place in misspelt:
        node = tree
        for key in place[:-1]:
            node = node[key]
        node[place[-1] + "x"] = node.pop(place[-1])
    with pytest.raises(InputError) as caught:
        load_params(written(tmp_path, tree), scales=ROOT / "scales")
    told = str(caught.value).replace(": arguments.", ".arguments.").splitlines()
    for place in misspelt:
        name = ".".join(place)
        if place[-1] == "kind":
            assert sum(f": {name}: is null" in line for line in told) == 1, name
        else:
            mine = [line for line in told if f": {name}x: " in line]
            assert len(mine) == 1 and f"did you mean {place[-1]}?" in mine[0], name


@pytest.mark.parametrize("scale", SCALES)
def test_the_shipped_scales_are_valid(scale):
    _, workloads = load_params(ROOT / "params.yaml", {"scale": scale}, ROOT / "scales")
    assert {"digits", "planted"} <= set(workloads)


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ({"scale": "huge"}, "scale: 'huge' is none of smoke, laptop, paper"),
        ({"torch_threads": 0}, "torch_threads: is 0"),
        ({"torch_threads": "two"}, 'torch_threads: is "two"'),
        ({"digits": {"seeds": []}}, "digits.seeds: is []"),
        ({"digits": {"seeds": [1, 1]}}, "digits.seeds: 1 stands twice"),
        ({"digits": {"seeds": [-1]}}, "digits.seeds.0: is -1"),
        ({"digits": {"seeds": 3}}, "digits.seeds: is 3"),
        ({"digits": {"kind": "movies"}}, 'digits.kind: is "movies"; a workload is of kind'),
        ({"movies": {"items": "a.csv"}}, "movies: items belongs to a file of one's own (path); a source has its own"),
        ({"movies": {"columns": {"user": "u"}}}, "columns belongs to a file of one's own"),
        ({"movies": {"columns": {"usr": "u"}}}, "movies.columns"),
        ({"movies": {"path": "a.csv"}}, "movies: name one of source, path"),
        ({"movies": {"curate": {"core": 0}}}, "movies.curate.core: is 0"),
        ({"movies": {"curate": {"split": "random"}}}, 'movies.curate.split: is "random"'),
        ({"movies": {"train": {"sasrec": {"loss": "mse"}}}}, 'movies.train.sasrec.loss: is "mse"'),
        ({"movies": {"train": {"sasrec": {"arguments": {"head": 2}}}}}, "unknown setting; did you mean heads?"),
        ({"movies": {"train": {"gru4rec": {"arguments": {"head": 2}}}}}, "unknown setting; gru4rec takes d, hidden"),
        (
            {"python": {"evaluate": {"kv_quantise": {"model": "transformer"}}}},
            "kv_quantise.model names 'transformer', which is a transformer; name a multi_query_transformer: multi_",
        ),
        (
            {"python": {"evaluate": {"evopress": {"model": "lm_code"}}}},
            "evopress.model names 'lm_code', which is a hooked_transformer; name a transformer: transformer, deep_",
        ),
        ({"python": {"evaluate": {"duo": {"model": "multi_query"}}}}, "which is a multi_query_transformer; name a"),
        (
            {"python": {"evaluate": {"block_attention": {"model": "lm_code"}}}},
            "block_attention.model names 'lm_code', which is a hooked_transformer; name a transformer",
        ),
        ({"python": {"evaluate": {"paging": {"traces": {"calls": "a"}}}}}, "calls is a trace already"),
        ({"python": {"evaluate": {"paging": {"traces": {"a-b": "a"}}}}}, "python.evaluate.paging.traces"),
        ({"python": {"evaluate": {"evopress": {"bits": 2}}}}, "evopress.bits: is 2"),
        (
            {
                "python": {
                    "evaluate": {
                        "evopress": {
                            "schedules": {
                                "bits": {"offspring": 2, "stages": [{"sequences": 99, "keep": 1}], "generations": 1}
                            }
                        }
                    }
                }
            },
            "stages ask for 99 windows, calibration has 24; raise calibration",
        ),
        ({"digits": {"path": "x"}}, "name one of source, path, render"),
        ({"digits": {"render": {"scene": "parts"}}}, "name one of source, path, render"),
        ({"parts": {"render": {"side": 8}}}, "parts.render.side: is 8; input should be greater than or equal to 16"),
        ({"parts": {"render": {"planted": "colour"}}}, "parts.render.planted: is \"colour\"; input should be 'hue'"),
        ({"digits": {"size": [28, 28]}}, "size belongs to a folder"),
        ({"digits": {"curate": {"fractions": [0.7, 0.1, 0.3]}}}, "fractions add up to 1.1"),
        ({"digits": {"curate": {"fractions": [0.7, 0.3]}}}, "digits.curate.fractions"),
        ({"digits": {"curate": {"near_duplicate_distance": -0.1}}}, "near_duplicate_distance: is -0.1"),
        ({"digits": {"train": {"mlp": {"epochs": 1.5}}}}, "digits.train.mlp.epochs: is 1.5"),
        (
            {"digits": {"train": {"mlp": {"method": "adamv"}}}},
            "train.mlp.method: unknown method 'adamv'; did you mean adamw?",
        ),
        ({"digits": {"train": {"mlp": {"learning_rate": float("nan")}}}}, "learning_rate: is NaN"),
        ({"digits": {"train": {"mlp": {"model": "mpl"}}}}, 'model: is "mpl"'),
        ({"digits": {"train": {"a-b": {"model": "mlp"}}}}, "variant 'a-b': use letters"),
        ({"digits": {"compress": {"magnitude": {"sparsities": [1.0]}}}}, "sparsities.0: is 1.0"),
        (
            {"digits": {"compress": {"magnitude": {"models": ["none"]}}}},
            "compress.magnitude.models names 'none'",
        ),
        (
            {"digits": {"dictionaries": {"topk": {"models": ["mlp", "mlp-none-*"]}}}},
            "dictionaries.topk.models names 'mlp-none-*'",
        ),
        ({"digits": {"dictionaries": {"topk": {"k": 256}}}}, "k is 256, not below width 256"),
        ({"digits": {"dictionaries": {"topk": {"penalty": 0.1}}}}, "takes k and no penalty"),
        ({"digits": {"dictionaries": {"topk": {"architecture": "gated"}}}}, "takes penalty and no k"),
        (
            {"digits": {"evaluate": {"survival": {"dense": "residual"}}}},
            "evaluate.survival.dense names 'residual'",
        ),
        (
            {"digits": {"evaluate": {"feature_browser": {"model": "residual"}}}},
            "evaluate.feature_browser.model names 'residual'",
        ),
        ({"digits": {"evaluate": {"feature_browser": {"dictionary": "to"}}}}, "feature_browser.dictionary names 'to'"),
        (
            {"digits": {"evaluate": {"criteria": {"mlp": {"methods": ["obd"]}}}}},
            "digits.evaluate.criteria.mlp.methods.0",
        ),
        (
            {"algorithmic": {"evaluate": {"find_benchmark": {"main_budget": 65}}}},
            "algorithmic.evaluate.find_benchmark: main_budget is 65, which is none of budgets",
        ),
        (
            {"algorithmic": {"evaluate": {"find_benchmark": {"noise": 0.7}}}},
            "approximation add up to 1.1; they exclude",
        ),
        (
            {"python": {"evaluate": {"rope_alibi": {"learned": ["rope"]}}}},
            "python.evaluate.rope_alibi.learned.0: is \"rope\"; input should be 'additive_harmonic'",
        ),
        (
            {"python": {"evaluate": {"rope_alibi": {"learned": ["alibi", "alibi"]}}}},
            "python.evaluate.rope_alibi.learned: 'alibi' stands twice",
        ),
        (
            {"python": {"evaluate": {"kronecker_attention": {"largest_rank": 50001}}}},
            "python.evaluate.kronecker_attention.largest_rank: is 50001; input should be less than or equal to 50000",
        ),
        (
            {"python": {"evaluate": {"kronecker_attention": {"dimensions": 31}}}},
            "dimensions is 31, rank 52360 at degree 4, more than 50000; lower it",
        ),
        ({"digits": 5}, "digits"),
    ],
)
def test_a_fault_is_one_line_with_its_key(over, expected):
    with pytest.raises(InputError) as caught:
        load_params(ROOT / "params.yaml", over, ROOT / "scales")
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_doubled_key_is_named_with_its_line(tmp_path):
    (tmp_path / "params.yaml").write_text("digits:\n  kind: images\n  kind: images\n")
    with pytest.raises(InputError, match=r'params\.yaml:3: duplicate key "kind"; keep one'):
        read_yaml(tmp_path / "params.yaml")


@pytest.mark.parametrize("text", ["digits: [1, 2", "\tdigits: 1", "- a\n- b\n", "", "a: &x [*x, *y]\n"])
def test_a_file_that_is_no_mapping_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_yaml(tmp_path / "params.yaml")
    assert len(str(caught.value).splitlines()) == 1


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_params(tmp_path / "params.yaml")


def test_numbers_are_read_as_yaml_1_2_reads_them(tmp_path):
    (tmp_path / "a.yaml").write_text("a: 1e-3\nb: no\n")
    assert read_yaml(tmp_path / "a.yaml") == {"a": 0.001, "b": "no"}


def test_null_takes_a_key_away_and_mappings_merge():
    assert overlay({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": None, "e": 4}}) == {
        "a": {"c": 2, "e": 4},
        "d": 3,
    }


@given(st.dictionaries(st.text(max_size=3), st.integers() | st.dictionaries(st.text(max_size=3), st.integers())))
def test_laying_a_mapping_over_itself_changes_nothing(tree):
    assert overlay(tree, tree) == tree


def test_a_section_of_ones_own_needs_three_lines():
    _, workloads = load_params(
        ROOT / "params.yaml",
        {"pets": {"kind": "images", "path": "data/own/pets", "size": [32, 32]}},
        ROOT / "scales",
    )
    pets = workloads["pets"]
    assert list(pets.train) and list(pruned_variants(pets)) and list(dictionary_variants(pets))


@pytest.mark.parametrize(("page", "model"), [("rope_alibi", "positional_transformer"), ("moe_x", "moe_x_transformer")])
def test_variants_that_pages_give_to_paste_are_valid(page, model):
    pasted = (ROOT / f"docs/systems/{page}.md").read_text().split("```yaml\n")[1].split("```")[0]
    over = {"python": YAML(typ="safe").load(pasted)}
    _, workloads = load_params(ROOT / "params.yaml", over, ROOT / "scales")
    assert any(section.model == model for section in workloads["python"].train.values())


def test_the_schema_for_editors_is_the_one_shipped_and_accepts_the_shipped_file():
    jsonschema = pytest.importorskip("jsonschema")
    shipped = json.loads((ROOT / "docs/params.schema.json").read_text())
    assert shipped == json_schema(), "run `make schema`"
    jsonschema.validate(TREE, shipped)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"digits": {"kind": "images", "sourcee": 1}}, shipped)


def test_the_arguments_of_models_are_those_of_the_registry():
    import inspect

    from winnow.architectures import ARCHITECTURES, OF_INTERACTIONS, OF_TEXT
    from winnow.models import architecture
    from winnow.pipeline.settings.train import ARGUMENTS

    of_data = {"in_channels", "height", "width", "classes", "levels", "outputs", "regression"}
    of_text, of_interactions = {"vocabulary"}, {"items", "window"}
    # made by a method that has settings of its own, or read alone
    own_method = {"duo_transformer", "llama", "protopnet", "routed_transformer", "text_encoder", "thin_transformer"}
    own_method |= {"transfer_net"}
    trained = {name: architecture(name) for name in ARCHITECTURES if name not in own_method}
    given = {name: of_text if name in OF_TEXT else of_data for name in trained}
    given |= dict.fromkeys(OF_INTERACTIONS, of_interactions)
    signatures = {name: set(inspect.signature(model).parameters) - given[name] for name, model in trained.items()}
    assert signatures == {name: set(arguments) for name, arguments in ARGUMENTS.items()}
