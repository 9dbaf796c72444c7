"""Tags dsp and learn: features and labels as NumPy files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ei_automation.dsp.image import UnusableImageError
from ei_automation.studio_server import block_json
from ei_automation.studio_server.blocks import feature_count
from ei_automation.studio_server.call import Call, File, RefusalError
from ei_automation.studio_server.learning import current_impulse
from ei_automation.studio_server.operations import serves
from ei_automation.studio_server.sample_filter import Filter

if TYPE_CHECKING:
    from ei_automation.studio_server.samples import SampleRow

MOST_BYTES = 1 << 30
"""Of the features in one answer, which is made in memory."""


@serves("download_dsp_data")
def download_dsp_data(call: Call) -> File:
    """Features of a category: float32, (samples, features)."""
    return _features(call, _rows(call, call.number("dspId"), call.path["category"]))


@serves("download_dsp_labels")
def download_dsp_labels(call: Call) -> File:
    """Labels of a category, in the order of its features."""
    dsp_id = call.number("dspId")
    return _labels(call, dsp_id, _rows(call, dsp_id, call.path["category"]))


@serves("get_learn_x_data")
def get_learn_x_data(call: Call) -> File:
    """Features that a learn block trains on."""
    return _features(call, _rows(call, _dsp_of(call), "training"))


@serves("get_learn_y_data")
def get_learn_y_data(call: Call) -> File:
    """Labels that a learn block trains on."""
    dsp_id = _dsp_of(call)
    return _labels(call, dsp_id, _rows(call, dsp_id, "training"))


def _dsp_of(call: Call) -> int:
    block = block_json.block_of(call.studio, call.project_id, "learnBlocks", call.number("learnId"))
    if not block["dsp"]:
        raise RefusalError("The learning block has no processing block")
    return int(block["dsp"][0])


def _rows(call: Call, dsp_id: int, category: str) -> list[SampleRow]:
    """The samples of a category: those that the features were made of, or the testing ones by number."""
    block_json.block_of(call.studio, call.project_id, "dspBlocks", dsp_id)
    if block_json.features_of(call.studio, call.project_id, dsp_id) is None:
        raise RefusalError("No features were generated for this block, generate features first")
    if category == "training":
        return block_json.included_samples(call.studio, call.project_id, dsp_id)
    if category != "testing":
        raise RefusalError("Invalid value for category, expected one of training, testing")
    return call.studio.samples.find(call.project_id, Filter(category=category, disabled=False))[::-1]


def _features(call: Call, rows: Sequence[SampleRow]) -> File:
    import numpy as np

    from ei_automation.studio_server.scoring import features_of

    impulse = current_impulse(call.studio.impulses, call.project_id)
    count = feature_count(impulse)
    if impulse is None or 4 * count * len(rows) > MOST_BYTES:
        raise RefusalError(f"These features are more than the {MOST_BYTES:,} bytes that are told at once")
    table, done = np.empty((len(rows), count), np.float32), 0
    contents = (call.studio.samples.content(row).read_bytes() for row in rows)
    try:
        for piece in features_of(impulse, contents):
            table[done : done + len(piece)] = piece.reshape(len(piece), -1)
            done += len(piece)
    except UnusableImageError as error:
        raise RefusalError(f"The sample {rows[done].filename} cannot be decoded: {error}") from error
    return _npy(table, "x.npy")


def _labels(call: Call, dsp_id: int, rows: Sequence[SampleRow]) -> File:
    """A row a sample, as Studio's notebooks read it: label (from 1), sample number, start and end in ms."""
    import numpy as np

    made = block_json.features_of(call.studio, call.project_id, dsp_id)
    names = {label: number for number, label in enumerate(made["labels"] if made else (), 1)}
    table = [[names.get(row.label, 0), row.sample_id, 0, 0] for row in rows]
    return _npy(np.array(table, np.int32).reshape(-1, 4), "y.npy")


def _npy(array: object, name: str) -> File:
    import numpy as np

    stream = io.BytesIO()
    np.save(stream, np.asarray(array), allow_pickle=False)
    return File(stream.getvalue(), "application/octet-stream", name)
