"""Refuse what the kernels do not compute, by the operator's name and place.

What TFLite's own preparation refuses is refused too, with the same limits: such a model runs nowhere. What single
kernels ask for beyond that (e.g. which operand of an ADD may be repeated) their bind functions say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from ei_automation.compiler.graph import (
    ActivationOptions,
    ConcatOptions,
    ConvOptions,
    Graph,
    Operator,
    PadOptions,
    PoolOptions,
    Quantization,
    Tensor,
    TransposeConvOptions,
)
from ei_automation.compiler.quantize import (
    INT8_RANGE,
    LARGEST_LEFT_SHIFT,
    UINT8_RANGE,
    activation_range,
    bias_scale_matches,
    quantize_multiplier,
)
from ei_automation.compiler.shapes import output_shape
from ei_automation.errors import VerificationError

PREPARED = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "DEQUANTIZE"})
"""Kinds that fold computes when their input is a constant."""
TYPE_CHANGES = frozenset({"QUANTIZE", "DEQUANTIZE"})
WEIGHTED = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}
"""Kinds with weights (their second input): the axis of the output channels."""
UNIT_SCALE = 1 / 256
"""Output scale of SOFTMAX and LOGISTIC (activations.cc: SoftmaxPrepare, SigmoidPrepare)."""
POOL_SCALE_TOLERANCE = 1e-6
"""How far apart a pool's scales may be (pooling.cc asserts it in debug builds, TFLite Micro refuses others)."""
MOST_ROWS = 65_535
"""Height of a tensor. Each row is a step of its own; no camera has more, and a few bytes of a file could ask for
millions."""
TOO_HIGH = f"up to {MOST_ROWS:,} rows are supported"
HEIGHT_HINT = "convert the model for a smaller image, or with the long axis as its width"
CONVERT_HINT = "convert the model again with full integer quantization: int8 weights and activations, batch 1"


def check(graph: Graph) -> None:
    """Refuse a graph that cannot be compiled.

    Args:
        graph: As read, before any fold.

    Raises:
        VerificationError: Names the operator and its place, and what to change.
    """
    _Check(graph).run()


class _Check:
    """One walk over the operators, which knows what is computed so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.constants = {index for index, tensor in graph.tensors.items() if tensor.is_constant}
        self.computed = {graph.input}

    def run(self) -> None:
        """All operators, and the two ends."""
        for tensor in (self.graph.tensor(self.graph.input), self.graph.tensor(self.graph.output)):
            self.end(tensor)
        for operator in self.graph.operators:
            self.order(operator)
            self.types(operator)
            self.shape(operator)
            if operator.kind in WEIGHTED:
                self.weights(operator)
            self.activation(operator)
            if operator.kind in SPECIAL and not self.is_float(operator):
                SPECIAL[operator.kind](self, operator)
        if self.graph.output not in self.computed or self.graph.output == self.graph.input:
            raise VerificationError(
                f"{self.graph.name}: no operator computes its output", hint="convert the model again"
            )

    def refuse(self, operator: Operator, problem: str, hint: str = CONVERT_HINT) -> NoReturn:
        raise VerificationError(f"{self.graph.name}: {self.graph.describe(operator)}: {problem}", hint=hint)

    def is_float(self, operator: Operator) -> bool:
        return self.graph.tensor(operator.output).dtype == "float32"

    def end(self, tensor: Tensor) -> None:
        """The model's input or output."""
        where = f'{self.graph.name}: the model\'s input or output "{tensor.name}"'
        if tensor.is_constant or tensor.dtype not in ("int8", "uint8", "float32"):
            raise VerificationError(f"{where} is a constant or {tensor.dtype}", hint=CONVERT_HINT)
        if tensor.index == self.graph.input and tensor.shape[:1] != (1,):
            raise VerificationError(
                f"{where} has shape {tensor.shape}; its batch must be 1",
                hint="fix the batch, e.g. keras.Input(batch_shape=(1, 96, 96, 3)), and convert it again",
            )
        if tensor.rows.height > MOST_ROWS:
            raise VerificationError(f"{where} has shape {tensor.shape}; {TOO_HIGH}", hint=HEIGHT_HINT)

    def order(self, operator: Operator) -> None:
        """Inputs are there before they are read, and nothing is written twice."""
        known = self.computed | self.constants
        for index in operator.inputs:
            if index >= 0 and index not in known:
                self.refuse(operator, f'its input "{self.graph.tensor(index).name}" is not computed before it')
        if operator.output in known:
            self.refuse(operator, "its output is written twice or is a constant")
        if operator.kind in PREPARED and operator.inputs[0] in self.constants:
            self.constants.add(operator.output)
            return
        self.computed.add(operator.output)
        flowing = [tensor.index in self.computed for tensor in self.values(operator)[:-1]]
        if not (any(flowing) if operator.kind in ("ADD", "SUB", "MUL") else all(flowing)):
            self.refuse(operator, "it computes from constants", "let the converter fold constants (its default)")

    def values(self, operator: Operator) -> list[Tensor]:
        """What flows in and out: computed inputs, operands of ADD and its like, and the output."""
        positions = range(len(operator.inputs)) if operator.kind in ("ADD", "SUB", "MUL", "CONCATENATION") else [0]
        if operator.kind == "TRANSPOSE_CONV":
            positions = [2]
        indices = [operator.inputs[position] for position in positions]
        return [self.graph.tensor(index) for index in (*indices, operator.output) if index >= 0]

    def types(self, operator: Operator) -> None:
        """Types and quantization of what flows through."""
        for tensor in self.values(operator):
            if tensor.dtype not in ("int8", "float32") and not self.is_edge(operator, tensor):
                self.refuse(operator, f'"{tensor.name}" is {tensor.dtype}; int8 and float32 are supported')
            per_channel_constant = tensor.index in self.constants and operator.kind == "DEQUANTIZE"
            if tensor.dtype != "float32" and not per_channel_constant:
                self.one_scale(operator, tensor)
        dtypes = {tensor.dtype for tensor in self.values(operator)}
        if len(dtypes) > 1 and operator.kind not in TYPE_CHANGES:
            self.refuse(operator, f"it mixes {' and '.join(sorted(dtypes))}")

    def is_edge(self, operator: Operator, tensor: Tensor) -> bool:
        """Whether a uint8 tensor is the model's input or output beside a QUANTIZE or DEQUANTIZE."""
        ends = (self.graph.input, self.graph.output)
        return tensor.dtype == "uint8" and operator.kind in TYPE_CHANGES and tensor.index in ends

    def one_scale(self, operator: Operator, tensor: Tensor) -> Quantization:
        """The quantization of a tensor that must have one scale."""
        found = tensor.quantization
        low, high = UINT8_RANGE if tensor.dtype == "uint8" else INT8_RANGE
        if found is None or len(found.scales) != 1:
            self.refuse(operator, f'"{tensor.name}" must have one scale and zero point')
        if not low <= found.zero_point <= high:
            self.refuse(operator, f'the zero point of "{tensor.name}" is {found.zero_point}, out of {low}..{high}')
        return found

    def shape(self, operator: Operator) -> None:
        """Shapes that fit together, with a batch of 1."""
        made = self.graph.tensor(operator.output)
        if len(made.shape) > 4 or (len(made.shape) > 2 and made.shape[0] != 1):
            self.refuse(operator, f"its output has shape {made.shape}; up to four axes and batch 1 are supported")
        if made.rows.height > MOST_ROWS:
            self.refuse(operator, f"its output has shape {made.shape}; {TOO_HIGH}", HEIGHT_HINT)
        try:
            found = output_shape(operator, {index: tensor.shape for index, tensor in self.graph.tensors.items()})
        except ValueError as error:
            self.refuse(operator, str(error))
        if found != made.shape:
            self.refuse(operator, f"the file says that its output has shape {made.shape}, but it makes {found}")

    def weights(self, operator: Operator) -> None:
        """Filter and bias."""
        weights, made = self.graph.tensor(operator.inputs[1]), self.graph.tensor(operator.output)
        channels = made.shape[-1]
        if weights.index not in self.constants:
            self.refuse(operator, "its weights are computed while the model runs; constants are supported")
        if weights.dtype != made.dtype:
            self.refuse(operator, f"its weights are {weights.dtype} and its activations {made.dtype} (hybrid)")
        bias = self.bias(operator, channels)
        if made.dtype == "int8":
            self.weight_scales(operator, weights, channels)
            self.multipliers(operator, weights, bias)

    def bias(self, operator: Operator, channels: int) -> Tensor | None:
        """The bias, where there is one."""
        position = 3 if operator.kind == "TRANSPOSE_CONV" else 2
        if position >= len(operator.inputs) or operator.inputs[position] < 0:
            return None
        bias = self.graph.tensor(operator.inputs[position])
        wanted = "float32" if self.is_float(operator) else "int32"
        if bias.index not in self.constants or bias.dtype != wanted or bias.count != channels:
            self.refuse(operator, f"its bias is not a constant of {channels} {wanted} values")
        return bias

    def weight_scales(self, operator: Operator, weights: Tensor, channels: int) -> None:
        """One scale, or one an output channel, and symmetric."""
        found, axis = weights.quantization, WEIGHTED[operator.kind]
        if found is None:
            self.refuse(operator, "its weights have no scale")
        if len(found.scales) > 1 and (len(found.scales) != channels or found.axis != axis):
            self.refuse(operator, f"its weights have {len(found.scales)} scales on axis {found.axis}")
        if any(found.zero_points):
            self.refuse(operator, "the zero point of its weights is not 0")

    def multipliers(self, operator: Operator, weights: Tensor, bias: Tensor | None) -> None:
        """Scales that the reference can go between."""
        source, made = self.values(operator)
        for scale in weights.q.scales:
            if quantize_multiplier(source.q.scale * scale / made.q.scale)[1] > LARGEST_LEFT_SHIFT:
                self.refuse(operator, "its output scale is too small for its input and weight scales")
        if operator.kind != "FULLY_CONNECTED" or bias is None or len(weights.q.scales) > 1:
            return
        bias_scale = bias.quantization.scale if bias.quantization else 0.0
        if not bias_scale_matches(bias_scale, source.q.scale, weights.q.scale, output_scale=made.q.scale):
            self.refuse(operator, "the scale of its bias is not input scale x weight scale")

    def activation(self, operator: Operator) -> None:
        """A fused activation's bounds are integers."""
        options, made = operator.options, self.graph.tensor(operator.output)
        if not isinstance(options, ConvOptions | TransposeConvOptions | PoolOptions | ActivationOptions):
            return
        if made.dtype == "int8":
            try:
                low, high = activation_range(options.activation, made.q)
            except ValueError as error:
                self.refuse(operator, str(error))
            if low > high:
                self.refuse(operator, f"its activation {options.activation} lets no value pass")

    def unit_output(self, operator: Operator) -> None:
        """SOFTMAX and LOGISTIC: 0..1 in 256 steps."""
        found = self.graph.tensor(operator.output).q
        if found.scale != UNIT_SCALE:
            self.refuse(operator, f"its output has scale {found.scale}; 1/256 is supported")
        if operator.kind == "SOFTMAX" and found.zero_point != INT8_RANGE[0]:
            self.refuse(operator, f"its output has zero point {found.zero_point}; -128 is supported")

    def same_quantization(self, operator: Operator) -> None:
        """CONCATENATION: bytes are copied."""
        *sources, made = self.values(operator)
        different = [tensor.name for tensor in sources if not _same(tensor.q, made.q)]
        if different:
            self.refuse(operator, f'"{different[0]}" has another scale than the output')

    def close_quantization(self, operator: Operator) -> None:
        """Pools: bytes are compared or averaged."""
        source, made = (tensor.q for tensor in self.values(operator))
        apart = abs(source.scale - made.scale)
        if apart > POOL_SCALE_TOLERANCE or source.zero_point != made.zero_point:
            self.refuse(operator, "its output has another scale or zero point than its input")

    def concatenation(self, operator: Operator) -> None:
        """CONCATENATION."""
        options = operator.options
        if isinstance(options, ConcatOptions) and options.activation != "none":
            self.refuse(operator, f"it has a fused activation ({options.activation})")
        self.same_quantization(operator)

    def padding_value(self, operator: Operator) -> None:
        """PAD: the value is an int8."""
        options = operator.options
        if isinstance(options, PadOptions) and not INT8_RANGE[0] <= options.value <= INT8_RANGE[1]:
            self.refuse(operator, f"its padding value is {options.value}")


def _same(first: Quantization, second: Quantization) -> bool:
    return (first.scale, first.zero_point) == (second.scale, second.zero_point)


SPECIAL: dict[str, Callable[[_Check, Operator], None]] = {
    "SOFTMAX": _Check.unit_output,
    "LOGISTIC": _Check.unit_output,
    "CONCATENATION": _Check.concatenation,
    "MAX_POOL_2D": _Check.close_quantization,
    "AVERAGE_POOL_2D": _Check.close_quantization,
    "PAD": _Check.padding_value,
}
"""What single kinds ask for, of int8."""
