"""The official Kaggle client, in a process of its own: `python -P kaggle_process.py`.

A process, because the client signs in, prints and makes folders when it is imported, reads the environment
only then, may call `exit`, and waits for a silent server without end: all of that ends with the process.

Input: one line of JSON on stdin (`task`: version or download; `dataset`: owner/name or owner/name/N;
`folder`). Output: lines of JSON on stdout, each with an `event`: version, size, done, failed. What the
client prints goes to stderr. Nothing of `ei_automation` is imported here.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any, TextIO

READ_TIMEOUT_S = 60
"""Longest silence of the server when a download is continued."""
CHUNK_BYTES = 1 << 16
"""What a dropped connection loses at most; the client's own 1 MiB would lose all of a small archive."""


def main() -> None:
    """Do the task of stdin's first line, and report."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the client prints on stdout; keep that for the events
    task = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _run(task, events)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the parent decides what each failure means
        _report(events, event="failed", **_describe(error))


def _end_with_parent() -> None:
    """End this process when the parent is gone, so that no two ever write one download."""
    while os.read(0, 1):  # not through sys.stdin, whose lock would block the interpreter's own end
        pass
    os._exit(1)


def _run(task: dict[str, str], events: TextIO) -> None:
    """Ask for the newest version, or download."""
    import kaggle
    from kaggle.api.kaggle_api_extended import KaggleApi

    class Client(KaggleApi):  # type: ignore[misc]
        """The client, with its retries left to the parent, whose next try gets a fresh signed address."""

        def download_file(
            self, response: Any, outfile: str, http_client: Any, quiet: bool = True, resume: bool = False
        ) -> None:
            length = response.headers.get("Content-Length")
            _report(events, event="size", path=outfile, size=int(length or 0))
            try:
                super().download_file(
                    response, outfile, http_client, quiet, resume, CHUNK_BYTES, 0, READ_TIMEOUT_S
                )
            except ValueError:  # of another size than announced: the next try would take it for complete
                os.remove(outfile)  # noqa: PTH107 - the client speaks of paths as text
                raise

    client = Client()
    client.config_values = kaggle.api.config_values  # importing has signed in already, where it could
    if task["task"] == "version":
        status = json.loads(client.dataset_status(task["dataset"], format="json(current_version_number)"))
        _report(events, event="version", version=status["current_version_number"])
    else:
        client.dataset_download_files(task["dataset"], path=task["folder"], quiet=True)
        _report(events, event="done")


def _describe(error: BaseException) -> dict[str, Any]:
    """An error as the parent needs it: type, words, HTTP status, seconds the server asks to wait."""
    response = getattr(error, "response", None)
    return {
        "type": type(error).__name__,
        "message": str(error),
        "status": getattr(response, "status_code", 0) or 0,
        "retry_after": response.headers.get("Retry-After", "") if response is not None else "",
        "errno": getattr(error, "errno", None),
    }


def _report(events: TextIO, **fields: Any) -> None:
    """Write one event."""
    events.write(json.dumps(fields) + "\n")
    events.flush()


if __name__ == "__main__":
    main()
