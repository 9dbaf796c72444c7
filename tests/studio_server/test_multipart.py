"""The multipart reader, against an independent one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_multipart import MultipartParser

from ei_automation.studio_server.multipart import (
    MOST_NAME,
    Limits,
    Multipart,
    MultipartError,
    Part,
    boundary_of,
    harmless_name,
)

BOUNDARY = b"x-Y"
LIMITS = Limits(parts=100, part_bytes=1 << 20, memory_bytes=1 << 20)
PIECES = [
    b"\r\n--x-",
    b"\r\n--x",
    b"\r",
    b"\n",
    b"--",
    b"\r\n",
    b"-",
    b"x-Y",
    b"\r\n\r\n",
    b"",
    b"a",
    b"\xff\xd8\xff",
]
CONTENT = st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=8).map(b"".join)


def body_of(contents: list[bytes], preamble: bytes = b"", padding: bytes = b"") -> bytes:
    parts = [
        b"--"
        + BOUNDARY
        + padding
        + b'\r\nContent-Disposition: form-data; name="data"; filename="%d.jpg"\r\n' % index
        + b"Content-Type: multipart/form-data\r\n\r\n"
        + content
        + b"\r\n"
        for index, content in enumerate(contents)
    ]
    return preamble + b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def read(body: bytes, folder: Path, *, step: int = 1 << 16, limits: Limits = LIMITS) -> list[Part]:
    reader = Multipart(BOUNDARY, limits, folder)
    for start in range(0, len(body), step):
        reader.feed(body[start : start + step])
    return reader.close()


def bytes_of(part: Part) -> bytes:
    return part.content.read_bytes() if isinstance(part.content, Path) else part.content


def read_by_another(body: bytes) -> list[bytes]:
    """The contents as the library python-multipart finds them."""
    found: list[bytearray] = []
    callbacks: dict[str, Any] = {
        "on_part_begin": lambda: found.append(bytearray()),
        "on_part_data": lambda data, start, end: found[-1].extend(data[start:end]),
    }
    parser = MultipartParser(BOUNDARY, callbacks)
    parser.write(body)
    parser.finalize()
    return [bytes(content) for content in found]


@given(contents=st.lists(CONTENT, min_size=1, max_size=4), step=st.integers(1, 50), memory=st.integers(0, 60))
@settings(max_examples=100, deadline=None)
def test_same_contents_as_an_independent_reader(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], step: int, memory: int
) -> None:
    contents = [content.replace(b"\r\n--x-Y", b"") for content in contents]
    folder = tmp_path_factory.getbasetemp() / "parts"
    folder.mkdir(exist_ok=True)
    body = body_of(contents)
    reader = Multipart(BOUNDARY, Limits(100, 1 << 20, memory), folder)
    for start in range(0, len(body), step):
        reader.feed(body[start : start + step])
    parts = reader.close()
    assert [bytes_of(part) for part in parts] == contents == read_by_another(body)
    assert [part.size_bytes for part in parts] == [len(content) for content in contents]
    assert [(part.name, part.filename) for part in parts] == [("data", f"{i}.jpg") for i in range(len(contents))]
    reader.discard()
    assert not any(folder.iterdir())


@given(
    body=st.lists(
        st.sampled_from([*PIECES, b"--x-Y", b"\r\n--x-Y", b"--x-Y--", b"name="]) | st.binary(), max_size=12
    ),
    step=st.integers(1, 20),
)
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_parts_or_refused(
    tmp_path_factory: pytest.TempPathFactory, body: list[bytes], step: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "any"
    folder.mkdir(exist_ok=True)
    outcomes = []
    for size in (step, 1 << 16):
        reader = Multipart(BOUNDARY, Limits(3, 64, 8), folder)
        try:
            for start in range(0, len(b"".join(body)), size):
                reader.feed(b"".join(body)[start : start + size])
            parts = reader.close()
            assert all(part.size_bytes <= 64 or part.too_large for part in parts)
            outcomes.append([(part.filename, bytes_of(part)) for part in parts])
        except MultipartError as error:
            outcomes.append([("refused", str(error).encode())])
        reader.discard()
    assert outcomes[0] == outcomes[1], "it matters how the body was cut into pieces"
    assert not any(folder.iterdir())


def test_content_that_begins_like_a_boundary_is_content(tmp_path: Path) -> None:
    content = b"a\r\n--x-Yz\r\n--x-Y \t z\r\n--x-Y-\r\n--x-"
    assert [bytes_of(part) for part in read(body_of([content]), tmp_path, step=1)] == [content]


def test_preamble_padding_and_what_comes_after_the_end(tmp_path: Path) -> None:
    body = body_of([b"one", b""], preamble=b"--x-\r\nhello\r\n", padding=b"  \t") + b"--x-Y\r\nmore"
    assert [bytes_of(part) for part in read(body, tmp_path, step=3)] == [b"one", b""]


def test_a_part_without_headers_is_no_file(tmp_path: Path) -> None:
    (part,) = read(b"--x-Y\r\n\r\ncontent\r\n--x-Y--", tmp_path)
    assert (part.name, part.filename, part.content) == ("", None, b"content")


def test_a_part_that_is_too_large_is_dropped_and_marked(tmp_path: Path) -> None:
    limits = Limits(parts=3, part_bytes=100, memory_bytes=50)
    first, second, third = read(body_of([b"a" * 101, b"b" * 100, b"c"]), tmp_path, step=7, limits=limits)
    assert (first.too_large, first.content, first.size_bytes) == (True, b"", 101)
    assert not second.too_large
    assert isinstance(second.content, Path), "it is more than may stay in memory"
    assert (bytes_of(second), third.content) == (b"b" * 100, b"c")


def test_too_many_parts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MultipartError, match="more than 2 parts"):
        read(body_of([b"", b"", b""]), tmp_path, limits=Limits(2, 10, 10))


def test_a_body_without_its_end_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    body = body_of([b"a" * 50, b"b" * 50])
    with pytest.raises(MultipartError, match="the last boundary is missing"):
        read(body[:-8], tmp_path, limits=Limits(9, 100, 0))
    assert not any(tmp_path.iterdir())


def test_headers_without_end_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MultipartError, match="headers of more than 8,192 bytes"):
        read(b"--x-Y\r\n" + b"a: b\r\n" * 3000, tmp_path)


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ('filename="a.jpg"', "a.jpg"),
        ("filename=a.jpg", "a.jpg"),
        ('filename="../../etc/passwd"', "passwd"),
        (r'filename="C:\pictures\a b.jpg"', "a b.jpg"),
        ('filename="a%22b.jpg"', 'a"b.jpg'),
        (r'filename="a\"b.jpg"', 'a"b.jpg'),
        ("filename*=UTF-8''%C3%A9%20%E2%82%AC.jpg", "é €.jpg"),
        ('filename="Übung 猫.jpg"', "Übung 猫.jpg"),
        ('filename="50% off.jpg"', "50% off.jpg"),
        ('filename="a\x00\x1b[31m\u202egpj.exe"', "a[31mgpj.exe"),
        ('filename=".."', ""),
        ('filename=""', ""),
    ],
)
def test_names_are_made_harmless(tmp_path: Path, sent: str, name: str) -> None:
    head = f"--x-Y\r\ncontent-disposition: form-data; name=data; {sent}\r\n\r\n".encode()
    (part,) = read(head + b"1\r\n--x-Y--", tmp_path)
    assert (part.name, part.filename) == ("data", name)


def test_latin_names_that_are_no_utf8_are_read_as_latin(tmp_path: Path) -> None:
    (part,) = read(b'--x-Y\r\nContent-Disposition: form-data; filename="\xe9.jpg"\r\n\r\n\r\n--x-Y--', tmp_path)
    assert part.filename == "é.jpg"


@given(name=st.text(max_size=300))
def test_any_name_is_harmless(name: str) -> None:
    harmless = harmless_name(name)
    assert "/" not in harmless
    assert "\\" not in harmless
    assert harmless not in (".", "..")
    assert len(harmless.encode()) <= MOST_NAME
    assert harmless_name(harmless) == harmless


def test_a_long_name_keeps_its_extension() -> None:
    assert harmless_name("é" * 300 + ".jpeg").endswith("é.jpeg")


@pytest.mark.parametrize(
    ("sent", "boundary"),
    [
        ("multipart/form-data; boundary=abc", b"abc"),
        ('Multipart/Form-Data; charset=utf-8; BOUNDARY="a b;c"; x=y', b"a b;c"),
    ],
)
def test_boundaries(sent: str, boundary: bytes) -> None:
    assert boundary_of(sent) == boundary


@pytest.mark.parametrize(
    "sent", ["", "application/json; boundary=a", "multipart/form-data", "multipart/a; boundary="]
)
def test_no_boundary(sent: str) -> None:
    with pytest.raises(MultipartError, match="boundary"):
        boundary_of(sent)
