"""Requests over a raw socket: what no HTTP library lets one send, and what it would hide of the answer."""

from __future__ import annotations

import contextlib
import io
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

WAIT_S = 10.0


@contextlib.contextmanager
def connection(endpoint: str) -> Iterator[socket.socket]:
    """A connection to where an endpoint is."""
    parts = urlsplit(endpoint)
    assert parts.hostname
    assert parts.port
    with socket.create_connection((parts.hostname, parts.port), timeout=WAIT_S) as link:
        yield link


def request(method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """A request's bytes."""
    lines = {"host": "studio", "content-length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


def multipart(files: dict[str, bytes], field: str = "data") -> tuple[dict[str, str], bytes]:
    """Headers and body of an upload."""
    parts = [
        f'--cut\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode() + content
        for name, content in files.items()
    ]
    return {"content-type": "multipart/form-data; boundary=cut"}, b"\r\n".join(parts) + b"\r\n--cut--\r\n"


def answer(link: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The next answer: status, headers, body. Empty status 0 where the other side closed without one."""
    stream = link.makefile("rb")
    first = stream.readline()
    if not first:
        return 0, {}, b""
    headers: dict[str, str] = {}
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers["content-length"])) if "content-length" in headers else b""
    return int(first.split()[1]), headers, body


def said(link: socket.socket) -> tuple[int, Any]:
    """Status and JSON of the next answer."""
    status, _, body = answer(link)
    return status, json.loads(body)


def png(colour: int) -> bytes:
    """A small image of one colour, 0..255."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (colour, 255 - colour, 90)).save(file, "PNG")
    return file.getvalue()
