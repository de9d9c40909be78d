"""The cell is the recurrence of the paper, and images are read row by row."""

import numpy as np
import pytest
import torch

from winnow.models import build


def test_the_recurrence_of_fastgrnn_is_the_one_of_the_paper():
    model = build("fastgrnn", seed=4, in_channels=1, height=5 + 4, width=8, classes=3)
    cell, x = model.cell, torch.randn(1, 1, 9, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        cell.gate_bias.copy_(torch.linspace(-1, 1, 64))
        cell.candidate_bias.copy_(torch.linspace(1, -2, 64))
        cell.zeta.fill_(0.3)
        cell.nu.fill_(-1.2)
    double = {name: p.detach().double().numpy() for name, p in cell.named_parameters()}
    w = double["input_up.weight"] @ double["input_down.weight"]
    u = double["state_up.weight"] @ double["state_down.weight"]
    zeta, nu = 1 / (1 + np.exp(-double["zeta"])), 1 / (1 + np.exp(-double["nu"]))
    h = np.zeros(64)
    for row in x[0, 0].double().numpy():
        z = 1 / (1 + np.exp(-(w @ row + u @ h + double["gate_bias"])))
        candidate = np.tanh(w @ row + u @ h + double["candidate_bias"])
        h = (zeta * (1 - z) + nu) * candidate + z * h
    states = cell(x[:, 0]).detach()
    assert states.shape == (1, 9, 64)
    np.testing.assert_allclose(states[0, -1].numpy(), h, atol=1e-5)  # float32 over nine steps
    torch.testing.assert_close(model(x), model.output(states[:, -1]))


def test_fastgrnn_reads_colour_images_row_by_row_with_the_channels_side_by_side():
    model = build("fastgrnn", in_channels=3, height=8, width=9, classes=2)
    x = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(1))
    rows = torch.stack([torch.cat([x[:, c, i] for c in range(3)], dim=1) for i in range(8)], dim=1)
    torch.testing.assert_close(model(x), model.output(model.cell(rows)[:, -1]))


def test_a_cell_starts_from_the_authors_values_and_a_zero_state():
    model = build("fastgrnn", in_channels=1, height=8, width=9, classes=2, hidden=6, input_rank=3, state_rank=2)
    cell = model.cell
    assert (cell.gate_bias == 1).all() and (cell.candidate_bias == 1).all()
    assert (cell.zeta.item(), cell.nu.item()) == (1.0, -4.0)
    shapes = {name: tuple(p.shape) for name, p in cell.named_parameters() if name.endswith("weight")}
    assert shapes == {
        "input_down.weight": (3, 9),
        "input_up.weight": (6, 3),
        "state_down.weight": (2, 6),
        "state_up.weight": (6, 2),
    }
    # After one step of zeros the state is (zeta (1 - z) + nu) tanh(1), of gates sigmoid(1).
    gate, zeta, nu = (1 / (1 + np.exp(-value)) for value in (1.0, 1.0, -4.0))
    expected = (zeta * (1 - gate) + nu) * np.tanh(1.0)
    assert cell(torch.zeros(2, 1, 9)).flatten().tolist() == pytest.approx([expected] * 12)
    assert model.hook_points() == ["cell"]


def test_a_state_depends_on_rows_before_it_alone():
    cell = build("fastgrnn", in_channels=1, height=8, width=9, classes=2).cell
    x = torch.randn(1, 5, 9, generator=torch.Generator().manual_seed(0))
    moved = x.clone()
    moved[:, 3] += 1
    differs = (cell(x) != cell(moved)).any(2)[0].tolist()
    assert differs == [False, False, False, True, True]
