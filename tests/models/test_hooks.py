import pytest
import torch
from torch import nn

from winnow.architectures import OF_IMAGES
from winnow.errors import InputError
from winnow.models import build
from winnow.models.hooks import capture, rest_of, run_with

IMAGE = {"in_channels": 1, "height": 9, "width": 12, "classes": 3}
X = torch.randn(2, 1, 9, 12, generator=torch.Generator().manual_seed(0))
POINTS = [(name, point) for name in sorted(OF_IMAGES) for point in build(name, **IMAGE).hook_points()]


def hooks_left(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize(("name", "point"), POINTS)
def test_each_hook_point_gives_rows_and_putting_them_back_changes_nothing(name, point):
    model = build(name, **IMAGE).eval()
    rows = capture(model, X, point)
    assert rows.ndim == 2 and len(rows) % len(X) == 0
    seen = []
    assert torch.equal(run_with(model, X, point, lambda r: seen.append(r) or r.clone()), model(X))
    assert torch.equal(seen[0], rows)
    assert hooks_left(model) == 0


@pytest.mark.parametrize(("name", "point"), POINTS)
def test_each_hook_point_lies_behind_a_nonlinearity_and_before_the_output(name, point):
    model = build(name, **IMAGE).eval()
    rows = capture(model, X, point)
    assert rows.abs().max() <= 1.1 if name == "fastgrnn" else rows.min() >= 0
    assert not torch.allclose(run_with(model, X, point, torch.zeros_like), model(X))


def test_rows_of_a_map_run_over_image_then_height_then_width():
    model = build("small_cnn", **IMAGE)
    maps = model.relu1(model.conv1(X))  # [2, 16, 5, 6]
    rows = capture(model, X, "relu1")
    assert rows.shape == (2 * 5 * 6, 16)
    for image, i, j in [(0, 0, 0), (0, 1, 4), (1, 3, 2), (1, 4, 5)]:
        torch.testing.assert_close(rows[(image * 5 + i) * 6 + j], maps[image, :, i, j])


def test_an_edited_row_lands_at_its_place_in_the_map():
    model = build("small_cnn", **IMAGE)
    maps = model.relu1(model.conv1(X)).detach()
    maps[1, :, 3, 2] = 5.0
    rest = nn.Sequential(*list(model)[2:])

    def edit(rows):
        rows = rows.clone()
        rows[(1 * 5 + 3) * 6 + 2] = 5.0
        return rows

    torch.testing.assert_close(run_with(model, X, "relu1", edit), rest(maps))


def test_rows_of_a_sequence_run_over_example_then_step_and_edits_land_there():
    model = build("fastgrnn", **IMAGE)
    states = model.cell(X[:, 0])
    rows = capture(model, X, "cell")
    assert rows.shape == (2 * 9, 64)
    torch.testing.assert_close(rows[9 + 3], states[1, 3])

    def edit(rows):
        rows = rows.clone()
        rows[17] = 0.5  # the last step of the second image
        return rows

    expected = model.output(torch.stack([states[0, -1], torch.full((64,), 0.5)]))
    torch.testing.assert_close(run_with(model, X, "cell", edit), expected)


def test_a_module_that_runs_at_every_step_gives_the_rows_of_all_steps():
    model = build("fastgrnn", **IMAGE)
    rows = capture(model, X, "cell.state_down")
    assert rows.shape == (9 * 2, 32)
    assert torch.equal(rows[:2], torch.zeros(2, 32))  # the zero state comes first
    assert rows[-2:].abs().sum() > 0


def test_gradients_flow_through_captured_rows_and_edits():
    model = build("mlp", **IMAGE)
    assert capture(model, X, "relu1").requires_grad
    scale = torch.ones((), requires_grad=True)
    run_with(model, X, "relu1", lambda rows: rows * scale).sum().backward()
    assert scale.grad is not None and scale.grad != 0


@pytest.mark.parametrize("run", [capture, lambda m, x, hook: run_with(m, x, hook, lambda r: r)])
@pytest.mark.parametrize(
    ("hook", "words"), [("relu11", "did you mean relu1"), ("", "relu1, relu2"), ("zzz", "relu1, relu2")]
)
def test_an_unknown_hook_is_answered_with_the_nearest_one(run, hook, words):
    with pytest.raises(InputError, match=words):
        run(build("mlp", **IMAGE), X, hook)


def test_a_submodule_that_does_not_run_is_an_error():
    model = build("mlp", **IMAGE)
    model.relu1.idle = nn.ReLU()
    with pytest.raises(InputError, match="does not run"):
        capture(model, X, "relu1.idle")


def test_an_edit_of_another_shape_is_refused_and_no_hook_stays_behind_an_error():
    model = build("mlp", **IMAGE)
    with pytest.raises(ValueError, match="relu1"):
        run_with(model, X, "relu1", lambda rows: rows[:, :1])
    with pytest.raises(RuntimeError):
        capture(model, X[..., :5], "relu1")
    assert hooks_left(model) == 0


@pytest.mark.parametrize(("name", "point"), [p for p in POINTS if p[0] != "fastgrnn"])
def test_the_rest_of_a_model_takes_an_activation_to_the_output(name, point):
    model = build(name, **IMAGE).eval()
    activation, rest = rest_of(model, X, point)
    torch.testing.assert_close(rest(activation), model(X))
    more = torch.cat([activation, 0 * activation, activation.flip(0)])
    out = rest(more)  # any number of examples
    torch.testing.assert_close(out[4:], model(X).flip(0))
    torch.testing.assert_close(out[2], out[3])
    assert not activation.requires_grad and hooks_left(model) == 0


def test_gradients_flow_through_the_rest_of_a_model():
    activation, rest = rest_of(build("mlp", **IMAGE).eval(), X, "relu1")
    leaf = activation.clone().requires_grad_(True)
    rest(leaf).sum().backward()
    assert leaf.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "point", "words"),
    [
        ("residual", "block1.norm2", "other paths bypass"),
        ("fastgrnn", "cell.state_down", "runs 9 times"),
        ("mlp", "relu11", "did you mean relu1"),
    ],
)
def test_a_submodule_that_does_not_decide_the_output_has_no_rest(name, point, words):
    with pytest.raises(InputError, match=words):
        rest_of(build(name, **IMAGE).eval(), X, point)
