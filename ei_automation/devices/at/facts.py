"""What AT+CONFIG? and AT+INFO say of a board."""

from __future__ import annotations

import re
from dataclasses import dataclass

SENSORS = ("unknown", "microphone", "accelerometer", "camera", "9DoF", "environmental", "fusion")
"""By the number that AT+CONFIG? prints; `at_info` of the firmware SDK."""


@dataclass(frozen=True)
class AtConfig:
    """What AT+CONFIG? says. What the firmware does not print is empty, 0 or False.

    Attributes:
        device_id: Of this board.
        device_type: e.g. `SONY_SPRESENSE`.
        at_version: Of the command set, e.g. `1.8.0`.
        transfer_baud: Speed of debug output; 0 where it has none of its own.
        sensors: Their names.
        has_snapshot: Whether it has a camera.
        resolutions: Of its camera: (width, height), pixels.
        sensor: That the network listens to, e.g. `camera`.
        model_type: classification, object_detection or constrained_object_detection.
    """

    device_id: str
    device_type: str
    at_version: str
    transfer_baud: int = 0
    sensors: tuple[str, ...] = ()
    has_snapshot: bool = False
    resolutions: tuple[tuple[int, int], ...] = ()
    sensor: str = ""
    model_type: str = ""


@dataclass(frozen=True)
class AtInfo:
    """What AT+INFO says. What the firmware does not print is empty.

    Attributes:
        project_name: In Studio.
        project_author: Its owner.
        project_id: Studio's number; None where it was not printed.
        deploy_version: Studio's number of the build; None where it was not printed.
        edge_impulse_version: Of Studio, e.g. `v1.86.0`.
        build_date: Of the firmware, e.g. `Jan  1 2026`.
        build_time: e.g. `12:00:00`.
        sensor: e.g. `camera`.
    """

    project_name: str
    project_author: str
    project_id: int | None
    deploy_version: int | None
    edge_impulse_version: str
    build_date: str
    build_time: str
    sensor: str


@dataclass(frozen=True)
class InferenceSettings:
    """What the firmware says when it starts to classify.

    Attributes:
        width: Of the images that the network takes, pixels.
        height: The same.
        frame_size: Features of one image.
        classes: Labels of the network.
    """

    width: int
    height: int
    frame_size: int
    classes: int


def read_config(text: str) -> AtConfig | None:
    """Read the answer to AT+CONFIG?; None where it is none."""
    values = _values(text)
    if "Type" not in values or "AT Version" not in values:
        return None
    sensor = _whole(values.get("Sensor", ""))
    sizes = re.findall(r"([0-9]{1,5})x([0-9]{1,5})", values.get("Resolutions", ""))
    return AtConfig(
        device_id=values.get("ID", ""),
        device_type=values["Type"],
        at_version=values["AT Version"],
        transfer_baud=_whole(values.get("Data Transfer Baudrate", "")) or 0,
        sensors=tuple(re.findall(r"^Name: (.+?), Max sample length", text, re.MULTILINE)),
        has_snapshot=values.get("Has snapshot") == "1",
        resolutions=tuple((int(width), int(height)) for width, height in sizes),
        sensor=SENSORS[sensor] if sensor is not None and sensor < len(SENSORS) else "",
        model_type=values.get("Model type", ""),
    )


def read_info(text: str) -> AtInfo | None:
    """Read the answer to AT+INFO; None where it is none."""
    values = _values(text)
    if "Model deploy version" not in values and "ML model name" not in values:
        return None
    return AtInfo(
        project_name=values.get("ML model name", ""),
        project_author=values.get("ML model author", ""),
        project_id=_whole(values.get("ML model ID", "")),
        deploy_version=_whole(values.get("Model deploy version", "")),
        edge_impulse_version=values.get("Edge Impulse version", ""),
        build_date=values.get("Firmware build date", ""),
        build_time=values.get("Firmware build time", ""),
        sensor=values.get("Used sensor", ""),
    )


def _values(text: str) -> dict[str, str]:
    """Lines of `name: value`; of a name that comes twice the first."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon:
            values.setdefault(name.strip(), value.strip())
    return values


def _whole(text: str) -> int | None:
    """A number of at most nine digits; None where it is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
