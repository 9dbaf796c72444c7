"""What runs inference on a board: Edge Impulse's AT firmware, or a script on an OpenMV camera."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from ei_automation.devices.at.console import DEFAULT_BAUD, AtConfig, AtConsole, AtInfo
from ei_automation.devices.choose import LOADER_MODES, board_at
from ei_automation.devices.openmv.debug import Camera, connect_camera, script_error, sensor_hint
from ei_automation.devices.openmv.results import ScriptResultParser
from ei_automation.devices.transport import Deadline, Port
from ei_automation.errors import DeviceError, NotFoundError, UsageError
from ei_automation.schema.board import BoardKind, ConsoleName, find_board, known_boards
from ei_automation.schema.inference_result import InferenceResult
from ei_automation.workflow.board_session import PluggedBoard, as_typed, loader_error
from ei_automation.workflow.camera_script import CameraScript, ScriptWish, camera_script, script_on
from ei_automation.workflow.project import Event

CONNECT_S = 15.0
"""A board that starts when its port is opened takes some seconds until it listens."""
PROBE_S = 5.0
"""For each of two guesses what a port speaks."""
ANSWER_S = 5.0
START_S = 15.0
"""From the command to the first words: camera and arena are made ready."""
POLL_S = 0.02
"""Cameras keep a few hundred characters of output: asked seldom, they lose some."""
CANNOT_RUN = "Failed to run impulse"
"""What Edge Impulse's firmware says where its network fails; a fresh simulated board's is not there at all."""
TAIL_LINES = 8
"""Of a script's last words, with an error."""
KEPT_CHARACTERS = 4000


class Running(Protocol):
    """A board that can run inference.

    Attributes:
        board: Its name, for people.
        firmware: What it says of itself.
        project: Name of the project that it says it is of; empty where it says none.
        can_be_cut: Whether a Ctrl-C may end a conversation with it at any byte.
    """

    board: str
    firmware: str
    project: str
    can_be_cut: bool

    def begin(self, *, continuous: bool, debug: bool) -> None:
        """Start inference.

        Raises:
            UsageError: It has no such mode, or there is nothing to start.
            DeviceError: It does not start.
        """

    def results(
        self, deadline: Deadline, patience_s: float, is_over: Callable[[], bool]
    ) -> Iterator[InferenceResult]:
        """What it says, until the deadline, or until it ends by itself.

        Args:
            deadline: When to end.
            patience_s: By when the next result must come.
            is_over: Asked every few milliseconds by what cannot be cut.

        Raises:
            DeviceError: No result came in time, or it reports an error.
        """

    def end(self, within_s: float) -> None:
        """Stop inference, if it runs.

        Args:
            within_s: By when it must have stopped.

        Raises:
            DeviceError: It goes on.
        """


class AtRunning:
    """Edge Impulse's firmware behind its AT commands.

    Args:
        console: Connected.
        config: What it says of itself.
        board: Its kind; None where that is not known.

    Attributes:
        console: The same.
        config: The same.
        board: Its name.
        firmware: In words.
        project: Of AT+INFO.
    """

    can_be_cut = True

    def __init__(self, console: AtConsole, config: AtConfig, board: BoardKind | None) -> None:
        self.console, self.config = console, config
        self.board = board.name if board else _name_of(config.device_type)
        info = _at_info(console)
        self.project = info.project_name if info else ""
        self.firmware = _at_words(config, info)

    def begin(self, *, continuous: bool, debug: bool) -> None:
        """See `Running`."""
        with _may_lack_model():
            self.console.start_inference(Deadline(START_S), continuous=continuous, debug=debug)

    def results(
        self, deadline: Deadline, patience_s: float, is_over: Callable[[], bool]
    ) -> Iterator[InferenceResult]:
        """See `Running`."""
        del is_over  # a Ctrl-C cuts it
        with _may_lack_model():
            yield from self.console.results(deadline, patience_s=patience_s)

    def end(self, within_s: float) -> None:
        """See `Running`."""
        self.console.stop(Deadline(within_s))


@contextmanager
def _may_lack_model() -> Iterator[None]:
    """Say of a network that fails that there may be none."""
    try:
        yield
    except DeviceError as error:
        if CANNOT_RUN in error.message:
            error.hint = (
                f"the firmware may hold no model: put one onto the board with `eiauto flash`; {error.hint}"
            )
        raise


def _name_of(device_type: str) -> str:
    """The board's name in the table; what the firmware calls it where it has none there."""
    try:
        return find_board(device_type).name
    except NotFoundError:
        return device_type


def _at_info(console: AtConsole) -> AtInfo | None:
    """Which project and build it runs; None where it does not say."""
    try:
        return console.info(Deadline(ANSWER_S))
    except DeviceError:  # of before 2024: it does not know the command; `connect` proved that it answers
        return None


def _at_words(config: AtConfig, info: AtInfo | None) -> str:
    """Type, project and build, as far as the firmware tells."""
    words = [config.device_type, f"AT {config.at_version}"]
    words += [f"project {info.project_name}"] if info and info.project_name else []
    words += [f"deploy version {info.deploy_version}"] if info and info.deploy_version else []
    return ", ".join(words)


class ScriptRunning:
    """A script on an OpenMV camera.

    Args:
        camera: Connected.
        plug: Where it is; its kind may be not known.
        scripts: Where the script comes from.
        tell: Gets notes.

    Attributes:
        board: Its name.
        firmware: In words.
        project: A camera says none.
    """

    can_be_cut = False  # half an answer would be read as the next one
    project = ""

    def __init__(
        self, camera: Camera, plug: PluggedBoard, scripts: ScriptWish, tell: Callable[[Event], None]
    ) -> None:
        self._camera, self._plug, self._scripts, self._tell = camera, plug, scripts, tell
        info = camera.info(Deadline(ANSWER_S))
        self._version = ".".join(map(str, info.firmware_version))
        self._kind = _kind(plug) or _board_of(info.arch, info.usb_id)
        self.board = self._kind.name if self._kind else "OpenMV camera"
        arch = f", {info.arch}" if info.arch else ""
        self.firmware = f"OpenMV firmware {self._version}{arch}"
        self._script, self._said = CameraScript("", ""), ""

    def begin(self, *, continuous: bool, debug: bool) -> None:
        """See `Running`."""
        if continuous or debug:
            raise UsageError(
                "--continuous and --debug are modes of Edge Impulse's AT firmware; a camera's script has none",
                hint="leave them out",
            )
        self._said = ""
        self._script = camera_script(
            self._scripts, self._kind, self._version, lambda: script_on(self._plug, self._tell)
        )
        self.firmware += f", {self._script.name}"
        self._camera.run_script(self._script.text, Deadline(START_S))

    def results(
        self, deadline: Deadline, patience_s: float, is_over: Callable[[], bool]
    ) -> Iterator[InferenceResult]:
        """See `Running`."""
        parser, silence, is_running = ScriptResultParser(self._script.labels), Deadline(patience_s), True
        count = 0
        while not deadline.passed and not is_over():
            found = parser.feed(self._output())
            if not found and not is_running:
                found = parser.end()
            for result in found:
                count, silence = count + 1, Deadline(patience_s)
                yield result
            if not found and not is_running:
                self._explain_end(count)
                return
            # Asked before the output is read once more: what was printed last is not lost.
            is_running = self._camera.is_running(Deadline(ANSWER_S))
            if silence.passed:
                raise self._late(silence, "--result-timeout")
            time.sleep(min(POLL_S, deadline.left_s))
        if not count and not is_over():
            raise self._late(deadline, "--seconds")

    def end(self, within_s: float) -> None:
        """See `Running`."""
        self._camera.stop_script(Deadline(within_s))

    def _output(self) -> str:
        text = self._camera.output(Deadline(ANSWER_S))
        self._said = (self._said + text)[-KEPT_CHARACTERS:]
        return text

    def _explain_end(self, count: int) -> None:
        """Say why a script ended; nothing where it gave results and simply was at its end.

        Raises:
            DeviceError: It failed, or gave nothing.
        """
        reason = script_error(self._said)
        if reason or not count:
            ended = f"ended with {reason}" if reason else "ended without a result"
            session = self._scripts.session
            project = as_typed(session.folder) if session else "PROJECT"
            raise self._error(f"the script {self._script.name} {ended}", _script_hint(reason, project))

    def _late(self, deadline: Deadline, option: str) -> DeviceError:
        """The error where the time of an option was too short."""
        return self._error(
            f"the script {self._script.name} gave no result within {deadline.seconds:g} s",
            f"it may print something else, or be slow: see its words above, or allow more with {option}",
        )

    def _error(self, message: str, hint: str) -> DeviceError:
        """An error with the script's last words."""
        error = DeviceError(f"{self._camera.port.name}: {message}", hint=hint)
        lines = self._said.replace("\r", "").splitlines()[-TAIL_LINES:]
        error.log_tail = tuple(ascii(line)[1:-1] for line in lines) or ("the script printed nothing",)
        return error


def _script_hint(reason: str, project: str) -> str:
    """What to do where a script failed."""
    if hint := sensor_hint(reason):
        return hint
    if "ENOENT" in reason or "is not there" in reason or "cannot be read" in reason:
        return f"the camera's drive lacks the model or the labels: `eiauto flash {project}` puts them there"
    if "Memory" in reason or "memory" in reason or "cannot be loaded" in reason:
        return "the network is too large for this camera: `eiauto footprint` says what would fit"
    if "no module named" in reason:
        return "the script is for other firmware: ml needs 4.5.6 or newer, tf an older one"
    return "correct the script, or run the deployment's own"


def _board_of(arch: str, usb_id: str) -> BoardKind | None:
    """Which camera says so of itself; None where no row of the table does."""
    named = [board for board in known_boards() if board.openmv_arch and arch.startswith(board.openmv_arch)]
    named = named or [board for board in known_boards() if usb_id and board.usb_as(usb_id) is not None]
    return named[0] if len(named) == 1 else None


# Which of the two


@contextmanager
def open_console(plug: PluggedBoard, scripts: ScriptWish, on_event: Callable[[Event], None]) -> Iterator[Running]:
    """Open what a board speaks; give its port back at the end.

    Args:
        plug: The board.
        scripts: For an OpenMV camera.
        on_event: Gets a note where it had to be found out by asking.

    Raises:
        UsageError: A script was named for a board that runs none.
        DeviceError: It is in its boot loader, does not answer, or speaks neither.
    """
    name = console_of(plug)
    if name is None:
        on_event(Event("note", f"what is plugged in at {plug.port.name} is not known; asking it"))
        name = _probe(plug)
    if name == "at":
        _refuse_script(scripts)
        with open_at(plug) as running:
            yield running
    else:
        with connect_camera(plug.host, plug.port, Deadline(CONNECT_S)) as camera:
            yield ScriptRunning(camera, plug, scripts, on_event)


def _refuse_script(scripts: ScriptWish) -> None:
    """Refuse what would have no effect on a board with Edge Impulse's firmware."""
    named = [name for name, path in (("--script", scripts.file), ("--from", scripts.given)) if path is not None]
    if named:
        raise UsageError(
            f"the board runs Edge Impulse's firmware, no script: {named[0]} has no effect",
            hint="leave it out; to put another firmware onto the board use `eiauto flash`",
        )


@contextmanager
def open_at(plug: PluggedBoard) -> Iterator[AtRunning]:
    """Open Edge Impulse's firmware; give its port back at the end.

    Raises:
        DeviceError: It does not answer.
    """
    with plug.host.open(plug.port, DEFAULT_BAUD) as port:
        kind = _kind(plug)
        console = _connected(port, kind, Deadline(CONNECT_S))
        yield AtRunning(console, console.config(Deadline(ANSWER_S)), kind)


def _connected(port: Port, kind: BoardKind | None, deadline: Deadline) -> AtConsole:
    console = AtConsole(port, max_baud=kind.at_baud if kind else DEFAULT_BAUD)
    console.connect(deadline)
    return console


def _kind(plug: PluggedBoard) -> BoardKind | None:
    """The board that was named, or the one that its USB id says for certain."""
    found = board_at(plug.port)
    return plug.board or (find_board(found.boards[0]) if found.is_certain else None)


def console_of(plug: PluggedBoard) -> ConsoleName | None:
    """What a port speaks, by its USB id and its board's kind; None where these do not tell.

    Raises:
        DeviceError: The board is in its boot loader.
        UsageError: The board says nothing that could be read.
    """
    found = board_at(plug.port)
    if found.mode in LOADER_MODES:
        raise loader_error(plug.port.name, found.words)
    if found.mode == "openmv":
        return "openmv"
    if found.mode in ("sketch", "bridge"):  # cameras have USB of their own, no bridge
        return "at"
    kind = _kind(plug)
    if kind is not None and not kind.consoles:
        raise UsageError(f"{kind.name} says nothing that eiauto can read", hint="see `eiauto boards`")
    return kind.consoles[0] if kind is not None and len(kind.consoles) == 1 else None


def _probe(plug: PluggedBoard) -> ConsoleName:
    """Ask at the port: AT firmware, then OpenMV.

    Raises:
        DeviceError: Neither answers.
    """
    try:
        with plug.host.open(plug.port, DEFAULT_BAUD) as port:
            _connected(port, None, Deadline(PROBE_S))
            return "at"
    except DeviceError as error:
        first = error
    try:
        connect_camera(plug.host, plug.port, Deadline(PROBE_S)).close()
    except DeviceError as second:
        raise _neither(plug, first, second) from second
    return "openmv"


def _neither(plug: PluggedBoard, first: DeviceError, second: DeviceError) -> DeviceError:
    """The error where neither firmware answers."""
    error = DeviceError(
        f"{plug.port.name}: no firmware that eiauto knows answers: {first.message}; {second.message}",
        hint="name the board with --board, look at `eiauto boards`, press the board's reset button",
    )
    error.log_tail = first.log_tail or second.log_tail
    return error
