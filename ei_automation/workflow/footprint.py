"""`eiauto footprint`: what a model takes of boards, compiled and run in an emulator; no board needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ei_automation.compiler.compiling import CompiledModel, CompileOptions, compile_model
from ei_automation.compiler.measure.cores import Core, find_core
from ei_automation.compiler.measure.estimate import TimeRange, time_range
from ei_automation.compiler.measure.footprint import Footprint, measure
from ei_automation.compiler.measure.qemu import SecondOpinion, second_opinion
from ei_automation.compiler.toolchain import CCompiler, arm_gcc, zig
from ei_automation.errors import SettingsError, UsageError
from ei_automation.schema.board import BoardKind, find_board, known_boards
from ei_automation.schema.deployment import Memory
from ei_automation.schema.metrics import ModelVariant
from ei_automation.workflow.compile import read_model
from ei_automation.workflow.fit import Fit, check_fit
from ei_automation.workflow.project import Session
from ei_automation.workflow.sized import Sized

CompilerName = Literal["zig", "gcc"]
ARM_GCC_HINT = "install arm-none-eabi-gcc (Debian: gcc-arm-none-eabi), or leave out --compiler"


@dataclass(frozen=True)
class Opinions:
    """The same model, measured with other tools.

    Attributes:
        gcc: Built with arm-none-eabi-gcc, run in the same emulator; None where it is not installed.
        qemu: Built with the first compiler, run under QEMU; None where it is not installed or has no such core.
    """

    gcc: Footprint | None = None
    qemu: SecondOpinion | None = None


@dataclass(frozen=True)
class BoardFootprint:
    """What a model takes of a board.

    Attributes:
        board: The board.
        footprint: Measured for its core.
        time: Of one inference, estimated.
        fit: As a C++ library.
        openmv: As a .tflite file with OpenMV's firmware; None where that does not run on the board.
        opinions: None where none were asked for.
    """

    board: BoardKind
    footprint: Footprint
    time: TimeRange
    fit: Fit
    openmv: Fit | None
    opinions: Opinions | None = None

    def to_json(self) -> dict[str, Any]:
        """Values that JSON takes."""
        document = {
            "board": self.board.id,
            "clock_hz": self.board.clock_hz,
            **self.footprint.to_json(),
            "time_ms": [self.time.low_ms, self.time.high_ms],
            "time_note": self.time.note,
            "fits": self.fit.fits,
            "fit": str(self.fit),
            "would_fit": list(self.fit.would_fit),
            "rule": self.board.rule,
            "sources": list(self.board.sources),
        }
        if self.openmv is not None:
            document["openmv"] = {
                "fits": self.openmv.fits,
                "fit": str(self.openmv),
                "would_fit": list(self.openmv.would_fit),
            }
        if self.opinions is not None:
            document["second_opinion"] = _opinions_json(self.opinions)
        return document


def _opinions_json(opinions: Opinions) -> dict[str, Any]:
    """What the other tools found."""
    gcc, qemu = opinions.gcc, opinions.qemu
    found = {"qemu": qemu.qemu, "compiler": qemu.compiler, "instructions": qemu.instructions} if qemu else None
    return {"gcc": gcc.to_json() if gcc else None, "qemu": found}


def exactness(footprint: Footprint) -> str:
    """What the numbers are exact for, a sentence; belongs beside them."""
    note = find_core(footprint.core).note
    return (
        f"flash, RAM, stack and instructions are exact for {footprint.compiler} with {footprint.flags}, "
        f"run in an emulator{f' ({note})' if note else ''}; the time is an estimate"
    )


def choose_boards(
    names: Sequence[str], *, all_boards: bool = False, session: Session | None = None
) -> list[BoardKind]:
    """The boards that are meant.

    Args:
        names: Of boards; may be empty.
        all_boards: All of the table.
        session: A project, whose boards are meant where none is named.

    Raises:
        NotFoundError: A board is not in the table.
        UsageError: None is meant.
    """
    if all_boards:
        return list(known_boards())
    if not names and session is not None:
        names = [board.name for board in session.manifest.boards]
    found = [find_board(name) for name in names]
    if not found:
        listed = ", ".join(board.id for board in known_boards())
        raise UsageError("no board is named", hint=f"add --board NAME or --all-boards; known are {listed}")
    return list(dict.fromkeys(found))


def model_of(source: Path) -> bytes:
    """The model in a .tflite file or a deployment.

    Raises:
        NotFoundError: There is none.
    """
    return read_model(source)[0]


def project_model(session: Session, variant: ModelVariant = "int8") -> bytes:
    """The model of a project's last training.

    Raises:
        NotFoundError: Nothing was trained.
    """
    with session.open_backend() as backend:
        return backend.download_model(variant)


def footprints(
    model: bytes,
    boards: Sequence[BoardKind],
    *,
    title: str = "",
    memory: Memory = "streamed",
    compiler: CompilerName = "zig",
    with_opinions: bool = False,
    on_step: Callable[[str], None] | None = None,
) -> list[BoardFootprint]:
    """Compile a model, and measure it for each board's core.

    Args:
        model: A .tflite file.
        boards: Those that share a core are measured once.
        title: Names the model in errors and results.
        memory: Of compiled code.
        compiler: zig's clang, or arm-none-eabi-gcc.
        with_opinions: Measure with other tools too, where they are installed.
        on_step: Hears what is being done.

    Raises:
        VerificationError: The model cannot be compiled.
        SettingsError: The extra, or the compiler that is named, is not installed; says how to install it.
        JobFailedError: The C compiler failed.
    """
    compiled = compile_model(model, CompileOptions(memory=memory, title=title))
    chosen = _compiler(compiler)
    sized = Sized.read(model)
    measured: dict[str, tuple[Footprint, Opinions | None]] = {}
    for board in boards:
        if board.core not in measured:
            core = find_core(board.core)
            if on_step is not None:
                on_step(f"Measuring on {core.title}")
            found = measure(compiled, core, compiler=chosen)
            measured[board.core] = found, _opinions(compiled, core, chosen) if with_opinions else None
    return [_beside(sized, board, memory, *measured[board.core]) for board in boards]


def _compiler(name: CompilerName) -> CCompiler:
    """The compiler of a name."""
    if name == "zig":
        return zig()
    found = arm_gcc()
    if found is None:
        raise SettingsError("arm-none-eabi-gcc is not installed", hint=ARM_GCC_HINT)
    return found


def _opinions(compiled: CompiledModel, core: Core, compiler: CCompiler) -> Opinions:
    """Ask the other tools, where they are installed."""
    gcc = arm_gcc()
    return Opinions(
        gcc=measure(compiled, core, compiler=gcc) if gcc is not None and gcc != compiler else None,
        qemu=second_opinion(compiled, core, compiler=compiler),
    )


def _beside(
    sized: Sized, board: BoardKind, memory: Memory, footprint: Footprint, opinions: Opinions | None
) -> BoardFootprint:
    """A measured model beside a board."""
    fit = check_fit(sized, board, "cpp", memory, footprint=footprint)
    assert fit is not None  # a C++ library runs on every board
    return BoardFootprint(
        board,
        footprint,
        time_range(footprint.instructions, find_core(board.core), board.clock_hz),
        fit,
        check_fit(sized, board, "openmv", memory),
        opinions,
    )
