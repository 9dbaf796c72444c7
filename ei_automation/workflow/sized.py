"""A model as the gate sees it: what it takes wherever it goes, and its likes of another size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from ei_automation.compiler.bind import bind_graph
from ei_automation.compiler.bind.calls import KernelCall
from ei_automation.compiler.check import check
from ei_automation.compiler.compiling import plan_graph
from ei_automation.compiler.fold import fold
from ei_automation.compiler.graph import Graph
from ei_automation.compiler.interpreter_arena import interpreter_arena_bytes
from ei_automation.compiler.narrow import narrow
from ei_automation.compiler.read import read_graph
from ei_automation.compiler.rescale import rescale
from ei_automation.schema.deployment import Memory

ARENA_EXTRA_BYTES = 512
"""That OpenMV's firmware adds to the arena (lib/tflm/tflm_backend.cc, TF_ARENA_EXTRA)."""
PICTURE_PIXELS = 320 * 240
"""QVGA, which the deployed script takes pictures in: a byte a pixel in grayscale, two in colour."""
SDK_ITEM_BYTES = 4
"""Edge Impulse's SDK keeps a float32 network's image and scores on the heap (classifier/ei_run_classifier.h)."""
SCALE_BYTES = 12
"""Of a channel's scale and zero point in a .tflite file: a float32 and an int64."""


@dataclass(frozen=True, eq=False)
class Sized:
    """A model as the gate sees it: its graph as read, and its file's size.

    Attributes:
        graph: Checked, not folded.
        file_bytes: Of the .tflite file.
    """

    graph: Graph
    file_bytes: int

    @classmethod
    def read(cls, model: bytes) -> Sized:
        """Read a .tflite file.

        Raises:
            VerificationError: It is no such file, or holds what is not supported.
        """
        graph = read_graph(model)
        check(graph)
        return cls(graph, len(model))

    @cached_property
    def interpreter_bytes(self) -> int:
        """The tensor arena of an interpreter."""
        return interpreter_arena_bytes(self.graph) + ARENA_EXTRA_BYTES

    @cached_property
    def picture_bytes(self) -> int:
        """The camera's picture of an OpenMV script."""
        return PICTURE_PIXELS * (2 if self.graph.tensor(self.graph.input).shape[-1] > 1 else 1)

    @cached_property
    def constant_bytes(self) -> int:
        """Weights and tables of the compiled model."""
        return sum(constant.bytes for call in self._compiled[1] for constant in call.constants)

    def arena_bytes(self, memory: Memory) -> int:
        """The arena of the compiled model."""
        return plan_graph(*self._compiled, memory).arena_bytes

    @cached_property
    def _compiled(self) -> tuple[Graph, tuple[KernelCall, ...]]:
        folded = fold(self.graph)
        return folded, bind_graph(folded)

    @cached_property
    def sdk_bytes(self) -> int:
        """What Edge Impulse's SDK allocates for it: of float32 all features and scores."""
        image, scores = self.graph.tensor(self.graph.input), self.graph.tensor(self.graph.output)
        return SDK_ITEM_BYTES * (image.count + scores.count) if image.dtype == "float32" else 0

    def at(self, height: int, width: int) -> Sized:
        """The same network for another image.

        Raises:
            ValueError: It does not exist at that size.
            VerificationError: It has no kernels at that size.
        """
        return self._like(rescale(self.graph, height, width))

    def narrower(self, ratio: float) -> Sized:
        """The same network with fewer channels.

        Args:
            ratio: Of alpha to this network's, above 0, at most 1.

        Raises:
            ValueError: It has no such likeness.
            VerificationError: It has no kernels for it.
        """
        return self._like(narrow(self.graph, ratio))

    def _like(self, graph: Graph) -> Sized:
        """Another network, whose file differs by its constants only."""
        check(graph)
        return Sized(graph, self.file_bytes - _stored_bytes(self.graph) + _stored_bytes(graph))


def _stored_bytes(graph: Graph) -> int:
    """Constants that the operators read, with their scales."""
    read = {index for operator in graph.operators for index in operator.inputs if index >= 0}
    constants = [graph.tensor(index) for index in read if graph.tensor(index).is_constant]
    scales = sum(len(constant.quantization.scales) for constant in constants if constant.quantization)
    return sum(constant.bytes for constant in constants) + SCALE_BYTES * scales
