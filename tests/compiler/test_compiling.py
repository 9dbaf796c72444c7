"""The door: what comes out of it, and what it refuses."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ei_automation.compiler.compiling import CompiledModel, CompileOptions, compile_model
from ei_automation.compiler.memory.verify import verify_plan
from ei_automation.compiler.toolchain import CCompiler, build
from ei_automation.errors import UsageError, VerificationError
from ei_automation.schema.deployment import MEMORY_MODES, Memory
from tests.compiler.filters import Conv
from tests.compiler.harness import BARE, C99, CXX17, check_on_host, make_cases
from tests.compiler.models import ModelBuilder
from tests.compiler.networks import Network

HALF = (0.5, 0)


def small() -> bytes:
    """Two convolutions on 9x7x3."""
    return Network((9, 7, 3), (Conv(), Conv())).model()


def text(compiled: CompiledModel, name: str) -> str:
    """A generated file."""
    return compiled.files[name].decode("ascii")


@pytest.mark.parametrize("memory", MEMORY_MODES)
def test_the_files_are_a_header_a_source_and_the_kernels(memory: Memory) -> None:
    compiled = compile_model(small(), CompileOptions(memory=memory, name="leaf", title="A leaf"))
    assert {"leaf.h", "leaf.c", "nn_types.h"} <= set(compiled.files)
    assert all(name.startswith(("nn_", "leaf.")) for name in compiled.files)
    header = text(compiled, "leaf.h")
    assert '#define LEAF_NAME "A leaf"' in header
    assert f'#define LEAF_MEMORY "{memory}"' in header
    assert f"#define LEAF_ARENA_BYTES {compiled.arena_bytes}\n" in header
    assert "#define LEAF_INPUT_BYTES 189\n" in header
    assert ("leaf_read_row" in header) == (memory == "streamed-input")
    verify_plan(compiled.plan, compiled.calls)


def test_the_source_names_every_operator_and_its_place() -> None:
    compiled = compile_model(small())
    source = text(compiled, "model.c")
    for operator in compiled.graph.operators:
        assert f"{operator.kind} (operator {operator.place}, " in source
    for buffer in compiled.plan.buffers:
        assert re.search(rf"^ \* +{buffer.offset} +{buffer.bytes} ", source, re.MULTILINE)
    assert max(map(len, source.splitlines())) <= 130
    assert compiled.constant_bytes > 0


def test_one_operator(host: CCompiler, tmp_path: Path) -> None:
    build_ = ModelBuilder()
    given = build_.tensor((1, 3, 4, 2), "int8", HALF)
    made = build_.tensor((1, 3, 4, 2), "int8", HALF)
    build_.operator("RELU", [given], made)
    check_on_host(make_cases("one", build_.finish(given, made)), host, tmp_path)


def test_the_first_operator_needs_everything(host: CCompiler, tmp_path: Path) -> None:
    build_ = ModelBuilder()
    given = build_.tensor((1, 3, 4, 2), "int8", HALF)
    made = build_.tensor((1, 2), "int8", HALF)
    axes = build_.tensor((2,), "int32", data=[1, 2])
    build_.operator("MEAN", [given, axes], made)
    check_on_host(make_cases("mean", build_.finish(given, made)), host, tmp_path)


def test_an_output_that_is_used_twice(host: CCompiler, tmp_path: Path) -> None:
    build_ = ModelBuilder()
    given = build_.tensor((1, 3, 4, 2), "int8", HALF)
    made = build_.tensor((1, 3, 4, 2), "int8", HALF)
    build_.operator("RELU", [given], made)
    for kind in ("RELU6", "LOGISTIC"):
        other = build_.tensor((1, 3, 4, 2), "int8", (1 / 256, -128) if kind == "LOGISTIC" else HALF)
        build_.operator(kind, [made], other)
    check_on_host(make_cases("twice", build_.finish(given, made)), host, tmp_path)


@pytest.mark.parametrize("memory", MEMORY_MODES)
def test_an_output_that_is_the_input_in_another_shape(memory: Memory, host: CCompiler, tmp_path: Path) -> None:
    build_ = ModelBuilder()
    given = build_.tensor((1, 3, 4, 2), "int8", HALF)
    made = build_.tensor((1, 24), "int8", HALF)
    shape = build_.tensor((2,), "int32", data=[1, 24])
    build_.operator("RESHAPE", [given, shape], made, newShape=[1, 24])
    model = build_.finish(given, made)
    check_on_host(make_cases("same", model, modes=(memory,)), host, tmp_path)


PULLING = b"""#include <stdio.h>
#include "model.h"
static int stop(void *context, int row, model_input_t *destination) {
    int *rows = (int *)context;
    (void)destination;
    *rows = row;
    return row == 2 ? 42 : 0;
}
int main(void) {
    static model_output_t output[MODEL_OUTPUT_COUNT];
    int rows = 0;
    const int stopped = model_invoke(stop, &rows, output);
    printf("%d %d %d %d\\n", stopped, rows, model_invoke(NULL, &rows, output), model_invoke(stop, &rows, NULL));
    return 0;
}
"""
WHOLE = b"""#include <stdio.h>
#include "model.h"
int main(void) {
    static model_output_t output[MODEL_OUTPUT_COUNT];
    printf("%d %d %d ", model_invoke(model_input(), output), model_invoke(NULL, output),
           model_invoke(model_input(), NULL));
    for (int i = 0; i < MODEL_LABEL_COUNT; ++i) printf("[%s]", model_labels[i]);
    printf("%d\\n", model_labels[MODEL_LABEL_COUNT] == NULL);
    return 0;
}
"""


def said(host: CCompiler, compiled: CompiledModel, main: bytes, folder: Path, flags: tuple[str, ...] = C99) -> str:
    """What a program with the model prints."""
    files = {**compiled.files, "main.c": main}
    program = folder / "program"
    program.write_bytes(build(host, files, [*flags, *BARE, "main.c", "model.c", "-x", "none", "-lm"], "program"))
    program.chmod(0o755)
    return subprocess.run([program], capture_output=True, check=True, timeout=60).stdout.decode()


@pytest.mark.parametrize("flags", [C99, CXX17])
def test_a_callback_can_stop_the_model(flags: tuple[str, ...], host: CCompiler, tmp_path: Path) -> None:
    compiled = compile_model(small(), CompileOptions(memory="streamed-input"))
    assert said(host, compiled, PULLING, tmp_path, flags) == "42 2 -1 -1\n"


@pytest.mark.parametrize("flags", [C99, CXX17])
def test_labels_are_read_back(flags: tuple[str, ...], host: CCompiler, tmp_path: Path) -> None:
    labels = ('a "quote"', "back\\slash ??/", "日本 é", "", "*/ line\n", "%d", "7")
    compiled = compile_model(small(), CompileOptions(title='t */ "x"', labels=labels[: channels(small())]))
    expected = "".join(f"[{label}]" for label in labels[: channels(small())])
    assert said(host, compiled, WHOLE, tmp_path, flags) == f"0 -1 -1 {expected}1\n"


def channels(model: bytes) -> int:
    """Of the output."""
    compiled = compile_model(model)
    return compiled.graph.tensor(compiled.graph.output).rows.channels


def test_labels_are_one_a_channel_or_leave_out_the_background_of_a_map() -> None:
    count = channels(small())
    for number in (0, count, count - 1):
        labels = tuple(f"l{index}" for index in range(number))
        assert f"_LABEL_COUNT {number}\n" in text(compile_model(small(), CompileOptions(labels=labels)), "model.h")
    with pytest.raises(UsageError, match=f"{count + 1} labels") as caught:
        compile_model(small(), CompileOptions(labels=("x",) * (count + 1)))
    assert f"{count} or {count - 1}" in caught.value.hint


def test_a_classifier_needs_a_label_for_every_class() -> None:
    build_ = ModelBuilder()
    given = build_.tensor((1, 3), "int8", HALF)
    made = build_.tensor((1, 3), "int8", (1 / 256, -128))
    build_.operator("SOFTMAX", [given], made, beta=1.0)
    model = build_.finish(given, made)
    compile_model(model, CompileOptions(labels=("a", "b", "c")))
    with pytest.raises(UsageError, match="2 labels"):
        compile_model(model, CompileOptions(labels=("a", "b")))
    with pytest.raises(UsageError, match="NUL"):
        compile_model(model, CompileOptions(labels=("a", "b\0", "c")))


@pytest.mark.parametrize("bad", ["\ud83c", "leaf \udfff"])
def test_text_without_utf8_is_refused(bad: str) -> None:
    with pytest.raises(UsageError, match=r"a label is no valid text: .*\\ud"):
        compile_model(small(), CompileOptions(labels=(bad,) * channels(small())))
    with pytest.raises(UsageError, match=r"the title is no valid text: .*\\ud"):
        compile_model(small(), CompileOptions(title=bad))
    compile_model(small(), CompileOptions(title="\N{LEAF FLUTTERING IN WIND}"))


@pytest.mark.parametrize("memory", MEMORY_MODES)
def test_the_ends_have_the_shapes_that_the_file_gives_them(
    memory: Memory, host: CCompiler, tmp_path: Path
) -> None:
    build_ = ModelBuilder()
    flat, image = build_.tensor((1, 32), "int8", HALF), build_.tensor((1, 4, 4, 2), "int8", HALF)
    pooled, made = build_.tensor((1, 4, 4, 2), "int8", HALF), build_.tensor((1, 32), "int8", HALF)
    build_.operator("RESHAPE", [flat], image, newShape=[1, 4, 4, 2])
    sizes = {"filterHeight": 2, "filterWidth": 2, "strideH": 1, "strideW": 1, "padding": 0}
    build_.operator("MAX_POOL_2D", [image], pooled, **sizes)
    build_.operator("RESHAPE", [pooled], made, newShape=[1, 32])
    model = build_.finish(flat, made)
    labels = tuple(f"class {index}" for index in range(32))
    header = text(compile_model(model, CompileOptions(memory=memory, labels=labels)), "model.h")
    size = [int(re.findall(rf"_OUTPUT_{what} (\d+)", header)[0]) for what in ("HEIGHT", "WIDTH", "CHANNELS")]
    assert size == [1, 1, 32]
    # Rows are asked for one by one only where the input is pulled.
    height = 4 if memory == "streamed-input" else 1
    assert f"_INPUT_HEIGHT {height}\n" in header
    with pytest.raises(UsageError, match="2 labels"):
        compile_model(model, CompileOptions(memory=memory, labels=("a", "b")))
    check_on_host(make_cases("ends", model, modes=(memory,)), host, tmp_path)


def test_a_float32_pad_puts_zeros_whatever_scale_the_file_gives(host: CCompiler, tmp_path: Path) -> None:
    build_ = ModelBuilder()
    given = build_.tensor((1, 3, 4, 2), "float32", (0.5, 7))
    made = build_.tensor((1, 5, 6, 2), "float32", (0.5, 7))
    pairs = build_.tensor((4, 2), "int32", data=[[0, 0], [1, 1], [1, 1], [0, 0]])
    build_.operator("PAD", [given, pairs], made)
    check_on_host(make_cases("stray", build_.finish(given, made)), host, tmp_path)


@pytest.mark.parametrize("kind", ["RESHAPE", "QUANTIZE"])
def test_an_output_that_is_the_input_and_has_a_dead_reader(kind: str, host: CCompiler, tmp_path: Path) -> None:
    build_ = ModelBuilder()
    given = build_.tensor((1, 3, 4, 2), "int8", HALF)
    made = build_.tensor((1, 4, 3, 2) if kind == "RESHAPE" else (1, 3, 4, 2), "int8", HALF)
    unread = build_.tensor((1, 3, 2, 2) if kind == "RESHAPE" else (1, 2, 3, 2), "int8", HALF)
    sizes = {"filterHeight": 2, "filterWidth": 2, "strideH": 1, "strideW": 1, "padding": 1}
    build_.operator(kind, [given], made, **({"newShape": [1, 4, 3, 2]} if kind == "RESHAPE" else {}))
    build_.operator("MAX_POOL_2D", [made], unread, **sizes)
    check_on_host(make_cases(f"dead_{kind.lower()}", build_.finish(given, made)), host, tmp_path)


@pytest.mark.timeout(60)  # with work that grows with the square of the height it takes longer; else 0.3 s
def test_a_tall_image_is_planned() -> None:
    model = Network((2000, 4, 3), (Conv(),) * 10).model()
    compiled = compile_model(model, CompileOptions(memory="planned"))
    verify_plan(compiled.plan, compiled.calls)


def test_a_memory_mode_that_is_none() -> None:
    with pytest.raises(UsageError, match="no memory mode"):
        compile_model(small(), CompileOptions(memory="fast"))  # type: ignore[arg-type]


def test_a_name_that_is_none_is_refused_before_the_model_is_read() -> None:
    with pytest.raises(UsageError, match="2nd"):
        compile_model(b"", CompileOptions(name="2nd"))


def test_rubbish_is_refused() -> None:
    with pytest.raises(VerificationError):
        compile_model(b"rubbish")


REAL = {
    "openmv_cls_2023_person": (39_000, 15_000, 14_500),
    "openmv_cls_2025_speed_sign": (312_000, 44_500, 33_000),
    "openmv_cls_2026_food": (113_500, 21_000, 16_500),
    "openmv_cls_2020_mask": (113_500, 31_500, 17_200),
    "openmv_fomo_2023_balloon": (113_500, 31_500, 17_200),
}
"""Arena bytes of real Studio models that each mode must stay below."""


@pytest.mark.parametrize("name", REAL)
def test_real_models_stay_small(name: str, shared_data: Path) -> None:
    model = (shared_data / "studio_deployments" / name / "trained.tflite").read_bytes()
    for memory, most in zip(MEMORY_MODES, REAL[name], strict=True):
        compiled = compile_model(model, CompileOptions(memory=memory))
        assert compiled.arena_bytes <= most
        verify_plan(compiled.plan, compiled.calls)
