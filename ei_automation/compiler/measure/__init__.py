"""Measuring without a board: build for a core, run in an emulator, read what it takes.

`build_program` and `measure` (footprint.py) are the doors; `time_range` (estimate.py) turns instructions into a
range of milliseconds.
"""
