"""The server on its sockets: limits, slow and hostile clients, and the command that runs it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import pytest
import requests

from ei_automation.cli.main import main
from ei_automation.errors import ProjectBusyError, SettingsError, StorageError, UsageError
from ei_automation.studio_server import connection as connections
from ei_automation.studio_server.serve import Place, listen, open_project, reached
from ei_automation.studio_server.studio import Studio, StudioOptions
from ei_automation.testing import start_studio
from tests.studio_server.wire import answer, connection, multipart, png, request, said

PROJECTS = "/v1/api/projects"


def key(studio):
    return {"x-api-key": studio.api_key}


def ended(link):
    """Whether the other side has closed or reset the connection."""
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True


# What is no request


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the begin of TLS
        b"GET " + "/v1/é".encode() + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_request_is_refused_and_the_server_lives(shared, sent):
    with connection(shared.api_endpoint) as link:
        link.sendall(sent)
        status, _, body = answer(link)
        assert status == 400
        assert json.loads(body)["success"] is False
        assert ended(link)
    assert requests.get(f"{shared.api_endpoint}/api/projects", headers=key(shared), timeout=10).ok


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\nbig: " + b"y" * 200_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\nendless: " + b"y" * 500_000, 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 300 + b"\r\n", 431),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414),
        (b"GET /" + b"a" * 500_000, 414),
    ],
)
def test_huge_heads_are_refused(shared, sent, status):
    with connection(shared.api_endpoint) as link:
        try:
            link.sendall(sent)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it is refused before all of it is sent
        else:
            found, _, body = answer(link)
            assert (found, json.loads(body)["success"]) == (status, False)
    assert requests.get(f"{shared.api_endpoint}/api/projects", headers=key(shared), timeout=10).ok


def test_requests_that_follow_one_another_at_once_are_answered_in_turn(shared):
    with connection(shared.api_endpoint) as link:
        link.sendall(request("GET", PROJECTS, key(shared)) * 3)
        stream = link.makefile("rb")
        for _ in range(3):
            assert stream.readline() == b"HTTP/1.1 200 OK\r\n"
            head = b"".join(iter(stream.readline, b"\r\n"))
            length = next(int(line.split(b":")[1]) for line in head.splitlines() if b"content-length" in line)
            assert json.loads(stream.read(length))["success"] is True


def test_a_head_request_and_an_old_client_are_answered(shared):
    with connection(shared.api_endpoint) as link:
        link.sendall(request("GET", PROJECTS, key(shared)).replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert said(link)[0] == 200
        assert ended(link)
    assert requests.head(f"{shared.api_endpoint}/api/projects", headers=key(shared), timeout=10).status_code == 404


# Slow clients


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /v1/api/projects HTT",
        b"GET /v1/api/projects HTTP/1.1\r\nhost: x\r\nx-api-k",
        request("POST", "/v1/api/1", {"content-length": "100", "x-api-key": "KEY"}, b"{"),
    ],
)
def test_a_client_that_stops_in_the_middle_is_let_go(shared, monkeypatch, sent):
    for name in ("HEAD_S", "BODY_S", "KEEP_ALIVE_S"):
        monkeypatch.setattr(connections, name, 0.1)
    monkeypatch.setattr(connections, "WATCH_S", 0.05)
    with connection(shared.api_endpoint) as link:
        link.sendall(sent.replace(b"KEY", shared.api_key.encode()))
        began = time.monotonic()
        assert ended(link)
        assert time.monotonic() - began < 5


def test_a_slow_client_that_goes_on_is_served(studio, monkeypatch):
    monkeypatch.setattr(connections, "BODY_S", 0.5)
    monkeypatch.setattr(connections, "WATCH_S", 0.05)
    body = b'{"name":   "slowly"}'
    with connection(studio.api_endpoint) as link:
        link.sendall(request("POST", "/v1/api/1", {**key(studio), "content-length": str(len(body))}))
        for at in range(0, len(body), 4):
            time.sleep(0.12)
            link.sendall(body[at : at + 4])
        assert said(link) == (200, {"success": True})
    assert studio.studio.projects.info(1).name == "slowly"


def test_an_upload_that_stops_in_the_middle_stores_nothing(studio):
    headers, body = multipart({"a.png": png(1), "b.png": png(2)})
    with connection(studio.ingestion_endpoint) as link:
        link.sendall(request("POST", "/api/training/files", {**headers, **key(studio)}, body)[:-30])
    deadline = time.monotonic() + 5
    incoming = studio.studio.projects.folder(1)
    while any(incoming.rglob("*.part")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert studio.studio.samples.count(1) == 0


@pytest.mark.parametrize("name", ["../../evil.png", "..\\evil.png", "/etc/passwd", "a\x00b.png", "..", "con:evil"])
def test_path_tricks_stay_in_the_folder(studio, tmp_path_factory, name):
    before = {path for path in tmp_path_factory.getbasetemp().rglob("*evil*")}
    headers, body = multipart({name: png(3)})
    with connection(studio.ingestion_endpoint) as link:
        link.sendall(request("POST", "/api/training/files", {**headers, **key(studio)}, body))
        status, content = said(link)
    assert status in (200, 400)
    assert isinstance(content["success"], bool)
    assert {path for path in tmp_path_factory.getbasetemp().rglob("*evil*")} == before
    assert not any("/" in row.filename or "\x00" in row.filename for row in studio.studio.samples.find(1))


# Folders, ports, keys


def test_a_taken_port_is_said(shared):
    port = int(shared.api_endpoint.split(":")[2].removesuffix("/v1"))
    with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{port}"):
        listen("127.0.0.1", port)
    with pytest.raises(SettingsError, match=r"cannot listen on 192\.0\.2\.1"):
        listen("192.0.2.1", 0)


def test_one_server_a_folder(start, tmp_path):
    first = start(tmp_path)
    with pytest.raises(ProjectBusyError, match="another local Studio works in"):
        start(tmp_path)
    first.stop()
    assert start(tmp_path).api_key == first.api_key


def test_a_key_of_ones_own_is_taken_if_it_is_free(studio):
    own, server = "ei_" + "7" * 40, studio.studio
    assert open_project(server, "test", own) == (1, own)
    assert open_project(server, "test", own) == (1, own)
    assert open_project(server, "test") == (1, own)
    with pytest.raises(UsageError, match="in use"):
        open_project(server, "another", own)
    with pytest.raises(UsageError, match="at least 32 characters"):
        open_project(server, "test", "ei_short")
    reader = server.projects.add_key(1, "reader", "readonly", development=True)[1]
    assert open_project(server, "test")[1] != reader


def test_a_folder_that_cannot_be_used_is_said_and_let_go(tmp_path):
    options = StudioOptions(folder=tmp_path / "state", cache_folder=tmp_path / "cache")
    Studio(options).close()
    (tmp_path / "state" / "studio.sqlite").write_bytes(b"no database" * 500)
    for _ in range(2):  # the second one finds the lock free
        with pytest.raises(StorageError, match=r"studio\.sqlite is damaged"):
            Studio(options)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="opening the local Studio's folder failed"):
        Studio(StudioOptions(folder=tmp_path / "file" / "state", cache_folder=tmp_path))


@pytest.mark.parametrize(
    ("place", "api", "ingestion", "host"),
    [
        (Place("127.88.0.7"), "http://127.88.0.7:4800/v1", "http://127.88.0.7:4810", "127.88.0.7"),
        (Place("127.88.0.7", 4810, 4800), "http://127.88.0.7:4810/v1", "http://127.88.0.7:4800", ""),
    ],
)
def test_official_ports_make_ei_host_known(place, api, ingestion, host):
    with listen(place.host, place.port) as first, listen(place.host, place.ingestion_port) as second:
        ready = reached(place, [first, second], (1, "ei_key"))
    assert (ready.api_endpoint, ready.ingestion_endpoint, ready.ei_host) == (api, ingestion, host)
    assert ready.environment.get("EI_HOST", "") == host


# The command


class Process:
    """`eiauto studio serve` in a process of its own."""

    def __init__(self, folder, *options):
        ports = ("--port", "0", "--ingestion-port", "0")
        program = "from ei_automation.cli.main import main; main()"
        command = [sys.executable, "-c", program, "studio", "serve", "--folder", str(folder), *ports, *options]
        environment = {**os.environ, "PYTHONWARNINGS": "error"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )

    def environment(self):
        """The exports, once it listens."""
        lines = [self.process.stdout.readline() for _ in range(3)]
        return dict(line.removeprefix("export ").strip().split("=", 1) for line in lines)

    def end(self, number):
        """Exit code and stderr after a signal."""
        self.process.send_signal(number)
        _, words = self.process.communicate(timeout=30)
        return self.process.returncode, words

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def ask(environment, path="/api/projects"):
    headers = {"x-api-key": environment["EI_API_KEY"]}
    return requests.get(environment["EI_API_ENDPOINT"] + path, headers=headers, timeout=10).json()


def test_the_command_serves_says_how_and_stops_cleanly(tmp_path):
    exports = tmp_path / "studio.env"
    rule = ("--fault", "operation=list_devices status=503 error='too busy'")
    with Process(tmp_path / "state", "--project", "mine", "--env-file", str(exports), *rule) as server:
        environment = server.environment()
        assert ask(environment)["projects"][0]["name"] == "mine"
        assert ask(environment, "/api/1/devices")["error"] == "too busy"
        assert exports.read_text() == "".join(f"export {name}={value}\n" for name, value in environment.items())
        assert stat.S_IMODE(exports.stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
        code, words = server.end(signal.SIGTERM)
    assert code == 0, words
    assert "goes wrong on purpose" in words
    assert "user me, password " in words
    assert environment["EI_API_KEY"] not in words


def test_a_killed_server_goes_on_where_it_was(tmp_path):
    with Process(tmp_path) as server:
        before = server.environment()
        headers, body = multipart({"a.png": png(1)})
        headers["x-api-key"] = before["EI_API_KEY"]
        url = before["EI_INGESTION_ENDPOINT"] + "/api/training/files"
        assert requests.post(url, data=body, headers=headers, timeout=10).json()["files"][0]["success"] is True
        code, _ = server.end(signal.SIGKILL)
    assert code == -signal.SIGKILL
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with Process(tmp_path, "--json", "--port", port, "--ingestion-port", port) as server:
        text = ""
        while "}\n" not in text.replace(" ", "")[-3:]:
            text += server.process.stdout.readline()
        after = json.loads(text)["environment"]
        assert after["EI_API_KEY"] == before["EI_API_KEY"]
        assert after["EI_API_ENDPOINT"] == after["EI_INGESTION_ENDPOINT"] + "/v1" == f"http://127.0.0.1:{port}/v1"
        assert ask(after, "/api/1")["dataSummary"]["dataCount"] == 1
        headers, body = multipart({"b.png": png(2)})
        headers["x-api-key"] = after["EI_API_KEY"]
        url = after["EI_INGESTION_ENDPOINT"] + "/api/training/files"
        assert requests.post(url, data=body, headers=headers, timeout=10).json()["files"][0]["success"] is True
        code, words = server.end(signal.SIGINT)
    assert code == 0, words


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--host", "192.0.2.1"], 3, "cannot listen on 192.0.2.1"),
        (["--faults", "missing.toml"], 4, "no file missing.toml"),
        (["--fault", "status"], 2, "not key=value"),
        (["--project", "keyed"], 2, "the API key cannot be used"),
        (["--project", " "], 2, "cannot have the name ' '"),
        (["--env-file", "."], 3, "writing the exports failed"),
        (["--weights", "missing.h5"], 4, "no weights file missing.h5"),
        (["--port", "70000"], 2, "70000"),
    ],
)
def test_what_cannot_be_is_said_with_its_exit_code(tmp_path, options, code, words, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if "keyed" in options:
        monkeypatch.setenv("EIAUTO_STUDIO_API_KEY", "short")
    place = ["--folder", str(tmp_path / "state"), "--port", "0", "--ingestion-port", "0"]
    monkeypatch.setattr(sys, "argv", ["eiauto", "studio", "serve", *place, *options])
    with pytest.raises(SystemExit) as ended_with:
        main()
    assert ended_with.value.code == code
    assert words in capsys.readouterr().err.replace("\n", " ")
    assert list(tmp_path.parent.glob(".*.part")) == [], "a key is left behind"


def test_exports_are_for_a_shell_whatever_the_key(tmp_path, monkeypatch):
    key, exports = "ei_$(echo surprise)'; " + "x" * 20, tmp_path / "studio.env"
    monkeypatch.setenv("EIAUTO_STUDIO_API_KEY", key)
    with Process(tmp_path / "state", "--env-file", str(exports)) as server:
        server.environment()
        shell = ["sh", "-c", '. "$0"; printf %s "$EI_API_KEY"', str(exports)]
        assert subprocess.run(shell, capture_output=True, text=True, check=True).stdout == key


def test_no_connection_outlives_the_server():
    """Clients that come until the very end: a loop that is closed with a connection in it waits for ever."""
    for _ in range(3):
        with start_studio() as running:
            place = ("127.0.0.1", urlsplit(running.api_endpoint).port)
            sockets, over = [], threading.Event()

            def come(place=place, sockets=sockets, over=over):
                with contextlib.suppress(OSError):
                    while not over.is_set():
                        sockets.append(socket.create_connection(place))

            clients = [threading.Thread(target=come) for _ in range(3)]
            for client in clients:
                client.start()
            time.sleep(0.05)
            start = time.monotonic()
            running.stop()
            took = time.monotonic() - start
            over.set()
            for client in clients:
                client.join()
            for opened in sockets:
                opened.close()
        assert took < 10
        assert sockets
