"""OpenMV cameras: a library onto the drive, or firmware with the model inside."""

from __future__ import annotations

from ei_automation.devices.flasher import Job
from ei_automation.devices.openmv.image import flash_image, plan_image
from ei_automation.devices.openmv.image import shown_plan as shown_image_plan
from ei_automation.devices.openmv.library import flash_library, plan_library
from ei_automation.devices.openmv.library import shown_plan as shown_library_plan
from ei_automation.devices.openmv.restart import Waits
from ei_automation.errors import UsageError
from ei_automation.schema.firmware import FlashPlan, FlashResult

__all__ = ["OpenMvFlasher", "Waits"]


class OpenMvFlasher:
    """Flashes OpenMV cameras: `devices.flasher.Flasher`.

    Args:
        waits: How long to wait for what.
    """

    def __init__(self, waits: Waits | None = None) -> None:
        self._waits = waits or Waits()

    def plan(self, job: Job) -> FlashPlan:
        """What `flash` would do; nothing is written and no camera is reset.

        Raises:
            UsageError: The deployment is for another kind of board, or the camera or its firmware is another one.
            DoesNotFitError: It is larger than its place on the camera.
            DeviceError: The camera, or its drive, is not there, or does not answer.
        """
        if _is_library(job):
            return shown_library_plan(job, plan_library(job, self._waits))
        return shown_image_plan(job, plan_image(job, self._waits))

    def flash(self, job: Job) -> FlashResult:
        """Do what was planned; the camera is looked at anew.

        Raises:
            DeviceError: It failed: the hint says in what state the camera is left and how to recover it.
            VerificationError: What the camera holds is not what was sent.
        """
        if _is_library(job):
            return flash_library(job, plan_library(job, self._waits), self._waits)
        return flash_image(job, plan_image(job, self._waits), self._waits)


def _is_library(job: Job) -> bool:
    """Whether files go onto the drive; else it is an image.

    Raises:
        UsageError: It is for no camera of OpenMV.
    """
    if job.firmware.kind not in ("openmv-library", "openmv-firmware"):
        raise UsageError(
            f"{job.firmware.source} is for no OpenMV camera ({job.firmware.kind})",
            hint="build the OpenMV deployment of the project, or name the board it is for with --board",
        )
    return job.firmware.kind == "openmv-library"
