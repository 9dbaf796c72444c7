"""The impulse: input block, DSP block, learn block."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ei_automation.schema.strict import StrictModel

ResizeMode = Literal["squash", "fit-short", "fit-long"]
Channels = Literal["RGB", "Grayscale"]


class InputBlock(StrictModel):
    """How an image of any size becomes the network's input size."""

    image_width: int = Field(ge=8, le=1024)
    """Pixels."""
    image_height: int = Field(ge=8, le=1024)
    """Pixels."""
    resize_mode: ResizeMode = "squash"
    """squash: both axes scaled; fit-short: centre crop, then scaled; fit-long: scaled, black bars."""


class DspBlock(StrictModel):
    """Studio's Image block: pixel / 255, RGB or Grayscale."""

    channels: Channels = "RGB"


class Impulse(StrictModel):
    """Input block and DSP block. The learn block stands in `[training]`, with its parameters."""

    input_block: InputBlock
    dsp_block: DspBlock = DspBlock()

    @property
    def channel_count(self) -> int:
        """3 for RGB, 1 for Grayscale."""
        return 3 if self.dsp_block.channels == "RGB" else 1

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return (self.input_block.image_height, self.input_block.image_width, self.channel_count)
