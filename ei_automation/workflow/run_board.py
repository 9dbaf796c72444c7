"""`eiauto run`: start inference on a board, hand on what it says, and stop it again whatever happens."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Literal, Protocol

from ei_automation.devices.transport import Deadline
from ei_automation.errors import DeviceError
from ei_automation.schema.inference_result import InferenceResult
from ei_automation.workflow.board_session import PluggedBoard
from ei_automation.workflow.camera_script import ScriptWish
from ei_automation.workflow.consoles import Running, open_console
from ei_automation.workflow.project import Event

RESULT_TIMEOUT_S = 30.0
"""The firmware waits 2 s before each image, and the slowest networks take some seconds more."""
STOP_S = 20.0
"""A turn of a slow network is waited for."""
STOP_AFTER_ERROR_S = 5.0
"""A board that is in trouble may not answer at all."""
RATE_RESULTS = 20
"""The rate is that of the last so many results."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, `kill`, and a terminal that was closed."""
Ended = Literal["count", "seconds", "script", "interrupted"]


@dataclass(frozen=True)
class RunRequest:
    """How to run.

    Attributes:
        continuous: AT firmware: without pauses.
        debug: AT firmware: its debug mode.
        count: End after so many results; None for no end.
        seconds: End after so many seconds; None for no end.
        result_timeout_s: How long the board may say nothing that is a result.
        stop_timeout_s: By when it must have stopped at the end.
        scripts: OpenMV: where the script comes from.
    """

    continuous: bool = False
    debug: bool = False
    count: int | None = None
    seconds: float | None = None
    result_timeout_s: float = RESULT_TIMEOUT_S
    stop_timeout_s: float = STOP_S
    scripts: ScriptWish = field(default_factory=ScriptWish)


@dataclass(frozen=True)
class RunFacts:
    """What runs.

    Attributes:
        board: For people.
        port: Path or URL.
        firmware: What it says of itself; empty where it says nothing.
    """

    board: str
    port: str
    firmware: str


@dataclass
class Tally:
    """Numbers over all results.

    Attributes:
        results: How many came.
        tops: How often each label was the highest.
        ended: Why it is over; empty while it runs.
    """

    results: int = 0
    tops: Counter[str] = field(default_factory=Counter)
    ended: Ended | Literal[""] = ""
    _started: float = field(default_factory=time.monotonic)
    _stopped: float | None = None
    _latency_us: float = 0.0
    _timed: int = 0
    _moments: deque[float] = field(default_factory=lambda: deque(maxlen=RATE_RESULTS))

    @property
    def seconds(self) -> float:
        """Since inference was started; stands still when it is over."""
        return (self._stopped or time.monotonic()) - self._started

    @property
    def rate_hz(self) -> float | None:
        """Results a second, over the last ones; None before the second."""
        if len(self._moments) < 2 or self._moments[-1] == self._moments[0]:
            return None
        return (len(self._moments) - 1) / (self._moments[-1] - self._moments[0])

    @property
    def mean_latency_us(self) -> float | None:
        """Mean of what the board says an image took; None where it does not say."""
        return self._latency_us / self._timed if self._timed else None

    def add(self, result: InferenceResult) -> None:
        """Count one more."""
        self.results += 1
        self._moments.append(time.monotonic())
        if result.top is not None:
            self.tops[result.top[0]] += 1
        self.tops.update({box.label for box in result.boxes or ()})
        took = result.timing.total_us
        if took is not None:
            self._latency_us += took
            self._timed += 1

    def end(self, why: Ended) -> None:
        """It is over."""
        self.ended, self._stopped = why, time.monotonic()


class Watcher(Protocol):
    """Who is told while it runs."""

    def start(self, facts: RunFacts, tally: Tally) -> None:
        """Inference begins."""

    def result(self, result: InferenceResult, tally: Tally) -> None:
        """The board said something; it is counted already."""


def run_board(
    plug: PluggedBoard, request: RunRequest, watcher: Watcher, *, on_event: Callable[[Event], None]
) -> Tally:
    """Run inference until the count, the time or the user ends it; the board is stopped in every case.

    Args:
        plug: The board.
        request: How.
        watcher: Gets the results.
        on_event: Gets notes.

    Raises:
        UsageError: There is no script for an OpenMV camera, or it is for other firmware.
        DeviceError: The board does not answer, gives no result in time, or does not stop.
    """
    with open_console(plug, request.scripts, on_event) as running, _interrupts() as interrupts:
        try:
            interrupts.may_cut = running.can_be_cut
            running.begin(continuous=request.continuous, debug=request.debug)
            tally = Tally()
            watcher.start(RunFacts(running.board, plug.port.name, running.firmware), tally)
            tally.end(_watch(running, request, watcher, tally, interrupts))
            interrupts.may_cut = False
        except BaseException:
            interrupts.may_cut = False
            _stop_after_error(running, on_event)
            raise
        _stop(running, request.stop_timeout_s, on_event)
    return tally


def _watch(
    running: Running, request: RunRequest, watcher: Watcher, tally: Tally, interrupts: _Interrupts
) -> Ended:
    """Hand on results until something ends it; why it ended.

    Raises:
        DeviceError: No result came in time.
    """
    whole = Deadline(math.inf if request.seconds is None else request.seconds)
    with suppress(KeyboardInterrupt):
        for result in running.results(whole, request.result_timeout_s, lambda: interrupts.asked):
            tally.add(result)
            watcher.result(result, tally)
            if tally.results == request.count:
                return "count"
    if interrupts.asked:
        return "interrupted"
    return "seconds" if whole.passed else "script"


def _stop_after_error(running: Running, on_event: Callable[[Event], None]) -> None:
    """Stop the board without hiding why."""
    try:
        _stop(running, STOP_AFTER_ERROR_S, on_event)
    except DeviceError as error:
        on_event(Event("note", f"the board may still be running: {error}"))


def _stop(running: Running, within_s: float, on_event: Callable[[Event], None]) -> None:
    """Stop the board; whoever does not wait for that is told what it means.

    Raises:
        DeviceError: It goes on.
    """
    try:
        running.end(within_s)
    except KeyboardInterrupt:
        on_event(Event("note", "the board may still be running: you did not wait until it had stopped; reset it"))
        raise


@dataclass
class _Interrupts:
    """What Ctrl-C does now.

    Attributes:
        asked: Whether the user, or the system, wants it to end.
        may_cut: Whether it may end a conversation with the board at any byte.
    """

    asked: bool = False
    may_cut: bool = False

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """The first one lets the board be stopped in order; the second one ends at once."""
        is_second, self.asked = self.asked, True
        if is_second or self.may_cut:
            raise KeyboardInterrupt


@contextmanager
def _interrupts() -> Iterator[_Interrupts]:
    """Handle signals in order until the block ends."""
    interrupts = _Interrupts()
    if threading.current_thread() is not threading.main_thread():  # only there are signals handled
        yield interrupts
        return
    before = {number: signal.signal(number, interrupts.on_signal) for number in SIGNALS}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
