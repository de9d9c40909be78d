import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from winnow.errors import InputError
from winnow.models import build, load_card, load_model, save_model
from winnow.models.packing import FewBits, pack, unpack


@given(st.integers(1, 8), st.integers(1, 200), st.integers(0, 2**16))
def test_packed_codes_come_back_and_take_their_bits_and_no_more(bits, count, seed):
    codes = torch.randint(2**bits, (count,), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    packed = pack(codes, bits)
    assert torch.equal(unpack(packed, bits, count), codes) and len(packed) == -(-count * bits // 8)


def test_the_bits_of_packed_codes_are_those_written_down_by_hand():
    # least bit first: 1, 2 and 3 in three bits are 100 010 110
    assert pack(torch.tensor([1, 2, 3], dtype=torch.uint8), 3).tolist() == [0b10001011, 0]


@pytest.mark.parametrize(("codes", "bits"), [([4], 2), ([1], 0), ([1], 9), ([128], 7)])
def test_codes_that_do_not_fit_are_refused(codes, bits):
    with pytest.raises(InputError, match="bits is"):
        pack(torch.tensor(codes, dtype=torch.uint8), bits)


@pytest.mark.parametrize(("length", "dtype"), [(2, torch.uint8), (4, torch.uint8), (3, torch.int8)])
def test_bytes_of_another_number_or_type_are_refused(length, dtype):
    with pytest.raises(InputError, match="are not 6 codes of 4 bits"):
        unpack(torch.zeros(length, dtype=dtype), 4, 6)


def few_bits(rows: int, columns: int, bits: int, group: int) -> FewBits:
    generator = torch.Generator().manual_seed(0)
    runs = -(-columns // group)
    return FewBits(
        torch.randint(2**bits, (rows, columns), generator=generator, dtype=torch.uint8),
        torch.rand(rows, runs, generator=generator).half(),
        torch.randint(2**bits, (rows, runs), generator=generator, dtype=torch.uint8),
        bits,
        group,
    )


def test_a_weight_is_scale_times_code_less_zero_of_its_run():
    few = few_bits(3, 7, 4, 3)
    dense = few.dense()
    for row in range(3):
        for column in range(7):
            scale, zero = few.scale[row, column // 3].float(), few.zero[row, column // 3].float()
            assert dense[row, column] == scale * (few.codes[row, column].float() - zero)


@pytest.fixture
def saved(tmp_path):
    model = build("mlp", seed=1, in_channels=1, height=8, width=8, classes=3, hidden=[20])
    packed = {}
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            packed[name] = few_bits(*weight.shape, bits=3, group=16)
            weight.data.copy_(packed[name].dense())
    path = tmp_path / "model.safetensors"
    save_model(model, path, workload="digits", packed=packed)
    return model, path, packed


def test_a_model_of_few_bits_comes_back_equal_from_a_small_file(saved, tmp_path):
    model, path, packed = saved
    found = load_model(path).state_dict()
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())
    assert load_card(path)["packed"] == {name: [3, 16] for name in packed}
    save_model(model, tmp_path / "dense.safetensors", workload="digits")
    small, dense = (p.stat().st_size for p in (path, tmp_path / "dense.safetensors"))
    assert small < dense / 3  # of which the names of tensors are a kilobyte


def test_codes_that_do_not_give_the_weight_are_refused(saved, tmp_path):
    model, _, packed = saved
    name = next(iter(packed))
    with pytest.raises(InputError, match=f"the codes of '{name}' do not give"):
        save_model(
            model,
            tmp_path / "m.safetensors",
            "digits",
            packed={name: packed[name]._replace(bits=3, zero=packed[name].zero + 1)},
        )


@pytest.mark.parametrize("field", [[2, 16], [3, 0], [3, 5], ["3", 16]])
def test_a_card_of_other_bits_or_runs_is_refused_by_name(saved, field):
    _, path, packed = saved
    card = path.with_suffix(".json")
    name = next(iter(packed))
    import json

    content = json.loads(card.read_text())
    content["packed"][name] = field
    card.write_text(json.dumps(content))
    with pytest.raises(InputError, match=f"{name} is not of"):
        load_model(path)
