"""What a running board says, on terminals of every width and in pipes."""

import json

import pytest
from rich.console import Console

from ei_automation.cli.live import (
    SIMULATED_TIMES,
    LiveView,
    PlainLines,
    as_json,
    bars,
    heading,
    milliseconds,
    plain_line,
    timing_words,
)
from ei_automation.schema.inference_result import InferenceResult, ObjectBox, Timing
from ei_automation.workflow.run_board import RunFacts, Tally

FACTS = RunFacts("Sony Spresense", "/dev/ttyUSB0", "SONY_SPRESENSE, AT 1.8.0, project cells, deploy version 3")
SCORES = InferenceResult(
    {"eosinophil": 0.02, "lymphocyte": 0.9, "a [bold] label": 0.08}, timing=Timing(4000, 183_000)
)
BOXES = InferenceResult(boxes=(ObjectBox("coffee cup", 0.91, 8, 16, 8, 8), ObjectBox("lamp", None, 24, 40, 0, 0)))
EVERYTHING = InferenceResult(
    {"a": 1.0},
    anomaly=0.25,
    regression=7.5,
    visual_anomaly_mean=1.0,
    visual_anomaly_max=3.5,
    visual_anomalies=(ObjectBox("anomaly", 3.5, 0, 8, 8, 8),),
    fps=12.5,
)


def drawn(result, width, height=24, facts=FACTS):
    tally = Tally()
    view = LiveView(facts, tally)
    console = Console(width=width, height=height, record=True, file=open("/dev/null", "w"), force_terminal=True)  # noqa: PTH123, SIM115
    if result is not None:
        tally.add(result)
        view.show(result)
    console.print(view)
    console.file.close()
    return console.export_text()


@pytest.mark.parametrize("width", [20, 24, 40, 80, 120])
@pytest.mark.parametrize("result", [None, SCORES, BOXES, EVERYTHING])
def test_the_view_fits_any_width(width, result):
    text = drawn(result, width)
    assert max(map(len, text.splitlines())) <= width
    assert "Sony" in text


def test_classes_stay_in_their_order_and_the_highest_is_marked():
    lines = [line for line in drawn(SCORES, 80).splitlines() if "0." in line and "1.8.0" not in line]
    assert [line.split()[-1] for line in lines[:3]] == ["0.020", "0.900", "0.080"]
    assert [line.startswith("▶") for line in lines[:3]] == [False, True, False]
    assert "a [bold] label" in lines[2]
    assert "━" in lines[1]
    assert "━" not in drawn(SCORES, 24)


def test_many_classes_show_the_highest_ones():
    result = InferenceResult({f"label {number}": number / 100 for number in range(40)})
    text = drawn(result, 80, height=14)
    assert "label 39" in text
    assert "label 34" not in text
    assert "and 35 lower" in text
    assert bars(result, 80, 100).row_count == 40


def test_a_simulated_boards_times_are_named_so():
    facts = RunFacts("Nicla Vision", "sim://127.0.0.1:4750/ttyACM0", "AT 1.8.0")
    assert SIMULATED_TIMES in drawn(SCORES, 80, facts=facts)
    assert SIMULATED_TIMES in heading(facts)
    assert SIMULATED_TIMES not in drawn(SCORES, 80) + heading(FACTS)


def test_objects_are_a_table():
    text = drawn(BOXES, 80)
    rows = [line.split() for line in text.splitlines() if line.startswith(("coffee", "lamp"))]
    assert rows == [["coffee", "cup", "0.910", "8", "16", "8", "8"], ["lamp", "24", "40", "0", "0"]]
    assert "no objects" in drawn(InferenceResult(boxes=()), 80)


def test_the_numbers_below():
    text = drawn(SCORES, 80)
    assert "DSP 4.0 ms, inference 183 ms" in text
    assert "1 result in 0 s, mean latency 187 ms" in text
    assert "waiting for the first result" in drawn(None, 80)
    assert "anomaly 0.250" in drawn(EVERYTHING, 80)


@pytest.mark.parametrize(
    ("value_us", "words"),
    [(31.0, "31 µs"), (999.0, "999 µs"), (4250.0, "4.2 ms"), (183_000.0, "183 ms"), (1.5e6, "1,500 ms")],
)
def test_times(value_us, words):
    assert milliseconds(value_us) == words


def test_what_was_not_measured_is_not_shown():
    assert timing_words(Timing(), None) == ""
    assert timing_words(Timing(anomaly_us=0.0, inference_us=500.0), None) == "inference 500 µs"
    assert timing_words(Timing(), 12.5) == "12.5 fps"


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (SCORES, "lymphocyte 0.900  a [bold] label 0.080  eosinophil 0.020  (DSP 4.0 ms, inference 183 ms)"),
        (BOXES, "coffee cup 0.910 at 8,16 8x8; lamp at 24,40"),
        (InferenceResult(boxes=()), "no objects"),
        (
            EVERYTHING,
            "a 1.000, value 7.5, anomaly 0.250, visual anomaly mean 1.000, max 3.500, 1 cells  (12.5 fps)",
        ),
    ],
)
def test_a_plain_line(result, words):
    assert plain_line(result, 3, 1.25) == f"    3      1.25 s  {words}"


CLEARING = InferenceResult({"a\x1b[2Jb": 1.0}, boxes=(ObjectBox("c\x1b[2Jd", 0.5, 1, 2, 3, 4),))


@pytest.mark.parametrize("width", [24, 80])
def test_what_a_board_says_cannot_clear_the_screen(width):
    assert "\x1b" not in drawn(CLEARING, width) + plain_line(CLEARING, 1, 1.0)
    assert "c\ufffd[2J" in drawn(CLEARING, width)
    assert "\x1b" not in heading(RunFacts("a", "b", "c\x1b[2J"))


def test_a_file_gets_labels_as_they_are(capsys):
    result = InferenceResult({":dog:": 0.6, "[/] \\": 0.4})
    PlainLines().result(result, Tally())
    assert ":dog: 0.600  [/] \\ 0.400" in capsys.readouterr().out


def test_json_has_the_same_keys_for_every_result():
    lines = [as_json(result, 1, 0.12345) for result in (SCORES, BOXES, EVERYTHING, InferenceResult())]
    assert len({tuple(line) for line in lines}) == 1
    assert json.loads(json.dumps(lines[0])) == lines[0]
    assert lines[0]["seconds"] == 0.123
    assert lines[0]["simulated"] is False
    assert lines[0]["top"] == {"label": "lymphocyte", "score": 0.9}
    assert lines[0]["boxes"] is None
    assert lines[0]["timing_us"] == {
        "dsp": 4000,
        "inference": 183_000,
        "anomaly": None,
        "postprocessing": None,
        "total": 187_000,
    }
    assert lines[1]["boxes"][1] == {
        "label": "lamp", "score": None, "x": 24, "y": 40, "width": 0, "height": 0, "track": None
    }  # fmt: skip
    assert lines[2]["visual_anomaly"]["max"] == 3.5
