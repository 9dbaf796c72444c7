"""`eiauto run`: start inference on a board, hand on what it says, and stop it again whatever happens."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Literal, Protocol

from ei_automation.deployment.contents import BACKGROUND
from ei_automation.devices.host import SIMULATED
from ei_automation.devices.transport import Deadline
from ei_automation.errors import DeviceError
from ei_automation.schema.inference_result import InferenceResult
from ei_automation.workflow.board_session import PluggedBoard, as_typed
from ei_automation.workflow.camera_script import ScriptWish
from ei_automation.workflow.consoles import Running, open_console
from ei_automation.workflow.project import Event, Session
from ei_automation.workflow.prove import same_name

RESULT_TIMEOUT_S = 30.0
"""The firmware waits 2 s before each image, and the slowest networks take some seconds more."""
STOP_S = 20.0
"""A turn of a slow network is waited for."""
STOP_WORD_S = 2.0
"""After so long the user is told what is waited for."""
STOP_AFTER_ERROR_S = 5.0
"""A board that is in trouble may not answer at all."""
SHOWN_LABELS = 10
"""Of a note on labels."""
RATE_RESULTS = 20
"""The rate is that of the last so many results."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C, `kill`, and a terminal that was closed."""
Ended = Literal["count", "seconds", "script", "stopped", "interrupted"]
"""stopped: by Ctrl-C. interrupted: by another signal."""


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
        stop_word_s: When to say that this is waited for.
        scripts: OpenMV: where the script comes from; and the project, for a note where the board runs another.
    """

    continuous: bool = False
    debug: bool = False
    count: int | None = None
    seconds: float | None = None
    result_timeout_s: float = RESULT_TIMEOUT_S
    stop_timeout_s: float = STOP_S
    stop_word_s: float = STOP_WORD_S
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

    @property
    def is_simulated(self) -> bool:
        """Whether it is no real board, so that its times are this machine's."""
        return self.port.startswith(SIMULATED)


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
    session = request.scripts.session
    labels = _labels_of(session) if session else ()
    with open_console(plug, request.scripts, on_event) as running, _interrupts() as interrupts:
        try:
            interrupts.may_cut = running.can_be_cut
            running.begin(continuous=request.continuous, debug=request.debug)
            tally = Tally()
            watcher.start(RunFacts(running.board, plug.port.name, running.firmware), tally)
            compared = _Compared(watcher, session, labels, running.project, on_event) if session else watcher
            tally.end(_watch(running, request, compared, tally, interrupts))
            interrupts.may_cut = False
        except BaseException:
            interrupts.may_cut = False
            _stop_after_error(running, request, on_event)
            raise
        _stop(running, request.stop_timeout_s, request, on_event)
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
        return "stopped" if interrupts.number == signal.SIGINT else "interrupted"
    return "seconds" if whole.passed else "script"


def _labels_of(session: Session) -> tuple[str, ...]:
    """The project's labels; empty before its first sync."""
    dataset = session.read_lock().dataset
    return tuple(dataset.labels) if dataset else ()


class _Compared:
    """A watcher before which the first result is compared with the project that should run.

    Args:
        watcher: The real one.
        session: The project.
        labels: Its labels; empty where they are not known.
        name: Of the project that the firmware says it is of; empty where it says none.
        tell: Gets a note where the board runs something else.
    """

    def __init__(
        self,
        watcher: Watcher,
        session: Session,
        labels: tuple[str, ...],
        name: str,
        tell: Callable[[Event], None],
    ) -> None:
        self._watcher, self._session, self._labels, self._name = watcher, session, labels, name
        self._tell, self._is_compared = tell, False

    def start(self, facts: RunFacts, tally: Tally) -> None:
        """See `Watcher`."""
        self._watcher.start(facts, tally)

    def result(self, result: InferenceResult, tally: Tally) -> None:
        """See `Watcher`."""
        found = set(result.classification) or {box.label for box in result.boxes or ()}
        if found and not self._is_compared:
            self._is_compared = True
            self._compare(found, is_whole=bool(result.classification))
        self._watcher.result(result, tally)

    def _compare(self, found: set[str], *, is_whole: bool) -> None:
        """Tell where labels or name are not the project's.

        Args:
            found: Labels of the result.
            is_whole: Whether these are all that the network has; of objects only those that are seen.
        """
        ours = {label.strip() for label in self._labels}
        others = {label.strip() for label in found} - {BACKGROUND} - ours
        name = self._session.manifest.name
        has_others = bool(ours and (others or (is_whole and len(found) < len(ours))))
        words = []
        if has_others:
            words.append(f"the board's labels are {_listed(found)}, the project's {_listed(self._labels)}")
        if self._name and not same_name(name, self._name):
            words.append(f"the board's firmware says that it is of project {self._name}, this one is {name}")
        if words:
            runs = "runs" if has_others else "may run"
            path = as_typed(self._session.folder)
            text = f"{'; '.join(words)}: it {runs} something else; flash it with `eiauto flash {path}`"
            self._tell(Event("note", text))


def _listed(labels: Iterable[str]) -> str:
    """Some labels, in words."""
    ordered = sorted(labels)
    more = [f"{len(ordered) - SHOWN_LABELS} more"] if len(ordered) > SHOWN_LABELS else []
    return ", ".join([*ordered[:SHOWN_LABELS], *more])


def _stop_after_error(running: Running, request: RunRequest, on_event: Callable[[Event], None]) -> None:
    """Stop the board without hiding why."""
    try:
        _stop(running, STOP_AFTER_ERROR_S, request, on_event)
    except DeviceError as error:
        on_event(Event("note", f"the board may still be running: {error}"))


def _stop(running: Running, within_s: float, request: RunRequest, on_event: Callable[[Event], None]) -> None:
    """Stop the board; who waits is told for what, and who does not is told what that means.

    Raises:
        DeviceError: It goes on.
    """
    words = f"stopping the board; it may take up to {within_s:g} s, a turn of a slow network is waited for"
    teller = threading.Timer(request.stop_word_s, on_event, [Event("note", words)])
    teller.daemon = True
    teller.start()
    try:
        running.end(within_s)
    except KeyboardInterrupt:
        on_event(Event("note", "the board may still be running: you did not wait until it had stopped; reset it"))
        raise
    finally:
        teller.cancel()


@dataclass
class _Interrupts:
    """What Ctrl-C does now.

    Attributes:
        asked: Whether the user, or the system, wants it to end.
        number: By which signal, the first one; 0 for none.
        may_cut: Whether it may end a conversation with the board at any byte.
    """

    asked: bool = False
    number: int = 0
    may_cut: bool = False

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """The first one lets the board be stopped in order; the second one ends at once."""
        is_second, self.asked, self.number = self.asked, True, self.number or number
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
