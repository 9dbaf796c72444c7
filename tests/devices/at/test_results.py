from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ei_automation.devices.at.results import LONGEST_LINE, Lines, ResultParser
from ei_automation.devices.sim.at.results import Dialect, print_result, print_static
from ei_automation.schema.inference_result import InferenceResult, ObjectBox, Timing

OLD = "Predictions (DSP: 4 ms., Classification: 183 ms., Anomaly: 0 ms.): \n"
NEW = "Timing: DSP 4 ms, inference 183 ms, anomaly 0 ms\n"
TIMES = Timing(dsp_us=4000.0, inference_us=183_000.0, anomaly_us=0.0)
CLASSES = {"wbc": 0.97, "rbc": 0.03}
BOX = ObjectBox("lbl", 0.91, 8, 16, 8, 24)
PLACE = "[ x: 8, y: 16, width: 8, height: 24 ]"


def parse(*pieces: str) -> list[InferenceResult]:
    parser = ResultParser()
    return [result for piece in pieces for result in parser.feed(piece)] + parser.end()


@pytest.mark.parametrize(
    "text",
    [
        f"{OLD}    wbc: 0.97000\n    rbc: 0.03000\n",
        f"{OLD}#Classification results:\r\n    wbc: 0.970000\n    rbc: 0.030000\n",
        "Predictions (DSP: 4.000000 ms., Classification: 183.000000 ms., Anomaly: 0ms.): \n"
        "#Classification results:\r\n    wbc: 0.970000\n    rbc: 0.030000\n",
        f"{NEW}Classification predictions:\n  wbc: 0.970000\n  rbc: 0.030000\n",
        f"{NEW}#Classification predictions:\n  wbc: 0.970000\n  rbc: 0.030000\n",
        "Timing: DSP 4.000 ms, inference 183.000 ms, anomaly 0.000 ms\r\nPredictions:\r\n"
        "  wbc: 0.97\r\n  rbc: 3e-2\r\n",
    ],
    ids=["G1", "G2", "G3", "G4", "G5", "static"],
)
def test_classification_in_every_dialect(text: str) -> None:
    assert parse(text) == [InferenceResult(CLASSES, timing=TIMES)]


@pytest.mark.parametrize(
    "text",
    [
        f"{OLD}    lbl (0.91) {PLACE}\n",
        f"{OLD}#Object detection results:\r\n    lbl (0.910000) {PLACE}\n",
        f"{NEW}Object detection bounding boxes:\n  lbl (0.910000) {PLACE}\n",
        f"{NEW}#Object detection bounding boxes:\r\n  lbl (0.91) {PLACE}\r\n",
    ],
)
def test_boxes_in_every_dialect(text: str) -> None:
    assert parse(text) == [InferenceResult(boxes=(BOX,), timing=TIMES)]


@pytest.mark.parametrize(
    "text",
    [
        f"{OLD}    No objects found\n",
        f"{OLD}#Object detection results:\r\n    No objects found\n",
        f"{NEW}#Object detection bounding boxes:\n",
        f"{NEW}#Object tracking results:\n    No objects found\n",
    ],
)
def test_no_object_is_a_result_without_boxes(text: str) -> None:
    assert parse(text) == [InferenceResult(boxes=(), timing=TIMES)]


def test_tracks_with_and_without_a_score() -> None:
    text = f"{NEW}#Object tracking results:\n  a b (ID 3) (0.9) {PLACE}\n  c (ID 12) {PLACE}\n  d (0.5) {PLACE}\n"
    [result] = parse(text)
    assert result.boxes is not None
    assert [(box.label, box.track, box.score) for box in result.boxes] == [
        ("a b", 3, 0.9), ("c", 12, None), ("d", None, 0.5),
    ]  # fmt: skip


def test_anomalies_regression_and_visual_anomalies() -> None:
    assert parse(f"{OLD}    wbc: 0.5\n    anomaly score: 0.123\n")[0].anomaly == 0.123
    assert parse(f"{NEW}Anomaly prediction: 0.1\r\n")[0].anomaly == 0.1
    assert parse(f"{NEW}#Regression prediction: -12.5\nAnomaly prediction: 2\n")[0].regression == -12.5
    assert parse(f"{OLD}#Regression results:\r\n    value: 0.25\n")[0].regression == 0.25
    for text in (
        f"{OLD}#Visual anomaly grid results:\r\n    anomaly (0.91) {PLACE}\n"
        "Visual anomaly values: Mean 0.2 Max 0.9\r\n",
        f"{NEW}#Visual anomalies:\n  anomaly (0.91) {PLACE}\nVisual anomaly mean: 0.2, max: 0.9\n",
    ):
        [result] = parse(text)
        assert (result.visual_anomaly_mean, result.visual_anomaly_max) == (0.2, 0.9)
        assert [(cell.label, cell.x) for cell in result.visual_anomalies] == [("anomaly", 8)]
        assert result.boxes is None


def test_a_visual_anomaly_can_follow_classes() -> None:
    [result] = parse(
        f"{OLD}#Classification results:\r\n    wbc: 0.5\n#Visual anomaly grid results:\r\n"
        "Visual anomaly values: Mean 0.2 Max 0.9\r\n"
    )
    assert (result.classification, result.visual_anomaly_max) == ({"wbc": 0.5}, 0.9)


def test_times_are_microseconds_whatever_the_unit() -> None:
    [result] = parse(
        "Timing: DSP 950 us, inference 2 ms, anomaly 0 ms, postprocessing 31 us\nAnomaly prediction: 0\n"
    )
    assert result.timing == Timing(950.0, 2000.0, 0.0, 31.0)
    assert parse("Timing: DSP ?? ms, inference 2 ms, anomaly 0 ms\nAnomaly prediction: 0\n")[0].timing == Timing(
        None, 2000.0, 0.0
    )


def test_a_result_is_given_with_the_line_after_it() -> None:
    body = "  wbc: 0.97\n  rbc: 0.03\n"
    for after in (
        "Taking photo...\n",
        "Starting inferencing in 2 seconds...\n",
        NEW,
        "RESULT 0\r\n",
        "> AT+INFO\r\n",
    ):
        parser = ResultParser()
        assert parser.feed(f"{NEW}#Classification predictions:\n{body}") == []
        assert parser.feed(after) == [InferenceResult(CLASSES, timing=TIMES)]


def test_what_is_printed_around_results_in_debug_mode() -> None:
    turn = (
        f"Taking photo...\nBegin output\nFramebuffer: {'QUJD' * 5000}\r\n{NEW}#Classification predictions:\n"
        "  wbc: 0.97\n  rbc: 0.03\n\r\n----------------------------------\r\nEnd output\n"
    )
    start = "Inferencing settings:\n\tImage resolution: 96x96\n\tNo. of classes: 2\nOK\r\n> "
    assert parse(start + 3 * turn) == 3 * [InferenceResult(CLASSES, timing=TIMES)]


def test_colours_and_lines_that_were_overwritten() -> None:
    text = (
        f"\x1b[32m{NEW}\x1b[0m#Classification predictions:\n\x00  wbc: \x1b[1m0.97\x1b[0m\n  lost\r  rbc: 0.03\n"
    )
    assert parse(text) == [InferenceResult(CLASSES, timing=TIMES)]


def test_a_section_without_its_header_is_a_result_without_times() -> None:
    text = "#Classification predictions:\n  wbc: 0.97\n  rbc: 0.03\n"
    assert parse(text + text) == 2 * [InferenceResult(CLASSES)]


def test_what_follows_a_line_that_is_not_of_a_result_is_left_out() -> None:
    text = f"{NEW}#Classification predictions:\n  wbc: 0.97\n  rbc: 0.03\nCounts:\r\n  Counter 0: 3\r\n"
    assert parse(text) == [InferenceResult(CLASSES, timing=TIMES)]


@pytest.mark.parametrize(
    "body",
    [
        "  wbc: nan\n",
        "  wbc: inf\n",
        "  wbc: -1e999\n",
        "  wbc: 0.9 7\n",
        "  wbc 0.97\n",
        "  wbc: 0x1\n",
        "  : 0.5\n",
        "  wbc: 0.9\n  wbc: 0.1\n",
        "  w\ufffdc: 0.97\n",
        "  wbc: ٣.٣\n",
        "  wbc: 1_0\n",
        f"  wbc: {'9' * 3000}\n",
    ],
)
def test_what_cannot_be_trusted_is_refused_and_counted(body: str) -> None:
    parser = ResultParser()
    assert parser.feed(f"{NEW}#Classification predictions:\n  a: 0.5\n{body}{NEW}") == []
    assert parser.refused == 1
    assert parser.feed("#Classification predictions:\n  a: 0.5\n") + parser.end() == [
        InferenceResult({"a": 0.5}, timing=TIMES)
    ]


@pytest.mark.parametrize(
    "text",
    [
        f"{NEW}#Object detection bounding boxes:\n  lbl (nan) {PLACE}\n",
        f"{NEW}#Object detection bounding boxes:\n  lbl (1e999) {PLACE}\n",
        f"{NEW}#Object detection bounding boxes:\n  lbl (0.9) [ x: -8, y: 16, width: 8, height: 24 ]\n",
        f"{NEW}#Object detection bounding boxes:\n  lbl (0.9) [ x: {'8' * 3000}, y: 16, width: 8, height: 24 ]\n",
        f"{NEW}Anomaly prediction: nan\n",
        f"{NEW}#Regression prediction: inf\n",
        f"{NEW}#Visual anomalies:\n  cell\nVisual anomaly mean: 0.2, max: 0.9\n",
        f"{NEW}  wbc: 0.97\n",
        f"{OLD}    anomaly score: nan\n",
        f"{OLD}    something\n",
        f"{OLD}\n",
    ],
)
def test_garbage_gives_no_result(text: str) -> None:
    assert parse(text) == []


def test_the_end_in_the_middle_of_a_line_gives_no_number_that_was_cut() -> None:
    parser = ResultParser()
    assert parser.feed(f"{NEW}#Classification predictions:\n  wbc: 0.97\n  rbc: 0.0") == []
    assert (parser.end(), parser.refused) == ([], 1)
    assert parse(f"{NEW}#Classification predictions:\n  wbc: 0.97\n  rbc: 0.03\n> ") == [
        InferenceResult(CLASSES, timing=TIMES)
    ]


def test_lines_that_are_too_long_are_dropped_however_they_come() -> None:
    text = "a\n" + "x" * (LONGEST_LINE + 1) + "\nb\n" + "y" * LONGEST_LINE + "\n"
    whole, pieces = Lines(), Lines()
    expected = ["a", "b", "y" * LONGEST_LINE]
    assert whole.feed(text) == expected
    assert [
        line for start in range(0, len(text), 100) for line in pieces.feed(text[start : start + 100])
    ] == expected


@pytest.mark.timeout(30)
@pytest.mark.parametrize("line", ["  " + " (1" * 1300, "  " + "a (0.5" * 600 + " [ x: 1", "  x (" + "1" * 4000])
def test_hostile_lines_cost_no_more_than_others(line: str) -> None:
    text = f"{NEW}#Object tracking results:\n" + f"{line}\n" * 500
    assert parse(text) == []


# Every dialect, with labels that look like anything

LABELS = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\ufffd"), min_size=1, max_size=12
)
TRICKY = st.sampled_from(
    [
        "Timing: DSP 4 ms, inference 183 ms, anomaly 0 ms",
        "#Classification predictions:",
        "Anomaly prediction: 0.5",
        "a (0.5) [ x: 1, y: 2, width: 3, height: 4 ]",
        "No objects found",
        "red blood cell: old",
        "a-b_c [1]",
        "> ",
        "OK",
        "Predictions:",
        " (ID 3)",
        "Kühe (5)",
        "白血球",
        " two  blanks ",
        "anomaly score: 0.1",
        "ERR: x",
        ": ",
    ]
)
NAMES = LABELS | TRICKY
SCORES = st.integers(0, 100_000).map(lambda value: value / 100_000)
PIXELS = st.integers(0, 10_000)
BOXES = st.builds(ObjectBox, NAMES, SCORES, PIXELS, PIXELS, PIXELS, PIXELS)
MILLISECONDS = st.integers(0, 9999).map(lambda value: 1000.0 * value)
TIMINGS = st.builds(Timing, MILLISECONDS, MILLISECONDS, MILLISECONDS)
RESULTS = st.one_of(
    st.builds(
        InferenceResult,
        st.dictionaries(NAMES, SCORES, min_size=1, max_size=4),
        timing=TIMINGS,
        anomaly=st.none() | st.integers(-999, 999).map(lambda value: value / 8),
    ),
    st.builds(InferenceResult, boxes=st.lists(BOXES, max_size=3).map(tuple), timing=TIMINGS),
    st.builds(InferenceResult, regression=SCORES, timing=TIMINGS),
)
DIALECTS: tuple[Dialect, ...] = ("G1", "G2", "G3", "G4", "G5")


def cut(text: str, places: Iterable[int]) -> list[str]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(edges)]


def as_printed(result: InferenceResult, dialect: Dialect) -> InferenceResult:
    """G1 does not say that a regression is one."""
    if dialect == "G1" and result.regression is not None:
        return InferenceResult({"value": result.regression}, timing=result.timing)
    return result


@settings(max_examples=40, deadline=None)
@given(
    st.lists(RESULTS, min_size=1, max_size=3),
    st.sampled_from(DIALECTS),
    st.lists(st.integers(0, 5000), max_size=6),
)
@example([InferenceResult({"a": 0.5}, timing=Timing(0.0, 0.0, 0.0))], "G5", [])
def test_what_the_firmware_prints_is_read_back(
    results: list[InferenceResult], dialect: Dialect, places: list[int]
) -> None:
    text = "".join(f"Taking photo...\n{print_result(result, dialect)}" for result in results)
    assert parse(*cut(text, places)) == [as_printed(result, dialect) for result in results]


@settings(max_examples=15, deadline=None)
@given(RESULTS.filter(lambda result: result.regression is None))
def test_static_data_is_read_back(result: InferenceResult) -> None:
    assert parse(f"TRANSFER COMPLETED 9\r\n{print_static(result)}RESULT 0\r\n") == [result]


@pytest.mark.parametrize("dialect", ["G4", "G5"])
def test_new_dialects_also_carry_tracks_visual_anomalies_and_short_times(dialect: Dialect) -> None:
    times = Timing(950.0, 2000.0, 0.0, 31.0)
    for result in (
        InferenceResult(boxes=(ObjectBox("a", 0.5, 1, 2, 3, 4, track=7),), timing=times),
        InferenceResult(
            visual_anomaly_mean=0.25, visual_anomaly_max=0.5, visual_anomalies=(BOX,), timing=times, anomaly=1.5
        ),
    ):
        assert parse(print_result(result, dialect)) == [result]


FRAGMENTS = st.sampled_from(
    [
        NEW,
        OLD,
        "Timing: DSP ",
        "Predictions (DSP:",
        "#Classification predictions:\n",
        "#Object detection results:\r\n",
        "#Object tracking results:\n",
        "#Visual anomalies:\n",
        "  a: 0.5\n",
        "    b: 0.25\n",
        f"  lbl (0.91) {PLACE}\n",
        "Anomaly prediction: ",
        "Visual anomaly mean: 0.2, max: ",
        "0.5\n",
        "> ",
        "\r",
        "\n",
        "\x1b[0m",
        "nan\n",
        "    ",
        "Taking photo...\n",
        "anomaly score: 1\n",
        f"c (ID 3) {PLACE}\n",
        "\ufffd",
        "x" * 3000,
    ]
)
NOISE = st.lists(
    FRAGMENTS | st.text(max_size=5) | st.binary(max_size=8).map(lambda data: data.decode(errors="replace"))
)


@pytest.mark.timeout(60)
@settings(max_examples=60, deadline=None)
@given(NOISE, st.lists(st.integers(0, 20_000), max_size=8))
def test_any_bytes_cut_anywhere_give_the_same_results(noise: list[str], places: list[int]) -> None:
    text = "".join(noise)
    results = parse(text)
    assert parse(*cut(text, places)) == results
    for result in results:
        assert all(0 <= abs(score) < float("inf") for score in result.classification.values())
