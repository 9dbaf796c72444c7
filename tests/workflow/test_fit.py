"""Whether a model fits a board, and what would."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from ei_automation.compiler.compiling import CompileOptions, compile_model
from ei_automation.errors import DoesNotFitError
from ei_automation.schema.board import BoardKind, OpenMvMemory, find_board
from ei_automation.schema.deployment import MEMORY_MODES
from ei_automation.workflow.fit import (
    CODE_BYTES,
    SCRIPT_BYTES,
    STACK_BYTES,
    Need,
    check_fit,
    require_fit,
)
from ei_automation.workflow.sized import SDK_ITEM_BYTES, Sized
from tests.compiler.test_fold import SAME, Sketch
from tests.compiler.test_read import SMALL
from tests.inference.tiny_models import float_model


def board(
    ram: int, flash: int = 1 << 20, *, code_in_ram: bool = False, openmv: OpenMvMemory | None = None
) -> BoardKind:
    """A board with just so much memory."""
    return BoardKind(
        id="tight", name="Tight", core="cortex-m4f", clock_hz=80_000_000, ram_bytes=ram, flash_bytes=flash,
        application_ram_bytes=ram, application_flash_bytes=flash, code_in_ram=code_in_ram, rule="as made",
        openmv=openmv, sources=("made up for a test",),
    )  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Sized:
    """A convolution, an addition to what came before, three convolutions and a dense layer, 96x96, grayscale."""
    sketch = Sketch((1, 96, 96, 1))
    before = sketch.convolve(padding=SAME)
    sizes = {"filterHeight": 3, "filterWidth": 3, "strideH": 1, "strideW": 1, "padding": SAME}
    sketch.layer("MAX_POOL_2D", (1, 48, 48, 4), **sizes)
    sketch.layer("ADD", (1, 48, 48, 4), before)
    for _ in range(3):
        sketch.convolve(padding=SAME)
    sketch.reshape((1, 144))
    sketch.dense(3, 144, (1, 3))
    return Sized.read(sketch.finish())


@pytest.fixture(scope="module")
def arenas(network: Sized) -> dict[str, int]:
    return {memory: network.arena_bytes(memory) for memory in MEMORY_MODES}


def test_sizes_are_those_of_the_compiler() -> None:
    sized = Sized.read(SMALL)
    for memory in MEMORY_MODES:
        compiled = compile_model(SMALL, CompileOptions(memory=memory))
        assert sized.arena_bytes(memory) == compiled.arena_bytes
        assert sized.constant_bytes == compiled.constant_bytes
    assert sized.file_bytes == len(SMALL)


def test_what_fits_to_the_byte(network: Sized, arenas: dict[str, int]) -> None:
    ram, flash = arenas["streamed"] + STACK_BYTES, network.constant_bytes + CODE_BYTES
    fit = check_fit(network, board(ram, flash), "cpp", "streamed")
    assert fit is not None
    assert fit.fits
    assert fit.needs == (Need("RAM", ram, ram), Need("flash", flash, flash))
    assert fit.would_fit == ()
    assert str(fit).startswith("fits Tight: RAM ")
    for tight in (board(ram - 1, flash), board(ram, flash - 1)):
        fit = check_fit(network, tight, "cpp", "streamed")
        assert fit is not None
        assert not fit.fits
        assert max(need.excess_bytes for need in fit.needs) == 1
        assert "1 too many" in str(fit)


def test_less_memory_is_said_first(network: Sized, arenas: dict[str, int]) -> None:
    assert arenas["streamed-input"] < arenas["streamed"] < arenas["planned"]
    fit = check_fit(network, board(arenas["streamed"] + STACK_BYTES), "cpp", "planned")
    assert fit is not None
    assert fit.would_fit[0].startswith(
        f"--target cpp --memory streamed (RAM {arenas['streamed'] + STACK_BYTES:,} of "
    )
    fit = check_fit(network, board(arenas["streamed-input"] + STACK_BYTES), "cpp", "planned")
    assert fit is not None
    assert fit.would_fit[0].startswith("--target cpp --memory streamed-input ")


def test_memory_that_the_sdk_cannot_use_is_not_advised(network: Sized, arenas: dict[str, int]) -> None:
    fit = check_fit(network, board(arenas["streamed"] + STACK_BYTES), "cpp", "planned", flavor="edge-impulse")
    assert fit is not None
    assert fit.would_fit[0].startswith("--target cpp --flavor edge-impulse --memory streamed (RAM ")
    tight = board(arenas["streamed-input"] + STACK_BYTES)
    fit = check_fit(network, tight, "cpp", "planned", flavor="edge-impulse")
    assert fit is not None
    assert not any("--memory" in option for option in fit.would_fit)


def test_the_sdk_keeps_float_features_and_scores_beside_the_arena() -> None:
    sized = Sized.read(float_model((48, 48, 3), np.zeros((2, 48 * 48 * 3), np.float32)))
    assert sized.sdk_bytes == SDK_ITEM_BYTES * (48 * 48 * 3 + 2)
    ram = sized.arena_bytes("streamed") + STACK_BYTES
    alone = check_fit(sized, board(ram), "cpp", "streamed")
    assert alone is not None
    assert alone.fits
    with_sdk = check_fit(sized, board(ram), "cpp", "streamed", flavor="edge-impulse")
    assert with_sdk is not None
    assert not with_sdk.fits
    assert with_sdk.needs[0] == Need("RAM, the SDK's features and scores in it", ram + sized.sdk_bytes, ram)
    enough = check_fit(sized, board(ram + sized.sdk_bytes), "cpp", "streamed", flavor="edge-impulse")
    assert enough is not None
    assert enough.fits


def test_integers_are_given_to_the_sdk_as_they_are(network: Sized, arenas: dict[str, int]) -> None:
    ram = arenas["streamed"] + STACK_BYTES
    fit = check_fit(network, board(ram), "cpp", "streamed", flavor="edge-impulse")
    assert fit is not None
    assert fit.needs[0] == Need("RAM", ram, ram)


def test_a_smaller_input_is_computed(network: Sized) -> None:
    smaller = network.at(64, 64).arena_bytes("streamed-input") + STACK_BYTES
    fit = check_fit(network, board(smaller), "cpp", "streamed-input")
    assert fit is not None
    assert not fit.fits
    assert fit.would_fit[0].startswith(f"an input of 64x64 (RAM {smaller:,} of {smaller:,} bytes, ")
    fit = check_fit(network, board(STACK_BYTES), "cpp", "streamed-input")
    assert fit is not None
    assert not any("input of" in option for option in fit.would_fit)


def test_a_smaller_alpha_is_an_estimate(network: Sized) -> None:
    """What is advised fits by the same rule, and a little more does not."""
    flash = network.narrower(0.5).constant_bytes + CODE_BYTES
    fit = check_fit(network, board(1 << 20, flash), "cpp", "streamed")
    assert fit is not None
    (option,) = fit.would_fit
    found = re.match(r"an alpha \(channels\) at most ([\d.]+) times this network's, roughly estimated$", option)
    assert found is not None
    ratio = float(found[1])
    assert 0.5 <= ratio < 0.75
    assert network.narrower(ratio).constant_bytes + CODE_BYTES <= flash
    assert network.narrower(ratio + 0.01).constant_bytes + CODE_BYTES > flash


def test_no_alpha_shrinks_the_code(network: Sized) -> None:
    for tight in (board(1 << 20, CODE_BYTES), board(CODE_BYTES + STACK_BYTES, code_in_ram=True)):
        fit = check_fit(network, tight, "cpp", "streamed")
        assert fit is not None
        assert not any("alpha" in option for option in fit.would_fit)


def test_code_that_runs_from_ram_counts_there(network: Sized, arenas: dict[str, int]) -> None:
    all_of_it = arenas["streamed"] + STACK_BYTES + network.constant_bytes + CODE_BYTES
    fit = check_fit(network, board(all_of_it, code_in_ram=True), "cpp", "streamed")
    assert fit is not None
    assert fit.needs == (Need("RAM with code and weights in it", all_of_it, all_of_it),)
    fit = check_fit(network, board(all_of_it - 1, code_in_ram=True), "cpp", "streamed")
    assert fit is not None
    assert not fit.fits


def openmv(*blocks: int, frame: int = 0) -> BoardKind:
    memory = OpenMvMemory(heap_blocks_bytes=blocks, frame_buffer_bytes=frame, sources=("made up for a test",))
    return board(1 << 20, openmv=memory)


def needs(sized: Sized, kind: BoardKind) -> tuple[Need, ...]:
    fit = check_fit(sized, kind, "openmv", "streamed")
    assert fit is not None
    return fit.needs


def test_openmv_keeps_a_small_model_in_the_heap(network: Sized) -> None:
    file, arena = network.file_bytes, network.interpreter_bytes
    # The script is in the first piece, the file in the next with room, the arena in the largest rest.
    found = needs(network, openmv(SCRIPT_BYTES + 100, file + 10, arena + (1 << 17)))
    assert found == (
        Need("model file in the heap", file, file + 10),
        Need("tensor arena in the heap", arena, arena + (1 << 17)),
    )
    # Both in one piece: the file takes from the arena's room.
    one = SCRIPT_BYTES + file + arena + 65_536
    assert needs(network, openmv(one))[1] == Need("tensor arena in the heap", arena, arena + 65_536)
    # No piece alone has the room for the file.
    scattered = openmv(*[SCRIPT_BYTES + file - 1] + [file - 1] * 9)
    assert needs(network, scattered)[0].excess_bytes > 0


def test_openmv_keeps_a_large_model_in_the_frame_buffer(network: Sized) -> None:
    network = Sized(network.graph, network.interpreter_bytes + 1)
    file, arena, picture = network.file_bytes, network.interpreter_bytes, 320 * 240
    found = needs(network, openmv(SCRIPT_BYTES + arena, frame=picture + file))
    assert found == (
        Need("model file in the frame buffer beside a picture", file, file),
        Need("tensor arena in the heap", arena, arena),
    )


def test_openmv_5_fills_the_heap_before_the_frame_buffer(network: Sized) -> None:
    """Earlier releases leave 64 KiB of the heap and take the frame buffer; the worse of both counts."""
    arena = network.interpreter_bytes
    large = Sized(network.graph, arena + 1_000)
    assert 20_000 < arena < 65_536
    heap = SCRIPT_BYTES + large.file_bytes + 20_000
    found = needs(large, openmv(heap, frame=1 << 30))
    assert found[0] == Need("model file in the heap", large.file_bytes, large.file_bytes + 20_000)
    assert found[1] == Need("tensor arena in the heap", arena, 20_000)


def test_formats_that_do_not_run_there(network: Sized) -> None:
    assert check_fit(network, board(1), "openmv", "streamed") is None
    assert require_fit(["OpenMV Cam H7"], "wasm", b"no model", "streamed") == []


def test_the_gate_passes_what_fits() -> None:
    assert require_fit(["OpenMV Cam H7", "Sony Spresense"], "cpp", SMALL, "planned") == []


def test_the_gate_says_what_it_could_not_check() -> None:
    (note,) = require_fit(["my own board"], "cpp", SMALL, "planned")
    assert note.startswith("no board is called 'my own board', so that nothing was checked for it")
    (note,) = require_fit(["Sony Spresense"], "openmv", SMALL, "planned")
    assert note == "Sony Spresense does not run OpenMV's firmware; nothing was checked for it"
    (note,) = require_fit(["OpenMV Cam H7"], "openmv", b"no model", "planned")
    assert note.startswith("whether it fits was not checked: ")


def test_a_real_model_that_does_not_fit_an_openmv_cam_h7(shared_data: Path) -> None:
    model = (shared_data / "studio_deployments" / "openmv_cls_2020_mask" / "trained.tflite").read_bytes()
    with pytest.raises(DoesNotFitError) as caught:
        require_fit(["OpenMV Cam H7"], "openmv", model, "streamed")
    error = caught.value
    assert error.exit_code == 10
    # 480 KiB of frame buffer, 150 KiB of them a QVGA picture in colour.
    assert "model file in the frame buffer beside a picture 733,088 of 337,920 bytes, 395,168 too many" in str(
        error
    )
    assert "tensor arena in the heap 299," in str(error)
    assert "--target cpp --memory planned (RAM " in error.hint
    assert "the same on OpenMV Cam H7 Plus or OpenMV Pure Thermal or Arduino Portenta H7" in error.hint
    assert require_fit(["OpenMV Cam H7 Plus"], "openmv", model, "streamed") == []


def test_a_real_model_that_runs_on_an_openmv_cam_h7(shared_data: Path) -> None:
    """Its repository says that it does: Edge-Impulse-Image-Classification-Model-for-OpenMV-H7."""
    model = (shared_data / "studio_deployments" / "openmv_cls_2023_person" / "trained.tflite").read_bytes()
    assert require_fit(["OpenMV Cam H7"], "openmv", model, "streamed") == []


def test_a_real_model_that_runs_on_a_nicla_vision(shared_data: Path) -> None:
    """Its repository says that it does: FOMO_nicla_balloon."""
    model = (shared_data / "studio_deployments" / "openmv_fomo_2023_balloon" / "trained.tflite").read_bytes()
    assert require_fit(["Arduino Nicla Vision"], "openmv", model, "streamed") == []


def test_boards_of_the_table_are_asked_by_any_name() -> None:
    assert find_board("openmv h7 plus").openmv is not None
