"""Networks of layers: what hypothesis draws.

A layer is a frozen noun whose `repr` can be pasted into a test; `Network.model()` gives the file. Weights come
from the network's seed. A layer that cannot act on what it gets (a window larger than the image) acts with SAME.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from tests.compiler.net import Net, Value

Edges = Literal["none", "float32", "uint8"]


class Layer(Protocol):
    """One operator, or one and what always goes with it."""

    def __call__(self, net: Net, value: Value) -> Value:
        """Add it to the network."""
        ...


@dataclass(frozen=True)
class Network:
    """Layers one after another, each on the value before it or on an earlier one.

    Attributes:
        shape: Of the input: height, width, channels.
        layers: What is done, and how many values back each takes its input from (0: the one before).
        dtype: int8 or float32.
        scale: Of the input.
        zero_point: Of the input.
        edges: What the model takes and gives in place of int8.
        seed: Of the weights.
    """

    shape: tuple[int, int, int]
    layers: tuple[Layer, ...]
    back: tuple[int, ...] = ()
    dtype: Literal["int8", "float32"] = "int8"
    scale: float = 0.05
    zero_point: int = 0
    edges: Edges = "none"
    seed: int = field(default=0, kw_only=True)

    def model(self) -> bytes:
        """The .tflite file."""
        net = Net(self.seed)
        start, value = self._start(net)
        net.values.append(value)
        back = self.back or (0,) * len(self.layers)
        for layer, steps in zip(self.layers, back, strict=True):
            value = layer(net, net.values[-1 - steps % len(net.values)])
            net.values.append(value)
        if not net.build.graph.operators:  # all of them had nothing to do, and a model has at least one
            value = net.apply("RELU", [value], net.like(value))
        return net.build.finish(start.index, self._end(net, value).index)

    def _start(self, net: Net) -> tuple[Value, Value]:
        inner = "int8" if self.edges == "none" else self.edges
        dtype = "float32" if self.dtype == "float32" else inner
        zero_point = self.zero_point + 128 * (dtype == "uint8")
        start = net.value((1, *self.shape), dtype, self.scale, zero_point)
        if dtype == self.dtype:
            return start, start
        return start, net.apply("QUANTIZE", [start], net.value(start.shape, "int8", self.scale, self.zero_point))

    def _end(self, net: Net, value: Value) -> Value:
        if self.edges == "none" or value.is_float:
            return value
        end = net.value(value.shape, self.edges, value.scale, value.zero_point + 128 * (self.edges == "uint8"))
        return net.apply("DEQUANTIZE" if self.edges == "float32" else "QUANTIZE", [value], end)
