"""A loopback server that speaks as much of Kaggle as the official client needs, and fails on request."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

STORAGE = "/storage/archive.zip"
STAMP = "Fri, 02 Jan 2026 03:04:05 GMT"


@dataclass
class Call:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


@dataclass
class Kaggle:
    """What the server holds and how it shall fail.

    `storage_faults` and `api_faults` are used up one by one: an int is an HTTP status; ("drop", n) sends n
    bytes and cuts the line; ("stall", n) sends n bytes and then nothing; "overlap" answers a range with the
    whole file; "ok" serves well.
    """

    archive: bytes = b""
    version: int = 3
    slug: str = "ann/cells"
    etag: str | None = '"v1"'
    needs: str = ""  # an Authorization header that every call must bear; empty: public
    storage_faults: list[Any] = field(default_factory=list)
    api_faults: list[Any] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    retry_after: str = ""
    port: int = 0

    def named(self, name: str) -> list[Call]:
        return [call for call in self.calls if call.name == name]

    @property
    def ranges(self) -> list[str]:
        """The Range header of each request to the storage; empty for a whole file."""
        return [call.headers.get("Range", "") for call in self.named("archive.zip")]


def basic(user: str, key: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()


def serve(state: Kaggle) -> ThreadingHTTPServer:
    """Start the server in a thread; it fills in `state.port`."""

    class Handler(_Handler):
        kaggle = state

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    kaggle: Kaggle
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        call = self._note(body)
        if call.name == "IntrospectToken":
            self._json(200, {"active": body["token"] != "bad", "username": "ann"})
        elif self.kaggle.api_faults and (status := self.kaggle.api_faults.pop(0)) != "ok":
            self._json(status, {"code": status, "message": f"fault {status}"})
        elif self.kaggle.needs and call.headers.get("Authorization") != self.kaggle.needs:
            status = 401 if "Authorization" in call.headers else 403
            self._json(status, {"code": status, "message": "Permission 'datasets.get' was denied"})
        elif f"{body['ownerSlug']}/{body['datasetSlug']}" != self.kaggle.slug:
            self._json(404, {"code": 404, "message": "Not found"})
        elif call.name == "GetDataset":
            self._json(200, {"ref": self.kaggle.slug, "currentVersionNumber": self.kaggle.version})
        elif call.name == "DownloadDataset":
            self._send(
                302, b"", {"Location": f"http://127.0.0.1:{self.kaggle.port}{STORAGE}?X-Goog-Signature=secret"}
            )
        else:
            self._json(501, {"code": 501, "message": f"{call.name} is not served"})

    def do_GET(self) -> None:
        self._note({})
        fault = self.kaggle.storage_faults.pop(0) if self.kaggle.storage_faults else "ok"
        if isinstance(fault, int):
            self._send(fault, b"no", {"Retry-After": self.kaggle.retry_after} if self.kaggle.retry_after else {})
            return
        start, status = self._start()
        payload = self.kaggle.archive if fault == "overlap" else self.kaggle.archive[start:]
        headers = {"Last-Modified": STAMP, "Accept-Ranges": "bytes"} if self.kaggle.etag else {}
        if self.kaggle.etag:
            headers["ETag"] = self.kaggle.etag
        if status == 206:
            total = len(self.kaggle.archive)
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        self._send(status, payload, headers, fault)

    def _start(self) -> tuple[int, int]:
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if wanted and condition in (None, self.kaggle.etag):
            return int(wanted.removeprefix("bytes=").rstrip("-")), 206
        return 0, 200

    def _send(self, status: int, payload: bytes, headers: dict[str, str], fault: Any = "ok") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        if isinstance(fault, str):
            self.wfile.write(payload)
            return
        kind, count = fault
        self.wfile.write(payload[:count])
        self.wfile.flush()
        if kind == "stall":
            self.kaggle.released.wait(30)
        self.close_connection = True
        self.connection.close()

    def _json(self, status: int, value: dict[str, Any]) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _note(self, body: dict[str, Any]) -> Call:
        # as a proxy it gets whole addresses: http://localhost/api/v1/...
        call = Call(self.command, urlsplit(self.path).path, dict(self.headers), body)
        self.kaggle.calls.append(call)
        return call
