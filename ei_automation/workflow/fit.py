"""Whether a model fits a board, by how much it does not, and what would fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ei_automation.compiler.bind import bind_graph
from ei_automation.compiler.bind.calls import KernelCall
from ei_automation.compiler.check import check
from ei_automation.compiler.compiling import plan_graph
from ei_automation.compiler.fold import fold
from ei_automation.compiler.graph import Graph
from ei_automation.compiler.interpreter_arena import interpreter_arena_bytes
from ei_automation.compiler.measure.footprint import Footprint
from ei_automation.compiler.read import read_graph
from ei_automation.compiler.rescale import rescale
from ei_automation.errors import DoesNotFitError, NotFoundError, VerificationError
from ei_automation.schema.board import BoardKind, OpenMvMemory, find_board, known_boards
from ei_automation.schema.deployment import MEMORY_MODES, Memory

CHECKED_FORMATS = ("cpp", "openmv")
"""Deployments that run on the boards of the table."""
CODE_BYTES = 24_576
"""Flash for kernels and tables where nothing was measured; 16 builds took 8 to 17 kB (int8, Cortex-M4, clang)."""
STACK_BYTES = 1_024
"""RAM for the stack where nothing was measured; the same builds took up to 432 bytes."""
SCRIPT_BYTES = 16_384
"""Heap that an OpenMV script and its modules take; not measured, a guess on the safe side."""
HEAP_RESERVE_BYTES = 65_536
"""The deployed script loads a model into the frame buffer if the heap would keep less free."""
ARENA_EXTRA_BYTES = 512
"""That OpenMV's firmware adds to the arena (lib/tflm/tflm_backend.cc, TF_ARENA_EXTRA)."""
PICTURE_PIXELS = 320 * 240
"""QVGA, which the deployed script takes pictures in: a byte a pixel in grayscale, two in colour."""
SIZE_STEP_PX = 32
"""Sizes at which MobileNet's paddings are what they were: it halves the image five times."""


@dataclass(frozen=True)
class Need:
    """Memory that a model takes.

    Attributes:
        what: For a sentence, e.g. `RAM`.
        bytes: What it takes.
        available_bytes: What the board has for it.
    """

    what: str
    bytes: int
    available_bytes: int

    @property
    def excess_bytes(self) -> int:
        """How much too much it is; below zero where it fits."""
        return self.bytes - self.available_bytes

    def __str__(self) -> str:
        taken = f"{self.what} {self.bytes:,} of {self.available_bytes:,} bytes"
        return f"{taken}, {self.excess_bytes:,} too many" if self.excess_bytes > 0 else taken


@dataclass(frozen=True)
class Fit:
    """A model beside a board.

    Attributes:
        board: The board.
        format: Of the deployment: cpp or openmv.
        memory: Of compiled code.
        needs: All that was looked at.
        would_fit: What to change, where it does not fit; the first is the least change.
    """

    board: BoardKind
    format: str
    memory: Memory
    needs: tuple[Need, ...]
    would_fit: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether everything has room."""
        return all(need.excess_bytes <= 0 for need in self.needs)

    def __str__(self) -> str:
        shown = self.needs if self.fits else [need for need in self.needs if need.excess_bytes > 0]
        return f"{'fits' if self.fits else 'does not fit'} {self.board.name}: {'; '.join(map(str, shown))}"


@dataclass(frozen=True, eq=False)
class Sized:
    """A model as the gate sees it: its graph as read, and its file's size.

    Attributes:
        graph: Checked, not folded.
        file_bytes: Of the .tflite file.
    """

    graph: Graph
    file_bytes: int

    @classmethod
    def read(cls, model: bytes) -> Sized:
        """Read a .tflite file.

        Raises:
            VerificationError: It is no such file, or holds what is not supported.
        """
        graph = read_graph(model)
        check(graph)
        return cls(graph, len(model))

    @cached_property
    def interpreter_bytes(self) -> int:
        """The tensor arena of an interpreter."""
        return interpreter_arena_bytes(self.graph) + ARENA_EXTRA_BYTES

    @cached_property
    def picture_bytes(self) -> int:
        """The camera's picture of an OpenMV script."""
        return PICTURE_PIXELS * (2 if self.graph.tensor(self.graph.input).shape[-1] > 1 else 1)

    @cached_property
    def constant_bytes(self) -> int:
        """Weights and tables of the compiled model."""
        return sum(constant.bytes for call in self._compiled[1] for constant in call.constants)

    def arena_bytes(self, memory: Memory) -> int:
        """The arena of the compiled model."""
        return plan_graph(*self._compiled, memory).arena_bytes

    @cached_property
    def _compiled(self) -> tuple[Graph, tuple[KernelCall, ...]]:
        folded = fold(self.graph)
        return folded, bind_graph(folded)

    def at(self, height: int, width: int) -> Sized:
        """The same network for another image.

        Raises:
            ValueError: It does not exist at that size.
            VerificationError: It has no kernels at that size.
        """
        graph = rescale(self.graph, height, width)
        check(graph)
        saved = _stored_bytes(self.graph) - _stored_bytes(graph)
        return Sized(graph, self.file_bytes - saved)


def _stored_bytes(graph: Graph) -> int:
    """Constants that the operators read."""
    read = {index for operator in graph.operators for index in operator.inputs if index >= 0}
    return sum(graph.tensor(index).bytes for index in read if graph.tensor(index).is_constant)


def require_fit(boards: Sequence[str], format: str, model: bytes, memory: Memory) -> list[str]:
    """Refuse a deployment that does not fit one of a project's boards.

    Args:
        boards: Names, as in the manifest; unknown ones are no mistake.
        format: Of the deployment; only cpp and openmv run on such boards.
        model: The .tflite file.
        memory: Of compiled code.

    Returns:
        What could not be checked, a sentence each.

    Raises:
        DoesNotFitError: Says by how much, and what would fit.
    """
    kinds, notes = known(boards)
    if format not in CHECKED_FORMATS or not kinds:
        return notes if format in CHECKED_FORMATS else []
    try:
        sized = Sized.read(model)
    except VerificationError as error:
        return [*notes, f"whether it fits was not checked: {error.message}"]
    for board in kinds:
        fit = check_fit(sized, board, format, memory)
        if fit is None:
            notes.append(f"{board.name} does not run OpenMV's firmware; nothing was checked for it")
        elif not fit.fits:
            raise refusal(fit)
    return notes


def known(boards: Sequence[str]) -> tuple[list[BoardKind], list[str]]:
    """The boards that the table has, and a sentence for each other one.

    Args:
        boards: Names, as in a manifest.
    """
    kinds, notes = [], []
    for name in boards:
        try:
            kinds.append(find_board(name))
        except NotFoundError as error:
            notes.append(f"{error.message}, so that nothing was checked for it ({error.hint})")
    return kinds, notes


def refusal(fit: Fit) -> DoesNotFitError:
    """The error for a model that does not fit."""
    options = "; ".join(fit.would_fit) or "nothing near it does: another network, or a larger board"
    return DoesNotFitError(f"the model {fit}", hint=f"what would fit: {options}. --skip-fit does not check")


def check_fit(
    sized: Sized, board: BoardKind, format: str, memory: Memory, *, footprint: Footprint | None = None
) -> Fit | None:
    """Compare a model with a board.

    Args:
        sized: The model.
        board: The board.
        format: cpp or openmv.
        memory: Of compiled code.
        footprint: Of the compiled model, where it was measured; else its code counts as `CODE_BYTES`.

    Returns:
        None where deployments of that format do not run on the board.
    """
    needs = _needs(sized, board, format, memory, footprint)
    if needs is None:
        return None
    fit = Fit(board, format, memory, needs)
    return fit if fit.fits else replace(fit, would_fit=tuple(_would_fit(sized, fit)))


def _needs(
    sized: Sized, board: BoardKind, format: str, memory: Memory, footprint: Footprint | None = None
) -> tuple[Need, ...] | None:
    """What the model takes of the board."""
    if format == "openmv":
        return _openmv_needs(sized, board.openmv) if board.openmv else None
    if footprint is None:
        ram, flash = sized.arena_bytes(memory) + STACK_BYTES, sized.constant_bytes + CODE_BYTES
    else:
        ram, flash = footprint.ram_bytes + footprint.stack_bytes, footprint.flash_bytes + footprint.library_bytes
    if board.code_in_ram:
        return (Need("RAM with code and weights in it", ram + flash, board.application_ram_bytes),)
    return (
        Need("RAM", ram, board.application_ram_bytes),
        Need("flash", flash, board.application_flash_bytes),
    )


def _openmv_needs(sized: Sized, memory: OpenMvMemory) -> tuple[Need, ...]:
    """What an OpenMV script takes: the file in heap or frame buffer, the arena in one piece of the heap."""
    blocks = list(memory.heap_blocks_bytes)
    script = next((number for number, size in enumerate(blocks) if size >= SCRIPT_BYTES), 0)
    blocks[script] -= SCRIPT_BYTES
    if sized.file_bytes > sum(blocks) - HEAP_RESERVE_BYTES:
        room, place = memory.frame_buffer_bytes - sized.picture_bytes, "frame buffer beside a picture"
    else:
        number = next((number for number, size in enumerate(blocks) if size >= sized.file_bytes), -1)
        room, place = max(blocks) if number < 0 else blocks[number], "heap"
        blocks[number] -= min(sized.file_bytes, blocks[number])
    return (
        Need(f"model file in the {place}", sized.file_bytes, room),
        Need("tensor arena in the heap", sized.interpreter_bytes, max(blocks)),
    )


def _would_fit(sized: Sized, fit: Fit) -> Iterator[str]:
    """What would fit, the least change first."""
    if fit.format == "openmv":
        yield from _as_code(sized, fit.board)
    else:
        yield from _other_memory(sized, fit)
    yield from _smaller_input(sized, fit)
    yield _smaller_alpha(fit)
    if fit.format == "openmv":
        yield from _other_boards(sized, fit)


def _as_code(sized: Sized, board: BoardKind) -> Iterator[str]:
    """The compiled model in place of the interpreter."""
    for memory in MEMORY_MODES:
        needs = _needs(sized, board, "cpp", memory) or ()
        if all(need.excess_bytes <= 0 for need in needs):
            yield f"a C++ library, --target cpp --memory {memory} ({', '.join(map(str, needs))})"
            return


def _other_memory(sized: Sized, fit: Fit) -> Iterator[str]:
    """The next modes of memory, which take less RAM."""
    for memory in MEMORY_MODES[MEMORY_MODES.index(fit.memory) + 1 :]:
        needs = _needs(sized, fit.board, fit.format, memory) or ()
        if all(need.excess_bytes <= 0 for need in needs):
            yield f"--memory {memory} ({needs[0]})"
            return


def _smaller_input(sized: Sized, fit: Fit) -> Iterator[str]:
    """The largest smaller image; computed by planning the network at that size."""
    shape = sized.graph.tensor(sized.graph.input).shape
    if len(shape) != 4:
        return
    _, height, width, _ = shape
    for size in range((min(height, width) - 1) // SIZE_STEP_PX * SIZE_STEP_PX, 0, -SIZE_STEP_PX):
        ratio = size / min(height, width)
        try:
            smaller = sized.at(round(height * ratio), round(width * ratio))
        except (ValueError, VerificationError):
            return  # the network does not exist at that size, nor at smaller ones
        needs = _needs(smaller, fit.board, fit.format, fit.memory) or ()
        if all(need.excess_bytes <= 0 for need in needs):
            yield f"an input of {round(width * ratio)}x{round(height * ratio)} ({', '.join(map(str, needs))})"
            return


def _smaller_alpha(fit: Fit) -> str:
    """How much narrower the network would have to be: RAM goes with alpha, weights go with its square."""
    ratios = []
    for need in fit.needs:
        ratio = max(0.0, need.available_bytes / need.bytes)
        goes_with_alpha = need.what == "RAM" or "arena" in need.what
        ratios.append(ratio if goes_with_alpha else ratio**0.5)
    return (
        f"an alpha (channels) at most {int(min(ratios) * 100) / 100:.2f} times this network's, roughly estimated"
    )


def _other_boards(sized: Sized, fit: Fit) -> Iterator[str]:
    """Boards with the same firmware that have the room."""
    found = []
    for board in known_boards():
        needs = _needs(sized, board, fit.format, fit.memory)
        if needs is not None and all(need.excess_bytes <= 0 for need in needs):
            found.append(board.name)
    if found:
        yield f"the same on {' or '.join(found)}"
