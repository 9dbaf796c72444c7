"""From a learn block to a network."""

from __future__ import annotations

from typing import Any

from ei_automation.schema.training import LearnBlock, TransferLearnBlock
from ei_automation.trainer.architectures import mobilenet_v1, mobilenet_v2
from ei_automation.trainer.architectures.head import classification_head
from ei_automation.trainer.architectures.network import Base, Network
from ei_automation.trainer.architectures.registry import ARCHITECTURES
from ei_automation.trainer.architectures.visual import build_visual

_FAMILIES: dict[str, Any] = {"mobilenet_v1": mobilenet_v1, "mobilenet_v2": mobilenet_v2}


def build_network(block: LearnBlock, shape: tuple[int, int, int], classes: int, *, seed: int) -> Network:
    """The network of a learn block, with random weights.

    Args:
        block: Of the manifest.
        shape: (height, width, channels) of the impulse.
        classes: Outputs.
        seed: Of the head's initial weights and of the dropout; the base's come from the global seed.

    Raises:
        UsageError: The block cannot be built for this input.
    """
    if not isinstance(block, TransferLearnBlock):
        return Network(build_visual(block, shape, classes, seed=seed))
    layer = block.visual_layer
    architecture = ARCHITECTURES[layer.type]
    family = _FAMILIES[architecture.family]
    base = family.build_base(shape, architecture.alpha)
    head = classification_head(
        base.output.shape[1:], classes, neurons=layer.neurons, dropout_ratio=layer.dropout_ratio, seed=seed
    )
    return Network(head, Base(base, family.CUT, family.make_tail))
