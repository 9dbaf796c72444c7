"""What the kernels do not compute is refused by name and place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ei_automation.compiler.check import check
from ei_automation.compiler.read import read_graph
from ei_automation.errors import VerificationError
from tests.compiler.models import ModelBuilder

UNIT = (1 / 256, -128)
STEPS = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1, "padding": 1}


def elementwise(
    kind: str,
    shape: tuple[int, ...] = (1, 4, 4, 3),
    *,
    made: tuple[int, ...] | None = None,
    dtype: str = "int8",
    source: Any = (0.1, 0),
    target: Any = (0.1, 0),
    inputs: int = 1,
    **options: Any,
) -> bytes:
    """One operator that reads the model's input, as often as it likes."""
    build = ModelBuilder()
    quantized = dtype != "float32"
    first = build.tensor(shape, dtype, source if quantized else None)
    last = build.tensor(made or shape, dtype, target if quantized else None)
    build.operator(kind, [first] * inputs, last, **options)
    return build.finish(first, last)


def convolution(
    *,
    shape: tuple[int, ...] = (1, 4, 4, 2),
    filters: tuple[int, ...] = (3, 1, 1, 2),
    made: tuple[int, ...] = (1, 4, 4, 3),
    weights: Any = (0.01, 0),
    weights_type: str = "int8",
    axis: int = 0,
    bias: int = 3,
    bias_type: str = "int32",
    target: Any = (0.1, 0),
    constant: bool = True,
) -> bytes:
    """One CONV_2D."""
    build = ModelBuilder()
    image, last = build.tensor(shape, "int8", (0.1, 0)), build.tensor(made, "int8", target)
    data = np.ones(filters) if constant else None
    kernel = build.tensor(filters, weights_type, None if weights_type == "float32" else weights, data, axis=axis)
    biases = build.tensor((bias,), bias_type, (0.001, 0), np.zeros(bias))
    build.operator("CONV_2D", [image, kernel, biases], last, **STEPS)
    return build.finish(image, last)


def dense(bias_scale: float = 0.001, *, made: tuple[int, ...] = (1, 3), depth: int = 4) -> bytes:
    """One FULLY_CONNECTED on 4 values."""
    build = ModelBuilder()
    first, last = build.tensor((1, 4), "int8", (0.1, 0)), build.tensor(made, "int8", (0.1, 0))
    weights = build.tensor((3, depth), "int8", (0.01, 0), np.ones((3, depth)))
    bias = build.tensor((3,), "int32", (bias_scale, 0), [1, 2, 3])
    build.operator("FULLY_CONNECTED", [first, weights, bias], last)
    return build.finish(first, last)


def concatenation(second: Any, **options: Any) -> bytes:
    """The input beside its requantized self."""
    build = ModelBuilder()
    first, other = build.tensor((1, 4), "int8", (0.1, 0)), build.tensor((1, 4), "int8", second)
    last = build.tensor((1, 8), "int8", (0.1, 0))
    build.operator("QUANTIZE", [first], other)
    build.operator("CONCATENATION", [first, other], last, axis=1, **options)
    return build.finish(first, last)


def backwards() -> bytes:
    """An operator that reads what comes later."""
    build = ModelBuilder()
    first, middle, last = (build.tensor((1, 4), "float32") for _ in range(3))
    build.operator("RELU", [middle], last)
    build.operator("RELU", [first], middle)
    return build.finish(first, last)


def twice() -> bytes:
    """An output that is written twice."""
    build = ModelBuilder()
    first, last = build.tensor((1, 4), "float32"), build.tensor((1, 4), "float32")
    build.operator("RELU", [first], last)
    build.operator("RELU6", [first], last)
    return build.finish(first, last)


def of_constants() -> bytes:
    """A RELU of a constant."""
    build = ModelBuilder()
    first, last = build.tensor((1, 4), "float32"), build.tensor((1, 4), "float32")
    constant, made = build.tensor((1, 4), "float32", data=np.ones(4)), build.tensor((1, 4), "float32")
    build.operator("RELU", [constant], made)
    build.operator("ADD", [first, made], last)
    return build.finish(first, last)


def unwritten() -> bytes:
    """A model whose output nobody computes."""
    build = ModelBuilder()
    first, last, other = (build.tensor((1, 4), "float32") for _ in range(3))
    build.operator("RELU", [first], other)
    return build.finish(first, last)


def pool(target: Any) -> bytes:
    """One MAX_POOL_2D."""
    sizes = {"filterHeight": 2, "filterWidth": 2, "strideH": 2, "strideW": 2, "padding": 1}
    return elementwise("MAX_POOL_2D", made=(1, 2, 2, 3), target=target, **sizes)


def dense_on_a_scalar() -> bytes:
    """One FULLY_CONNECTED on a value without axes."""
    build = ModelBuilder()
    first, last = build.tensor((1, 1), "int8", (0.1, 0)), build.tensor((1, 3), "int8", (0.1, 0))
    scalar = build.tensor((), "int8", (0.1, 0))
    build.operator("RESHAPE", [first], scalar)
    build.operator("FULLY_CONNECTED", [scalar, build.tensor((3, 1), "int8", (0.01, 0), np.ones((3, 1))), -1], last)
    return build.finish(first, last)


def depthwise(filters: tuple[int, ...]) -> bytes:
    """One DEPTHWISE_CONV_2D."""
    build = ModelBuilder()
    first, last = (build.tensor((1, 4, 4, 2), "int8", (0.1, 0)) for _ in range(2))
    kernel = build.tensor(filters, "int8", (0.01, 0), np.ones(filters))
    build.operator("DEPTHWISE_CONV_2D", [first, kernel, -1], last, **STEPS)
    return build.finish(first, last)


def reshaped_to(height: int) -> bytes:
    """A RESHAPE to so many rows."""
    build = ModelBuilder()
    first, last = build.tensor((1, height), "int8", (0.1, 0)), build.tensor((1, height, 1, 1), "int8", (0.1, 0))
    build.operator("RESHAPE", [first], last)
    return build.finish(first, last)


GOOD: dict[str, Callable[[], bytes]] = {
    "depthwise without a bias": lambda: depthwise((1, 1, 1, 2)),
    "as many rows as can be": lambda: reshaped_to(65_535),
    "int8": lambda: elementwise("RELU"),
    "float32": lambda: elementwise("RELU", dtype="float32"),
    "per tensor": convolution,
    "per channel": lambda: convolution(weights=([0.01, 0.02, 0.03], 0)),
    "dense": dense,
    "a bias of nearly the right scale": lambda: dense(0.0015),
    "softmax": lambda: elementwise("SOFTMAX", target=UNIT, beta=1.0),
    "logistic": lambda: elementwise("LOGISTIC", target=(1 / 256, 5)),
    "concatenation": lambda: concatenation((0.1, 0)),
    "pool": lambda: pool((0.1, 0)),
    "uint8 at the edge": lambda: _edges("uint8", "int8"),
}


def _edges(first_type: str, last_type: str, middle: str = "int8") -> bytes:
    build = ModelBuilder()
    first, last = build.tensor((1, 4), first_type, (0.1, 3)), build.tensor((1, 4), last_type, (0.1, 3))
    between = build.tensor((1, 4), middle, (0.1, 3))
    build.operator("QUANTIZE", [first], between)
    build.operator("QUANTIZE", [between], last)
    return build.finish(first, last)


@pytest.mark.parametrize("name", GOOD)
def test_what_is_supported_passes(name: str) -> None:
    graph = read_graph(GOOD[name]())
    check(graph)
    assert graph.operators


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "dense on a scalar": (dense_on_a_scalar, r"do not fit an input of shape \(\)"),
    "two depthwise filters": (lambda: depthwise((2, 1, 1, 2)), "does not fit"),
    "an input of too many rows": (lambda: elementwise("RELU", (1, 1 << 26, 1, 1)), "up to 65,535 rows"),
    "an output of too many rows": (lambda: reshaped_to(65_536), "up to 65,535 rows"),
    "batch": (lambda: elementwise("RELU", (2, 4, 4, 3)), "batch must be 1"),
    "rank": (lambda: elementwise("RELU", (1, 2, 2, 2, 2)), "up to four axes"),
    "shape": (lambda: elementwise("RELU", made=(1, 4, 4, 4)), r"makes \(1, 4, 4, 3\)"),
    "no scale": (lambda: elementwise("RELU", source=None), "must have one scale"),
    "zero point": (lambda: elementwise("RELU", source=(0.1, 200)), "zero point of .* is 200"),
    "integers": (lambda: elementwise("RELU", dtype="int32"), "int32"),
    "uint8 inside": (lambda: elementwise("RELU", dtype="uint8", source=(0.1, 3)), r"RELU \(operator 0.*is uint8"),
    "uint8 between": (lambda: _edges("int8", "int8", "uint8"), "is uint8; int8 and float32"),
    "softmax scale": (lambda: elementwise("SOFTMAX", target=(0.1, -128), beta=1.0), "1/256"),
    "softmax zero point": (lambda: elementwise("SOFTMAX", target=(1 / 256, 0), beta=1.0), "zero point 0; -128"),
    "logistic scale": (lambda: elementwise("LOGISTIC", target=(0.01, -128)), "1/256"),
    "pool scale": (lambda: pool((0.2, 0)), "another scale or zero point"),
    "pool zero point": (lambda: pool((0.1, 1)), "another scale or zero point"),
    "concatenation scale": (lambda: concatenation((0.2, 0)), "another scale than the output"),
    "concatenation relu": (lambda: concatenation((0.1, 0), activation="relu"), r"fused activation \(relu\)"),
    "activation": (
        lambda: elementwise("ADD", inputs=2, target=(1e-30, 0), activation="relu6"),
        "not representable",
    ),
    "filter depth": (lambda: convolution(shape=(1, 4, 4, 3)), "does not fit an input"),
    "filter count": (lambda: convolution(made=(1, 4, 4, 4)), "says that its output has shape"),
    "computed weights": (lambda: convolution(constant=False), r"not computed before it|computed while"),
    "hybrid": (lambda: convolution(weights_type="float32"), "hybrid"),
    "weight zero point": (lambda: convolution(weights=(0.01, 5)), "zero point of its weights"),
    "weight axis": (lambda: convolution(weights=([0.1, 0.2], 0), axis=3), "2 scales on axis 3"),
    "bias count": (lambda: convolution(bias=4), "constant of 3 int32"),
    "bias type": (lambda: convolution(bias_type="float32"), "constant of 3 int32"),
    "tiny output scale": (lambda: convolution(target=(1e-20, 0)), "output scale is too small"),
    "dense bias scale": (lambda: dense(0.5), "scale of its bias"),
    "dense depth": (lambda: dense(depth=3), "do not fit"),
    "dense units": (lambda: dense(made=(1, 4)), "says that its output"),
    "order": (backwards, "not computed before it"),
    "twice": (twice, "written twice"),
    "constants": (of_constants, "computes from constants"),
    "no output": (unwritten, "no operator computes its output"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_is_refused(name: str) -> None:
    make, problem = BAD[name]
    graph = read_graph(make(), "a.tflite")
    with pytest.raises(VerificationError, match=problem) as caught:
        check(graph)
    assert str(caught.value).startswith("a.tflite: ")
    assert caught.value.hint
