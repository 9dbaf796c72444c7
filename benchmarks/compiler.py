"""What compiled models take of a board, against TensorFlow Lite Micro and the figures that Edge Impulse publishes.

    python benchmarks/compiler.py                  # all models, about three minutes on two cores
    python benchmarks/compiler.py --only cnn48 fomo
    python benchmarks/compiler.py my_model.tflite  # these instead, without bars

Weights are random and settled on noise: neither sizes nor counts depend on them. Flash, RAM and stack are read
from what the compiler linked, instructions are counted in an emulated Cortex-M4; all is exact for the compiler and
the flags that are printed. RAM is the model's own, without stack; flash is its code and constants, without C
library and start-up. The reference for RAM is the arena that TensorFlow Lite Micro asks for in the same run (the
package tflite-micro, 64 bits; 1 to 5 % above that of a 32-bit board), and for MobileNetV2 96x96 0.35 what Edge
Impulse's documentation says of its own library.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests are not installed

from ei_automation.compiler.compiling import CompiledModel, CompileOptions, compile_model
from ei_automation.compiler.graph import Graph, Operator
from ei_automation.compiler.measure.cores import find_core
from ei_automation.compiler.measure.estimate import time_range
from ei_automation.compiler.measure.footprint import Footprint, measure
from ei_automation.compiler.measure.qemu import second_opinion
from ei_automation.compiler.toolchain import CCompiler, arm_gcc, build, host_compiler, zig
from ei_automation.schema.deployment import MEMORY_MODES, Memory
from tests.compiler.architectures import architecture

CORE = find_core("cortex-m4")
MODELS: dict[str, str] = {
    "mobilenet_v2_035_96": "MobileNetV2 96x96 0.35",
    "fomo_035_96": "FOMO 96x96 0.35",
    "conv2d_48": "conv2d 48x48",
    "densenet_96": "DenseNet 96x96",
    "mobilenet_v2_05_160": "MobileNetV2 160x160 0.5",
}
BARS: dict[str, dict[str, int]] = {
    "mobilenet_v2_035_96": {
        "planned RAM": 140_000, "streamed RAM": 45_000, "streamed-input RAM": 18_000,
        "gcc flash": 485_000, "clang flash": 485_000,
        "gcc instructions": 31_000_000, "clang instructions": 34_000_000,
    },
    "fomo_035_96": {
        "streamed RAM": 45_000, "streamed-input RAM": 18_000, "gcc flash": 35_000, "clang flash": 35_000,
        "gcc instructions": 20_000_000,
    },
}  # fmt: skip
"""At most. Flash and instructions are the largest of all memory modes."""
MAX_SECONDS = 5.0
"""From a .tflite file to its footprint."""
PUBLISHED_RAM, PUBLISHED_FLASH, PUBLISHED_MS, PUBLISHED_HZ = 297_000, 577_500, 140, 480e6
"""Edge Impulse's library, MobileNetV2 96x96 0.35, on a Cortex-M7 (docs.edgeimpulse.com, "Inference performance
metrics"): RAM 297.0K, ROM 577.5K, 140 ms; RAM without the input buffer, both without boot code and drivers."""
ARENA_BYTES = 64 << 20
HOST_RUNS = 20
HOST_MAIN = b"""
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "model.h"
#define ROW_COUNT (MODEL_INPUT_COUNT / MODEL_INPUT_HEIGHT)
static model_output_t output[MODEL_OUTPUT_COUNT];
#ifdef PULLED
static int read_row(void *context, int row, model_input_t *destination) {
    (void)context;
    for (int i = 0; i < ROW_COUNT; i++) destination[i] = (model_input_t)(row * 7 + i * 3);
    return 0;
}
#endif
static int once(void) {
#ifdef PULLED
    return model_invoke(read_row, NULL, output);
#else
    model_input_t *image = model_input();
    for (int i = 0; i < MODEL_INPUT_COUNT; i++) image[i] = (model_input_t)(i / ROW_COUNT * 7 + i % ROW_COUNT * 3);
    return model_invoke(image, output);
#endif
}
int main(void) {
    double best = 1e9;
    for (int run = 0; run < RUNS; run++) {
        struct timespec start, end;
        clock_gettime(CLOCK_MONOTONIC, &start);
        if (once() != 0) return 1;
        clock_gettime(CLOCK_MONOTONIC, &end);
        double ms = (double)(end.tv_sec - start.tv_sec) * 1e3 + (double)(end.tv_nsec - start.tv_nsec) / 1e6;
        if (ms < best) best = ms;
    }
    printf("%.3f", best);
    return 0;
}
"""


@dataclass
class Found:
    """What was measured of one model.

    Attributes:
        title: For the table.
        compiled: By memory mode.
        footprints: By memory mode and compiler (gcc, clang).
        seconds: From the .tflite file to its footprint, by memory mode, with zig; wall and CPU.
        host_ms: By memory mode; empty without a C compiler.
        arena_bytes: Of TensorFlow Lite Micro; None where its package is not installed.
    """

    title: str
    compiled: dict[Memory, CompiledModel] = field(default_factory=dict)
    footprints: dict[tuple[Memory, str], Footprint] = field(default_factory=dict)
    seconds: dict[Memory, tuple[float, float]] = field(default_factory=dict)
    host_ms: dict[Memory, float] = field(default_factory=dict)
    arena_bytes: int | None = None

    def worst_flash(self) -> int:
        """Of all memory modes and compilers."""
        return max(footprint.flash_bytes for footprint in self.footprints.values())


def conv2d_48() -> bytes:
    """Two convolutions with pooling and a dense layer, as Studio's visual editor makes them."""
    from ei_automation.schema.training import KerasLearnBlock
    from ei_automation.trainer.architectures.build import build_network
    from ei_automation.trainer.convert import convert_int8
    from ei_automation.trainer.made_up import settle
    from ei_automation.trainer.rows import ArrayRows

    layers = [{"type": "conv2d", "filters": count, "kernel_size": 3, "pool_size": 2} for count in (16, 32)]
    block = KerasLearnBlock.model_validate({"type": "keras", "visual_layers": layers})
    network = build_network(block, (48, 48, 3), 3, seed=3)
    images = np.random.default_rng(3).random((16, 48, 48, 3), np.float32)
    settle(network.head, images)
    return convert_int8(network.on_images(base_trains=False), ArrayRows({-1: images}))


def model_bytes(name: str) -> bytes:
    """The .tflite file of a model of `MODELS`."""
    return conv2d_48() if name == "conv2d_48" else architecture(name, "int8")


def measure_model(title: str, model: bytes, *, compilers: dict[str, CCompiler]) -> Found:
    """Everything of one model."""
    found = Found(title)
    for memory in MEMORY_MODES:
        start = clocks()
        compiled = found.compiled[memory] = compile_model(model, CompileOptions(memory=memory))
        found.footprints[memory, "clang"] = measure(compiled, CORE, compiler=compilers["clang"])
        end = clocks()
        found.seconds[memory] = end[0] - start[0], end[1] - start[1]
        if "gcc" in compilers:
            found.footprints[memory, "gcc"] = measure(compiled, CORE, compiler=compilers["gcc"])
    found.host_ms = {memory: ms for memory in MEMORY_MODES if (ms := host_ms(found.compiled[memory])) is not None}
    found.arena_bytes = tflite_micro_arena(model)
    return found


def clocks() -> tuple[float, float]:
    """Seconds of wall time, and of CPU time of this process and those it has waited for."""
    used = os.times()
    return time.perf_counter(), used.user + used.system + used.children_user + used.children_system


def host_ms(compiled: CompiledModel) -> float | None:
    """The fastest of some runs on this machine, with its own compiler."""
    compiler = host_compiler()
    if compiler is None:
        return None
    files = {**compiled.files, "main.c": HOST_MAIN}
    pulled = ("-DPULLED",) if compiled.options.memory == "streamed-input" else ()
    arguments = ("-O3", "-std=c99", f"-DRUNS={HOST_RUNS}", *pulled, "main.c", "model.c", "-lm")
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "program"
        program.write_bytes(build(compiler, files, arguments, "program"))
        program.chmod(0o755)
        return float(subprocess.run([program], check=True, capture_output=True, text=True).stdout)


def tflite_micro_arena(model: bytes) -> int | None:
    """The arena that TensorFlow Lite Micro takes for a model; it says so on the C library's stderr only."""
    code = (
        "import sys\nfrom tflite_micro import runtime\n"
        f"runtime.Interpreter.from_bytes(sys.stdin.buffer.read(), arena_size={ARENA_BYTES}).print_allocations()"
    )
    ran = subprocess.run([sys.executable, "-c", code], input=model, capture_output=True)
    total = re.search(rb"Arena allocation total (\d+)", ran.stderr + ran.stdout)
    return int(total[1]) if total else None


def multiplications(graph: Graph) -> int:
    """Multiply-accumulates of an inference."""
    return sum(_multiplications(graph, operator) for operator in graph.operators)


def _multiplications(graph: Graph, operator: Operator) -> int:
    weights = graph.constant(operator, 1)
    if weights is None or operator.kind not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
        return 0
    window = weights[0].size if operator.kind != "DEPTHWISE_CONV_2D" else weights.shape[1] * weights.shape[2]
    return int(graph.tensor(operator.output).count * window)


def show_table(results: dict[str, Found], compilers: dict[str, CCompiler]) -> None:
    """A line for each model and memory mode."""
    columns = "".join(f"{'flash ' + name:>13}{'instr. ' + name:>15}" for name in compilers)
    print(f"\n{'model':24}{'memory':15}{'arena':>9}{'RAM':>9}{'stack':>7}{columns}{'host ms':>9}")
    for found in results.values():
        for memory in MEMORY_MODES:
            prints = [found.footprints[memory, name] for name in compilers]
            numbers = "".join(f"{one.flash_bytes:13,}{one.instructions / 1e6:13.2f} M" for one in prints)
            sizes = f"{prints[0].arena_bytes:9,}{max(one.ram_bytes for one in prints):9,}"
            stack = max(one.stack_bytes for one in prints)
            ms = found.host_ms.get(memory)
            print(f"{found.title:24}{memory:15}{sizes}{stack:7}{numbers}{f'{ms:9.2f}' if ms else '        -'}")


def show_reference(results: dict[str, Found]) -> None:
    """Our RAM against the arena of TensorFlow Lite Micro."""
    print("\nreference: the arena of TensorFlow Lite Micro, same file, same run")
    for found in results.values():
        if found.arena_bytes is None:
            print(f"{found.title:24}no figure: the package tflite-micro is not installed or refuses the model")
            continue
        ours = {memory: _ram(found, memory) for memory in MEMORY_MODES}
        ratios = ", ".join(f"{memory} {found.arena_bytes / ram:.1f} times less" for memory, ram in ours.items())
        print(f"{found.title:24}{found.arena_bytes:9,} bytes: {ratios}")


def _ram(found: Found, memory: Memory) -> int:
    """The larger of the compilers'."""
    return max(one.ram_bytes for (mode, _name), one in found.footprints.items() if mode == memory)


def show_published(found: Found) -> None:
    """MobileNetV2 0.35 against the figures of Edge Impulse's documentation."""
    print('\nreference: Edge Impulse\'s library, as its documentation says ("Inference performance metrics")')
    for memory in MEMORY_MODES:
        ram = _ram(found, memory)
        print(f"RAM, {memory:15}{ram:9,} of {PUBLISHED_RAM:,} bytes, ratio {ram / PUBLISHED_RAM:.2f}")
    flash = found.worst_flash()
    print(f"flash{'':15}{flash:9,} of {PUBLISHED_FLASH:,} bytes, ratio {flash / PUBLISHED_FLASH:.2f}")
    for (memory, name), footprint in found.footprints.items():
        if memory == "streamed":
            estimate = time_range(footprint.instructions, find_core("cortex-m7"), PUBLISHED_HZ)
            print(f"time on a Cortex-M7 at 480 MHz, {name}: {estimate}, published {PUBLISHED_MS} ms")


def show_limits(found: Found, compilers: dict[str, CCompiler]) -> None:
    """Where instructions and memory go."""
    count = multiplications(found.compiled["streamed"].graph)
    for name in compilers:
        footprint = found.footprints["streamed", name]
        shares = ", ".join(
            f"{function.partition('.')[0]} {instructions / footprint.instructions:.0%}"
            for function, instructions in footprint.functions[:5]
        )
        each = footprint.instructions / count
        print(
            f"{found.title:24}{name:6}{count / 1e6:7.2f} M multiplications, {each:.2f} instructions each: {shares}"
        )


def show_second_opinion(found: Found, compilers: dict[str, CCompiler]) -> None:
    """The same program under QEMU, where it is installed."""
    for name, compiler in compilers.items():
        second = second_opinion(found.compiled["streamed"], CORE, compiler=compiler)
        if second is None:
            print("second opinion: skipped, qemu-system-arm is not installed or has no room for the model")
            return
        first = found.footprints["streamed", name]
        print(
            f"second opinion, {name}: {second.qemu.split(' (')[0]} counts {second.instructions:,} instructions,"
            f" ratio {second.instructions / first.instructions:.6f};"
            f" output {'equal' if second.output == first.output else 'DIFFERENT'}"
        )


def check_bars(results: dict[str, Found]) -> bool:
    """Print each bar with pass or FAIL; whether all passed."""
    passed = []
    print()
    for key, bars in BARS.items():
        found = results.get(key)
        for what, most in bars.items() if found else ():
            assert found is not None
            value = bar_value(found, what)
            if value is None:
                print(f"skipped  {found.title}: {what}: arm-none-eabi-gcc is not installed")
                continue
            passed.append(value <= most)
            print(f"{'pass' if value <= most else 'FAIL':9}{found.title}: {what} {value:,} (at most {most:,})")
    walls, processors = zip(
        *(seconds for found in results.values() for seconds in found.seconds.values()), strict=True
    )
    passed.append(max(walls) <= MAX_SECONDS)
    print(
        f"{'pass' if passed[-1] else 'FAIL':9}.tflite to footprint {min(walls):.1f} .. {max(walls):.1f} s"
        f" (at most {MAX_SECONDS:.0f} s), of CPU {min(processors):.1f} .. {max(processors):.1f} s"
    )
    return all(passed)


def bar_value(found: Found, what: str) -> int | None:
    """What a bar is about; None where it could not be measured."""
    subject, _, unit = what.rpartition(" ")
    if unit == "RAM":
        return next(_ram(found, memory) for memory in MEMORY_MODES if memory == subject)
    prints = [one for (_memory, name), one in found.footprints.items() if name == subject]
    return max((one.flash_bytes if unit == "flash" else one.instructions for one in prints), default=None)


def chosen(arguments: argparse.Namespace) -> dict[str, tuple[str, Callable[[], bytes]]]:
    """The models to measure: title and how to get the file."""
    if arguments.models:
        return {path.name: (path.name, path.read_bytes) for path in arguments.models}
    wanted = [name for name in MODELS if not arguments.only or any(word in name for word in arguments.only)]
    return {name: (MODELS[name], partial(model_bytes, name)) for name in wanted}


def main() -> int:
    """Measure, print, and say whether the bars were met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path, help=".tflite files to measure instead")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="models whose name has one of these")
    arguments = parser.parse_args()
    gcc = arm_gcc()
    compilers = {"clang": zig()} | ({"gcc": gcc} if gcc else {})
    models = chosen(arguments)
    if not models:
        parser.error(f"--only {' '.join(arguments.only)}: the models are {', '.join(MODELS)}")
    results = {}
    for name, (title, get) in models.items():
        print(f"{title} ...", file=sys.stderr, flush=True)
        results[name] = measure_model(title, get(), compilers=compilers)
    flags = {one.compiler: one.flags for found in results.values() for one in found.footprints.values()}
    for compiler, used in flags.items():
        print(f"{compiler}: {used}")
    if gcc is None:
        print("gcc: skipped, arm-none-eabi-gcc is not installed")
    show_table(results, compilers)
    show_reference(results)
    if "mobilenet_v2_035_96" in results:
        show_published(results["mobilenet_v2_035_96"])
    print("\nwhere the instructions go, streamed")
    for found in results.values():
        show_limits(found, compilers)
    show_second_opinion(next(iter(results.values())), compilers)
    return 0 if check_bars(results) else 1


if __name__ == "__main__":
    sys.exit(main())
