"""Published weights come out of verified archives as what their pin says, or not at all."""

import io
from hashlib import sha256
from zipfile import ZipFile

import pytest
import torch
import yaml

from winnow.errors import InputError
from winnow.pipeline.weights import read_language_model, read_weights


@pytest.fixture
def pinned(tmp_path):
    """A sources file with one pin of a folder, whose archive has one member."""

    def make(reader, content):
        archive = tmp_path / "weights.zip"
        with ZipFile(archive, "w") as file:
            file.writestr("inner/weights.bin", content)
        fields = {"kind": "folder", "package": archive.name, "version": "1", "member": "inner/weights.bin"}
        fields |= {"sha256": sha256(archive.read_bytes()).hexdigest(), "reader": reader}
        fields |= {"licence": "none", "redistribute": False, "citation": "none"}
        (tmp_path / "sources.yaml").write_text(yaml.safe_dump({"tiny": fields}))
        return "tiny", tmp_path / "sources.yaml", tmp_path / "cache"

    return make


def state(tensors):
    file = io.BytesIO()
    torch.save(tensors, file)
    return file.getvalue()


def test_a_state_dict_is_read_as_tensors(pinned):
    found = read_weights(*pinned("torch_state", state({"a": torch.arange(3.0)})))
    assert found.keys() == {"a"} and torch.equal(found["a"], torch.arange(3.0))


def test_a_language_model_is_the_file_that_was_published(pinned):
    assert read_language_model(*pinned("gguf", b"GGUF and more")) == b"GGUF and more"


@pytest.mark.parametrize(
    "read, reader, content, told",
    [
        (read_weights, "gguf", b"GGUF", "tiny holds something else .reader gguf.; name one of torch_state"),
        (read_language_model, "torch_state", b"GGUF", "name one of gguf"),
        (read_language_model, "gguf", b"<html>", "tiny: inner/weights.bin: is no GGUF file; correct `member`"),
        (read_weights, "torch_state", b"<html>", "tiny: inner/weights.bin: no state dict"),
        (read_weights, "torch_state", state({"a": 3}), "it holds more than tensors"),
    ],
)
def test_what_is_something_else_is_refused(pinned, read, reader, content, told):
    with pytest.raises(InputError, match=told):
        read(*pinned(reader, content))
