import math
from dataclasses import replace

import pytest
import torch

from winnow.dictionaries import load, save
from winnow.dictionaries.architectures import ARCHITECTURES, Step
from winnow.dictionaries.codes import CompiledBackend, Dense, TorchBackend
from winnow.dictionaries.config import SaeConfig
from winnow.dictionaries.planted import planted_dictionary
from winnow.dictionaries.store import statistics
from winnow.dictionaries.trainer import Trainer
from winnow.errors import InputError

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


def test_without_warm_up_and_decay_the_lr_stays_the_same(monkeypatch):
    seen = []
    trainer = Trainer(replace(SMALL, steps=5, warmup=0.0, decay=0.0, lr=0.5), 12, statistics(ROWS))
    monkeypatch.setattr(trainer.adam, "step", lambda p, g, lr, relative: seen.append(lr))
    for _ in range(5):
        trainer.step(ROWS[:64])
    assert seen == [0.5] * 5


def test_a_loss_is_told_what_the_paper_sets():
    config = replace(SMALL, architecture="relu_l1", steps=20, warmup=0.2, l1=3.0, aux_coefficient=0.25)
    trainer = Trainer(config, 12, statistics(ROWS))
    seen = []
    for _ in range(6):
        seen.append(trainer.settings().sparsity)
        trainer.step(ROWS[:64])
    assert seen == pytest.approx([0.75, 1.5, 2.25, 3, 3, 3])
    settings = trainer.settings()
    assert settings.aux_k == 6 and settings.aux_coefficient == 0.25  # half of d, not of m
    assert settings.bandwidth == pytest.approx(0.001 * math.sqrt(12))
    jump = Trainer(replace(SMALL, architecture="jumprelu", bandwidth=0.3, l0_coefficient=7.0), 12, statistics(ROWS))
    assert jump.settings().bandwidth == 0.3 and jump.settings().sparsity == 7.0
    assert jump.settings().target_l0 == 2.0 and jump.settings().dead is None


def test_a_trainer_starts_from_unit_directions_without_bias():
    for architecture in ARCHITECTURES:
        config = replace(SMALL, architecture=architecture, threshold=0.25)
        found = Trainer(config, 12, statistics(ROWS)).parameters
        torch.testing.assert_close(found["decoder"].norm(dim=1), torch.ones(32))
        assert found["decoder"].shape == found["encoder"].shape == (32, 12) and (found["b_enc"] == 0).all()
        # Directions drawn from the sphere: none prefers an axis or a side.
        assert found["decoder"].mean().abs() < 0.1 and found["decoder"].abs().mean() > 0.15
        gate = {"b_gate": torch.zeros(32), "log_scale": torch.zeros(32)}
        extra = {"jumprelu": {"log_threshold": torch.full((32,), math.log(0.25))}, "gated": gate}
        assert found.keys() - {"encoder", "decoder", "b_enc", "b_dec"} == extra.get(architecture, {}).keys()
        for name, expected in extra.get(architecture, {}).items():
            assert torch.equal(found[name], expected)
    again, other = (Trainer(replace(SMALL, seed=seed), 12, statistics(ROWS)).parameters for seed in (0, 1))
    assert not torch.equal(again["decoder"], other["decoder"])


def test_no_parameter_shares_memory_with_another():
    for architecture in ARCHITECTURES:
        found = Trainer(replace(SMALL, architecture=architecture), 12, statistics(ROWS)).parameters
        assert len({tensor.data_ptr() for tensor in found.values()}) == len(found)


def test_thresholds_move_at_their_own_rate():
    """Adam's first step has the size lr for every entry, whatever the gradient."""
    config = replace(SMALL, architecture="jumprelu", bandwidth=0.5, lr=1e-3, threshold_lr=7.0, warmup=0, decay=0)
    trainer = Trainer(config, 12, statistics(ROWS))
    before = {name: value.clone() for name, value in trainer.parameters.items()}
    trainer.step(ROWS[:64])
    moved = {name: (value - before[name]).abs() for name, value in trainer.parameters.items()}
    for name, size in (("log_threshold", 7e-3), ("b_enc", 1e-3), ("encoder", 1e-3)):
        touched = moved[name][moved[name] > 0]
        assert len(touched) > 10
        torch.testing.assert_close(touched, torch.full_like(touched, size), rtol=1e-2, atol=1e-6)


def test_history_tells_the_error_by_its_definition():
    trainer, found = Trainer(replace(SMALL, lr=0.01, revive="none"), 12, statistics(ROWS)), statistics(ROWS)
    fired = torch.zeros(32, dtype=torch.bool)
    for step, batch in enumerate(ROWS[:192].split(64)):
        w = {name: value.clone() for name, value in trainer.parameters.items()}
        x = batch * found.scale
        best = torch.topk((x - w["b_dec"]) @ w["encoder"].T + w["b_enc"], 2, dim=1)
        f = torch.zeros(64, 32).scatter(1, best.indices, best.values.relu())
        error = float((x - f @ w["decoder"] - w["b_dec"]).square().sum(1).mean())
        scaled = ROWS * found.scale
        variance = float((scaled - scaled.mean(0)).square().sum(1).mean())
        trainer.step(batch)
        rows = trainer.history[4 * step :]
        assert [(name, number) for name, _, number in rows] == [
            (name, step) for name in ("loss", "l0", "dead_fraction", "fvu")
        ]
        fired |= (f > 0).any(0)
        assert torch.equal(trainer.silent == 0, (f > 0).any(0))
        dead = float((~fired).float().mean()) if step == 2 else 0.0  # the window is .2 * 12 * 64 = 154 rows
        l0 = float((f > 0).sum(1).float().mean())
        assert [value for _, value, _ in rows] == pytest.approx([error, l0, dead, error / variance], rel=1e-4)
    assert trainer.done == 3


def test_l0_is_a_mean_over_rows_and_no_whole_number():
    trainer, found = Trainer(replace(SMALL, architecture="relu_l1"), 12, statistics(ROWS)), statistics(ROWS)
    pre = (ROWS[:64] * found.scale - found.centre) @ trainer.parameters["encoder"].T
    l0 = float((pre > 0).sum() / 64)
    trainer.step(ROWS[:64])
    assert l0 % 1 > 0 and {name: value for name, value, _ in trainer.history}["l0"] == pytest.approx(l0)


@pytest.mark.parametrize(("spread", "has_fvu"), [(0.0, False), (0.01, True)])
def test_fvu_is_told_unless_rows_do_not_vary(spread, has_fvu):
    rows = torch.ones(64, 12)
    rows[::2] *= 1 + spread
    trainer = Trainer(SMALL, 12, statistics(rows))
    assert trainer.variance < 0.01
    trainer.step(rows)
    assert ("fvu" in {name for name, _, _ in trainer.history}) == has_fvu


@pytest.mark.parametrize(("d", "m", "first"), [(12, 32, 12), (12, 8, 7)])
def test_k_falls_from_d_and_stays_below_m(d, m, first):
    config = replace(SMALL, architecture="batchtopk", m=m, k=2, steps=40, anneal=0.25)
    trainer, seen = Trainer(config, d, statistics(ROWS)), []
    for done in range(40):
        trainer.done = done
        seen.append(trainer.settings().k)
    assert seen == [round(first + (2 - first) * done / 10) for done in range(10)] + [2] * 30
    topk = Trainer(replace(config, architecture="topk"), d, statistics(ROWS))
    assert topk.settings().k == 2


def test_dead_latents_are_shown_to_the_losses_that_revive_them():
    for architecture, revive, shown in (
        ("topk", "auto", True),
        ("topk", "none", False),
        ("relu_l1", "ghost", True),
        ("relu_l1", "resample", False),
        ("gated", "auto", False),
    ):
        trainer = Trainer(replace(SMALL, architecture=architecture, revive=revive), 12, statistics(ROWS))
        trainer.silent[3] = 10_000
        dead = trainer.settings().dead
        assert (dead is not None) == shown
        if dead is not None:
            assert dead.nonzero().flatten().tolist() == [3]


def test_auxk_uses_one_latent_where_d_is_one():
    assert Trainer(SMALL, 1, statistics(ROWS[:, :1])).settings().aux_k == 1
    assert Trainer(SMALL, 5, statistics(ROWS[:, :5])).settings().aux_k == 2


def test_the_backend_is_the_one_asked_for():
    assert isinstance(Trainer(SMALL, 12, statistics(ROWS)).backend, TorchBackend)
    numba = Trainer(replace(SMALL, backend="numba", threads=2), 12, statistics(ROWS)).backend
    assert isinstance(numba, CompiledBackend) and numba.threads == 2


def test_a_loss_that_diverges_is_named_with_its_step():
    trainer = Trainer(SMALL, 12, statistics(ROWS))
    trainer.step(ROWS[:64])
    trainer.parameters["b_dec"][0] = math.nan
    with pytest.raises(InputError, match=r"lr: 0.003 diverges at step 1; lower it"):
        trainer.step(ROWS[:64])


def test_rows_of_another_size_are_named():
    with pytest.raises(InputError, match="rows have 11 dimensions, the dictionary 12; use one hook point"):
        Trainer(SMALL, 12, statistics(ROWS)).step(ROWS[:64, :11])


@every_architecture
def test_a_trainer_that_comes_back_from_its_file_goes_on_with_the_same_bits(architecture, tmp_path):
    config = replace(SMALL, architecture=architecture, l1=0.3, dead_after=0.1)
    straight = Trainer(config, 12, statistics(ROWS))
    batches = ROWS[: 64 * 8].split(64)
    for batch in batches[:5]:
        straight.step(batch)
    straight.save(tmp_path / "c.safetensors")
    resumed = Trainer.load(tmp_path / "c.safetensors", config)
    assert [path.name for path in tmp_path.iterdir()] == ["c.safetensors"]
    for batches_left in ((), batches[5:]):
        for batch in batches_left:
            straight.step(batch)
            resumed.step(batch)
        for name in ("done", "scale", "variance", "history"):
            assert getattr(resumed, name) == getattr(straight, name)
        assert resumed.adam.steps == straight.adam.steps == straight.done
        assert repr(resumed.threshold) == repr(straight.threshold)  # nan equals nan
        assert torch.equal(resumed.silent, straight.silent) and resumed.silent.dtype == torch.int64
        for one, other in zip(resumed._groups().values(), straight._groups().values(), strict=True):
            assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert all(isinstance(step, int) for _, _, step in resumed.history)


def test_a_checkpoint_that_does_not_fit_is_named_with_a_remedy(tmp_path):
    file = tmp_path / "c.safetensors"
    Trainer(SMALL, 12, statistics(ROWS)).save(file)
    with pytest.raises(InputError, match=r"c.safetensors: was made with l1 1.0, not 2.0; delete it to start again"):
        Trainer.load(file, replace(SMALL, l1=2.0))
    whole = file.read_bytes()
    for damaged in (whole[:-9], b"", b"no checkpoint"):
        file.write_bytes(damaged)
        with pytest.raises(InputError, match=r"c.safetensors: cannot be read as a checkpoint .*; delete it to start"):
            Trainer.load(file, SMALL)
    save(Trainer(SMALL, 12, statistics(ROWS)).dictionary(), file)  # a safetensors file of another kind
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        Trainer.load(file, SMALL)


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
    assert (trainer.parameters["b_enc"][dead] == 0).all() and (trainer.silent[dead] == 0).all()
    for moments in (trainer.adam.first, trainer.adam.second):
        for name in ("encoder", "decoder", "b_enc"):
            assert (moments[name][dead] == 0).all() and (moments[name][~dead] != 0).any()
    for name in ("encoder", "decoder", "b_enc"):
        assert torch.equal(trainer.parameters[name][~dead], before[name][~dead])


def test_resampling_happens_after_a_quarter_and_a_half_of_the_steps_where_it_is_asked_for(monkeypatch):
    for revive, expected in (("resample", [3, 6]), ("ghost", []), ("none", [])):
        trainer = Trainer(replace(SMALL, architecture="relu_l1", revive=revive, steps=13), 12, statistics(ROWS))
        calls = []
        monkeypatch.setattr(trainer, "_resample", lambda rows, *_, t=trainer, c=calls: c.append((t.done, rows)))
        for batch in ROWS[: 64 * 13].split(64):
            trainer.step(batch)
        assert [done for done, _ in calls] == expected
        for done, rows in calls:
            assert torch.equal(rows, ROWS[64 * done :][:64] * trainer.scale)


def test_resampling_changes_nothing_without_a_dead_latent_or_without_a_loss():
    trainer = dead_trainer(architecture="relu_l1", revive="resample")
    before = {name: value.clone() for name, value in trainer.parameters.items()}
    trainer._resample(ROWS[:64], torch.ones(64, 12))
    trainer.silent[4] = 10_000
    trainer._resample(ROWS[:64], torch.zeros(64, 12))
    assert all(torch.equal(value, before[name]) for name, value in trainer.parameters.items())
    assert trainer.silent[4] == 10_000
    trainer._resample(ROWS[:64], torch.eye(64, 12) * 1e-3)
    assert not torch.equal(trainer.parameters["decoder"][4], before["decoder"][4])


@pytest.mark.parametrize(("with_loss", "distinct"), [(10, 10), (9, None), (64, 10)])
def test_no_row_is_drawn_twice_while_there_are_enough(with_loss, distinct):
    trainer = dead_trainer(architecture="relu_l1", revive="resample")
    trainer.silent[:10] = 10_000
    residual = torch.zeros(64, 12)
    residual[:with_loss, 0] = torch.arange(1, with_loss + 1)
    rows = torch.randn(64, 12, generator=torch.Generator().manual_seed(1))
    trainer._resample(rows, residual)
    directions = torch.nn.functional.normalize(rows[:with_loss] - trainer.parameters["b_dec"], dim=1)
    similar = trainer.parameters["decoder"][:10] @ directions.T
    torch.testing.assert_close(similar.max(dim=1).values, torch.ones(10))
    if distinct is not None:
        assert len(set(similar.argmax(dim=1).tolist())) == distinct


def test_resampled_encoders_have_the_norm_of_a_fifth_where_all_are_dead():
    trainer = dead_trainer(architecture="relu_l1", revive="resample")
    trainer.silent[:] = 10_000
    trainer._resample(ROWS[:64] * trainer.scale, torch.ones(64, 12))
    torch.testing.assert_close(trainer.parameters["encoder"].norm(dim=1), torch.full((32,), 0.2))


def test_each_resampling_draws_anew():
    drawn = []
    for done in (3, 6, 3):
        trainer = dead_trainer(architecture="relu_l1", revive="resample")
        trainer.silent[:10], trainer.done = 10_000, done
        trainer._resample(ROWS[:64] * trainer.scale, torch.ones(64, 12))
        drawn.append(trainer.parameters["decoder"][:10].clone())
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[1])


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


def followed(config, smallest):
    """The threshold after batches whose smallest kept values are given; None: a batch that keeps nothing."""
    trainer = Trainer(config, 12, statistics(ROWS))
    for done, value in enumerate(smallest):
        trainer.done = done
        values = torch.zeros(1, 32)
        if value is not None:
            values[0, :3] = torch.tensor([value, value + 1, value + 5])
        trainer._follow_threshold(Step(0.0, 0.0, {}, Dense(values, values >= 0), values))
    return trainer.threshold


def test_the_memory_of_the_threshold_is_a_tenth_of_the_steps_and_never_beyond_the_papers():
    config = replace(SMALL, architecture="batchtopk", warmup=0.0)
    assert followed(replace(config, steps=5), [3.0, 4.0, 6.0]) == 6.0  # shorter than ten steps: the last one
    assert followed(replace(config, steps=100), [3.0, 4.0]) == pytest.approx(0.9 * 3 + 0.1 * 4)
    assert followed(replace(config, steps=10**6), [3.0, 4.0]) == pytest.approx(0.999 * 3 + 0.001 * 4)
    assert followed(replace(config, steps=100), [3.0, None]) == pytest.approx(0.9 * 3)
    assert math.isnan(followed(replace(config, architecture="topk"), [3.0, 4.0]))


def test_the_threshold_waits_for_the_warm_up():
    config = replace(SMALL, architecture="batchtopk", steps=20, warmup=0.2)
    assert math.isnan(followed(config, [3.0] * 3))
    assert followed(config, [1.0, 1.0, 1.0, 7.0]) == 7.0
    assert followed(replace(config, warmup=1.0), [*[1.0] * 19, 7.0]) == 7.0  # the last step at the latest


def test_a_dictionary_before_the_first_threshold_keeps_all_that_is_positive():
    dictionary = Trainer(replace(SMALL, architecture="batchtopk"), 12, statistics(ROWS)).dictionary()
    assert (dictionary.threshold == 0).all() and dictionary.k == 2 and dictionary.info["rows"] == 0


def test_a_dictionary_does_not_change_with_further_training():
    trainer = Trainer(SMALL, 12, statistics(ROWS))
    dictionary = trainer.dictionary()
    before = {name: getattr(dictionary, name).clone() for name in ("W_enc", "W_dec", "b_enc", "b_dec_in", "b_dec_out")}
    trainer.step(ROWS[:64])
    assert all(torch.equal(getattr(dictionary, name), value) for name, value in before.items())


def test_a_gate_that_opens_before_its_magnitude_is_positive_keeps_the_threshold_at_zero():
    trainer = Trainer(replace(SMALL, architecture="gated"), 12, statistics(ROWS))
    trainer.parameters["b_gate"][:16], trainer.parameters["b_gate"][16:] = 2.0, -2.0
    trainer.parameters["log_scale"] += math.log(3.0)
    dictionary = trainer.dictionary()
    torch.testing.assert_close(dictionary.threshold * trainer.scale, torch.tensor([0.0] * 16 + [6.0] * 16))
