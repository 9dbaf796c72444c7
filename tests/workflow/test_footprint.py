"""`eiauto footprint`, and what a report says of boards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ei_automation.compiler.toolchain import arm_gcc, has_zig
from ei_automation.errors import NotFoundError, UsageError
from ei_automation.schema.board import find_board, known_boards
from ei_automation.workflow.footprint import choose_boards, exactness, footprints
from tests.helpers import Cli
from tests.inference.tiny_models import int8_model

TINY = int8_model((6, 8, 3), np.arange(3 * 144).reshape(3, 144) % 7)
needs_zig = pytest.mark.skipif(not has_zig(), reason="the extra with zig is not installed")
needs_gcc = pytest.mark.skipif(arm_gcc() is None, reason="arm-none-eabi-gcc is not installed")


@pytest.fixture(autouse=True)
def emulator() -> None:
    pytest.importorskip("unicorn", reason="the emulator unicorn is not installed")
    pytest.importorskip("elftools", reason="pyelftools is not installed")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.tflite"
    path.write_bytes(TINY)
    return path


def test_boards_are_chosen() -> None:
    nicla = find_board("arduino-nicla-vision")
    assert choose_boards(["nicla vision", "Arduino Nicla Vision"]) == [nicla]
    assert choose_boards([], all_boards=True) == list(known_boards())
    with pytest.raises(UsageError, match="no board is named") as caught:
        choose_boards([])
    assert "sony-spresense" in caught.value.hint
    with pytest.raises(NotFoundError):
        choose_boards(["nicla vision", "toaster"])


@needs_zig
def test_boards_with_one_core_are_measured_once() -> None:
    steps: list[str] = []
    boards = choose_boards(["openmv cam h7", "nicla vision", "spresense"])
    h7, nicla, spresense = footprints(TINY, boards, memory="planned", on_step=steps.append)
    assert steps == ["Measuring on Cortex-M7", "Measuring on Cortex-M4F"]
    assert h7.footprint is nicla.footprint
    assert (h7.footprint.core, spresense.footprint.core) == ("cortex-m7", "cortex-m4f")
    assert 144 <= h7.footprint.ram_bytes < 1000
    assert 500 < h7.footprint.flash_bytes < 10_000
    assert h7.footprint.instructions > 432
    assert h7.time.low_ms < h7.time.high_ms < spresense.time.low_ms
    assert h7.fit.needs[0].bytes == h7.footprint.ram_bytes + h7.footprint.stack_bytes
    assert h7.fit.needs[1].bytes == h7.footprint.flash_bytes + h7.footprint.library_bytes
    assert h7.openmv is not None
    assert h7.openmv.fits
    assert spresense.openmv is None
    assert spresense.fit.needs[0].what == "RAM with code and weights in it"


@needs_zig
def test_the_numbers_say_what_they_are_exact_for() -> None:
    (found,) = footprints(TINY, [find_board("cortex-m4f-80mhz")])
    said = exactness(found.footprint)
    assert "are exact for zig: clang" in said
    assert "-O2" in said
    assert said.endswith("the time is an estimate")


@needs_zig
def test_the_command_prints_a_table_and_what_it_rests_on(cli: Cli, model: Path) -> None:
    assert cli("footprint", model, "--board", "spresense", "--board", "openmv h7") == 0
    for words in ("Sony Spresense", "OpenMV Cam H7", "estimated", "exact for zig", "the arena, streamed"):
        assert words in cli.out
    assert "Measuring on Cortex-M4F" in cli.err


@needs_zig
def test_the_command_gives_one_document(cli: Cli, model: Path) -> None:
    assert cli("footprint", model, "--board", "cortex-m7-216mhz", "--memory", "streamed-input", "--json") == 0
    document = cli.json()
    (found,) = document["footprints"]
    assert (document["memory"], found["memory"]) == ("streamed-input", "streamed-input")
    assert (found["board"], found["core"], found["fits"]) == ("cortex-m7-216mhz", "cortex-m7", True)
    assert found["time_ms"][0] < found["time_ms"][1]
    assert "an estimate" in found["time_note"]
    assert found["sources"]
    assert "openmv" not in found
    assert "second_opinion" not in found


@needs_zig
@needs_gcc
def test_a_second_opinion_is_another_compiler_and_another_emulator(cli: Cli, model: Path) -> None:
    assert cli("footprint", model, "--board", "spresense", "--second-opinion", "--json") == 0
    opinion = cli.json()["footprints"][0]["second_opinion"]
    assert "arm-none-eabi-gcc" in opinion["gcc"]["compiler"]
    assert opinion["gcc"]["instructions"] > 432
    assert cli("footprint", model, "--board", "spresense", "--second-opinion") == 0
    assert "arm-none-eabi-gcc" in cli.out


@needs_gcc
def test_gcc_may_be_the_first(cli: Cli, model: Path) -> None:
    assert cli("footprint", model, "--board", "spresense", "--compiler", "gcc") == 0
    assert "exact for arm-none-eabi-gcc" in cli.out


@needs_zig
def test_what_does_not_fit_is_said_with_what_would(cli: Cli, shared_data: Path) -> None:
    model = shared_data / "studio_deployments" / "openmv_fomo_2023_balloon" / "trained.tflite"
    assert cli("footprint", model, "--board", "openmv-cam-h7") == 0
    assert "with OpenMV's firmware it does not fit OpenMV Cam H7: tensor arena in the heap" in cli.out
    assert "what would fit: a C++ library" in cli.out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "no board is named"),
        (("--board", "openmv cam"), 4, "did you mean openmv-cam-h7"),
        (("--board", "spresense", "--memory", "none"), 2, "Invalid value"),
    ],
)
def test_wrong_calls(cli: Cli, model: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    assert cli("footprint", model, *arguments) == code
    assert words in cli.err


def test_a_missing_model(cli: Cli, tmp_path: Path) -> None:
    assert cli("footprint", tmp_path / "none.tflite", "--board", "spresense") == 4


@needs_zig
def test_a_project_is_measured_for_its_boards_and_its_report_says_so(cli: Cli, copy: Path) -> None:
    with (copy / "project.toml").open("a") as manifest:
        manifest.write('\n[[boards]]\nname = "Nicla Vision"\n\n[[boards]]\nname = "a board of my own"\n')
    assert cli("footprint", copy) == 4
    assert "a board of my own" in cli.err
    assert cli("footprint", copy, "--board", "nicla vision", "--json") == 0
    (found,) = cli.json()["footprints"]
    assert cli("report", copy) == 0
    page = (copy / "report.html").read_text()
    assert "On the board" in page
    assert f"{found['ram_bytes']:,}" in page
    assert f"{found['instructions']:,}" in page
    assert "are exact for zig" in page
    assert "no board is called &#39;a board of my own&#39;" in page
    assert cli("report", copy, "-o", copy / "again.html") == 0
    assert (copy / "again.html").read_text() == page


def test_a_report_without_boards_says_nothing_of_them(cli: Cli, copy: Path) -> None:
    assert cli("report", copy) == 0
    assert "On the board" not in (copy / "report.html").read_text()
