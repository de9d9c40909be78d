import math
from dataclasses import replace

import pytest
import torch

from winnow.dictionaries import load, save
from winnow.dictionaries.architectures import ARCHITECTURES
from winnow.dictionaries.planted import planted_dictionary, recovery
from winnow.dictionaries.sae import SaeConfig, Trainer, fit, fit_many
from winnow.dictionaries.store import statistics
from winnow.errors import InputError

PLANTED = planted_dictionary(24, 12, 2, exponent=0.3)
ROWS = PLANTED.sample(3000, seed=0) * 5
SMALL = SaeConfig(m=32, k=2, steps=12, batch=64, lr=3e-3, backend="torch", target_l0=2.0)
every_architecture = pytest.mark.parametrize("architecture", list(ARCHITECTURES))


def fvu(dictionary, rows):
    missed = (rows - dictionary.reconstruct(rows)).square().sum()
    return float(missed / (rows - rows.mean(0)).square().sum())


def assert_same(one, other):
    for name in ("W_enc", "b_enc", "W_dec", "b_dec_in", "b_dec_out", "threshold"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@every_architecture
def test_fitting_explains_the_rows_better_than_it_did_at_first(architecture):
    config = replace(SMALL, architecture=architecture, steps=150, l1=0.1)
    dictionary, history = fit(ROWS, config)
    curve = [value for metric, value, _ in history if metric == "fvu"]
    assert len(curve) == 150 and curve[-1] < 0.5 * curve[0]
    assert fvu(dictionary, ROWS) == pytest.approx(curve[-1], abs=0.1)
    assert {metric for metric, _, _ in history} == {"loss", "fvu", "l0", "dead_fraction"}
    assert [step for metric, _, step in history if metric == "loss"] == list(range(150))


def test_topk_finds_the_planted_atoms():
    dictionary, _ = fit(ROWS, replace(SMALL, steps=600, batch=256))
    random = torch.randn(32, 12, generator=torch.Generator().manual_seed(0))
    assert recovery(dictionary.W_dec, PLANTED.atoms) > 0.9 > recovery(random, PLANTED.atoms) + 0.2


def test_jumprelu_comes_near_the_number_of_active_latents_aimed_at():
    dictionary, history = fit(ROWS, replace(SMALL, architecture="jumprelu", steps=400, target_l0=3.0))
    assert float((dictionary.dense(ROWS) > 0).sum(1).float().mean()) == pytest.approx(3, abs=1)


@every_architecture
def test_a_stronger_penalty_leaves_fewer_latents_active(architecture):
    if architecture in ("topk", "batchtopk"):
        weak, strong = replace(SMALL, architecture=architecture, k=4), replace(SMALL, architecture=architecture, k=2)
    else:
        weak = replace(SMALL, architecture=architecture, steps=80, target_l0=None, l1=0.01, l0_coefficient=0.01)
        strong = replace(weak, l1=5.0, l0_coefficient=50.0)
    l0 = [float((fit(ROWS, c)[0].dense(ROWS) > 0).sum()) for c in (weak, strong)]
    assert l0[1] < 0.8 * l0[0]


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
        limits = {"jumprelu": found.get("log_threshold", pre).exp(), "batchtopk": trainer.threshold, "relu_l1": 0.0}
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
    assert torch.equal(before["encoder"], before["decoder"]) and torch.equal(before["b_dec"], found.centre)
    assert (before["b_enc"] == 0).all()
    for batch in ROWS[:192].split(64):
        x = batch * found.scale
        pre = (x - before["b_dec"]) @ before["encoder"].T + before["b_enc"]
        best = torch.topk(pre, 2, dim=1)
        f = torch.zeros_like(pre).scatter(1, best.indices, best.values.relu())
        (x - f @ before["decoder"] - before["b_dec"]).pow(2).sum(1).mean().backward()
        if batch is not None and "optimizer" not in locals():
            optimizer = torch.optim.Adam(before.values(), lr=3e-3, betas=(0.9, 0.999))
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


def test_the_default_lr_follows_the_square_root_law():
    assert SaeConfig(m=16384).peak_lr == pytest.approx(2e-4)
    assert SaeConfig(m=4096).peak_lr == pytest.approx(4e-4)
    assert SaeConfig(m=20, k=2).peak_lr == 3e-3
    assert SaeConfig(lr=0.5).peak_lr == 0.5


@every_architecture
def test_backends_and_threads_agree(architecture):
    config = replace(SMALL, architecture=architecture, l1=2.0)
    torch_run, _ = fit(ROWS, config)
    for threads in (1, 2):
        numba_run, _ = fit(ROWS, replace(config, backend="numba", threads=threads))
        torch.testing.assert_close(numba_run.W_enc, torch_run.W_enc, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(numba_run.reconstruct(ROWS[:9]), torch_run.reconstruct(ROWS[:9]), atol=1e-2, rtol=1e-2)


@every_architecture
@pytest.mark.parametrize("broken", [1, 7])
def test_a_resumed_run_equals_the_straight_one_bit_for_bit(architecture, broken, tmp_path):
    config = replace(SMALL, architecture=architecture, backend="auto", dead_after=0.1, l1=3.0, anneal=0.5)
    straight, history = fit(ROWS, config)

    def stop(step, total):
        assert total == 12
        if step == broken:
            raise KeyboardInterrupt

    file = tmp_path / "checkpoint.safetensors"
    with pytest.raises(KeyboardInterrupt):
        fit(ROWS, config, checkpoint=file, checkpoint_every=1, progress=stop)
    steps = []
    resumed, again = fit(ROWS, config, checkpoint=file, progress=lambda step, total: steps.append(step))
    assert_same(resumed, straight)
    assert again == history and steps == list(range(broken + 1, 13))
    finished, _ = fit(ROWS, config, checkpoint=file, progress=lambda *_: pytest.fail("nothing is left to do"))
    assert_same(finished, straight)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.safetensors"]


def test_resampling_survives_a_break_too(tmp_path):
    config = replace(SMALL, architecture="relu_l1", revive="resample", dead_after=0.05, l1=20.0)
    straight, _ = fit(ROWS, config)
    file = tmp_path / "c.safetensors"
    with pytest.raises(ZeroDivisionError):
        fit(ROWS, config, checkpoint=file, checkpoint_every=2, progress=lambda step, _: 1 / (step - 5))
    assert_same(fit(ROWS, config, checkpoint=file)[0], straight)


def test_a_run_depends_on_its_seed_alone():
    one, two, other = (fit(ROWS, replace(SMALL, seed=seed))[0] for seed in (1, 1, 2))
    assert_same(one, two)
    assert not torch.equal(one.W_enc, other.W_enc)


def test_threads_of_torch_are_left_as_they_were():
    before = torch.get_num_threads()
    fit(ROWS, replace(SMALL, threads=before + 1, steps=1))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("pieces", [False, True])
def test_many_at_once_equal_one_by_one(pieces):
    store = list(ROWS.split(100)) if pieces else ROWS
    configs = [SMALL, replace(SMALL, k=4, steps=7), replace(SMALL, architecture="gated", seed=3)]
    for config, (dictionary, history) in zip(configs, fit_many(store, configs), strict=True):
        alone, expected = fit(store, config)
        assert_same(dictionary, alone)
        assert history == expected


def test_an_iterable_that_can_be_read_once_is_enough_for_its_steps():
    once = (piece for piece in ROWS[: 64 * 12].split(50))
    straight, _ = fit(list(ROWS[: 64 * 12].split(50)), SMALL)
    assert_same(fit(once, SMALL)[0], straight)


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
        # -8 is far below any pre-activation, so AuxK has no positive value to learn from; ghosts have exp(pre).
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
    assert silent["aux"] < 0.5 * silent["none"]


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
    trainer._resample(ROWS[:64] * trainer.scale, torch.eye(64, 12))  # rows 0 to 11 alone have a loss
    decoder, encoder = trainer.parameters["decoder"][dead], trainer.parameters["encoder"][dead]
    inputs = torch.nn.functional.normalize(ROWS[:12] * trainer.scale - before["b_dec"], dim=1)
    assert ((decoder @ inputs.T).max(dim=1).values > 1 - 1e-5).all()
    size = 0.2 * before["encoder"][~dead].norm(dim=1).mean()
    torch.testing.assert_close(encoder, decoder * size)
    assert (trainer.parameters["b_enc"][dead] == 0).all() and not trainer.dead[:10].any()
    for moments in (trainer.adam.first, trainer.adam.second):
        assert (moments["encoder"][dead] == 0).all() and (moments["encoder"][~dead] != 0).any()
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


def test_batchtopk_keeps_about_k_latents_with_one_threshold():
    dictionary, _ = fit(ROWS, replace(SMALL, architecture="batchtopk", k=3, steps=200))
    assert len(set(dictionary.threshold.tolist())) == 1 and dictionary.threshold[0] > 0
    assert float((dictionary.dense(ROWS) > 0).sum(1).float().mean()) == pytest.approx(3, abs=0.6)


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


def test_annealing_lowers_k_from_d():
    _, history = fit(ROWS, replace(SMALL, architecture="batchtopk", steps=20, anneal=0.5))
    l0 = [value for metric, value, _ in history if metric == "l0"]
    assert l0[0] == 12 and l0[5] == 7 and l0[10:] == [2] * 10
    assert l0 == sorted(l0, reverse=True)


def test_constant_rows_have_no_fvu():
    dictionary, history = fit(torch.ones(100, 12), SMALL)
    assert "fvu" not in {metric for metric, _, _ in history}
    torch.testing.assert_close(dictionary.reconstruct(torch.ones(2, 12)), torch.ones(2, 12), atol=0.1, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "vanilla"}, "architecture: 'vanilla' is unknown; choose one of topk"),
        ({"k": 32}, "k: 32 of m = 32 latents; it must be below m"),
        ({"k": 40}, "k: 40 of m = 32"),
        ({"k": 0}, "k: 0; it must be at least 1"),
        ({"m": 0}, "m: 0"),
        ({"steps": 0}, "steps: 0"),
        ({"batch": 0}, "batch: 0"),
        ({"threads": 0}, "threads: 0"),
        ({"lr": 0.0}, "lr: 0.0; it must be above 0"),
        ({"l1": -1.0}, "l1: -1.0; it must not be negative"),
        ({"target_l0": 0.0}, "target_l0"),
        ({"dead_after": 0.0}, "dead_after"),
        ({"warmup": 1.5}, "warmup: 1.5; it must lie between 0 and 1"),
        ({"decay": -0.1}, "decay"),
        ({"revive": "ghost"}, "revive: 'ghost' does not go with topk; choose one of auto, none, aux"),
    ],
)
def test_settings_out_of_bounds_are_named(changes, message):
    with pytest.raises(InputError, match=message):
        replace(SMALL, **changes)


def test_rows_of_another_size_than_the_checkpoint_are_named(tmp_path):
    file = tmp_path / "c.safetensors"
    with pytest.raises(ZeroDivisionError):
        fit(ROWS, SMALL, checkpoint=file, checkpoint_every=1, progress=lambda step, _: 1 / (step - 3))
    with pytest.raises(InputError, match="rows have 11 dimensions, the dictionary 12"):
        fit(ROWS[:, :11], SMALL, checkpoint=file)
    with pytest.raises(InputError, match="was made with k 2, not 3; delete it to start again"):
        fit(ROWS, replace(SMALL, k=3), checkpoint=file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match="c.safetensors: cannot be read as a checkpoint"):
        fit(ROWS, SMALL, checkpoint=file)


@pytest.mark.parametrize(
    ("store", "message"),
    [
        (torch.zeros(0, 12), "store: has no rows"),
        (torch.full((100, 12), math.nan), "NaN or infinite"),
        ([torch.ones(64, 12)] * 3 + [torch.ones(64, 11)], "12 dimensions at first, then 11"),
    ],
)
def test_bad_stores_are_named(store, message):
    with pytest.raises(InputError, match=message):
        fit(store, SMALL)


def test_many_of_differing_batch_need_rows_in_memory():
    with pytest.raises(InputError, match="differ in batch"):
        fit_many([ROWS], [SMALL, replace(SMALL, batch=32)])
    with pytest.raises(InputError, match="none given"):
        fit_many(ROWS, [])
