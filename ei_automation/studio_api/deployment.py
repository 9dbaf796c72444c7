"""What our deployments know and Studio's own build requests have no field for."""

from __future__ import annotations

FIRMWARE_PARAMETER = "eiauto_firmware_version"
"""Custom parameter of a target: the firmware of the board, which decides on the script in an OpenMV library."""
