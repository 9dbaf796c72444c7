from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ei_automation.devices.openmv.results import ScriptResultParser
from ei_automation.schema.inference_result import InferenceResult, ObjectBox

WINDOW = "**********\r\nPredictions at [x=0,y=0,w=240,h=240]\r\n"
CLASSES = "face = 0.750000\r\nno mask = 0.250000\r\n"
FOUND = {"face": 0.75, "no mask": 0.25}
TRACEBACK = (
    'Traceback (most recent call last):\r\n  File "<stdin>", line 33, in <module>\r\nKeyboardInterrupt: \r\n'
)


def read(text: str, labels: tuple[str, ...] = ()) -> list[InferenceResult]:
    parser = ScriptResultParser(labels)
    return parser.feed(text) + parser.end()


@pytest.mark.parametrize("head", ["", WINDOW])
def test_the_rate_ends_a_result(head: str) -> None:
    parser = ScriptResultParser()
    assert parser.feed(head + CLASSES) == []
    assert parser.feed("12.5 fps\r\n") == [InferenceResult(FOUND, fps=12.5)]
    assert parser.end() == []


def test_without_a_rate_the_next_picture_ends_a_result() -> None:
    assert read(CLASSES * 3) == [InferenceResult(FOUND)] * 3
    assert read((WINDOW + CLASSES) * 2) == [InferenceResult(FOUND)] * 2


@pytest.mark.parametrize("label", ["a b", "x = y", "dög", "猫 = 0.5 = 犬", "x 3", "12 fps", "[a]: (1) **"])
def test_labels_of_any_kind(label: str) -> None:
    assert read(f"{label} = 0.500000\r\n1.0 fps\r\n") == [InferenceResult({label: 0.5}, fps=1.0)]
    objects = read(f"********** {label} **********\r\nx 1\ty 2\r\n1.0 fps\r\n\r\n")
    assert objects == [InferenceResult(boxes=(ObjectBox(label, None, 1, 2, 0, 0),), fps=1.0)]


def test_numbers_as_micropython_prints_them() -> None:
    (result,) = read("a = 1e-05\nb = 0.9960938\nc = 1\n33 fps\n")
    assert result == InferenceResult({"a": 1e-05, "b": 0.9960938, "c": 1.0}, fps=33.0)


def test_numbers_that_no_json_could_hold_are_not_known() -> None:
    assert read("a = 0.5\n1e999 fps\n") == [InferenceResult({"a": 0.5})]
    (result,) = read("********** cup **********\nx 1\ty 2\tscore 1e999\n5 fps\n")
    assert result.boxes == (ObjectBox("cup", None, 1, 2, 0, 0),)


def test_objects_of_several_kinds_with_and_without_scores() -> None:
    text = (
        "********** red ball **********\r\nx 70\ty 30\tscore 0.8705882\r\nx 110\ty 30\tscore 1.0\r\n"
        "********** cup **********\r\nx 10\ty 230\r\n9.75 fps\r\n\r\n"
    )
    boxes = (
        ObjectBox("red ball", 0.8705882, 70, 30, 0, 0),
        ObjectBox("red ball", 1.0, 110, 30, 0, 0),
        ObjectBox("cup", None, 10, 230, 0, 0),
    )
    assert read(text) == [InferenceResult(boxes=boxes, fps=9.75)]
    assert [len(result.boxes or ()) for result in read(text.replace("9.75 fps", "") * 2)] == [3, 3]


def test_a_rate_alone_is_a_picture_without_objects() -> None:
    assert read("12.5 fps\r\n\r\n12.4 fps\r\n\r\n") == [
        InferenceResult(boxes=(), fps=12.5),
        InferenceResult(boxes=(), fps=12.4),
    ]
    assert len(read(CLASSES + "12.5 fps\r\n12.5 fps\r\n")) == 1  # this script finds no objects


def test_what_was_cut_by_a_stop_is_no_result() -> None:
    whole = CLASSES + "12.5 fps\r\n"
    assert len(read(whole + "face = 0.7\r\n" + TRACEBACK)) == 1
    assert len(read(whole + CLASSES + TRACEBACK)) == 2
    assert len(read(whole + "face = 0.7")) == 1
    assert (
        len(read("********** a **********\nx 1\ty 2\n1.0 fps\n********** a **********\nx 1\ty" + TRACEBACK)) == 1
    )


def test_with_labels_known_other_lines_and_parts_do_not_count() -> None:
    text = "exposure = 0.5\r\nface = 0.1\r\n12.5 fps\r\n" + CLASSES + "12.5 fps\r\n"
    assert read(text, ("face", "no mask")) == [InferenceResult(FOUND, fps=12.5)]


def test_other_words_of_a_script_are_skipped() -> None:
    text = "MPY: soft reboot\r\ntemperature = 41.5\r\nThis is :  face\r\n" + "z" * 5000 + " = 0.5\r\n"
    assert read(text + CLASSES + "1.0 fps\r\n" + TRACEBACK + ">>> ") == [InferenceResult(FOUND, fps=1.0)]


PIECES = st.sampled_from(
    [
        WINDOW,
        CLASSES,
        "12.5 fps\r\n\r\n",
        "********** a b **********\n",
        "x 1\ty 2\n",
        TRACEBACK,
        "\r",
        "é = 0.1\n",
    ]
)


@settings(max_examples=40)
@given(st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=20), st.lists(st.integers(0, 400), max_size=8))
def test_results_are_the_same_whatever_the_cuts(pieces: list[str], cuts: list[int]) -> None:
    text = "".join(pieces)
    parser, came, start = ScriptResultParser(), [], 0
    for cut in [*sorted(cuts), len(text)]:
        came += parser.feed(text[start:cut])
        start = max(start, cut)
    assert came + parser.end() == read(text)
    assert all(result.fps is None or result.fps >= 0 for result in came)
