"""Firmware over USB: DFU 1.1 and DfuSe, by pyusb or by the program dfu-util."""
