"""NAME.h: what a program needs to know of the model, and the functions that run it."""

from __future__ import annotations

from ei_automation.compiler.emit.request import EmitRequest
from ei_automation.compiler.emit.text import c_string, in_comment, number
from ei_automation.compiler.graph import DType, Tensor

C_TYPES: dict[DType, str] = {"int8": "int8_t", "uint8": "uint8_t", "float32": "float", "int32": "int32_t"}
"""C types of the model's input and output."""


def header_text(request: EmitRequest) -> str:
    """The header's text."""
    name, upper = request.name, request.name.upper()
    labels = request.labels
    lines = [
        f"/* {name}.h: {in_comment(request.title)}. Made by eiauto; do not edit. */",
        f"#ifndef {upper}_H",
        f"#define {upper}_H",
        "",
        "#include <stdint.h>",
        "",
        f"#define {upper}_NAME {c_string(request.title)}",
        f"#define {upper}_MEMORY {c_string(request.plan.memory)}",
        f"#define {upper}_ARENA_BYTES {request.plan.arena_bytes}",
        f"#define {upper}_LABEL_COUNT {len(labels)}",
        "",
        "/* An image: rows of pixels of channels. real = (stored - ZERO_POINT) * SCALE. */",
        *_tensor_macros(f"{upper}_INPUT", request.graph.tensor(request.graph.input)),
        "",
        "/* One pixel of scores for a classifier, a map of them for object detection. */",
        *_tensor_macros(f"{upper}_OUTPUT", request.graph.tensor(request.graph.output)),
        "",
        f"#define {upper}_BAD_ARGUMENT (-1)",
        "",
        f"typedef {C_TYPES[request.graph.tensor(request.graph.input).dtype]} {name}_input_t;",
        f"typedef {C_TYPES[request.graph.tensor(request.graph.output).dtype]} {name}_output_t;",
        "",
        "#ifdef __cplusplus",
        'extern "C" {',
        "#endif",
        "",
        "/* The labels in the order of the output's channels; NULL is behind the last. */",
        f"extern const char *const {name}_labels[];",
        "",
        *(_pulled_functions if request.is_pulled else _whole_functions)(name, upper),
        "",
        "#ifdef __cplusplus",
        "}",
        "#endif",
        "",
        "#endif",
    ]
    return "\n".join(lines) + "\n"


def _tensor_macros(prefix: str, tensor: Tensor) -> list[str]:
    """Shape and quantization of the model's input or output; scale 1, zero point 0 for float32."""
    rows = tensor.rows
    quantization = tensor.quantization if tensor.dtype in ("int8", "uint8") else None
    return [
        f"#define {prefix}_HEIGHT {rows.height}",
        f"#define {prefix}_WIDTH {rows.width}",
        f"#define {prefix}_CHANNELS {rows.channels}",
        f"#define {prefix}_COUNT {tensor.count}",
        f"#define {prefix}_BYTES {tensor.bytes}",
        f"#define {prefix}_SCALE {number(quantization.scale if quantization else 1.0)}",
        f"#define {prefix}_ZERO_POINT {f'({quantization.zero_point})' if quantization else '0'}",
    ]


def _whole_functions(name: str, upper: str) -> list[str]:
    """The functions of a model that takes a whole image."""
    return [
        "/* Where the image may be written: inside the arena, so that it costs no memory of its own.",
        f" * {name}_invoke uses its place for other things. */",
        f"{name}_input_t *{name}_input(void);",
        "",
        "/* Runs the model. Not to be called from two threads at once.",
        f" * input: {upper}_INPUT_COUNT values: {name}_input(), or an array of the caller's, which is only read.",
        f" * output: takes {upper}_OUTPUT_COUNT values.",
        f" * Returns 0, or {upper}_BAD_ARGUMENT where one of them is NULL. */",
        f"int {name}_invoke(const {name}_input_t *input, {name}_output_t *output);",
    ]


def _pulled_functions(name: str, upper: str) -> list[str]:
    """The functions of a model that asks for the image row by row."""
    return [
        f"/* Writes a row of the image, {upper}_INPUT_WIDTH pixels of {upper}_INPUT_CHANNELS values.",
        " * Each row is asked for once, from 0 upwards. Returns 0; anything else stops the model. */",
        f"typedef int (*{name}_read_row)(void *context, int row, {name}_input_t *destination);",
        "",
        "/* Runs the model. Not to be called from two threads at once.",
        " * read_row: gives the image; context is handed to it.",
        f" * output: takes {upper}_OUTPUT_COUNT values.",
        f" * Returns 0, {upper}_BAD_ARGUMENT where read_row or output is NULL, or what read_row stopped with. */",
        f"int {name}_invoke({name}_read_row read_row, void *context, {name}_output_t *output);",
    ]
