"""Whether a model fits a board, by how much it does not, and what would fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ei_automation.compiler.measure.footprint import Footprint
from ei_automation.errors import DoesNotFitError, NotFoundError, VerificationError
from ei_automation.schema.board import BoardKind, OpenMvMemory, find_board, known_boards
from ei_automation.schema.deployment import MEMORY_MODES, Flavor, Memory
from ei_automation.workflow.sized import Sized

CHECKED_FORMATS = ("cpp", "openmv")
"""Deployments that run on the boards of the table."""
CODE_BYTES = 24_576
"""Flash for kernels and tables where nothing was measured; 16 builds took 8 to 17 kB (int8, Cortex-M4, clang)."""
STACK_BYTES = 1_024
"""RAM for the stack where nothing was measured; the same builds took up to 432 bytes."""
SCRIPT_BYTES = 16_384
"""Heap that an OpenMV script and its modules take; not measured, a guess on the safe side."""
HEAP_RESERVE_BYTES = 65_536
"""The deployed script loads a model into the frame buffer if the heap would keep less free; 5.0.0 ignores that."""
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
class Build:
    """What is built of a model, and what it takes beside the model.

    Attributes:
        format: Of the deployment: cpp or openmv.
        memory: Of compiled code.
        flavor: Of the C++ library.
        code_bytes: Flash for all but the model's constants.
        stack_bytes: RAM for all but the arena.
    """

    format: str
    memory: Memory
    flavor: Flavor = ""
    code_bytes: int = CODE_BYTES
    stack_bytes: int = STACK_BYTES


@dataclass(frozen=True)
class Fit:
    """A model beside a board.

    Attributes:
        board: The board.
        build: What is built.
        needs: All that was looked at.
        would_fit: What to change, where it does not fit; the first is the least change.
    """

    board: BoardKind
    build: Build
    needs: tuple[Need, ...]
    would_fit: tuple[str, ...] = ()

    @property
    def format(self) -> str:
        """Of the deployment: cpp or openmv."""
        return self.build.format

    @property
    def fits(self) -> bool:
        """Whether everything has room."""
        return all(need.excess_bytes <= 0 for need in self.needs)

    def __str__(self) -> str:
        shown = self.needs if self.fits else [need for need in self.needs if need.excess_bytes > 0]
        return f"{'fits' if self.fits else 'does not fit'} {self.board.name}: {'; '.join(map(str, shown))}"


def require_fit(
    boards: Sequence[str], format: str, model: bytes, memory: Memory, *, flavor: Flavor = ""
) -> list[str]:
    """Refuse a deployment that does not fit one of a project's boards.

    Args:
        boards: Names, as in the manifest; unknown ones are no mistake.
        format: Of the deployment; only cpp and openmv run on such boards.
        model: The .tflite file.
        memory: Of compiled code.
        flavor: Of the C++ library.

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
        fit = check_fit(sized, board, format, memory, flavor=flavor)
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
    sized: Sized,
    board: BoardKind,
    format: str,
    memory: Memory,
    *,
    flavor: Flavor = "",
    footprint: Footprint | None = None,
) -> Fit | None:
    """Compare a model with a board.

    Args:
        sized: The model.
        board: The board.
        format: cpp or openmv.
        memory: Of compiled code.
        flavor: Of the C++ library.
        footprint: Of the compiled model, where it was measured; else its code counts as `CODE_BYTES`.

    Returns:
        None where deployments of that format do not run on the board.
    """
    build = Build(format, memory, flavor)
    if footprint is not None:
        flash, ram = footprint.flash_bytes + footprint.library_bytes, footprint.ram_bytes + footprint.stack_bytes
        code, stack = flash - sized.constant_bytes, ram - sized.arena_bytes(memory)
        build = replace(build, code_bytes=code, stack_bytes=stack)
    needs = _needs(sized, board, build)
    if needs is None:
        return None
    fit = Fit(board, build, needs)
    return fit if fit.fits else replace(fit, would_fit=tuple(_would_fit(sized, fit)))


def _needs(sized: Sized, board: BoardKind, build: Build) -> tuple[Need, ...] | None:
    """What the model takes of the board."""
    if build.format == "openmv":
        return _openmv_needs(sized, board.openmv) if board.openmv else None
    ram, flash = sized.arena_bytes(build.memory) + build.stack_bytes, sized.constant_bytes + build.code_bytes
    sdk_bytes = sized.sdk_bytes if build.flavor == "edge-impulse" else 0
    what = "RAM, the SDK's features and scores in it" if sdk_bytes else "RAM"
    ram += sdk_bytes
    if board.code_in_ram:
        what = f"{what}, code and weights too" if sdk_bytes else "RAM with code and weights in it"
        return (Need(what, ram + flash, board.application_ram_bytes),)
    return Need(what, ram, board.application_ram_bytes), Need("flash", flash, board.application_flash_bytes)


def _room(needs: tuple[Need, ...] | None) -> bool:
    """Whether everything has room, on a board where it runs."""
    return needs is not None and all(need.excess_bytes <= 0 for need in needs)


def _openmv_needs(sized: Sized, memory: OpenMvMemory) -> tuple[Need, ...]:
    """What an OpenMV script takes, by the firmware that has the least room for it.

    Up to 4.8.1 the script says where the file goes, and keeps 64 KiB of the heap free; 5.0.0 puts it into the heap
    wherever it has a piece that holds it, and into the frame buffer else.
    """
    found = [_openmv_release_needs(sized, memory, heap_first=heap_first) for heap_first in (False, True)]
    return max(found, key=lambda needs: max(need.excess_bytes for need in needs))


def _openmv_release_needs(sized: Sized, memory: OpenMvMemory, *, heap_first: bool) -> tuple[Need, ...]:
    """The file in heap or frame buffer, the arena in one piece of the heap."""
    blocks = list(memory.heap_blocks_bytes)
    script = next((number for number, size in enumerate(blocks) if size >= SCRIPT_BYTES), 0)
    blocks[script] -= SCRIPT_BYTES
    number = next((number for number, size in enumerate(blocks) if size >= sized.file_bytes), -1)
    if number < 0 if heap_first else sized.file_bytes > sum(blocks) - HEAP_RESERVE_BYTES:
        room, place = memory.frame_buffer_bytes - sized.picture_bytes, "frame buffer beside a picture"
    else:
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
    yield from _smaller_alpha(sized, fit)
    if fit.format == "openmv":
        yield from _other_boards(sized, fit)


def _as_code(sized: Sized, board: BoardKind) -> Iterator[str]:
    """The compiled model in place of the interpreter."""
    for memory in MEMORY_MODES:
        needs = _needs(sized, board, Build("cpp", memory)) or ()
        if _room(needs):
            yield f"a C++ library, --target cpp --memory {memory} ({', '.join(map(str, needs))})"
            return


def _other_memory(sized: Sized, fit: Fit) -> Iterator[str]:
    """The next modes of memory, which take less RAM; Edge Impulse's SDK cannot pull rows."""
    flavor = f" --flavor {fit.build.flavor}" if fit.build.flavor else ""
    for memory in MEMORY_MODES[MEMORY_MODES.index(fit.build.memory) + 1 :]:
        if flavor and memory == "streamed-input":
            continue
        needs = _needs(sized, fit.board, replace(fit.build, memory=memory)) or ()
        if _room(needs):
            yield f"--target cpp{flavor} --memory {memory} ({needs[0]})"
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
        needs = _needs(smaller, fit.board, fit.build) or ()
        if _room(needs):
            yield f"an input of {round(width * ratio)}x{round(height * ratio)} ({', '.join(map(str, needs))})"
            return


def _smaller_alpha(sized: Sized, fit: Fit) -> Iterator[str]:
    """The widest narrower network; computed by planning it, with channels that only nearly are that alpha's."""

    def has_room(percent: int) -> bool:
        return _room(_needs(sized.narrower(percent / 100), fit.board, fit.build))

    fits, too_wide = 1, 100
    try:
        if not has_room(fits):
            return  # what does not shrink with alpha is too much alone
        while too_wide - fits > 1:
            middle = (fits + too_wide) // 2
            fits, too_wide = (middle, too_wide) if has_room(middle) else (fits, middle)
    except (ValueError, VerificationError):
        return  # its channels have other ties than a narrower network can keep
    yield f"an alpha (channels) at most {fits / 100:.2f} times this network's, roughly estimated"


def _other_boards(sized: Sized, fit: Fit) -> Iterator[str]:
    """Boards with the same firmware that have the room."""
    found = [board.name for board in known_boards() if _room(_needs(sized, board, fit.build))]
    if found:
        yield f"the same on {' or '.join(found)}"
