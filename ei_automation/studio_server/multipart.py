"""multipart/form-data bodies, piece by piece as they come, with limits.

Small files matter here: a boundary is looked for with `bytes.find`: many times faster than a look at every
byte. What is large goes to files while it is read.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import unquote_to_bytes
from uuid import uuid4

MOST_BOUNDARY = 256
"""Characters; RFC 2046 says 70, clients do not all know."""
MOST_HEADERS = 8 << 10
"""Bytes of one part's headers."""
MOST_PADDING = 256
"""White space that may follow a boundary."""
MOST_NAME = 200
"""Bytes of a file name in UTF-8; file systems take 255, and Studio adds to it."""

_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^;,\s"]+))', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;"\s]*))')
_ESCAPED = re.compile(r'\\(["\\])')
_PERCENT = re.compile("%(22|0D|0A)", re.IGNORECASE)


class MultipartError(ValueError):
    """The body is no multipart body, or beyond a limit."""


@dataclass(frozen=True)
class Limits:
    """What a body may hold.

    Attributes:
        parts: Most parts.
        part_bytes: Most bytes of a part; a larger one is dropped and marked.
        memory_bytes: Bytes of all parts that are kept in memory; what comes after goes to files.
    """

    parts: int
    part_bytes: int
    memory_bytes: int


@dataclass(frozen=True)
class Part:
    """One part of a body.

    Attributes:
        name: Of the form field.
        filename: As sent, harmless; None where the part is no file.
        content: Its bytes, or the file that they were written to.
        size_bytes: How many there were.
        too_large: It was beyond the limit; the content is empty.
    """

    name: str
    filename: str | None
    content: bytes | Path
    size_bytes: int
    too_large: bool = False


class _State(Enum):
    PREAMBLE = auto()
    HEADERS = auto()
    CONTENT = auto()
    END = auto()


class Multipart:
    """Reads a body. Feed it, then `close`; or `discard` where the body does not come to its end.

    Args:
        boundary: From the Content-Type, see `boundary_of`.
        limits: What it may hold.
        folder: For what is large.
    """

    def __init__(self, boundary: bytes, limits: Limits, folder: Path) -> None:
        self._delimiter = b"\r\n--" + boundary
        self._limits, self._folder = limits, folder
        self._buffer = bytearray(b"\r\n")  # so that a boundary at the very start is one like the others
        self._state = _State.PREAMBLE
        self._parts: list[Part] = []
        self._sink: _Sink | None = None
        self._headers: dict[str, str] = {}
        self._in_memory = 0

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            MultipartError: Headers without end, or too many parts.
        """
        self._buffer += data
        while self._step():
            pass

    def close(self) -> list[Part]:
        """The parts.

        Raises:
            MultipartError: The body is not whole. Nothing of it is left.
        """
        if self._state is _State.END:
            return self._parts
        self.discard()
        raise MultipartError("the multipart body has no end: the last boundary is missing")

    def discard(self) -> None:
        """Remove what was written to files."""
        if self._sink is not None:
            self._sink.discard()
        for part in self._parts:
            if isinstance(part.content, Path):
                part.content.unlink(missing_ok=True)

    def _step(self) -> bool:
        """One state further; False where more data is needed, or none."""
        if self._state is _State.END:
            self._buffer.clear()
            return False
        return self._read_headers() if self._state is _State.HEADERS else self._read_content()

    def _read_content(self) -> bool:
        """Content, or what stands before the first boundary, up to the next boundary."""
        start = 0
        while (found := self._buffer.find(self._delimiter, start)) >= 0:
            line_end = _line_end(self._buffer, found + len(self._delimiter))
            if line_end is None:
                self._consume(found)
                return False
            if line_end >= 0:
                self._consume(found)
                del self._buffer[: max(line_end - found, 0)]  # leaves the line's end; it may end empty headers too
                self._end_part(final=line_end == FINAL)
                return True
            start = found + 1
        self._consume(max(0, len(self._buffer) - len(self._delimiter) + 1))
        return False

    def _consume(self, count: int) -> None:
        """The first bytes of the buffer are content."""
        if count and self._sink is not None:
            room = self._limits.memory_bytes - self._in_memory
            self._in_memory += self._sink.write(bytes(self._buffer[:count]), room)
        del self._buffer[:count]

    def _end_part(self, *, final: bool) -> None:
        if self._sink is not None:
            self._parts.append(self._sink.part(self._headers))
            self._sink = None
        self._state = _State.END if final else _State.HEADERS

    def _read_headers(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n", 0, MOST_HEADERS)
        if end < 0:
            if len(self._buffer) >= MOST_HEADERS:
                raise MultipartError(f"a part has headers of more than {MOST_HEADERS:,} bytes")
            return False
        if len(self._parts) >= self._limits.parts:
            raise MultipartError(f"more than {self._limits.parts:,} parts in one request")
        self._headers = _disposition(bytes(self._buffer[:end]))
        del self._buffer[: end + 4]
        self._sink = _Sink(self._folder, self._limits.part_bytes)
        self._state = _State.CONTENT
        return True


class _Sink:
    """Where the content of one part goes."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._chunks: list[bytes] = []
        self._size = 0
        self._file: BinaryIO | None = None
        self._path: Path | None = None

    def write(self, data: bytes, room: int) -> int:
        """Take some content.

        Args:
            data: What to take.
            room: Bytes that may still be kept in memory.

        Returns:
            By how many bytes the memory in use has grown; negative where it has become less.
        """
        held = 0 if self._file else min(self._size, self._most)
        self._size += len(data)
        if self._size > self._most:
            self.discard()
            return -held
        if self._file is None and len(data) <= room:
            self._chunks.append(data)
            return len(data)
        if self._file is None:
            self._path = self._folder / uuid4().hex
            self._file = self._path.open("wb")
            self._file.writelines(self._chunks)
            self._chunks = []
        self._file.write(data)
        return -held

    def part(self, headers: dict[str, str]) -> Part:
        """The part that came to its end."""
        if self._file is not None:
            self._file.close()
        content = self._path if self._path is not None else b"".join(self._chunks)
        too_large = self._size > self._most
        filename = headers.get("filename")
        if filename is not None:
            filename = harmless_name(filename)
        return Part(headers.get("name", ""), filename, content, self._size, too_large)

    def discard(self) -> None:
        """Forget the content."""
        self._chunks = []
        if self._file is not None:
            self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._file = self._path = None


NO_BOUNDARY, FINAL = -1, 0


def _line_end(buffer: bytearray, after: int) -> int | None:
    """What follows a boundary's text.

    Args:
        buffer: What was read.
        after: Index behind the boundary's text.

    Returns:
        Index of the line's end; `FINAL` for the last boundary; `NO_BOUNDARY` where it is content that only begins
        like one; None where more must be read to know.
    """
    rest = bytes(buffer[after : after + MOST_PADDING])
    if rest.startswith(b"--"):
        return FINAL
    blank = len(rest) - len(rest.lstrip(b" \t"))
    rest = rest[blank:]
    if rest.startswith(b"\r\n"):
        return after + blank
    undecided = rest in (b"", b"\r") or (rest == b"-" and blank == 0)
    return None if undecided and blank < MOST_PADDING else NO_BOUNDARY


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type header names.

    Raises:
        MultipartError: It is no multipart/form-data, or names none.
    """
    found = _BOUNDARY.search(content_type)
    if not content_type.lower().startswith("multipart/") or found is None:
        raise MultipartError("the body is not multipart/form-data with a boundary")
    boundary = (found[1] or found[2]).rstrip()
    if len(boundary) > MOST_BOUNDARY:
        raise MultipartError("the boundary is too long")
    return boundary.encode("latin-1", "replace")


def _disposition(headers: bytes) -> dict[str, str]:
    """Parameters of Content-Disposition, by name in lower case."""
    for line in headers.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            return _parameters(text_of(value))
    return {}


def _parameters(value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(value):
        text = _PERCENT.sub(lambda hit: chr(int(hit[1], 16)), _ESCAPED.sub(r"\1", quoted or plain))
        found[name.lower()] = text
    if "filename*" in found:
        found["filename"] = text_of(unquote_to_bytes(found["filename*"].split("'")[-1]))
    return found


def text_of(raw: bytes) -> str:
    """Header bytes as text: UTF-8 where they are that, else Latin-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def harmless_name(name: str) -> str:
    """A file name as sent, without path and control characters, and not too long; its extension stays."""
    if not (name.isascii() and name.isprintable()):
        name = "".join(character for character in name if not _is_control(character))
    name = PurePosixPath(name.replace("\\", "/")).name.strip()
    if name in ("", ".", ".."):
        return ""
    if len(name.encode()) <= MOST_NAME:
        return name
    suffix = PurePosixPath(name).suffix
    suffix = suffix if len(suffix.encode()) < MOST_NAME // 2 else ""
    stem = name.removesuffix(suffix).encode()[: MOST_NAME - len(suffix.encode())]
    return stem.decode(errors="ignore") + suffix


def _is_control(character: str) -> bool:
    """Control characters, halves of characters, line ends, and what turns the direction of writing."""
    return (
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        or "\u202a" <= character <= "\u202e"
        or ("\u2066" <= character <= "\u2069")
    )
