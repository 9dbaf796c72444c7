"""When a flashing begins to write, and what is said where it is stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from ei_automation.deployment.firmware import recognise_firmware
from ei_automation.devices.flasher import Job
from ei_automation.devices.local_host import LocalHost
from ei_automation.errors import InterruptedRunError
from ei_automation.schema.board import find_board
from ei_automation.workflow.flash_watch import FlashWatch
from tests.workflow.board_projects import library
from tests.workflow.test_flash import nicla_zip


def watch(source: Path, signs: list[str]) -> FlashWatch:
    """Of a flashing that does nothing."""
    job = Job(LocalHost(), find_board("nicla"), recognise_firmware(source))
    return FlashWatch(job, lambda: signs.append("begun"))


def test_an_image_is_written_from_its_first_progress_on(tmp_path: Path) -> None:
    signs: list[str] = []
    watched = watch(nicla_zip(tmp_path), signs)
    watched.job.on_step("touching")
    assert not watched.begun
    with (
        pytest.raises(InterruptedRunError, match="stopped before anything was written") as caught,
        watched.stoppable(),
    ):
        raise KeyboardInterrupt
    assert "still has its old firmware" in caught.value.hint
    watched.job.on_progress("erasing", 0, 2)
    watched.job.on_progress("erasing", 1, 2)
    assert signs == ["begun"]
    with pytest.raises(InterruptedRunError, match="stopped while flashing"), watched.stoppable():
        raise KeyboardInterrupt


def test_a_library_is_written_from_the_first_step_on(tmp_path: Path) -> None:
    signs: list[str] = []
    watch(library(tmp_path / "a.zip"), signs).job.on_step("Writing")
    assert signs == ["begun"]
