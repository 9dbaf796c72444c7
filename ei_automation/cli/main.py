"""`eiauto`: the group, and the one place where an error becomes sentences and an exit code."""

from __future__ import annotations

import os
import sys
import traceback

import click

from ei_automation import __version__
from ei_automation.cli.commands.completion import completion
from ei_automation.cli.commands.config import config
from ei_automation.cli.commands.deploy import deploy
from ei_automation.cli.commands.doctor import doctor
from ei_automation.cli.commands.init import init
from ei_automation.cli.commands.report import report
from ei_automation.cli.commands.reproduce import reproduce
from ei_automation.cli.commands.runs import runs
from ei_automation.cli.commands.schema import schema
from ei_automation.cli.commands.sync import sync
from ei_automation.cli.commands.test import test
from ei_automation.cli.commands.train import train
from ei_automation.cli.commands.verify import verify
from ei_automation.cli.output import OUTPUT
from ei_automation.errors import EiautoError, JobFailedError

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
    sync,
    train,
    test,
    deploy,
    verify,
    report,
    runs,
    init,
    schema,
    doctor,
    config,
    completion,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line and exit with the code that the README's table gives."""
    try:
        code = cli.main(prog_name="eiauto", standalone_mode=False)
        sys.stdout.flush()
        if isinstance(code, int):  # of click.exceptions.Exit, which this mode returns instead of raising
            sys.exit(code)
    except EiautoError as error:
        _leave(error)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        OUTPUT.error("interrupted", "run the same command again; it continues", (), INTERRUPTED)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except Exception as error:  # noqa: BLE001 - the last frame: whatever comes here is our bug, shown whole
        traceback.print_exc()
        OUTPUT.error(
            f"a bug in eiauto: {type(error).__name__}: {error}", "please report it with the lines above", (), BUG
        )
        sys.exit(BUG)


def _leave(error: EiautoError) -> None:
    if OUTPUT.debug:
        traceback.print_exc()
    tail = error.log_tail if isinstance(error, JobFailedError) else ()
    OUTPUT.error(str(error), error.hint, tail, error.exit_code)
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
