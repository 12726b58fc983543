"""From a torch module to a list of layers, by torch.fx: the module's forward runs once on symbolic
values."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from wwfl_core.errors import ConfigError

from . import spec, torch_modules
from .spec import INPUT, Layer

# Functional forms, as the module that does the same with the arguments that follow the input.
_FUNCTIONS: dict[Any, Callable[..., nn.Module]] = {
    functional.relu: lambda inplace=False: nn.ReLU(inplace),
    torch.relu: nn.ReLU,
    "relu": nn.ReLU,
    torch.relu_: lambda: nn.ReLU(inplace=True),
    "relu_": lambda: nn.ReLU(inplace=True),
    functional.max_pool2d: lambda kernel_size, stride=None, padding=0, dilation=1, **rest: (
        nn.MaxPool2d(kernel_size, stride, padding, dilation, **rest)
    ),
    functional.avg_pool2d: nn.AvgPool2d,
    functional.adaptive_avg_pool2d: nn.AdaptiveAvgPool2d,
    torch.flatten: lambda start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim),
    "flatten": lambda start_dim=0, end_dim=-1: nn.Flatten(start_dim, end_dim),
}
_SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")
_IN_PLACE = (operator.iadd, "add_")
_RESHAPES = (torch.reshape, "view", "reshape")


def describe(module: nn.Module) -> list[Layer]:
    """The layers of a module, in the order in which its forward runs them.

    ConfigError, with the path of the module, for whatever is not supported, and for a forward that
    cannot be traced (it branches on values) or differs between training and evaluation."""
    if torch_modules.is_layer(module):
        only = torch_modules.describe("", module)
        return [] if only is None else [only]
    for path, part in module.named_modules():
        if not torch_modules.is_layer(part):
            torch_modules.check_untouched(path, part)
    modes = {part: part.training for part in module.modules()}
    try:
        found = []
        for mode in (True, False):
            module.train(mode)
            found.append(_Reader(module).layers)
    finally:
        for part, mode in modes.items():
            part.training = mode
    if found[0] != found[1]:
        raise ConfigError(
            f"{torch_modules.title('', module)}: its forward differs between training and "
            "evaluation; only the layers' own modes (batch norm) are supported"
        )
    return found[0]


class _Tracer(fx.Tracer):
    """Stops at every layer, and notes in which module each value was made."""

    def __init__(self) -> None:
        super().__init__()
        self.path = ""
        self.failed: str | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return torch_modules.is_layer(m)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        outer, self.path = self.path, self.path_of_module(m)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or self.path
            raise
        finally:
            self.path = outer

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        node = super().create_node(*args, **kwargs)
        node.meta["path"] = self.path
        return node


class _Reader:
    """Reads one traced graph into `layers`."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.layers: list[Layer] = []
        self._value: dict[fx.Node, str] = {}  # the layer (or INPUT) whose output a node is
        self._batch: set[fx.Node] = set()  # nodes that are the batch size
        self._sizes: set[fx.Node] = set()  # nodes that are a whole shape
        self._called: set[str] = set()
        self._overwritten: list[tuple[str, str]] = []  # (who, which value)
        for node in self._trace():
            self._read(node)
        self._check_overwritten()

    def _trace(self) -> list[fx.Node]:
        tracer = _Tracer()
        try:
            return list(tracer.trace(self.module).nodes)
        except Exception as error:
            path = tracer.failed or ""
            where = torch_modules.title(path, self.module.get_submodule(path))
            raise ConfigError(
                f"{where}: its forward cannot be traced: {error}; supported are "
                f"{torch_modules.SUPPORTED}"
            ) from error

    def _read(self, node: fx.Node) -> None:
        match node.op:
            case "placeholder":
                if self._value:
                    raise self._refusal(node, "a model with more than one input")
                self._value[node] = INPUT
            case "output":
                self._output(node)
            case "call_module":
                self._module(node)
            case "call_function" | "call_method":
                self._call(node)
            case _:
                raise self._refusal(node, f"the use of {node.target} outside of a layer")

    def _output(self, node: fx.Node) -> None:
        result = node.args[0]
        if not isinstance(result, fx.Node) or result not in self._value:
            raise self._refusal(node, "an output that is not one layer's")
        last = self.layers[-1].name if self.layers else INPUT
        if self._value[result] != last:
            raise self._refusal(node, f"an output that is not the last layer's ({last})")

    def _module(self, node: fx.Node) -> None:
        path = str(node.target)
        module = self.module.get_submodule(path)
        if path in self._called and next(module.parameters(), None) is not None:
            raise ConfigError(
                f"{torch_modules.title(path, module)} is used twice, so its parameters are shared "
                "between layers, which is not supported; give each use its own"
            )
        self._called.add(path)
        self._append(node, path, module)

    def _call(self, node: fx.Node) -> None:
        target = node.target
        if self._is_size(node):
            return
        if target in _SUMS:
            self._add(node)
        elif target in _RESHAPES and self._keeps_batch(node.args[1:]):
            self._append(node, self._member(node, "flatten"), nn.Flatten())
        elif target in _FUNCTIONS:
            rest = {key: value for key, value in node.kwargs.items() if key != "input"}
            try:
                module = _FUNCTIONS[target](*node.args[1:], **rest)
            except TypeError as error:
                raise self._refusal(
                    node, f"{_name(target)} with these arguments ({error})"
                ) from None
            self._append(node, self._member(node, _name(target).rstrip("_")), module)
        else:
            raise self._refusal(node, _name(target))

    def _append(self, node: fx.Node, name: str, module: nn.Module) -> None:
        """One layer more, which takes the first argument's value."""
        source = self._source(node, node.args[0] if node.args else node.kwargs.get("input"))
        described = torch_modules.describe(self._unique(name), module)
        if described is None:
            self._value[node] = source
            return
        if getattr(module, "inplace", False):
            self._overwritten.append((described.title, source))
        self._value[node] = described.name
        self.layers.append(replace(described, source=self._shown(source)))

    def _add(self, node: fx.Node) -> None:
        if len(node.args) != 2 or any(value != 1 for value in node.kwargs.values()):
            raise self._refusal(node, f"{_name(node.target)} with these arguments")
        left, right = (self._source(node, term) for term in node.args)
        if self._shown(right) is None:  # the layer before comes first
            left, right = right, left
        layer = spec.Add(self._unique(self._member(node, "add")), right, source=self._shown(left))
        if node.target in _IN_PLACE:
            self._overwritten.append((layer.title, self._source(node, node.args[0])))
        self._value[node] = layer.name
        self.layers.append(layer)

    # ------------------------------------------------------------------ names and values

    def _source(self, node: fx.Node, value: Any) -> str:
        if not isinstance(value, fx.Node) or value not in self._value:
            raise self._refusal(
                node, f"{_name(node.target)} of something that is not a layer's output"
            )
        return self._value[value]

    def _shown(self, source: str) -> str | None:
        """None for the layer before, whose output is taken anyway."""
        return None if source == (self.layers[-1].name if self.layers else INPUT) else source

    def _member(self, node: fx.Node, name: str) -> str:
        path = node.meta["path"]
        return f"{path}.{name}" if path else name

    def _unique(self, name: str) -> str:
        """The name, numbered if a layer has it already (a module that is used twice)."""
        taken, found, count = {layer.name for layer in self.layers}, name, 1
        while found in taken:
            count += 1
            found = f"{name}#{count}"
        return found

    def _is_size(self, node: fx.Node) -> bool:
        """Whether the node is a shape, or its first entry: the batch size, whatever the layer."""
        of = node.args[0] if node.args else None
        if node.target == "size" or (node.target is getattr and node.args[1:] == ("shape",)):
            known = isinstance(of, fx.Node) and of in self._value
            if known and node.target == "size" and node.args[1:] == (0,):
                self._batch.add(node)
                return True
            if known and (node.target is getattr or len(node.args) == 1):
                self._sizes.add(node)
                return True
        if node.target is operator.getitem and of in self._sizes and node.args[1] == 0:
            self._batch.add(node)
            return True
        return False

    def _keeps_batch(self, shape: tuple[Any, ...]) -> bool:
        """Whether a reshape to `shape` is a Flatten: (batch size, -1)."""
        target = (
            tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape
        )
        return len(target) == 2 and target[0] in self._batch and target[1] == -1

    # ------------------------------------------------------------------ refusals

    def _check_overwritten(self) -> None:
        """An operation in place changes its input for everybody else who takes it."""
        names = [*(layer.name for layer in self.layers), INPUT]  # position -1 is the input
        inputs = dict(zip(names, spec.inputs(self.layers), strict=False))
        takers = Counter(names[i] for sources in inputs.values() for i in sources)
        kinds = {layer.name: type(layer) for layer in self.layers}
        for who, value in self._overwritten:
            while (
                takers[value] == 1 and kinds.get(value) is spec.Flatten
            ):  # it shares memory with its own input
                value = names[inputs[value][0]]
            if takers[value] > 1:
                raise ConfigError(
                    f"{who} works in place on the output of {value}, which is used elsewhere, too"
                )

    def _refusal(self, node: fx.Node, what: str) -> ConfigError:
        path = node.meta["path"]
        where = torch_modules.title(path, self.module.get_submodule(path))
        return ConfigError(
            f"{where}: {what} is not supported; supported are {torch_modules.SUPPORTED}"
        )


def _name(target: Any) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))
