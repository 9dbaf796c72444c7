"""Knows whether a flashing has begun to write, so that a stopped one is recorded and explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from ei_automation.devices.flasher import Job
from ei_automation.errors import InterruptedRunError

UNTOUCHED = (
    "the board still has its old firmware; where it waits in its boot loader, its reset button starts that, "
    "or run the same command again"
)
UNKNOWN = "what the board holds is not known, its boot loader is untouched; run the same command again"


class FlashWatch:
    """Watches one flashing.

    Args:
        job: What is flashed.
        on_write: Called once, before the board is known to be as it was no longer.

    Attributes:
        job: The same, for the flasher.
        begun: Whether that has come.
    """

    def __init__(self, job: Job, on_write: Callable[[], None]) -> None:
        self._job, self._on_write = job, on_write
        self.begun = False
        self.job = replace(job, on_step=self._step, on_progress=self._progress)

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Say in what state a board is that a flasher was stopped at, where the flasher does not say it itself.

        Raises:
            InterruptedRunError: Ctrl-C.
        """
        try:
            yield
        except KeyboardInterrupt as stop:
            if self.begun:
                raise InterruptedRunError("stopped while flashing", hint=UNKNOWN) from stop
            raise InterruptedRunError("stopped before anything was written", hint=UNTOUCHED) from stop

    def _begin(self) -> None:
        if not self.begun:
            self.begun = True
            self._on_write()

    def _step(self, text: str) -> None:
        # A library's flasher first says that it writes, and how far it is after each file; those of images say
        # how far they are from the first page or packet on.
        if self._job.firmware.kind == "openmv-library":
            self._begin()
        self._job.on_step(text)

    def _progress(self, text: str, done: int, total: int) -> None:
        self._begin()
        self._job.on_progress(text, done, total)
