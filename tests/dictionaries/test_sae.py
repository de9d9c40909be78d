import math
from dataclasses import replace

import pytest
import torch

from winnow.dictionaries.architectures import ARCHITECTURES
from winnow.dictionaries.planted import planted_dictionary, recovery
from winnow.dictionaries.sae import SaeConfig, fit, fit_many
from winnow.dictionaries.store import geometric_median
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
    assert len(curve) == 150 and curve[-1] < 0.7 * curve[0]
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
        weak, strong = (
            replace(SMALL, architecture=architecture, k=4),
            replace(SMALL, architecture=architecture, k=2),
        )
    else:
        weak = replace(SMALL, architecture=architecture, steps=80, target_l0=None, l1=0.01, l0_coefficient=0.01)
        strong = replace(weak, l1=5.0, l0_coefficient=50.0)
    l0 = [float((fit(ROWS, c)[0].dense(ROWS) > 0).sum()) for c in (weak, strong)]
    assert l0[1] < 0.8 * l0[0]


@every_architecture
def test_backends_and_threads_agree(architecture):
    config = replace(SMALL, architecture=architecture, l1=2.0)
    torch_run, _ = fit(ROWS, config)
    for threads in (1, 2):
        numba_run, _ = fit(ROWS, replace(config, backend="numba", threads=threads))
        torch.testing.assert_close(numba_run.W_enc, torch_run.W_enc, atol=1e-4, rtol=1e-3)
        torch.testing.assert_close(
            numba_run.reconstruct(ROWS[:9]), torch_run.reconstruct(ROWS[:9]), atol=1e-2, rtol=1e-2
        )


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


def test_many_may_differ_in_batch_where_rows_are_in_memory():
    configs = [SMALL, replace(SMALL, batch=32), replace(SMALL, batch=32, seed=1)]
    for config, (dictionary, _) in zip(configs, fit_many(ROWS, configs), strict=True):
        assert_same(dictionary, fit(ROWS, config)[0])


def test_many_at_once_read_each_piece_once_and_tell_how_far_they_are():
    configs, told = [replace(SMALL, threads=2), replace(SMALL, k=4, steps=7, seed=3)], []
    pieces = ROWS[: 64 * 12].split(50)
    fit_many(iter(pieces), configs, progress=lambda *step: told.append((*step, torch.get_num_threads())))
    assert told == [(step, 12, 2) for step in range(1, 13)]  # and an iterator of exactly that many rows was enough


@pytest.mark.parametrize(
    ("steps", "settings", "expected"), [(250, {}, [100, 200, 250]), (12, {"checkpoint_every": 5}, [5, 10, 12])]
)
def test_checkpoints_are_written_every_so_many_steps_and_at_the_end(steps, settings, expected, tmp_path):
    file, written = tmp_path / "c.safetensors", []

    def take_away(step, total):
        if file.exists():
            written.append(step)
            file.unlink()

    fit(ROWS, replace(SMALL, steps=steps, batch=8), checkpoint=file, progress=take_away, **settings)
    assert written == expected


@pytest.mark.parametrize(("first", "batches_ahead"), [(100, 2), (128, 2), (129, 3)])
def test_training_starts_from_the_geometric_median_of_its_first_rows_and_reads_no_more(
    first, batches_ahead, monkeypatch
):
    monkeypatch.setattr("winnow.dictionaries.sae.STATISTICS_ROWS", first)
    read, at_step = [], []

    def pieces():
        for piece in ROWS.split(64):
            read.append(len(piece))
            yield piece

    still = replace(SMALL, lr=1e-12)
    dictionary, _ = fit(pieces(), still, progress=lambda step, _: at_step.append(len(read)))
    assert at_step == [max(batches_ahead, step) for step in range(1, 13)]
    torch.testing.assert_close(dictionary.b_dec_out, geometric_median(ROWS[:first]), atol=1e-4, rtol=1e-4)


def test_an_iterable_that_can_be_read_once_is_enough_for_its_steps():
    once = (piece for piece in ROWS[: 64 * 12].split(50))
    straight, _ = fit(list(ROWS[: 64 * 12].split(50)), SMALL)
    assert_same(fit(once, SMALL)[0], straight)


def test_batchtopk_keeps_about_k_latents_with_one_threshold():
    dictionary, _ = fit(ROWS, replace(SMALL, architecture="batchtopk", k=3, steps=200))
    assert len(set(dictionary.threshold.tolist())) == 1 and dictionary.threshold[0] > 0
    assert float((dictionary.dense(ROWS) > 0).sum(1).float().mean()) == pytest.approx(3, abs=0.6)


def test_annealing_lowers_k_from_d():
    _, history = fit(ROWS, replace(SMALL, architecture="batchtopk", steps=20, anneal=0.5))
    l0 = [value for metric, value, _ in history if metric == "l0"]
    assert l0[0] == 12 and l0[5] == 7 and l0[10:] == [2] * 10
    assert l0 == sorted(l0, reverse=True)


def test_constant_rows_have_no_fvu():
    dictionary, history = fit(torch.ones(100, 12), SMALL)
    assert "fvu" not in {metric for metric, _, _ in history}
    torch.testing.assert_close(dictionary.reconstruct(torch.ones(2, 12)), torch.ones(2, 12), atol=0.1, rtol=0)


@pytest.mark.parametrize("store", [lambda rows: rows, lambda rows: rows.split(70)], ids=["matrix", "pieces"])
def test_other_rows_of_the_same_size_than_the_checkpoint_are_named(tmp_path, store):
    file = tmp_path / "c.safetensors"
    with pytest.raises(ZeroDivisionError):
        fit(store(ROWS), SMALL, checkpoint=file, checkpoint_every=1, progress=lambda step, _: 1 / (step - 3))
    with pytest.raises(InputError, match=r"c.safetensors: was made with other rows; delete it to start again"):
        fit(store(ROWS + 1), SMALL, checkpoint=file)
    assert_same(fit(store(ROWS), SMALL, checkpoint=file)[0], fit(store(ROWS), SMALL)[0])


def test_rows_of_another_size_than_the_checkpoint_are_named(tmp_path):
    file = tmp_path / "c.safetensors"
    with pytest.raises(ZeroDivisionError):
        fit(ROWS, SMALL, checkpoint=file, checkpoint_every=1, progress=lambda step, _: 1 / (step - 3))
    with pytest.raises(InputError, match="c.safetensors: was made with other rows"):
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
