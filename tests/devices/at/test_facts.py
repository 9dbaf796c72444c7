from __future__ import annotations

import pytest

from ei_automation.devices.at.facts import read_config, read_info


def test_config_of_older_firmware_says_less() -> None:
    config = read_config("===== Device info =====\nID:         AA:BB\nType:       NANO\nAT Version: 1.3.0\n")
    assert config is not None
    assert (config.device_id, config.device_type, config.at_version, config.transfer_baud) == (
        "AA:BB", "NANO", "1.3.0", 0,
    )  # fmt: skip
    assert (config.sensors, config.resolutions, config.sensor, config.has_snapshot) == ((), (), "", False)


@pytest.mark.parametrize("sensor", ["7", "-1", "x", "9" * 5000])
def test_an_unknown_sensor_has_no_name(sensor: str) -> None:
    config = read_config(f"Type: T\nAT Version: 1\nSensor: {sensor}\nResolutions: [ 96x96, 9x, {'9' * 5000}x1 ]\n")
    assert config is not None
    assert config.sensor == ""
    assert config.resolutions[0] == (96, 96)


@pytest.mark.parametrize("text", ["", ">>> ", "Type: only", "Model deploy: 3"])
def test_other_answers_are_neither(text: str) -> None:
    assert read_config(text) is None
    assert read_info(text) is None


def test_info_keeps_a_project_name_with_colons() -> None:
    info = read_info(
        "ML model name        : Demo: cells\nModel deploy version : x\nFirmware build time  : 17:17:39\n"
    )
    assert info is not None
    assert (info.project_name, info.deploy_version, info.build_time) == ("Demo: cells", None, "17:17:39")
