"""What the user sees: results on stdout, progress and talk on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ei_automation.workflow.project import Event

WIDE = 100
"""Columns when the output is no terminal."""


class ClosedPipeError(Exception):
    """The reader of stdout went away. Not a BrokenPipeError: click and rich would exit with 1 on that."""


class _Console(Console):
    """A console that lets a closed pipe be known."""

    def on_broken_pipe(self) -> None:
        """Raise, so that the exit code is the one for a closed pipe."""
        raise ClosedPipeError


class Output:
    """Where a command's words go.

    Attributes:
        json_mode: One JSON document on stdout, nothing else there.
        json_lines: With json_mode: one line of JSON each, an error too.
        quiet: No talk on stderr but errors.
    """

    def __init__(self) -> None:
        self.json_mode = False
        self.json_lines = False
        self.quiet = False
        self.debug = False
        self._talk = _Console(stderr=True, highlight=False, emoji=False)
        terminal = sys.stdout is not None and sys.stdout.isatty()
        width = None if terminal else max(WIDE, Console(stderr=True).width)
        self._result = _Console(highlight=False, emoji=False, width=width)
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._shown: set[str] = set()  # lines of job logs: an error does not say them again

    # Results

    def document(self, content: Any) -> None:
        """The one JSON document."""
        self.plain(json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True))

    def plain(self, text: str) -> None:
        """Text as it is, for other programs."""
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except BrokenPipeError as error:
            raise ClosedPipeError from error

    def line(self, text: str = "") -> None:
        """A line of the result; a terminal's is broken between words."""
        self._result.print(escape(text), soft_wrap=not self._result.is_terminal)

    def styled(self, text: str) -> None:
        """A line of the result with rich markup; escape what is not ours."""
        self._result.print(text, soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table of the result. Columns that start with `>` are aligned to the right, with `!` never cut."""
        table = Table(title=title or None, title_justify="left", header_style="bold", title_style="bold")
        for column in columns:
            table.add_column(
                escape(column.removeprefix(">").removeprefix("!")),
                justify="right" if column.startswith(">") else "left",
                overflow="fold",
                no_wrap=column.startswith("!"),
            )
        for row in rows:
            table.add_row(*[escape(cell) for cell in row])
        self._result.print(table)

    # Talk

    def talk(self, text: str, style: str = "") -> None:
        """A line for the person who watches."""
        if not self.quiet:
            console = self._progress.console if self._progress else self._talk
            console.print(escape(text), style=style, soft_wrap=not console.is_terminal)

    def error(self, message: str, hint: str, log_tail: Sequence[str], exit_code: int) -> None:
        """An error as sentences; with --json also as the document."""
        for line in log_tail if not self._shown.issuperset(log_tail) else ():
            self._talk.print(escape(f"  {line}"), style="dim", soft_wrap=True)
        whole = not self._talk.is_terminal  # a terminal's lines are broken between words
        self._talk.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=whole)
        if hint:
            self._talk.print(f"[bold]what to do:[/] {escape(hint)}", soft_wrap=whole)
        content = {"error": {"message": message, "hint": hint, "exit_code": exit_code}}
        if self.json_mode and self.json_lines:
            self.plain(json.dumps(content, ensure_ascii=False))
        elif self.json_mode:
            self.document(content)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Progress bars while a command works; plain lines where stderr is no terminal."""
        if self.quiet or not self._talk.is_terminal:
            yield
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._talk, transient=True) as self._progress:
            try:
                yield
            finally:
                self._progress, self._tasks = None, {}

    def on_event(self, event: Event) -> None:
        """Show what a workflow tells."""
        if event.kind == "step":
            self._finish_bars()
            self.talk(event.text, style="bold")
        elif event.kind == "note":
            self.talk(f"note: {event.text}", style="yellow")
        elif event.kind == "line":
            self.talk(f"  {event.text}", style="dim")
            if not self.quiet:
                self._shown.add(event.text)
        elif self._progress is not None:
            if event.text not in self._tasks:
                self._tasks[event.text] = self._progress.add_task(escape(event.text), total=event.total)
            self._progress.update(self._tasks[event.text], completed=event.done, total=event.total)

    def _finish_bars(self) -> None:
        if self._progress is not None:
            for task in self._tasks.values():
                self._progress.remove_task(task)
            self._tasks = {}


OUTPUT = Output()
