"""The kinds of boards that are known: their processor, and what of their memory a model may take."""

from __future__ import annotations

import difflib
import re
import tomllib
from functools import cache
from importlib.resources import files

from pydantic import Field, model_validator

from ei_automation.errors import NotFoundError
from ei_automation.schema.strict import StrictModel

TABLE = "boards.toml"
MAKERS = ("Arduino ", "OpenMV ", "Sony ")
"""What a board's name may be said without."""


class OpenMvMemory(StrictModel):
    """What OpenMV's firmware on a board has for a model that a script loads."""

    heap_blocks_bytes: tuple[int, ...] = Field(strict=False, min_length=1)
    """The pieces of the heap, in the order in which they are filled; one allocation lies in one piece."""
    frame_buffer_bytes: int
    """For pictures, and for models that the heap cannot hold."""
    sources: tuple[str, ...] = Field(strict=False, min_length=1)


class BoardKind(StrictModel):
    """A kind of board."""

    id: str = Field(pattern=r"^[a-z0-9-]+$")
    """Lower case with hyphens; what `--board` takes."""
    name: str
    """For people, and in manifests."""
    aliases: tuple[str, ...] = Field(default=(), strict=False)
    """What else it is called."""
    core: str
    """Of the processor that runs the model, e.g. `cortex-m7`."""
    clock_hz: int = Field(gt=0)
    ram_bytes: int = Field(gt=0)
    """On the chip."""
    flash_bytes: int = Field(gt=0)
    """That programs are stored in."""
    application_ram_bytes: int = Field(gt=0)
    """What a program's static data may take; see `rule`."""
    application_flash_bytes: int = Field(gt=0)
    """What a program may take; see `rule`."""
    code_in_ram: bool = False
    """Whether code and constants are copied into RAM, and count there too."""
    rule: str
    """How the two numbers for applications come about."""
    openmv: OpenMvMemory | None = None
    """None where OpenMV's firmware does not run on it."""
    sources: tuple[str, ...] = Field(strict=False, min_length=1)
    """Where the numbers are from."""

    @model_validator(mode="after")
    def _applications_fit(self) -> BoardKind:
        if self.application_ram_bytes > self.ram_bytes or self.application_flash_bytes > self.flash_bytes:
            raise ValueError(f"{self.id}: an application cannot have more than the board has")
        return self


class BoardTable(StrictModel):
    """`boards.toml`."""

    boards: tuple[BoardKind, ...] = Field(strict=False, min_length=1)


@cache
def known_boards() -> tuple[BoardKind, ...]:
    """The table of boards, in its order."""
    text = files("ei_automation.schema").joinpath(TABLE).read_text(encoding="utf-8")
    return BoardTable.model_validate(tomllib.loads(text)).boards


def find_board(name: str) -> BoardKind:
    """A board by its id, name or another name; case, punctuation and the maker do not matter.

    Raises:
        NotFoundError: There is none; the hint has the nearest names and the list.
    """
    named = _named()
    if _plain(name) in named:
        return named[_plain(name)]
    near = difflib.get_close_matches(_plain(name), named, n=3, cutoff=0.5)
    nearest = dict.fromkeys(named[each].id for each in near)
    listed = ", ".join(board.id for board in known_boards())
    question = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    raise NotFoundError(f"no board is called {name!r}", hint=f"{question}known are {listed}")


@cache
def _named() -> dict[str, BoardKind]:
    """Every name, plain, to its board; without its maker where that is the name of no other one."""
    whole: dict[str, BoardKind] = {}
    short: dict[str, set[str]] = {}
    for board in known_boards():
        for each in (board.id, board.name, *board.aliases):
            whole[_plain(each)] = board
            for maker in MAKERS:
                if each.startswith(maker):
                    short.setdefault(_plain(each.removeprefix(maker)), set()).add(board.id)
    boards = {board.id: board for board in known_boards()}
    return {name: boards[min(ids)] for name, ids in short.items() if len(ids) == 1} | whole


def _plain(name: str) -> str:
    """A name without what people write differently."""
    return re.sub(r"[^a-z0-9+]+", "", name.lower()).replace("plus", "+")
