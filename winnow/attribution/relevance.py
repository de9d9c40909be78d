"""Layer-wise relevance propagation (LRP): what a model says, shared out over its units, weights and inputs.

Bach, Binder, Montavon, Klauschen, Mueller, Samek, "On Pixel-Wise Explanations for Non-Linear Classifier Decisions
by Layer-Wise Relevance Propagation", PLOS ONE, 2015. The rules z+ and z^B: Montavon, Lapuschkin, Binder, Samek,
Mueller, "Explaining Nonlinear Classification Decisions with Deep Taylor Decomposition", Pattern Recognition, 2017.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from winnow.errors import InputError
from winnow.models.graphs import LAYERS, UnsupportedModule, fold_batch_norm

Rule = Literal["zplus", "epsilon"]
Start = Literal["one", "probability"]
Kind = Literal["layer", "average", "sum", "route", "pass"]

# What each operation does with relevance: share it by contribution (average, sum), send it where the value came
# from (route), or leave it as it is (pass).
MODULES: dict[type, Kind] = {
    **dict.fromkeys(LAYERS, "layer"),
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d), "average"),
    **dict.fromkeys((nn.Flatten, nn.Unflatten, nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool2d), "route"),
    **dict.fromkeys((nn.ReLU, nn.ReLU6, nn.Dropout, nn.Dropout2d, nn.Identity), "pass"),
}
CALLS: dict[Any, Kind] = {
    **dict.fromkeys((torch.mean, functional.avg_pool2d, functional.adaptive_avg_pool2d, "mean"), "average"),
    **dict.fromkeys((operator.add, torch.add, "add"), "sum"),
    **dict.fromkeys((torch.flatten, torch.reshape, torch.cat, functional.max_pool2d), "route"),
    **dict.fromkeys(("flatten", "view", "reshape", "permute", "transpose", "squeeze", "contiguous"), "route"),
    **dict.fromkeys((functional.relu, functional.relu6, functional.dropout, torch.relu, "relu"), "pass"),
}


class Relevance(NamedTuple):
    """Relevance of the inputs [n, ...]; of what each module puts out, by its name [n, ...]; of each layer's weights.

    A layer's outputs are those after the batch norm that follows it. Weights: layer -> the weight's shape, summed over
    rows and positions: the messages that flow through each weight; empty unless they are asked for.
    """

    input: Tensor
    outputs: dict[str, Tensor]
    weights: dict[str, Tensor]


def relevance(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    *,
    rule: Rule = "zplus",
    start: Start = "one",
    bounds: tuple[Tensor | float, Tensor | float] | None = None,
    epsilon: float = 1e-9,
    weights: bool = False,
) -> Relevance:
    """Relevance that the score of the class `target` sends back through a model in eval mode.

    x: inputs float[n, ...]. target: classes int64[n]. The model: a feed-forward net of linear and convolution layers
    with ReLU, pooling, sums and batch norm right after a layer.
    rule: "zplus" (alpha 1, beta 0) shares by positive contributions (a w)^+ and ignores biases: a layer passes on all
    that reaches it, save what a unit keeps that its bias alone makes active. "epsilon" shares by a w over the whole
    sum, of which biases keep their part. start: at the class's output, 1 or its softmax probability. bounds: lowest
    and highest value of each input, which broadcast to x: the layers that read the input then use z^B. epsilon: added
    to each sum, away from zero. weights: those of weights, too, which takes about half as long again.

    Raises UnsupportedModule (an InputError and a TypeError) naming an operation that has no rule, InputError for an
    unknown rule or start, no rows, classes that do not fit the rows or the outputs.
    """
    _check_choice("rule", rule, get_args(Rule))
    _check_choice("start", start, get_args(Start))
    walk = _Walk(fold_batch_norm(model), rule, epsilon, weights)
    with torch.no_grad():
        logits = walk.run(x)
    _check_target(logits, target)
    at_output = functional.one_hot(target, logits.shape[1]).to(logits.dtype)
    if start == "probability":
        at_output = at_output * logits.softmax(1)
    return walk.back(at_output, _input_bounds(x, bounds))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name}: is {value!r}; use one of {', '.join(choices)}")


def _check_target(logits: Tensor, target: Tensor) -> None:
    if logits.ndim != 2:
        raise InputError(f"model: its output has shape {tuple(logits.shape)}; use one of rows and classes")
    if len(logits) == 0 or target.shape != (len(logits),):
        raise InputError(f"reference set: {len(logits)} rows and {target.numel()} labels; give one label for each row")
    if target.min() < 0 or target.max() >= logits.shape[1]:
        raise InputError(f"labels: go from {target.min()} to {target.max()}; the model has {logits.shape[1]} classes")


def _input_bounds(x: Tensor, bounds: tuple[Tensor | float, Tensor | float] | None) -> tuple[Tensor, Tensor] | None:
    if bounds is None:
        return None
    low, high = (torch.as_tensor(bound, dtype=x.dtype).expand(x.shape) for bound in bounds)
    if (x < low).any() or (x > high).any():
        raise InputError(f"bounds: inputs go from {x.min():g} to {x.max():g}; give bounds that contain them")
    return low, high


class _Walk(fx.Interpreter):
    """Forward through a graph, keeping every value, then back with relevance."""

    def __init__(self, graph: fx.GraphModule, rule: Rule, epsilon: float, weights: bool) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.rule, self.epsilon, self.weights = rule, epsilon, weights
        self.versions: dict[fx.Node, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        if isinstance(found, Tensor):
            self.versions[n] = found._version
        return found

    def back(self, at_output: Tensor, bounds: tuple[Tensor, Tensor] | None) -> Relevance:
        nodes = list(self.graph.nodes)
        limits = self._limits(nodes, bounds)
        arrived: dict[fx.Node, Tensor] = {nodes[-1].args[0]: at_output}
        layers: dict[str, list[Tensor]] = {}
        for node in reversed(nodes):
            if node not in arrived or node.op == "placeholder":
                continue
            sources = self._sources(node)
            messages = self._messages(node, sources, arrived[node], limits)
            for source, message in zip(sources, messages, strict=False):
                arrived[source] = arrived[source] + message if source in arrived else message
            if self._kind(node) == "layer":
                layers[str(node.target)] = messages[1:]
        runs = Counter(node.target for node in nodes if node.op == "call_module")
        twice = [name for name in layers if runs[name] > 1]
        if twice:
            raise UnsupportedModule(f"{twice[0]}: runs more than once; use a model in which each layer runs once")
        outputs = {
            str(node.target): arrived[node]
            for node in nodes
            if node.op == "call_module" and node in arrived and runs[node.target] == 1
        }
        weights = {name: message for name in reversed(layers) for message in layers[name]}
        return Relevance(arrived[nodes[0]], outputs, weights)

    def _sources(self, node: fx.Node) -> list[fx.Node]:
        return [source for source in node.all_input_nodes if isinstance(self.env[source], Tensor)]

    def _kind(self, node: fx.Node) -> Kind:
        if node.op == "call_module":
            module = self.module.get_submodule(str(node.target))
            kind, name = MODULES.get(type(module)), f"{node.target} ({type(module).__name__})"
            if getattr(module, "padding_mode", "zeros") != "zeros":
                kind, name = None, f"{name} with padding_mode {module.padding_mode}"
        else:
            kind, name = CALLS.get(node.target), f"{node.name} ({node.op})"
        if kind is None:
            raise UnsupportedModule(
                f"{name}: relevance has no rule for it; use ReLU networks with batch norm after layers"
            )
        return kind

    def _messages(
        self, node: fx.Node, sources: list[fx.Node], arrived: Tensor, limits: dict[fx.Node, tuple[Tensor, Tensor]]
    ) -> list[Tensor]:
        kind, values = self._kind(node), [self.env[source] for source in sources]
        if kind == "pass":
            return [arrived]
        if kind == "route":
            leaves = [value.detach().requires_grad_() for value in values]
            with torch.enable_grad():
                return list(torch.autograd.grad(self._again(node, sources, leaves), leaves, arrived))
        if kind == "layer":
            return self._through_layer(node, values[0], arrived, limits.get(sources[0]))
        if self.rule == "zplus":
            values = [value.clamp(min=0) for value in values]
        return self._share(lambda *leaves: self._again(node, sources, leaves), values, arrived)

    def _through_layer(
        self, node: fx.Node, value: Tensor, arrived: Tensor, bounds: tuple[Tensor, Tensor] | None
    ) -> list[Tensor]:
        """Relevance of a layer's inputs, and of its weights where they are asked for."""
        layer: Any = self.module.get_submodule(str(node.target))
        parts = _parts(value, layer.weight.detach(), self.rule, bounds)
        by_all = self.rule == "epsilon" and bounds is None
        # Then the sum is what the layer has put out, unless an operation in place has changed that.
        if by_all and self.env[node]._version == self.versions[node]:
            whole = self.env[node]
        else:
            bias = layer.bias if by_all else None
            with torch.no_grad():
                first, *others = (_linear_map(layer, a, w, bias) for a, w in parts)
                whole = sum(others, first)
        ratio = self._ratio(arrived, whole)
        gradients = [_linear_gradients(layer, a, w, ratio, self.weights) for a, w in parts]
        messages = []
        for i in range(2 if self.weights else 1):
            first, *others = (part[i] * gradient[i] for part, gradient in zip(parts, gradients, strict=True))
            messages.append(sum(others, first))
        return messages

    def _share(self, operation: Callable[..., Tensor], values: list[Tensor], arrived: Tensor) -> list[Tensor]:
        """Relevance of values: each times its gradient of sum(z * (R / z)), R / z held fixed."""
        leaves = [value.detach().requires_grad_() for value in values]
        with torch.enable_grad():
            z = operation(*leaves)
        gradients = torch.autograd.grad(z, leaves, self._ratio(arrived, z.detach()))
        return [value * gradient for value, gradient in zip(values, gradients, strict=True)]

    def _ratio(self, arrived: Tensor, whole: Tensor) -> Tensor:
        # A sum of -0 has no contribution but 0, so the sign that it takes here changes nothing.
        away = torch.copysign(torch.tensor(self.epsilon, dtype=whole.dtype), whole)
        return arrived / away.add_(whole)

    def _again(self, node: fx.Node, sources: list[fx.Node], values: Sequence[Tensor]) -> Tensor:
        """The operation of a node on other values of its sources."""
        given = dict(zip(sources, values, strict=True))
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: given.get(n, self.env[n]))
        result: Tensor = getattr(self, node.op)(node.target, args, kwargs)
        return result

    def _limits(
        self, nodes: list[fx.Node], bounds: tuple[Tensor, Tensor] | None
    ) -> dict[fx.Node, tuple[Tensor, Tensor]]:
        """Bounds of the values that are the input itself, moved about at most; moving keeps order."""
        if bounds is None:
            return {}
        limits = {nodes[0]: bounds}
        for node in nodes[1:-1]:
            sources = self._sources(node)
            if limits.keys() >= set(sources) and self._kind(node) in ("route", "pass"):
                lows, highs = zip(*(limits[source] for source in sources), strict=True)
                limits[node] = self._again(node, sources, lows), self._again(node, sources, highs)
        return limits


def _parts(a: Tensor, w: Tensor, rule: Rule, limits: tuple[Tensor, Tensor] | None) -> list[tuple[Tensor, ...]]:
    """Pairs (inputs, weights) whose maps add up to the sums that relevance is shared by."""
    positive, negative = w.clamp(min=0), w.clamp(max=0)
    if limits is not None:  # z^B: x w - low w^+ - high w^-
        return [(a, w), (-limits[0], positive), (-limits[1], negative)]
    if rule == "epsilon":
        return [(a, w)]
    if (a >= 0).all():
        return [(a, positive)]
    return [(a.clamp(min=0), positive), (a.clamp(max=0), negative)]


def _linear_map(layer: Any, a: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
    if isinstance(layer, nn.Linear):
        return functional.linear(a, w, bias)
    convolve = functional.conv1d if isinstance(layer, nn.Conv1d) else functional.conv2d
    return convolve(a, w, bias, layer.stride, layer.padding, layer.dilation, layer.groups)


def _linear_gradients(layer: Any, a: Tensor, w: Tensor, gradient: Tensor, weights: bool) -> list[Tensor]:
    """Gradients of a layer's map without bias by its input and, if asked for, its weight."""
    if isinstance(layer, nn.Linear):
        return [gradient @ w, *([gradient.flatten(0, -2).mT @ a.flatten(0, -2)] if weights else [])]
    if isinstance(layer.padding, str):
        leaves = [a.detach().requires_grad_(), *([w.detach().requires_grad_()] if weights else [])]
        with torch.enable_grad():
            z = _linear_map(layer, leaves[0], leaves[1] if weights else w)
        return list(torch.autograd.grad(z, leaves, gradient))
    # As autograd does, but without the map itself, of which nothing is needed.
    geometry = (layer.stride, layer.padding, layer.dilation, False, [0] * len(layer.stride), layer.groups)
    found = torch.ops.aten.convolution_backward(gradient, a, w, None, *geometry, [True, weights, False])
    return [found[0], *([found[1]] if weights else [])]
