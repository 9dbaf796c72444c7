"""What a model must give: TFLite's reference kernels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType


def reference_outputs(model: bytes, inputs: Iterable[bytes]) -> tuple[bytes, ...]:
    """The output's bytes for each input's bytes, from BUILTIN_REF (never XNNPACK, which rounds otherwise)."""
    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    interpreter.allocate_tensors()
    (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    outputs = []
    for image in inputs:
        values = np.frombuffer(image, given["dtype"]).reshape(given["shape"])
        interpreter.set_tensor(given["index"], values)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(made["index"]).tobytes())
    return tuple(outputs)


def sample_inputs(model: bytes, count: int, seed: int = 0) -> tuple[bytes, ...]:
    """Inputs that reach what kernels get wrong: noise, both ends of the range side by side and alone, a gradient.

    Args:
        model: Its input's shape and type are read.
        count: How many; the first ones are noise and extremes.
        seed: Of the noise.
    """
    details = Interpreter(model_content=model, num_threads=1).get_input_details()[0]
    shape, dtype = tuple(details["shape"]), np.dtype(details["dtype"])
    low, high = (-3.0, 3.0) if dtype.kind == "f" else (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max))
    random = np.random.default_rng(seed)
    size = int(np.prod(shape))
    kinds = (
        lambda: random.uniform(low, high + (dtype.kind != "f"), size),
        lambda: np.where(random.random(size) < 0.5, low, high),
        lambda: np.full(size, low),
        lambda: np.linspace(low, high, size),
        lambda: np.full(size, high),
        lambda: np.clip(random.normal((low + high) / 2, (high - low) / 20, size), low, high),
    )
    made = (kinds[number % len(kinds)]() for number in range(count))
    return tuple((values if dtype.kind == "f" else np.floor(values)).astype(dtype).tobytes() for values in made)
