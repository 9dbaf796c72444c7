"""`eiauto`: the group, and the one place where an error becomes sentences and an exit code."""

from __future__ import annotations

import errno
import faulthandler
import gc
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TextIO

import click

from ei_automation import __version__
from ei_automation.cli.commands.boards import boards
from ei_automation.cli.commands.compile_ import compile_
from ei_automation.cli.commands.completion import completion
from ei_automation.cli.commands.config import config
from ei_automation.cli.commands.deploy import deploy
from ei_automation.cli.commands.doctor import doctor
from ei_automation.cli.commands.flash import flash
from ei_automation.cli.commands.footprint import footprint
from ei_automation.cli.commands.import_ import import_
from ei_automation.cli.commands.init import init
from ei_automation.cli.commands.plan import plan
from ei_automation.cli.commands.report import report
from ei_automation.cli.commands.reproduce import reproduce
from ei_automation.cli.commands.run import run
from ei_automation.cli.commands.runs import runs
from ei_automation.cli.commands.schema import schema
from ei_automation.cli.commands.sim import sim
from ei_automation.cli.commands.studio import studio
from ei_automation.cli.commands.sync import sync
from ei_automation.cli.commands.test import test
from ei_automation.cli.commands.train import train
from ei_automation.cli.commands.tune import tune
from ei_automation.cli.commands.verify import verify
from ei_automation.cli.output import OUTPUT, ClosedPipeError
from ei_automation.errors import EiautoError, StorageError

GARBAGE = (100_000, 20, 20)
"""Collect seldom: else thousands of samples are looked through in vain, a fifth of a second for 12,500 of them."""
BUG, BROKEN_PIPE, INTERRUPTED = 1, 141, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="eiauto")
@click.option("-q", "--quiet", is_flag=True, help="No talk on stderr but errors.")
@click.option("--debug", is_flag=True, help="Tracebacks with errors.")
def cli(quiet: bool, debug: bool) -> None:
    """From a manifest to a tested, deployable Edge Impulse vision model.

    PROJECT is a folder with a project.toml. Results go to stdout, progress to stderr.
    """
    OUTPUT.quiet, OUTPUT.debug = quiet, debug


for command in (
    reproduce,
    plan,
    sync,
    train,
    tune,
    test,
    deploy,
    compile_,
    footprint,
    boards,
    flash,
    run,
    sim,
    verify,
    report,
    runs,
    import_,
    studio,
    init,
    schema,
    doctor,
    config,
    completion,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit with the code that the README's table gives."""
    if sys.stdout is None:  # closed by the caller, as in `eiauto ... >&-`
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for as long as the process lives
    usual = gc.get_threshold()
    gc.set_threshold(*GARBAGE)
    try:
        with native_talk_apart() as native:
            _run(native)
    finally:
        gc.set_threshold(*usual)


@contextmanager
def native_talk_apart() -> Iterator[IO[bytes]]:
    """Keep what C++ libraries write to file descriptor 2 out of the progress; Python's stderr goes on as before.

    TensorFlow and LiteRT greet with lines that no setting turns off. They are kept, and shown with a bug. With
    --debug, or where stderr is no plain file, nothing is redirected.
    """
    with TemporaryFile() as kept:
        if "--debug" in sys.argv or not _is_plain(sys.stderr):
            yield kept
            return
        before, native = sys.stderr, os.dup(2)
        with open(native, "w", buffering=1, encoding=before.encoding, errors="backslashreplace") as apart:  # noqa: PTH123
            sys.stderr = apart
            faulthandler.enable(apart)
            os.dup2(kept.fileno(), 2)
            try:
                yield kept
            finally:
                apart.flush()
                faulthandler.disable()
                os.dup2(native, 2)
                sys.stderr = before


def _is_plain(stream: TextIO) -> bool:
    """Whether a stream writes to file descriptor 2 itself."""
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):
        return False


def _run(native: IO[bytes]) -> None:
    try:
        code = cli.main(prog_name="eiauto", standalone_mode=False)
        sys.stdout.flush()
        if isinstance(code, int):  # of click.exceptions.Exit, which this mode returns instead of raising
            sys.exit(code)
    except EiautoError as error:
        _leave(error)
    except click.ClickException as error:
        _leave_usage(error)
    except (KeyboardInterrupt, click.Abort):
        OUTPUT.error("interrupted", "run the same command again; it continues", (), INTERRUPTED)
        sys.exit(INTERRUPTED)
    except (ClosedPipeError, BrokenPipeError):
        _forget_stdout()
        sys.exit(BROKEN_PIPE)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _forget_stdout()
        OUTPUT.json_mode = False
        _leave(StorageError.while_doing("writing the result", Path("stdout"), error.strerror or str(error)))
    except Exception as error:  # noqa: BLE001 - the last frame: whatever comes here is our bug, shown whole
        traceback.print_exc()
        native.seek(0)
        sys.stderr.write(native.read().decode(errors="replace"))
        OUTPUT.error(
            f"a bug in eiauto: {type(error).__name__}: {error}", "please report it with the lines above", (), BUG
        )
        sys.exit(BUG)


def _forget_stdout() -> None:
    """Nobody reads it, or it is full: what Python still holds for it must not fail again at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leave_usage(error: click.ClickException) -> None:
    """A wrong call; as a document too where one was asked for, even if the parser had not come to that."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    OUTPUT.json_mode = "--json" in sys.argv
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "eiauto"
    OUTPUT.error(error.format_message(), f"see `{path} --help`", (), error.exit_code)
    sys.exit(error.exit_code)


def _leave(error: EiautoError) -> None:
    if OUTPUT.debug:
        traceback.print_exc()
    OUTPUT.error(str(error), error.hint, error.log_tail, error.exit_code)
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
