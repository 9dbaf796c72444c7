"""The training loop: cycles over batches, best validation loss kept, a checkpoint after every cycle."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ei_automation.errors import JobFailedError
from ei_automation.schema.metrics import TrainingCurves
from ei_automation.trainer.architectures.network import Forward
from ei_automation.trainer.checkpoint import Checkpoint, Progress, assign, values_of
from ei_automation.trainer.features import stop_if
from ei_automation.trainer.order import shuffled_order
from ei_automation.trainer.request import Floats, OnEvent, ShouldStop, TrainingEvent
from ei_automation.trainer.rows import RowSource
from ei_automation.trainer.step import Stepper


@dataclass(frozen=True)
class Stage:
    """A run of cycles with one optimizer.

    Attributes:
        title: Log line that announces it.
        cycles: How many at most.
        learning_rate: Of Adam.
        training: What trains.
        validation: What validates.
        forward: From one of their rows to class scores.
        variables: Keras variables that train.
    """

    title: str
    cycles: int
    learning_rate: float
    training: RowSource
    validation: RowSource
    forward: Forward
    variables: Sequence[Any]


@dataclass(frozen=True)
class Targets:
    """What is to be learned.

    Attributes:
        training: float32, (n, classes), one-hot.
        weights: float32, (n,), of each training sample in the loss.
        validation: float32, (m, classes), one-hot.
    """

    training: Floats
    weights: Floats
    validation: Floats


@dataclass(frozen=True)
class Habits:
    """What all stages share.

    Attributes:
        seed: Of the order.
        batch_size: Samples a step.
        early_stop_cycles: Cycles without a better validation loss that end a stage; None for never.
        total_cycles: Of all stages, for the progress.
    """

    seed: int
    batch_size: int
    early_stop_cycles: int | None
    total_cycles: int


class Fit:
    """Runs stages over the variables of some models; ends with the best weights in place.

    Args:
        models: Keras models whose variables the state is made of.
        targets: Of all stages.
        habits: Of all stages.
        checkpoint: Where the state is kept.
        on_event: Gets log lines and progress.
        should_stop: Asked between calls of a few batches.
    """

    def __init__(
        self,
        models: Sequence[Any],
        targets: Targets,
        *,
        habits: Habits,
        checkpoint: Checkpoint,
        on_event: OnEvent,
        should_stop: ShouldStop,
    ) -> None:
        self._variables = [variable for model in models for variable in model.variables]
        self._targets, self._habits, self._checkpoint = targets, habits, checkpoint
        self._on_event, self._should_stop = on_event, should_stop
        self._progress = Progress()

    def run(self, plan: Sequence[Callable[[], Stage]]) -> TrainingCurves:
        """Run the stages; each is built when the one before it has ended in its best weights.

        Raises:
            JobFailedError: No cycle gave a finite validation loss.
            InterruptedRunError: `should_stop` said so; the next run continues after the last whole cycle.
        """
        self._restore()
        while self._progress.stage < len(plan):
            self._run_stage(plan[self._progress.stage]())
            self._next_stage()
        return TrainingCurves(**vars(self._progress.curves))

    def _restore(self) -> None:
        """Continue where a killed run ended."""
        if self._checkpoint.damaged():
            self._log(f"The checkpoint {self._checkpoint.path.name} is damaged; training starts again.")
        saved = self._checkpoint.load()
        if saved is None:
            return
        self._progress = saved
        assign(self._variables, saved.variables)
        self._log(f"Continuing after cycle {len(saved.curves.loss)} of a run that was stopped.")

    def _run_stage(self, stage: Stage) -> None:
        progress = self._progress
        stepper = Stepper(
            stage.forward,
            stage.variables,
            learning_rate=stage.learning_rate,
            row_shape=stage.training.row_shape,
            classes=self._targets.training.shape[1],
            batch_size=self._habits.batch_size,
        )
        if progress.cycle == 0:
            progress.curves.stage_starts.append(len(progress.curves.loss))
            self._log(stage.title)
        else:
            assign(stepper.optimizer.variables, progress.optimizer)
        while progress.cycle < stage.cycles and not self._stalled():
            self._run_cycle(stage, stepper)

    def _run_cycle(self, stage: Stage, stepper: Stepper) -> None:
        """One cycle, its log line, its checkpoint."""
        progress, curves = self._progress, self._progress.curves
        number = len(curves.loss)
        loss, accuracy = self._train(stage, stepper, number)
        validation_loss, validation_accuracy = self._validate(stage, stepper, number)
        curves.loss.append(loss)
        curves.accuracy.append(accuracy)
        curves.validation_loss.append(validation_loss)
        curves.validation_accuracy.append(validation_accuracy)
        progress.cycle += 1
        progress.variables = values_of(self._variables)
        progress.optimizer = values_of(stepper.optimizer.variables)
        if self._is_best(validation_loss):
            curves.best_cycle, progress.best = number, progress.variables
        self._checkpoint.save(progress)
        self._log(
            f"Epoch {progress.cycle}/{stage.cycles} - loss: {loss:.4f} - accuracy: {accuracy:.4f}"
            f" - val_loss: {validation_loss:.4f} - val_accuracy: {validation_accuracy:.4f}"
        )
        self._on_event(
            TrainingEvent("progress", step="training", done=number + 1, total=self._habits.total_cycles)
        )

    def _is_best(self, validation_loss: float) -> bool:
        curves = self._progress.curves
        if curves.best_cycle < 0:
            return math.isfinite(validation_loss)
        return validation_loss < curves.validation_loss[curves.best_cycle]

    def _stalled(self) -> bool:
        """Whether this stage has gone on for too long without a better validation loss."""
        curves, patience = self._progress.curves, self._habits.early_stop_cycles
        if patience is None:
            return False
        since = max(curves.best_cycle + 1, curves.stage_starts[-1])
        return len(curves.loss) - since >= patience

    def _train(self, stage: Stage, stepper: Stepper, number: int) -> tuple[float, float]:
        habits, count = self._habits, stage.training.count
        order = shuffled_order(count, habits.batch_size, (habits.seed, number))
        sums = np.zeros(2)
        for places in _calls(order, stepper.call_rows):
            inputs = stage.training.read(places, number)
            sums += stepper.train(inputs, self._targets.training[places], self._targets.weights[places])
            stop_if(self._should_stop)
        return float(sums[0] / count), float(sums[1] / count)

    def _validate(self, stage: Stage, stepper: Stepper, number: int) -> tuple[float, float]:
        count = stage.validation.count
        sums = np.zeros(2)
        for places in _calls(np.arange(count), stepper.call_rows):
            sums += stepper.evaluate(stage.validation.read(places, number), self._targets.validation[places])
            stop_if(self._should_stop)
        return float(sums[0] / count), float(sums[1] / count)

    def _next_stage(self) -> None:
        """Go on from the best weights, as Studio loads its best model before it fine-tunes."""
        progress = self._progress
        if progress.curves.best_cycle < 0:
            raise JobFailedError(
                "training gave no finite validation loss in any cycle",
                hint="lower training.learning_rate, or look at the samples",
            )
        assign(self._variables, progress.best)
        progress.stage, progress.cycle = progress.stage + 1, 0
        progress.variables, progress.optimizer = progress.best, []
        self._checkpoint.save(progress)

    def _log(self, text: str) -> None:
        self._on_event(TrainingEvent("log", text))


def _calls(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Cut an order into the rows of each call."""
    return [order[start : start + size] for start in range(0, len(order), size)]
