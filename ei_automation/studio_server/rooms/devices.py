"""Devices that clients tell of."""

from __future__ import annotations

from typing import Any

from ei_automation.studio_server.call import Call, ok
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.project_json import device_json


@serves("create_device")
def create_device(call: Call) -> dict[str, Any]:
    """Add a device, or hear of it again."""
    call.studio.devices.create(
        call.project_id,
        call.wanted("deviceId"),
        call.wanted("deviceType"),
        if_not_exists=call.wanted("ifNotExists", bool),
    )
    return ok()


@serves("list_devices")
def list_devices(call: Call) -> dict[str, Any]:
    """Every device."""
    return ok(devices=[device_json(row) for row in call.studio.devices.all(call.project_id)])


@serves("get_device")
def get_device(call: Call) -> dict[str, Any]:
    """One device."""
    return ok(device=device_json(call.studio.devices.get(call.project_id, call.path["deviceId"])))


@serves("rename_device")
def rename_device(call: Call) -> dict[str, Any]:
    """Give a device another name."""
    call.studio.devices.rename(call.project_id, call.path["deviceId"], call.wanted("name"))
    return ok()


@serves("delete_device")
def delete_device(call: Call) -> dict[str, Any]:
    """Forget a device."""
    call.studio.devices.delete(call.project_id, call.path["deviceId"])
    return ok()
