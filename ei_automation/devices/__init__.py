"""Boards: serial lines, flashers, what firmware prints, simulated boards.

The only room that imports serial and usb, which are an extra: a missing one is said in a sentence.
"""

from importlib import util

from ei_automation.errors import SettingsError

for module, distribution in (("serial", "pyserial"), ("usb", "pyusb")):
    if util.find_spec(module) is None:
        raise SettingsError(
            f"boards need {distribution}, which is not installed", hint="pip install 'eiauto[devices]'"
        )
