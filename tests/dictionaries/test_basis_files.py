import pytest
import torch
from safetensors.torch import save_file

from winnow.dictionaries.basis_files import load_bases, save_bases
from winnow.dictionaries.interaction_basis import Basis
from winnow.errors import InputError


def basis(seed, width, rank):
    draw = torch.Generator().manual_seed(seed)
    shapes = ((width, rank), (rank, width), (width,), (rank,))
    return Basis(*(torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes))


def test_bases_are_read_as_they_were_written(tmp_path):
    bases = {
        "pca": [basis(i, 4 + i, 3) for i in range(12)],
        "ib": [basis(20, 2, 2)._replace(into=torch.eye(2).double().T)],
    }
    save_bases(bases, tmp_path / "bases.safetensors")
    read = load_bases(tmp_path / "bases.safetensors")
    assert list(read) == ["ib", "pca"] and [len(layers) for layers in read.values()] == [1, 12]
    for kind, layers in bases.items():
        for own, found in zip(layers, read[kind], strict=True):
            assert all(a.equal(b) for a, b in zip(own, found, strict=True))


def test_tensors_that_two_bases_share_are_written_for_both(tmp_path):
    one = basis(0, 3, 3)
    shared = one._replace(back=one.into)
    save_bases({"a": [shared, shared]}, tmp_path / "bases.safetensors")
    assert load_bases(tmp_path / "bases.safetensors")["a"][1].back.equal(one.into)


@pytest.mark.parametrize("name", ["weight", "pca.first.into", "layer.0"])
def test_another_file_is_refused(tmp_path, name):
    save_file({name: torch.zeros(2).double()}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=f"x.safetensors: tensor '{name}' belongs to no basis"):
        load_bases(tmp_path / "x.safetensors")


def test_single_precision_is_refused(tmp_path):
    save_file({"pca.0.into": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="not float64"):
        load_bases(tmp_path / "x.safetensors")
