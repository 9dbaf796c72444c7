"""The one entry: a request in, two .tflite files and the curves out. Imports TensorFlow when it is called."""

from __future__ import annotations

from ei_automation.errors import SettingsError
from ei_automation.trainer.request import (
    TRAINER_VERSION,
    OnEvent,
    PixelSource,
    ResolvedWeights,
    ShouldStop,
    TrainingEvent,
    TrainingRequest,
    TrainingResult,
)


def train(request: TrainingRequest, *, on_event: OnEvent, should_stop: ShouldStop) -> TrainingResult:
    """Train as Studio does, and convert.

    The same request gives the same bytes on the same machine with the same versions, whether or not it was
    interrupted on the way: an interrupted training continues after its last whole cycle.

    Args:
        request: What is wanted.
        on_event: Gets log lines in Studio's manner and the progress of features, training and conversion.
        should_stop: Asked every few batches.

    Raises:
        SettingsError: TensorFlow is not installed.
        UsageError: The network cannot be built, or the weights do not fit it.
        StorageError: A cache or checkpoint cannot be written.
        JobFailedError: The training diverged.
        InterruptedRunError: `should_stop` said so.
    """
    try:
        from ei_automation.trainer.run import run
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("tensorflow", "keras", "h5py"):
            raise
        raise SettingsError(
            f"training needs {error.name}, which is not installed", hint="pip install 'eiauto[train]'"
        ) from error
    return run(request, on_event=on_event, should_stop=should_stop)


__all__ = [
    "TRAINER_VERSION",
    "OnEvent",
    "PixelSource",
    "ResolvedWeights",
    "ShouldStop",
    "TrainingEvent",
    "TrainingRequest",
    "TrainingResult",
    "train",
]
