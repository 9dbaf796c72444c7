"""The local Studio's socket.io, in both dialects."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
import socketio
import websocket

from ei_automation.errors import InterruptedRunError
from ei_automation.studio_server import sockets
from ei_automation.studio_server.faults import Faults, Rule
from ei_automation.studio_server.workshop import JobTalk
from ei_automation.testing import RunningStudio
from tests.studio_server.trained import Caller

DEADLINE_S = 20


def address(running: RunningStudio, dialect: int = 4, token: str | None = None) -> str:
    """Where a client connects."""
    if token is None:
        token = Caller(running).get("{p}/socket-token")["token"]["socketToken"]
    root = running.api_endpoint.removesuffix("/v1").replace("http://", "ws://")
    return f"{root}/socket.io/?token={token}&onDemandLogs=true&transport=websocket&EIO={dialect}"


class Wire:
    """A raw web socket, with Engine.IO's packets as they are.

    Args:
        running: Where.
        dialect: 3 or 4.
    """

    def __init__(self, running: RunningStudio, dialect: int) -> None:
        self._socket = websocket.create_connection(address(running, dialect), timeout=DEADLINE_S)
        self.hello = json.loads(self.read()[1:])
        if dialect == 4:
            self.write("40{}")
        self.connected = [self.read(), self.read()]

    def read(self) -> str:
        """The next packet that is no ping."""
        while (packet := str(self._socket.recv())) == "2":
            self.write("3")
        return packet

    def write(self, packet: str) -> None:
        """Send one."""
        self._socket.send(packet)

    def emit(self, name: str, value: Any) -> None:
        """Send an event."""
        self.write("42" + json.dumps([name, value]))

    def events(self, last: str = "job-finished") -> list[tuple[str, Any]]:
        """The events up to the last one."""
        found: list[tuple[str, Any]] = []
        while not found or found[-1][0] != last:
            packet = self.read()
            assert packet.startswith("42"), packet
            name, value = json.loads(packet[2:])
            found.append((name, value))
        return found

    def close(self) -> None:
        """Hang up; the library leaves the connection open where the server said goodbye first."""
        self._socket.close()
        self._socket.shutdown()  # type: ignore[no-untyped-call]


@contextmanager
def wire(running: RunningStudio, dialect: int = 4) -> Iterator[Wire]:
    """A raw web socket for a while."""
    opened = Wire(running, dialect)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def busy(start: Callable[..., RunningStudio]) -> RunningStudio:
    """With jobs that take their time."""
    return start(jobs="real")


def add(running: RunningStudio, work: Callable[[JobTalk], None], project_id: int | None = None) -> int:
    """A job."""
    project_id = running.project_id if project_id is None else project_id
    return running.studio.workshop.start(project_id, category="T", category_key="t", key="t", work=work)


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def expected(running: RunningStudio, job_id: int, *, success: bool = True) -> list[tuple[str, Any]]:
    """The events that tell a whole job."""
    lines = running.studio.workshop.log(job_id)
    told: list[tuple[str, Any]] = [(f"job-data-{job_id}", {"data": line.text + "\n"}) for line in lines]
    end = [
        (f"job-finished-{job_id}", {"success": success}),
        ("job-finished", {"jobId": job_id, "success": success}),
    ]
    return told + end


@pytest.mark.parametrize("dialect", [3, 4])
def test_the_handshake_and_a_job_that_has_ended(studio: RunningStudio, dialect: int) -> None:
    job_id = add(studio, lambda talk: talk.line("früh\nspät"))
    with wire(studio, dialect) as opened:
        assert opened.hello["upgrades"] == []
        assert (opened.hello["pingInterval"], opened.hello["pingTimeout"]) == (25000, 20000)
        assert opened.connected[0].startswith("40")
        assert opened.connected[1] == '42["hello", {"hello": {"version": 1}}]'
        opened.write("2")
        assert opened.read() == "3"
        opened.emit("start-log-stream", {"jobId": job_id, "lastReceivedTimestamp": 0})
        assert opened.events() == expected(studio, job_id)


def test_live_lines_come_once_and_in_order(busy: RunningStudio) -> None:
    go = threading.Event()

    def work(talk: JobTalk) -> None:
        talk.line("before")
        assert go.wait(DEADLINE_S)
        for number in range(300):
            talk.line(f"after {number}")

    job_id = add(busy, work)
    with wire(busy) as opened:
        opened.emit("start-log-stream", {"jobId": job_id})
        opened.emit("start-log-stream", {"jobId": job_id})
        first = opened.read()
        assert "Creating job" in first
        go.set()
        found = opened.events()
    assert found == expected(busy, job_id)[1:]


def test_the_log_goes_on_where_the_client_was(studio: RunningStudio) -> None:
    def work(talk: JobTalk) -> None:
        talk.line("known")
        time.sleep(0.02)
        talk.line("new")

    job_id = add(studio, work)
    known = studio.studio.workshop.log(job_id)[1]
    with wire(studio, 3) as opened:
        opened.emit("start-log-stream", {"jobId": job_id, "lastReceivedTimestamp": known.created * 1000})
        found = opened.events()
    assert found == expected(studio, job_id)[2:]


def test_a_job_is_cancelled_over_the_socket(busy: RunningStudio) -> None:
    def work(talk: JobTalk) -> None:
        while not talk.should_stop():
            time.sleep(0.005)
        raise InterruptedRunError("stopped")

    job_id = add(busy, work)
    with wire(busy) as opened:
        opened.emit("start-log-stream", {"jobId": job_id})
        opened.emit("job-cancel", job_id)
        assert opened.events() == expected(busy, job_id, success=False)


def test_a_job_of_another_project_is_not_told(studio: RunningStudio) -> None:
    foreign, own = add(studio, lambda talk: talk.line("secret"), 99), add(studio, lambda _talk: None)
    with wire(studio) as opened:
        for job_id in (foreign, 4711, own):
            opened.emit("start-log-stream", {"jobId": job_id})
        assert opened.events() == expected(studio, own)


def test_a_client_that_talks_nonsense_is_not_told_apart(studio: RunningStudio) -> None:
    job_id = add(studio, lambda _talk: None)
    with wire(studio) as opened:
        for packet in ("", "x", "42", "42[", "42{}", "42[]", "42[1]", '42["start-log-stream"]', "4", "43[]"):
            opened.write(packet)
        opened.write('42["start-log-stream",{"jobId":true}]')
        opened.write("40/admin,{}")
        assert opened.read() == '44/admin,{"message": "Invalid namespace"}'
        opened.write(f'427["start-log-stream",{{"jobId":{job_id}}}]')
        found = [opened.read() for _ in range(5)]
    assert "437[]" in found


@pytest.mark.parametrize("goodbye", ["41", "1"])
def test_a_client_says_goodbye(studio: RunningStudio, goodbye: str) -> None:
    with wire(studio) as opened:
        opened.write(goodbye)
        assert opened.read() == ""


def test_a_client_that_does_not_read_is_left(busy: RunningStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MOST_WAITING", 20)
    go = threading.Event()

    def work(talk: JobTalk) -> None:
        assert go.wait(DEADLINE_S)
        for _ in range(40):
            talk.line("x" * 1_000_000)

    job_id = add(busy, work)
    with wire(busy) as opened:
        opened.emit("start-log-stream", {"jobId": job_id})
        assert "Creating job" in opened.read()
        (talk,) = busy.studio.workshop._talks.values()
        until(lambda: len(talk.watchers) == 1)
        go.set()
        until(lambda: not talk.watchers)


@pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
def test_a_socket_wants_a_token(studio: RunningStudio, token: str) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(address(studio, token=token), timeout=DEADLINE_S)
    assert refused.value.status_code == 403


def test_polling_is_told_to_use_the_web_socket(studio: RunningStudio) -> None:
    place = f"{studio.api_endpoint.removesuffix('/v1')}/socket.io/"
    answer = requests.get(place, {"EIO": "4", "transport": "polling"}, timeout=DEADLINE_S)
    assert answer.status_code == 400
    assert "transport=websocket" in answer.json()["error"]


def test_python_socketio_gets_a_whole_job(busy: RunningStudio) -> None:
    token = Caller(busy).get("{p}/socket-token")["token"]["socketToken"]
    found: list[tuple[str, Any]] = []
    over, go = threading.Event(), threading.Event()

    def work(talk: JobTalk) -> None:
        assert go.wait(DEADLINE_S)
        talk.line("live")

    job_id = add(busy, work)
    client = socketio.Client(reconnection=False)

    def heard(name: str, value: Any) -> None:
        found.append((name, value))
        if name == "job-finished":
            over.set()

    client.on("*", heard)
    root = busy.api_endpoint.removesuffix("/v1")
    client.connect(f"{root}/?token={token}&onDemandLogs=true", transports=["websocket"], wait_timeout=DEADLINE_S)
    try:
        client.emit("start-log-stream", {"jobId": job_id})
        go.set()
        assert over.wait(DEADLINE_S)
    finally:
        client.disconnect()
    assert [item for item in found if item[0] != "hello"] == expected(busy, job_id)


def test_many_watch_one_job_and_leave_nothing_behind(busy: RunningStudio) -> None:
    go = threading.Event()

    def work(talk: JobTalk) -> None:
        assert go.wait(DEADLINE_S)
        for number in range(100):
            talk.line(str(number))

    job_id = add(busy, work)
    watched = [Wire(busy, 3 + number % 2) for number in range(20)]
    for opened in watched:
        opened.emit("start-log-stream", {"jobId": job_id})
        assert "Creating job" in opened.read()
    (talk,) = busy.studio.workshop._talks.values()
    until(lambda: len(talk.watchers) == 20)
    for opened in watched[:10]:
        opened.close()
    until(lambda: len(talk.watchers) == 10)
    go.set()
    for opened in watched[10:]:
        assert opened.events() == expected(busy, job_id)[1:]
        opened.close()


def test_a_fault_drops_the_socket_and_the_next_one_tells_it_all(start: Callable[..., RunningStudio]) -> None:
    running = start(faults=Faults([Rule(drop_socket_after=4, nth=1)]))
    job_id = add(running, lambda talk: talk.line("one\ntwo\nthree"))
    with wire(running) as opened:
        opened.emit("start-log-stream", {"jobId": job_id})
        assert opened.read() == "42" + json.dumps(list(expected(running, job_id)[0]))
        assert opened.read() == ""
    with wire(running) as opened:
        opened.emit("start-log-stream", {"jobId": job_id})
        assert opened.events() == expected(running, job_id)


def test_a_server_that_stops_closes_its_sockets(start: Callable[..., RunningStudio]) -> None:
    running = start()
    with wire(running) as opened:
        begun = time.monotonic()
        running.stop()
        assert opened.read() == ""
        assert time.monotonic() - begun < 5


def test_an_event_that_is_nested_endlessly_is_left_alone(studio: RunningStudio, capfd: Any) -> None:
    with wire(studio) as link:
        link.write("42" + "[" * 20_000)
        link.write("2probe")
        assert link.read() == "3probe"
    assert "made a mistake" not in capfd.readouterr().err
