"""Many models in one C program: every output byte of every one against TFLite's."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ei_automation.compiler.compiling import CompiledModel, CompileOptions, compile_model
from ei_automation.compiler.toolchain import CCompiler, build
from ei_automation.schema.deployment import Memory
from tests.compiler.oracle import reference_outputs, sample_inputs

MODES: tuple[Memory, ...] = ("planned", "streamed", "streamed-input")
SHORT = {"planned": "p", "streamed": "s", "streamed-input": "i"}
RUN_TIMEOUT_S = 240
BARE = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
C99 = ("-std=c99",)
CXX17 = ("-x", "c++", "-std=c++17", "-fno-exceptions", "-fno-rtti")
"""What every build of generated C is held to, and the languages that it is."""
SANITIZED = ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer")


@dataclass(frozen=True, eq=False)
class Case:
    """A model, a memory mode, inputs, and what TFLite makes of them.

    Attributes:
        name: A C identifier, this case's alone: models of one program must not get in each other's way.
        model: The .tflite file.
        memory: How it is compiled.
        inputs: The input's bytes, several times.
        expected: The output's bytes for each.
        note: What it is, for the failure's message.
        compiled: Its C.
    """

    name: str
    model: bytes = field(repr=False)
    memory: Memory
    inputs: tuple[bytes, ...] = field(repr=False)
    expected: tuple[bytes, ...] = field(repr=False)
    note: str
    compiled: CompiledModel = field(repr=False)


def make_cases(
    name: str,
    model: bytes,
    *,
    note: str = "",
    modes: Sequence[Memory] = MODES,
    inputs: int = 3,
    given: tuple[bytes, ...] = (),
) -> list[Case]:
    """The cases of a model, one for each memory mode; the first input comes again at the end.

    A model must give the same for the same input, whatever it was asked in between.

    Args:
        name: Starts the cases' names.
        model: The .tflite file.
        note: What it is.
        modes: Memory modes.
        inputs: How many inputs are made up.
        given: Further inputs.
    """
    given = (*sample_inputs(model, inputs), *given)
    expected = reference_outputs(model, given)
    given, expected = (*given, given[0]), (*expected, expected[0])
    cases = []
    for memory in modes:
        prefix = f"{name}_{SHORT[memory]}"
        compiled = compile_model(model, CompileOptions(memory=memory, name=prefix))
        cases.append(Case(prefix, model, memory, given, expected, note or name, compiled))
    return cases


def cut(case: Case, inputs: int) -> Case:
    """The case with fewer inputs."""
    return replace(case, inputs=case.inputs[:inputs], expected=case.expected[:inputs])


def sources(cases: Iterable[Case], main: str) -> dict[str, bytes]:
    """All files of a program: the kernels' headers come once."""
    files: dict[str, bytes] = {"main.c": main.encode()}
    for case in cases:
        for name, content in case.compiled.files.items():
            assert files.setdefault(name, content) == content, f"{name} differs between two models"
    return files


def wrapper(case: Case) -> str:
    """C that runs one case from plain bytes to plain bytes, by the ways that its memory mode offers."""
    name, upper = case.name, case.name.upper()
    if case.memory == "streamed-input":
        return f"""
static int row_{name}(void *context, int row, {name}_input_t *destination) {{
    const size_t bytes = {upper}_INPUT_BYTES / {upper}_INPUT_HEIGHT;
    memcpy(destination, (const unsigned char *)context + (size_t)row * bytes, bytes);
    return 0;
}}
static int run_{name}(unsigned char *in, unsigned char *out, int number) {{
    (void)number;
    return {name}_invoke(row_{name}, in, ({name}_output_t *)out);
}}
"""
    return f"""
static int run_{name}(unsigned char *in, unsigned char *out, int number) {{
    if (number % 2 == 0) return {name}_invoke((const {name}_input_t *)in, ({name}_output_t *)out);
    memcpy({name}_input(), in, {upper}_INPUT_BYTES);
    return {name}_invoke({name}_input(), ({name}_output_t *)out);
}}
"""


def includes(cases: Iterable[Case]) -> str:
    """The headers of the models."""
    return "".join(f'#include "{case.name}.h"\n' for case in cases)


def host_main(cases: Sequence[Case]) -> str:
    """A program that reads inputs from its standard input and writes outputs to its standard output.

    Each buffer is as large as it must be and no larger, so that the sanitizers see a byte too many.
    """
    table = "".join(
        f'    {{"{case.name}", {case.name.upper()}_INPUT_BYTES, {case.name.upper()}_OUTPUT_BYTES, '
        f"{len(case.inputs)}, run_{case.name}}},\n"
        for case in cases
    )
    return f"""#include <stdio.h>
#include <stdlib.h>
#include <string.h>
{includes(cases)}{"".join(map(wrapper, cases))}
typedef struct {{
    const char *name;
    size_t in, out;
    int count;
    int (*run)(unsigned char *, unsigned char *, int);
}} entry;
static const entry table[] = {{
{table}}};
static int one(const entry *each, int number) {{
    unsigned char *in = (unsigned char *)malloc(each->in), *out = (unsigned char *)malloc(each->out);
    int code = !in || !out || fread(in, 1, each->in, stdin) != each->in;
    if (code == 0) code = each->run(in, out, number);
    if (code == 0) code = fwrite(out, 1, each->out, stdout) != each->out;
    free(in);
    free(out);
    return code;
}}
int main(void) {{
    for (size_t i = 0; i < sizeof table / sizeof *table; ++i) {{
        fprintf(stderr, "running %s\\n", table[i].name);
        for (int number = 0; number < table[i].count; ++number) {{
            if (one(&table[i], number) != 0) return 3;
        }}
    }}
    return 0;
}}
"""


def build_host(cases: Sequence[Case], compiler: CCompiler, flags: Sequence[str] = ("-O1",)) -> bytes:
    """One program of all cases."""
    files = sources(cases, host_main(cases))
    names = [name for name in files if name.endswith(".c")]
    language = () if "-x" in flags else C99
    arguments = [*language, *flags, *BARE, *names, "-x", "none", "-lm"]
    return build(compiler, files, arguments, "program", doing="compiling the test program")


def run_host(program: bytes, cases: Sequence[Case], folder: Path) -> list[tuple[bytes, ...]]:
    """The outputs of each case."""
    path = folder / "program"
    path.write_bytes(program)
    path.chmod(0o755)
    given = b"".join(b"".join(case.inputs) for case in cases)
    ran = subprocess.run([path], input=given, capture_output=True, timeout=RUN_TIMEOUT_S, check=False)
    said = ran.stderr.decode(errors="replace")
    notes = {case.name: case.note for case in cases}
    last = said.rsplit("running ", 1)[-1].split("\n", 1)[0]
    assert ran.returncode == 0, f"the program stopped in {last}: {notes.get(last)}\n{said[-3000:]}"
    return split_outputs(ran.stdout, cases)


def split_outputs(data: bytes, cases: Sequence[Case]) -> list[tuple[bytes, ...]]:
    """The outputs of each case, from all of them one after another."""
    sizes = [len(expected) for case in cases for expected in case.expected]
    assert len(data) == sum(sizes), f"{len(data)} bytes came, not {sum(sizes)}"
    parts = iter(struct.unpack("".join(f"{size}s" for size in sizes), data))
    return [tuple(next(parts) for _ in case.expected) for case in cases]


def differences(cases: Sequence[Case], outputs: Sequence[Sequence[bytes]]) -> list[str]:
    """A sentence for each case with an output that is not TFLite's."""
    found = []
    for case, made in zip(cases, outputs, strict=True):
        for number, (got, expected) in enumerate(zip(made, case.expected, strict=True)):
            if got != expected:
                found.append(f"{case.name} ({case.note}), input {number}: {_difference(case, got, expected)}")
                break
    return found


def _difference(case: Case, got: bytes, expected: bytes) -> str:
    output = case.compiled.graph.tensor(case.compiled.graph.output)
    values, wanted = np.frombuffer(got, output.dtype), np.frombuffer(expected, output.dtype)
    places = np.flatnonzero(values.view(np.uint8) != wanted.view(np.uint8)) // wanted.itemsize
    first = int(places[0])
    return (
        f"{len(np.unique(places))} of {len(wanted)} values differ, the first at {first} of {output.shape}: "
        f"{values[first]} for {wanted[first]}"
    )


def check_on_host(
    cases: Sequence[Case], compiler: CCompiler, folder: Path, flags: Sequence[str] = ("-O1",)
) -> None:
    """Assert that every case gives TFLite's bytes on this machine."""
    found = differences(cases, run_host(build_host(cases, compiler, flags), cases, folder))
    assert not found, f"{len(found)} of {len(cases)}:\n" + "\n".join(found[:8])
