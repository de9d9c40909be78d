"""A model as a graph of its operations, which norm follows which layer, and batch norm folded into weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from winnow.errors import InputError

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


class UnsupportedModule(InputError, TypeError):
    """A model has a part that a method has no rule for; the message names it."""


def graph_of(model: nn.Module) -> fx.GraphModule:
    """The operations of a model, in order, over the model's own modules.

    Raises UnsupportedModule for a model whose course depends on its input, such as a loop over time.
    """
    try:
        return fx.symbolic_trace(model)
    except (fx.proxy.TraceError, TypeError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UnsupportedModule(
            f"{type(model).__name__}: cannot be written as a graph ({reason}); use a feed-forward model"
        ) from error


def layers_in_order(model: nn.Module) -> list[str]:
    """Linear and convolution layers of a model in the order in which they run.

    Raises UnsupportedModule as `graph_of` does.
    """
    graph = model if isinstance(model, fx.GraphModule) else graph_of(model)
    return list(dict.fromkeys(str(node.target) for node in graph.graph.nodes if _module_at(graph, node, LAYERS)))


def units_read(graph: fx.GraphModule) -> dict[str, int]:
    """Linear or convolution layer -> how many units of other layers, or channels of the input, it reads.

    Fewer than it has inputs where a map was flattened: then each unit stands for several inputs.
    """
    found = {}
    for node in graph.graph.nodes:
        if _module_at(graph, node, LAYERS):
            inputs = _weight(graph, node).shape[1]
            source = node.all_input_nodes[0]
            while source.all_input_nodes and not _module_at(graph, source, LAYERS):
                source = source.all_input_nodes[0]
            before = len(_weight(graph, source)) if _module_at(graph, source, LAYERS) else inputs
            found[str(node.target)] = before if inputs % before == 0 else inputs
    return found


def following_norms(graph: fx.GraphModule) -> dict[str, str]:
    """Linear or convolution layer -> the batch norm that reads it, and alone does so."""
    found = {}
    for node in graph.graph.nodes:
        if _module_at(graph, node, NORMS):
            (source,) = node.all_input_nodes
            if _module_at(graph, source, LAYERS) and len(source.users) == 1:
                found[str(source.target)] = str(node.target)
    return found


def fold_batch_norm(model: nn.Module) -> fx.GraphModule:
    """A copy of a model in eval mode with each batch norm folded into the layer that it follows.

    Layers keep their names; a norm that follows no layer stays. Outputs equal those of the model in eval mode up
    to rounding. A model that this function returned is returned as it is. Raises UnsupportedModule as `graph_of`
    does.
    """
    if isinstance(model, fx.GraphModule) and model.meta.get("folded"):
        return model
    graph = graph_of(copy.deepcopy(model).eval())
    norms = following_norms(graph)
    for node in list(graph.graph.nodes):
        if node.target in norms.values():
            (source,) = node.all_input_nodes
            node.replace_all_uses_with(source)
            graph.graph.erase_node(node)
    for layer, norm in norms.items():
        _fold(graph.get_submodule(layer), graph.get_submodule(norm))
        graph.delete_submodule(norm)
    graph.recompile()
    graph.meta["folded"] = True
    return graph


def _weight(graph: fx.GraphModule, node: fx.Node) -> Tensor:
    weight: Tensor = graph.get_parameter(f"{node.target}.weight")
    return weight


def _module_at(graph: fx.GraphModule, node: fx.Node, kinds: tuple[type, ...]) -> bool:
    return node.op == "call_module" and isinstance(graph.get_submodule(str(node.target)), kinds)


def _fold(layer: Any, norm: Any) -> None:
    fuse = fuse_linear_bn_weights if isinstance(layer, nn.Linear) else fuse_conv_bn_weights
    ones, zeros = torch.ones_like(norm.running_mean), torch.zeros_like(norm.running_mean)
    scale: Tensor = ones if norm.weight is None else norm.weight
    shift: Tensor = zeros if norm.bias is None else norm.bias
    layer.weight, layer.bias = fuse(
        layer.weight, layer.bias, norm.running_mean, norm.running_var, norm.eps, scale, shift
    )
