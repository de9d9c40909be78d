"""Models as ONNX files for other runtimes, in single precision or with weights of eight bits.

Dynamic quantisation: weights are stored as uint8 with one scale and zero point for each tensor, activations are
quantised as they come (Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-
Only Inference", CVPR 2018). Weights are unsigned because processors without VNNI add pairs of signed products in 16
bits, which overflow.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from winnow.errors import InputError


def export_onnx(model: nn.Module, path: Path | str, example: Tensor) -> None:
    """Write a model to one ONNX file that takes batches of any size; equal models give equal bytes.

    example: inputs float32[n, ...], of which the shape counts. Inputs are named x, outputs y. Raises InputError for a
    model that torch cannot export.
    """
    import onnx

    shapes = ({0: torch.export.Dim.DYNAMIC},)
    batch = example[:1].repeat(2, *[1] * (example.ndim - 1))  # a batch of one would be taken for a constant
    try:
        with _quiet():
            program = torch.onnx.export(
                model.eval(), (batch,), input_names=["x"], output_names=["y"], dynamic_shapes=shapes, verbose=False
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{type(model).__name__}: cannot be written as ONNX ({reason}); use another model") from error
    assert program is not None
    onnx.save(_bare(program.model_proto), path)


def quantize_int8(source: Path | str, target: Path | str) -> None:
    """Write the ONNX model at `source` to `target` with its linear layers in eight bits; convolutions stay as they are.

    Raises InputError for a file that is no ONNX model.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    _load(source)
    with _quiet():
        quantize_dynamic(source, target, weight_type=QuantType.QUInt8, op_types_to_quantize=["MatMul", "Gemm"])
    onnx.save(_bare(onnx.load(target)), target)


class OnnxModel(nn.Module):
    """An ONNX file as a model that a workload can call: inputs [n, ...] -> outputs, on one thread of ONNX Runtime.

    It has no parameters and no gradients. Raises InputError for a file that is no ONNX model.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__()
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        content = _load(path).SerializeToString()
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def forward(self, x: Tensor) -> Tensor:
        (output,) = self.session.run(None, {"x": x.detach().contiguous().numpy()})
        return torch.from_numpy(output)


def _load(path: Path | str) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path)
        onnx.checker.check_model(model)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; export the model first") from error
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise InputError(f"{path}: is damaged or not an ONNX model; export it again") from error
    return model


def _bare(model: Any) -> Any:
    """Without notes on where in the code a node comes from: they hold paths of this machine."""
    for message in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        message.ClearField("metadata_props")
        message.ClearField("doc_string")
    return model


@contextlib.contextmanager
def _quiet() -> Any:
    """The exporters print and warn about themselves."""
    root, level = logging.getLogger(), logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        root.manager.disable = logging.WARNING
        try:
            yield
        finally:
            root.manager.disable = level
