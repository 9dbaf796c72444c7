"""RESHAPE, where both neighbours insist on their shape: the bytes are copied, or lie in place."""

from __future__ import annotations

from ei_automation.compiler.bind.calls import Field, KernelCall, all_rows
from ei_automation.compiler.graph import Graph, Operator


def bind_reshape(graph: Graph, operator: Operator) -> KernelCall:
    """The call of a RESHAPE, SQUEEZE or EXPAND_DIMS that fold had to leave, of any type."""
    source, target = graph.tensor(operator.inputs[0]), graph.tensor(operator.output)
    return KernelCall(
        operator=operator,
        header="nn_reshape.h",
        function="nn_reshape_s8",
        struct="nn_reshape_s8_t",
        fields=(Field("bytes", target.bytes),),
        inputs=(source.index,),
        output=target.index,
        streaming="whole",
        needs=(all_rows(target.rows.height, source.rows.height),),
        in_place=(0,),
    )
