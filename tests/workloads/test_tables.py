"""A folder of curated tables as a workload: inputs, batches, loss and metrics, and what its models make of them."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, r2_score

from winnow.curate.tables import curate_table
from winnow.errors import InputError
from winnow.models import load_model, save_model
from winnow.pipeline.tables import write_parquet
from winnow.workloads import load_workload
from winnow.workloads.table_columns import raw_table
from winnow.workloads.tables import Tables


def folder_of(path, data, **options):
    path.mkdir(exist_ok=True)
    said = {k: options.pop(k) for k in ("columns", "splits", "task") if k in options}
    curated = curate_table(raw_table(pa.table(data), source="s", target="y", **said), workload="tiny", **options)
    for split, table in curated.tables.items():
        write_parquet(table, path / f"{split}.parquet", metadata=curated.metadata)
    return path


def mixed(count=120, regression=False):
    generator = np.random.default_rng(0)
    x = generator.normal(50, 4, count)
    x[::7] = np.nan
    town = np.where(np.arange(count) % 5, generator.choice(["Bonn", "Kiel", "Ulm"], count), None)
    target = 3 * np.nan_to_num(x, nan=50) + generator.normal(size=count)
    labels = np.where(target > np.median(target), "high", "low")
    return {
        "x": x.tolist(),
        "town": town.tolist(),
        "size": generator.choice(["s", "m", "l"], count).tolist(),
        "y": (target if regression else labels).tolist(),
    }


@pytest.fixture
def workload(tmp_path):
    return load_workload(folder_of(tmp_path / "t", mixed(), columns={"size": ["s", "m", "l"]}))


def test_the_metadata_choose_the_kind(workload):
    assert isinstance(workload, Tables)
    assert (workload.name, workload.kind, workload.task, workload.classes) == (
        "tiny",
        "table",
        "classification",
        ["high", "low"],
    )


def test_inputs_are_what_stands_in_the_table(workload):
    assert workload.inputs == ["x", "x is missing", "town", "size"] and workload.levels == [0, 0, 4, 0]
    mean = np.nanmean(workload.table("train")["x"].to_numpy())
    for split in ("train", "valid", "test"):
        table, (inputs, labels) = workload.table(split), workload.arrays(split)
        x = table["x"].to_numpy()
        assert torch.isfinite(inputs).all() and inputs.dtype == torch.float32 and labels.dtype == torch.int64
        assert np.allclose(inputs[:, 0], np.where(np.isnan(x), mean, x), atol=1e-5)
        assert inputs[:, 1].tolist() == np.isnan(x).tolist()
        town = [["Bonn", "Kiel", "Ulm", None].index(t) for t in table["town"].to_pylist()]
        assert inputs[:, 2].tolist() == town
        assert inputs[:, 3].tolist() == [["s", "m", "l"].index(v) for v in table["size"].to_pylist()]
        assert labels.tolist() == table["target"].to_pylist()
    assert torch.equal(workload.example_inputs(3), workload.arrays("train")[0][:3])


def test_levels_and_gaps_that_train_does_not_have_are_no_level(tmp_path):
    splits = ["train"] * 40 + ["valid"] * 10 + ["test"] * 10
    columns = {"a": list(range(60)), "t": ["u", "v"] * 30, "y": ["p", "q", "q"] * 20}
    columns["t"][50], columns["t"][51], columns["a"][52] = "w", None, None
    workload = load_workload(folder_of(tmp_path / "t", columns, splits=splits))
    assert workload.levels == [0, 2]
    table, (inputs, _) = workload.table("test"), workload.arrays("test")
    codes = dict(zip(table["t"].to_pylist(), inputs[:, 1].tolist(), strict=True))
    assert codes == {"u": 0, "v": 1, "w": -1, None: -1}
    mean = workload.arrays("train")[0][:, 0].mean()
    assert inputs[table["a"].is_null().to_numpy(), 0].item() == pytest.approx(float(mean))


@pytest.mark.parametrize("name", ["table_mlp", "table_linear"])
def test_models_scale_by_train_and_carry_it_in_their_file(workload, tmp_path, name):
    model = workload.build(name, seed=3)
    x, _ = workload.arrays("train")
    encoded = model.encoder(x)
    assert encoded.shape == (len(x), 1 + 1 + 4 + 1)
    numbers = encoded[:, [0, 1, 6]].double()
    assert torch.allclose(numbers.mean(dim=0), torch.zeros(3, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(numbers.std(dim=0, correction=0), torch.ones(3, dtype=torch.float64), atol=1e-5)
    assert torch.equal(encoded[:, 2:6], torch.nn.functional.one_hot(x[:, 2].long(), 4).float())
    save_model(model, tmp_path / "model.safetensors", workload="tiny")
    again = load_model(tmp_path / "model.safetensors")
    assert torch.equal(again(x), model.eval()(x))


def test_a_level_that_train_does_not_have_is_all_zeros(workload):
    model = workload.build("table_mlp")
    row = workload.example_inputs(1).clone()
    row[0, 2] = -1
    assert model.encoder(row)[0, 2:6].tolist() == [0, 0, 0, 0]


def test_what_depends_on_an_input_shows_in_a_nan(workload):
    model = workload.build("table_linear")
    for column, encoded in {0: [0], 1: [1], 2: [2, 3, 4, 5], 3: [6]}.items():
        row = workload.example_inputs(1).clone()
        row[0, column] = float("nan")
        assert model.encoder(row)[0].isnan().nonzero()[:, 0].tolist() == encoded


def test_a_constant_column_is_no_division_by_zero(tmp_path):
    columns = {"same": [5.0] * 120} | mixed()
    workload = load_workload(folder_of(tmp_path / "t", columns))
    assert workload.build("table_mlp").encoder(workload.example_inputs(2))[:, 0].tolist() == [0, 0]


def test_metrics_of_classification_are_those_of_scikit_learn(workload):
    model = workload.build("table_mlp", seed=1)
    found = workload.metrics(model, "test")
    probabilities, labels = workload.probabilities(model, "test")
    predicted = probabilities.argmax(axis=1)
    assert found["accuracy"] == pytest.approx((predicted == labels).mean())
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert set(found) == {"accuracy", "balanced_accuracy", "cross_entropy", "expected_calibration_error", "brier"}


def test_regression_is_learnt_and_measured_in_its_unit(tmp_path):
    from functools import partial

    from winnow.models.fitting import fit

    workload = load_workload(folder_of(tmp_path / "t", mixed(400, regression=True), task="regression"))
    assert workload.classes == [] and workload.arrays("train")[1].dtype == torch.float32
    model = workload.build("table_linear", seed=0)
    x, y = workload.arrays("train")
    with torch.no_grad():
        before = workload.loss(model, (x, y))
        expected = ((model(x)[:, 0] - y) ** 2).mean() / y.var(correction=0)
    assert torch.allclose(before, expected, rtol=1e-5)
    fit(model, workload, epochs=30, optimizer=partial(torch.optim.Adam, lr=0.05), batch_size=64, seed=0)
    found = workload.metrics(model, "test")
    predicted = model(workload.arrays("test")[0])[:, 0].detach().double().numpy()
    truth = workload.arrays("test")[1].double().numpy()
    assert found["r2"] == pytest.approx(r2_score(truth, predicted)) and found["r2"] > 0.9
    assert found["rmse"] == pytest.approx(np.sqrt(((predicted - truth) ** 2).mean()))
    assert found["mae"] == pytest.approx(np.abs(predicted - truth).mean())


def test_the_linear_model_finds_the_least_squares_solution(tmp_path):
    workload = load_workload(folder_of(tmp_path / "t", mixed(200, regression=True), task="regression"))
    model = workload.build("table_linear")
    x, y = workload.arrays("train")
    encoded = model.encoder(x).double().numpy()
    design = np.column_stack([encoded, np.ones(len(encoded))])
    solution = np.linalg.lstsq(
        design, (y.double().numpy() - float(model.scale.mean)) / float(model.scale.deviation), rcond=None
    )[0]
    with torch.no_grad():
        model.output.weight.copy_(torch.tensor(solution[:-1])[None])
        model.output.bias.copy_(torch.tensor(solution[-1:]))
    assert torch.allclose(
        model(x)[:, 0], torch.tensor(design @ solution).float() * model.scale.deviation + model.scale.mean, atol=1e-3
    )
    assert (
        workload.metrics(model, "train")["r2"] > workload.metrics(workload.build("table_linear", seed=5), "train")["r2"]
    )


def test_hooks_are_hidden_layers_or_the_encoded_input(workload):
    assert workload.hook_points(workload.build("table_mlp", hidden=[8, 4])) == ["relu1", "relu2"]
    assert workload.hook_points(workload.build("table_linear")) == ["encoder"]


def test_a_table_that_does_not_belong_is_named(workload, tmp_path):
    other = folder_of(tmp_path / "other", mixed(100), columns={"size": ["s", "m", "l"]})
    (tmp_path / "t" / "test.parquet").write_bytes((other / "test.parquet").read_bytes())
    # Equal columns, levels and classes: only the counts of missing values tell the two apart.
    with pytest.raises(InputError, match=r"test\.parquet: describes other rows than train\.parquet"):
        load_workload(tmp_path / "t").arrays("test")
    with pytest.raises(InputError, match="split 'dev' is unknown"):
        workload.arrays("dev")
    with pytest.raises(InputError, match="unknown argument 'width'"):
        workload.build("table_mlp", width=3)


def test_slimming_and_pruning_treat_a_table_model_as_any_other(workload):
    from winnow.compress import compress
    from winnow.compress._measure import summary
    from winnow.compress._slimming import slim

    model = workload.build("table_mlp", seed=0)
    pruned, masks, _ = compress(
        "global_magnitude", model, workload, sparsity=0.95, seed=0, epochs=1, lr=0.01, batch_size=32
    )
    assert summary(pruned, masks, workload.example_inputs())["nonzero"] == sum(int(m.sum()) for m in masks.values())
    x = workload.arrays("test")[0]
    smaller = slim(pruned, None, workload.example_inputs())
    assert torch.allclose(smaller(x), pruned(x), atol=1e-4)
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in pruned.parameters())
