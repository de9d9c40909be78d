import math
from dataclasses import replace

import pytest
import torch

from winnow.dictionaries import load, save
from winnow.dictionaries.architectures import ARCHITECTURES
from winnow.dictionaries.config import SaeConfig
from winnow.dictionaries.planted import planted_dictionary
from winnow.dictionaries.store import statistics
from winnow.dictionaries.trainer import Trainer

ROWS = planted_dictionary(24, 12, 2, exponent=0.3).sample(3000, seed=0) * 5
SMALL = SaeConfig(m=32, k=2, steps=12, batch=64, lr=3e-3, backend="torch", target_l0=2.0)
every_architecture = pytest.mark.parametrize("architecture", list(ARCHITECTURES))


@every_architecture
def test_the_saved_dictionary_takes_raw_rows(architecture, tmp_path):
    """Folding: what the trainer reconstructs of scaled rows, the reloaded files reconstruct of raw ones."""
    trainer = Trainer(replace(SMALL, architecture=architecture, l1=0.3), 12, statistics(ROWS))
    for batch in ROWS[: 64 * 12].split(64):
        trainer.step(batch)
    save(trainer.dictionary(), tmp_path / "dictionary.safetensors")
    dictionary, rows = load(tmp_path), ROWS[:40]
    found, x = trainer.parameters, ROWS[:40] * trainer.scale
    inner = (x - found["b_dec"]) @ found["encoder"].T
    pre = inner + found["b_enc"]
    if architecture == "topk":
        best = torch.topk(pre, 2, dim=1)
        f = torch.zeros_like(pre).scatter(1, best.indices, best.values.relu())
    elif architecture == "gated":
        f = (inner + found["b_gate"] > 0) * (inner * found["log_scale"].exp() + found["b_enc"]).relu()
    else:
        limits = {
            "jumprelu": found.get("log_threshold", pre).exp(),
            "batchtopk": trainer.threshold,
            "relu_l1": 0.0,
        }
        f = pre * (pre > limits[architecture])
    assert trainer.scale == pytest.approx(math.sqrt(12) / float(ROWS.norm(dim=1).mean()), rel=1e-5)
    raw = (f @ found["decoder"] + found["b_dec"]) / trainer.scale
    torch.testing.assert_close(dictionary.reconstruct(rows), raw, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dictionary.dense(rows), f / trainer.scale, atol=1e-5, rtol=1e-5)
    assert dictionary.architecture == architecture
    assert dictionary.activation == ("topk" if architecture == "topk" else "jumprelu")
    assert dictionary.info == {"rows": 64 * 12, "seed": 0}


@every_architecture
def test_decoder_rows_have_unit_norm_after_every_step(architecture):
    trainer = Trainer(replace(SMALL, architecture=architecture, lr=0.1), 12, statistics(ROWS))
    for batch in ROWS[:640].split(64):
        trainer.step(batch)
        assert (trainer.parameters["decoder"].norm(dim=1) - 1).abs().max() < 1e-6


def test_a_step_is_tangent_gradient_clip_adam_and_renormalisation():
    """One step written out with autograd and torch.optim."""
    config = replace(SMALL, warmup=0.0, decay=0.0)
    trainer, found = Trainer(config, 12, statistics(ROWS)), statistics(ROWS)
    before = {name: value.clone().requires_grad_() for name, value in trainer.parameters.items()}
    torch.testing.assert_close(before["encoder"], 0.3 * before["decoder"])
    assert torch.equal(before["b_dec"], found.centre)
    assert (before["b_enc"] == 0).all()
    optimizer = torch.optim.Adam(before.values(), lr=3e-3, betas=(0.9, 0.999))
    for batch in ROWS[:192].split(64):
        x = batch * found.scale
        pre = (x - before["b_dec"]) @ before["encoder"].T + before["b_enc"]
        best = torch.topk(pre, 2, dim=1)
        f = torch.zeros_like(pre).scatter(1, best.indices, best.values.relu())
        (x - f @ before["decoder"] - before["b_dec"]).pow(2).sum(1).mean().backward()
        with torch.no_grad():
            w, g = before["decoder"], before["decoder"].grad
            g -= (g * w).sum(1, keepdim=True) * w
            torch.nn.utils.clip_grad_norm_(before.values(), 1.0)
            optimizer.step()
            w /= w.norm(dim=1, keepdim=True)
            optimizer.zero_grad()
        trainer.step(batch)
    for name, value in before.items():
        torch.testing.assert_close(trainer.parameters[name], value.detach(), atol=1e-5, rtol=1e-4)


def test_the_lr_rises_stays_and_falls(monkeypatch):
    seen = []
    trainer = Trainer(replace(SMALL, steps=20, warmup=0.2, decay=0.25, lr=1.0), 12, statistics(ROWS))
    monkeypatch.setattr(trainer.adam, "step", lambda p, g, lr, relative: seen.append(lr))
    for _ in range(20):
        trainer.step(ROWS[:64])
    assert seen == pytest.approx([0.25, 0.5, 0.75, 1] + [1] * 12 + [0.8, 0.6, 0.4, 0.2])


def test_a_loss_is_told_what_the_paper_sets():
    config = replace(SMALL, architecture="relu_l1", steps=20, warmup=0.2, l1=3.0, aux_coefficient=0.25)
    trainer = Trainer(config, 12, statistics(ROWS))
    seen = []
    for _ in range(6):
        seen.append(trainer._settings().sparsity)
        trainer.step(ROWS[:64])
    assert seen == pytest.approx([0.75, 1.5, 2.25, 3, 3, 3])
    settings = trainer._settings()
    assert settings.aux_k == 6 and settings.aux_coefficient == 0.25  # half of d, not of m
    assert settings.bandwidth == pytest.approx(0.001 * math.sqrt(12))
    jump = Trainer(replace(SMALL, architecture="jumprelu", bandwidth=0.3, l0_coefficient=7.0), 12, statistics(ROWS))
    assert jump._settings().bandwidth == 0.3 and jump._settings().sparsity == 7.0
    assert jump._settings().target_l0 == 2.0 and jump._settings().dead is None


def dead_trainer(**changes):
    """Latents 0 to 9 can never fire by themselves."""
    config = replace(SMALL, steps=40, dead_after=0.05, **changes)
    trainer = Trainer(config, 12, statistics(ROWS))
    trainer.parameters["b_enc"][:10] = -8.0
    return trainer


@pytest.mark.parametrize(
    "changes",
    [{}, {"architecture": "batchtopk"}, {"architecture": "relu_l1", "revive": "ghost", "l1": 0.1}],
    ids=["aux", "batch aux", "ghost"],
)
def test_reviving_moves_dead_latents_and_leaving_them_does_not(changes):
    for revive in (changes.get("revive", "auto"), "none"):
        trainer = dead_trainer(**{**changes, "revive": revive})
        start = trainer.parameters["b_enc"].clone()
        for batch in ROWS[: 64 * 10].split(64):
            trainer.step(batch)
        moved = (trainer.parameters["b_enc"][:10] != start[:10]).any()
        # -8 is far below any pre-activation, so AuxK has no positive value to learn from; ghosts have
        # exp(pre).
        assert bool(moved) == (revive == "ghost")
        assert trainer.dead[:10].all() and not trainer.dead[10:].all()


def test_auxk_revives_latents_that_never_win():
    config = replace(SMALL, steps=200, dead_after=0.05, k=1)
    silent = {}
    for revive in ("aux", "none"):
        trainer = Trainer(replace(config, revive=revive), 12, statistics(ROWS))
        trainer.parameters["encoder"][:20] *= 0.05
        for i in range(200):
            trainer.step(ROWS[64 * i % 2900 :][:64])
        silent[revive] = int(trainer.dead[:20].sum())
    assert silent["aux"] < 0.7 * silent["none"]


def test_dead_means_silent_for_the_window():
    trainer = dead_trainer(revive="none")
    for step in range(1, 6):
        trainer.step(ROWS[:64])
        assert bool(trainer.dead[:10].all()) == (step >= 2)  # the window is .05 * 40 * 64 = 128 rows
        assert trainer.silent[:10].tolist() == [64 * step] * 10
    assert trainer.history[-2][0] == "dead_fraction" and trainer.history[-2][1] == int(trainer.dead.sum()) / 32


def test_resampled_latents_point_at_rows_with_small_encoders_and_no_moments():
    trainer = dead_trainer(architecture="relu_l1", revive="resample", l1=0.1)
    for batch in ROWS[: 64 * 10].split(64):
        trainer.step(batch)
    assert trainer.dead[:10].all()
    before = {name: value.clone() for name, value in trainer.parameters.items()}
    dead = trainer.dead.clone()
    for moments in (trainer.adam.first, trainer.adam.second):
        for name in ("encoder", "decoder", "b_enc"):
            moments[name] += 1.0
    trainer._resample(ROWS[:64] * trainer.scale, torch.eye(64, 12))  # rows 0 to 11 alone have a loss
    decoder, encoder = trainer.parameters["decoder"][dead], trainer.parameters["encoder"][dead]
    inputs = torch.nn.functional.normalize(ROWS[:12] * trainer.scale - before["b_dec"], dim=1)
    assert ((decoder @ inputs.T).max(dim=1).values > 1 - 1e-5).all()
    size = 0.2 * before["encoder"][~dead].norm(dim=1).mean()
    torch.testing.assert_close(encoder, decoder * size)
    assert (trainer.parameters["b_enc"][dead] == 0).all() and not trainer.dead[:10].any()
    for moments in (trainer.adam.first, trainer.adam.second):
        for name in ("encoder", "decoder", "b_enc"):
            assert (moments[name][dead] == 0).all() and (moments[name][~dead] != 0).any()
    for name in ("encoder", "decoder", "b_enc"):
        assert torch.equal(trainer.parameters[name][~dead], before[name][~dead])


def test_resampling_prefers_rows_of_large_loss_by_its_square():
    trainer = dead_trainer(architecture="relu_l1", revive="resample")
    trainer.silent[:] = 10_000
    counts = torch.zeros(2)
    rows = torch.zeros(2, 12)
    rows[0, 0], rows[1, 1] = 9.0, 9.0
    trainer.parameters["b_dec"].zero_()
    for draw in range(200):
        trainer.done, trainer.silent[:] = draw, 10_000
        trainer._resample(rows, torch.tensor([[1.0] + [0.0] * 11, [math.sqrt(2.0)] + [0.0] * 11]))
        counts += torch.stack([(trainer.parameters["decoder"][:, j] > 0.9).sum() for j in (0, 1)])
    assert float(counts[1] / counts.sum()) == pytest.approx(4 / 5, abs=0.02)  # losses 1 and 2, squared 1 and 4


def test_the_threshold_is_a_running_mean_of_the_smallest_kept_value(monkeypatch):
    trainer = Trainer(replace(SMALL, architecture="batchtopk", steps=40, warmup=0.05), 12, statistics(ROWS))
    smallest = []
    follow = trainer._follow_threshold
    monkeypatch.setattr(
        trainer,
        "_follow_threshold",
        lambda result: (smallest.append(float(result.code.values[result.code.mask].min())), follow(result)),
    )
    for batch in ROWS[: 64 * 5].split(64):
        trainer.step(batch)
    expected = smallest[1]  # the first step belongs to the warm-up
    for value in smallest[2:]:
        expected = 0.75 * expected + 0.25 * value  # 1 - 10 / 40
    assert trainer.threshold == pytest.approx(expected)
