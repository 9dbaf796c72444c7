"""What the emitter is given."""

from __future__ import annotations

from dataclasses import dataclass

from ei_automation.compiler.bind.calls import KernelCall
from ei_automation.compiler.graph import Graph
from ei_automation.compiler.memory.plan import MemoryPlan


@dataclass(frozen=True, eq=False)
class EmitRequest:
    """A bound and planned model.

    Attributes:
        name: C identifier that begins all names.
        title: Its name for people.
        labels: Of the output's channels; may be empty.
        graph: Folded; its ends have the shapes of the file.
        calls: Of its operators.
        plan: Of these calls.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    graph: Graph
    calls: tuple[KernelCall, ...]
    plan: MemoryPlan

    @property
    def is_pulled(self) -> bool:
        """Whether the input's rows come from a callback."""
        return self.plan.memory == "streamed-input"

    def is_outside(self, tensor: int) -> bool:
        """Whether a tensor lies in an array of the caller's, known only when the model runs."""
        return tensor == self.plan.output or (tensor == self.plan.input and not self.is_pulled)
