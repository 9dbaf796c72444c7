"""The EON Tuner: what is searched, and what each trial was and gave."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from ei_automation.schema.impulse import Channels, ResizeMode
from ei_automation.schema.strict import StrictModel
from ei_automation.schema.training import TransferLayerType

TrialStatus = Literal["pending", "running", "completed", "failed"]
Compiler = Literal["tflite", "tflite-eon", "tflite-eon-ram-optimized"]


class TargetDevice(StrictModel):
    """What a trial must fit."""

    name: str = "cortex-m7-216mhz"
    """Studio's name of a latency device, e.g. cortex-m4f-80mhz, sony-spresense, arduino-nicla-vision."""
    ram_bytes: int | None = Field(default=None, ge=1)
    rom_bytes: int | None = Field(default=None, ge=1)


class TunerObjective(StrictModel):
    """One thing that is optimized."""

    objective: str
    """Studio's name, e.g. test_accuracy, device_latency, device_ram."""
    label: str
    weight: float = Field(default=1.0, allow_inf_nan=False)


class TunerSpace(StrictModel):
    """Alternatives: every list is one dimension of the search."""

    image_sizes: tuple[Annotated[tuple[int, int], Strict(False)], ...] = Field(default=((96, 96),), strict=False)
    """(width, height), pixels."""
    resize_modes: tuple[ResizeMode, ...] = Field(default=("squash",), strict=False)
    channels: tuple[Channels, ...] = Field(default=("RGB",), strict=False)
    learn_block: Literal["keras-transfer-image", "keras"] = "keras-transfer-image"
    visual_layers: tuple[TransferLayerType, ...] = Field(default=("transfer_mobilenetv2_a35",), strict=False)
    """Of a keras-transfer-image block."""
    neurons: tuple[int, ...] = Field(default=(16,), strict=False)
    dropout_ratios: tuple[float, ...] = Field(default=(0.1,), strict=False)
    conv2d_filters: tuple[Annotated[tuple[int, ...], Strict(False)], ...] = Field(default=((16, 8),), strict=False)
    """Of a keras block: filters of each convolution in order."""
    learning_rates: tuple[float, ...] = Field(default=(0.0005,), strict=False)
    training_cycles: tuple[int, ...] = Field(default=(20,), strict=False)
    batch_sizes: tuple[int, ...] = Field(default=(32,), strict=False)
    augmentations: tuple[Literal["none", "all"], ...] = Field(default=("none",), strict=False)


class TunerConfig(StrictModel):
    """`[tuner]`: one run of the EON Tuner."""

    name: str = ""
    """Of the run; empty for the backend's own numbering."""
    target_device: TargetDevice = TargetDevice()
    target_latency_ms: int = Field(default=100, ge=1)
    max_trials: int = Field(default=30, ge=1, le=1000)
    workers: int = Field(default=3, ge=1, le=100)
    training_cycles: int | None = Field(default=None, ge=1, le=1000)
    """Most training cycles of a trial; unset: as the space says."""
    algorithm: Literal["random", "hyperband", "bayesian"] = "random"
    precision: Literal["float32", "int8"] = "int8"
    """Model variant whose numbers count."""
    compilers: tuple[Compiler, ...] = Field(default=("tflite-eon",), strict=False)
    objectives: tuple[TunerObjective, ...] = Field(default=(), strict=False)
    early_stopping: bool = False
    max_total_training_time_s: int | None = Field(default=None, ge=1)
    template: Literal["visual"] | None = None
    """Studio's own search space instead of `space`."""
    space: tuple[TunerSpace, ...] = Field(default=(), strict=False)


class TrialMetrics(StrictModel):
    """What a trial's model variant gave; None where the backend does not tell."""

    variant: Literal["float32", "int8"]
    category: Literal["validation", "testing"]
    accuracy: float | None = None
    """Ratio 0..1."""
    loss: float | None = None


class TrialFootprint(StrictModel):
    """What a trial needs on the target device, as the backend estimates it; None where it does not tell."""

    variant: Literal["float32", "int8"]
    engine: str
    """tflite or tflite-eon."""
    ram_bytes: int | None = None
    rom_bytes: int | None = None
    latency_ms: float | None = None


class Trial(StrictModel):
    """One trial."""

    trial_id: str
    name: str
    status: TrialStatus
    parameters: dict[str, Any]
    """Everything that was chosen for it, as the backend says it: input, DSP and learn blocks."""
    metrics: tuple[TrialMetrics, ...] = Field(default=(), strict=False)
    footprints: tuple[TrialFootprint, ...] = Field(default=(), strict=False)
    impulse_id: int | None = None
    """The impulse that it became, once it was made primary."""


class TunerRun(StrictModel):
    """One run with its trials, as it is recorded."""

    run_id: str
    """UTC time and the job's number."""
    backend: str
    job_id: int
    created: str
    """UTC, ISO 8601."""
    config: dict[str, Any]
    trials: tuple[Trial, ...] = Field(default=(), strict=False)
