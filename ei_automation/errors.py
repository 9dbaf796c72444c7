"""The exception tree. Every error that a user can cause or meet is one of these; anything else is our bug.

```
EiautoError                     exit code
├── UsageError                  2    a wrong call
│   └── ManifestError           2    a wrong project.toml: file, line, key
├── SettingsError               3    settings, credentials, a missing extra
│   ├── StorageError            3    a place that cannot be written (read-only, full)
│   └── ProjectBusyError        3    another run holds the project
├── NotFoundError               4    project, data set, weights, run, model: not there
├── NetworkError                5    a server or the way to it failed
├── DatasetError                6    the samples cannot be used
├── JobFailedError              7    a job of the backend failed
├── VerificationError           8    a hash, a number or a state is not what the record says
├── DeviceError                 9    a board: not there, silent, unplugged, or it refused
├── DoesNotFitError             10   a model takes more memory than a board has
└── InterruptedRunError         130  Ctrl-C
```
Exit code 1 is our own bug, with a traceback.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class EiautoError(Exception):
    """Root of the tree.

    Args:
        message: What happened and where, one sentence without a final full stop.
        hint: What to do next.

    Attributes:
        log_tail: The last lines of what was heard of it; shown above the error.
    """

    exit_code: ClassVar[int] = 1
    log_tail: tuple[str, ...] = ()

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(EiautoError):
    """The call itself is wrong."""

    exit_code = 2


class ManifestError(UsageError):
    """A project.toml that cannot be used.

    Args:
        message: What is wrong and what was expected.
        path: The manifest.
        line: Line in it, from 1; None when the line is not known.
        key: Dotted key, e.g. `training.learn_block.learning_rate`.
        hint: What to do next.
    """

    def __init__(
        self,
        message: str,
        *,
        path: Path | None = None,
        line: int | None = None,
        key: str = "",
        hint: str = "",
    ) -> None:
        where = f"{path}:{line}: " if path and line else f"{path}: " if path else ""
        super().__init__(f"{where}{key + ': ' if key else ''}{message}", hint=hint)
        self.problem, self.path, self.line, self.key = message, path, line, key


class SettingsError(EiautoError):
    """Settings, credentials or an extra that is not installed."""

    exit_code = 3


class StorageError(SettingsError):
    """A place cannot be written: read-only, full, or not permitted."""

    @classmethod
    def while_doing(cls, doing: str, path: Path, reason: str) -> StorageError:
        """Say what was being written and why the system refused.

        Args:
            doing: The work that it belonged to, e.g. "writing the image cache".
            path: What was being written.
            reason: The system's words.
        """
        return cls(
            f"{doing} failed at {path}: {reason}",
            hint="free space or make the folder writable, then run the same command again; it continues",
        )


class ProjectBusyError(SettingsError):
    """Another run works in the same project."""


class NotFoundError(EiautoError):
    """A project, data set, weight file, run or model is not there."""

    exit_code = 4


class NetworkError(EiautoError):
    """A server, or the way to it, failed."""

    exit_code = 5


class DatasetError(EiautoError):
    """The samples cannot be used: none, one class only, a corrupt or hostile archive."""

    exit_code = 6


class JobFailedError(EiautoError):
    """A job of the backend failed.

    Args:
        message: Which job and why.
        log_tail: The last lines of its log.
        hint: What to do next.
    """

    exit_code = 7

    def __init__(self, message: str, *, log_tail: tuple[str, ...] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.log_tail = log_tail


class VerificationError(EiautoError):
    """A hash, a number or a state is not what the record says."""

    exit_code = 8


class DeviceError(EiautoError):
    """A board is not there, does not answer in time, was unplugged, or refused.

    Args:
        message: Which, and what it was asked for.
        seen: The last bytes that came from it.
        hint: What to try next; after an interrupted write also the state that the board is left in.
    """

    exit_code = 9

    def __init__(self, message: str, *, seen: bytes = b"", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        if seen:
            self.log_tail = (f"the last {len(seen)} bytes from the board: {ascii(seen)[2:-1]}",)


class DoesNotFitError(EiautoError):
    """A model takes more memory than a board has."""

    exit_code = 10


class InterruptedRunError(EiautoError):
    """The user stopped the run."""

    exit_code = 130
