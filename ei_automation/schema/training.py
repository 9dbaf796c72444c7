"""Training parameters, in Studio's words; defaults are Studio's (reference: its generated scripts)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ei_automation.schema.strict import StrictModel

TransferLayerType = Literal[
    "transfer_mobilenetv1_a1_d100",
    "transfer_mobilenetv1_a2_d100",
    "transfer_mobilenetv1_a25_d100",
    "transfer_mobilenetv2_a05",
    "transfer_mobilenetv2_a1",
    "transfer_mobilenetv2_a35",
    "transfer_mobilenetv2_160_a35",
    "transfer_mobilenetv2_160_a5",
    "transfer_mobilenetv2_160_a75",
    "transfer_mobilenetv2_160_a1",
]


class TransferLayer(StrictModel):
    """The one visual layer of a keras-transfer-image block."""

    type: TransferLayerType
    """Studio's name: V2 a35 is alpha 0.35, a1 is 0.1, a05 is 0.05; V2 160_a1 is 1.0, 160_a75 is 0.75."""
    neurons: int = Field(default=16, ge=0, le=4096)
    """Units of the dense layer before the classes; 0 for none."""
    dropout_ratio: float = Field(default=0.1, ge=0, lt=1)


class Conv2dLayer(StrictModel):
    """`stack` convolutions (ReLU, same padding), then max pooling."""

    type: Literal["conv2d"]
    filters: int = Field(ge=1, le=1024)
    kernel_size: int = Field(default=3, ge=1, le=11)
    stack: int = Field(default=1, ge=1, le=8)
    pool_size: int = Field(default=2, ge=1, le=8)
    """Window and stride of the max pooling; 1 for none."""


class DenseLayer(StrictModel):
    """A fully connected layer with ReLU."""

    type: Literal["dense"]
    neurons: int = Field(ge=1, le=4096)


class DropoutLayer(StrictModel):
    """Dropout."""

    type: Literal["dropout"]
    dropout_ratio: float = Field(ge=0, lt=1)


class FlattenLayer(StrictModel):
    """Map to vector."""

    type: Literal["flatten"]


class BatchNormalizationLayer(StrictModel):
    """Batch normalization."""

    type: Literal["batch_normalization"]


VisualLayer = Annotated[
    Conv2dLayer | DenseLayer | DropoutLayer | FlattenLayer | BatchNormalizationLayer,
    Field(discriminator="type"),
]


class TransferLearnBlock(StrictModel):
    """Studio's "Transfer Learning (Images)"."""

    type: Literal["keras-transfer-image"]
    visual_layer: TransferLayer
    weights: str = "pretrained"
    """`pretrained`: the registry's file for this network; `none`: random start, said everywhere; else a path
    to a Keras .h5 file (no-top, with-top or a whole model), relative to the project folder."""


class KerasLearnBlock(StrictModel):
    """Studio's "Classification" block on images: the visual editor's layers, in order."""

    type: Literal["keras"]
    visual_layers: tuple[VisualLayer, ...] = Field(min_length=1, strict=False)


LearnBlock = Annotated[TransferLearnBlock | KerasLearnBlock, Field(discriminator="type")]


class FineTuning(StrictModel):
    """What follows the first stage of transfer learning."""

    mode: Literal["studio", "base", "off"] = "studio"
    """studio: ten cycles in which only the last dense layer trains, as Studio's script does; base: the last
    layers of the base really train; off: no second stage."""
    cycles: int = Field(default=10, ge=1, le=1000)
    learning_rate: float = Field(default=0.000045, gt=0, le=1)
    layers_ratio: float = Field(default=0.65, gt=0, le=1)
    """Share of the base's layers, from its end, that train in mode `base`."""


class TrainingParameters(StrictModel):
    """One training. The defaults are Studio's."""

    learn_block: LearnBlock
    training_cycles: int = Field(default=20, ge=1, le=1000)
    learning_rate: float = Field(default=0.0005, gt=0, le=1)
    batch_size: int = Field(default=32, ge=1, le=4096)
    validation_ratio: float = Field(default=0.2, gt=0, lt=1)
    """Share of the training category that validates, where the source has no validation category."""
    validation_split: Literal["random", "group"] | None = None
    """random: Studio's own; group: no group on both sides. Unset: group where samples carry groups
    and the split is by group, else random."""
    augmentation: Literal["none", "all"] = "none"
    """all: Studio's flips, shifts and brightness, a fresh view of each image per cycle."""
    augmentation_views: int | None = Field(default=None, ge=1, le=1000)
    """With a number: so many views are made once and used in turn (faster, a little less varied)."""
    auto_class_weights: bool = False
    early_stop_cycles: int | None = Field(default=None, ge=1)
    """Stop a stage after so many cycles without a better validation loss; unset: run all cycles. The
    weights with the best validation loss are kept in either case."""
    fine_tuning: FineTuning = FineTuning()
    seed: int = Field(default=3, ge=0, le=2**31 - 1)
    """Studio's is 3."""
    threads: int | None = Field(default=None, ge=1, le=256)
    """TensorFlow threads; unset: the machine's cores. Recorded."""
