"""The network that a simulated board finds in its flash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ei_automation.devices.sim.board import Surroundings
from ei_automation.errors import VerificationError

MODEL_MARK, MARK_PLACE = b"TFL3", 4
"""A .tflite file has this identifier behind its first four bytes."""


def with_model_in(flash: bytes, around: Surroundings) -> Surroundings:
    """The surroundings with the first network that a flash holds; unchanged where it holds none."""
    for model in models_in(flash):
        try:
            around.load_model(model)
        except VerificationError as error:  # the mark of a model, by chance
            around.log(f"what looks like a network in the firmware is none: {error}")
            continue
        return replace(around, model=model)
    return around


def models_in(flash: bytes) -> Iterator[bytes]:
    """What begins as a .tflite file does, each up to the flash's end: what follows such a file does no harm."""
    place = flash.find(MODEL_MARK, MARK_PLACE)
    while place >= 0:
        yield flash[place - MARK_PLACE :]
        place = flash.find(MODEL_MARK, place + 1)
