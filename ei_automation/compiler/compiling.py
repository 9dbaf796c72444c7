"""The compiler's door: from the bytes of a .tflite file to C files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ei_automation.compiler.bind import bind_graph
from ei_automation.compiler.bind.calls import KernelCall
from ei_automation.compiler.check import check
from ei_automation.compiler.emit.files import emit_files
from ei_automation.compiler.emit.request import EmitRequest
from ei_automation.compiler.emit.text import check_name
from ei_automation.compiler.fold import fold
from ei_automation.compiler.graph import Graph
from ei_automation.compiler.memory.plan import MemoryPlan
from ei_automation.compiler.memory.planner import plan_memory
from ei_automation.compiler.read import read_graph
from ei_automation.errors import UsageError
from ei_automation.schema.deployment import MEMORY_MODES, Memory


@dataclass(frozen=True)
class CompileOptions:
    """What to make of a model.

    Attributes:
        memory: How tensors are kept.
        name: C identifier: names of files, functions and macros begin with it.
        title: The model's name for people; empty for `name`.
        labels: In the order of the output's channels; object detection may leave out the background, channel 0.
    """

    memory: Memory = "streamed"
    name: str = "model"
    title: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class CompiledModel:
    """C files, and what they were made of.

    Attributes:
        options: As they were given.
        graph: Folded.
        calls: Of its operators.
        plan: What lies where.
        files: NAME.h, NAME.c and the kernel headers, by file name.
        constant_bytes: Weights, biases, multipliers and tables in flash.
    """

    options: CompileOptions
    graph: Graph
    calls: tuple[KernelCall, ...]
    plan: MemoryPlan
    files: Mapping[str, bytes]
    constant_bytes: int

    @property
    def arena_bytes(self) -> int:
        """The static memory that tensors take."""
        return self.plan.arena_bytes


DEFAULT_OPTIONS = CompileOptions()


def compile_model(model: bytes, options: CompileOptions = DEFAULT_OPTIONS) -> CompiledModel:
    """Compile a model.

    Args:
        model: A .tflite file.
        options: Memory, names, labels.

    Raises:
        VerificationError: The bytes are no such model, or something in it is not supported; the sentence names the
            operator and its place.
        UsageError: A name or labels that cannot be used.
    """
    if options.memory not in MEMORY_MODES:
        raise UsageError(f"no memory mode is called {options.memory!r}", hint=f"use {', '.join(MEMORY_MODES)}")
    check_name(options.name)
    check_text("the title", options.title)
    title = options.title or options.name
    given = read_graph(model, title)
    check(given)
    check_labels(options.labels, given)
    graph = fold(given)
    calls = bind_graph(graph)
    plan = plan_graph(graph, calls, options.memory)
    described = _with_shapes_of(given, graph, options.memory)
    request = EmitRequest(options.name, title, options.labels, described, calls, plan)
    files, constant_bytes = emit_files(request)
    return CompiledModel(options, graph, calls, plan, files, constant_bytes)


def plan_graph(graph: Graph, calls: tuple[KernelCall, ...], memory: Memory) -> MemoryPlan:
    """The memory plan of a bound graph."""
    touched = {graph.input, graph.output, *(index for call in calls for index in (*call.inputs, call.output))}
    rows = {index: graph.tensor(index).rows for index in sorted(touched)}
    return plan_memory(calls, rows, model_input=graph.input, model_output=graph.output, memory=memory)


def _with_shapes_of(given: Graph, folded: Graph, memory: Memory) -> Graph:
    """The folded graph with the shapes that the file gives the model's input and output, for the header.

    An input that is pulled keeps the shape in which its rows are asked for.
    """
    shapes = {folded.output: given.tensor(given.output).shape}
    if memory != "streamed-input":
        shapes[folded.input] = given.tensor(given.input).shape
    ends = {index: replace(folded.tensor(index), shape=shape) for index, shape in shapes.items()}
    return replace(folded, tensors={**folded.tensors, **ends})


def check_labels(labels: tuple[str, ...], graph: Graph) -> None:
    """Refuse labels that do not fit the output: one a channel, or one less beside object detection's background.

    Raises:
        UsageError: Their number, or a character that C cannot hold.
    """
    output = graph.tensor(graph.output).rows
    is_map = output.height * output.width > 1
    allowed = (output.channels, output.channels - 1) if is_map else (output.channels,)
    if labels and len(labels) not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise UsageError(
            f"{len(labels)} labels for a model whose output has {output.channels} channels",
            hint=f"give {wanted} labels, or none",
        )
    for label in labels:
        check_text("a label", label)


def check_text(what: str, text: str) -> None:
    """Refuse text that no C string holds.

    Args:
        what: For the error, e.g. "a label".
        text: Of a label or a title.

    Raises:
        UsageError: It holds a NUL character, or half of a surrogate pair, which has no UTF-8.
    """
    if "\0" in text:
        raise UsageError(f"{what} holds a NUL character", hint="leave it out")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise UsageError(f"{what} is no valid text: {text!a} has no UTF-8", hint="write it again, as UTF-8")
