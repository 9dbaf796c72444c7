"""The Linux program, driven as Edge Impulse's clients drive it."""

from __future__ import annotations

import json
import os
import platform
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ei_automation.compiler.toolchain import build as compile_c
from ei_automation.compiler.toolchain import host_compiler
from ei_automation.deployment import linux, targets
from ei_automation.errors import JobFailedError, UsageError
from ei_automation.schema.deployment import Architecture, BuildRequest
from tests.compiler.oracle import reference_outputs
from tests.deployment.eim_client import EimClient, features_of
from tests.deployment.fomo_boxes import find_boxes
from tests.deployment.picture_models import (
    LABELS,
    MODELS,
    PictureModel,
    contents_of,
    model_file,
    model_input,
    pictures,
)
from tests.deployment.zig_builds import zig_cache, zig_folder  # noqa: F401

PICTURES = 10
THRESHOLDS = (0.1, 0.26, 0.4, 0.5, 0.7)
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
MESSAGES = 3000
EARLY_SIGNALS = 300
EMULATORS: dict[Architecture, str] = {"aarch64": "qemu-aarch64", "armv7": "qemu-arm"}
ELF_MACHINES: dict[Architecture, int] = {"x86_64": 62, "aarch64": 183, "armv7": 40}

pytestmark = pytest.mark.skipif(platform.system() != "Linux", reason="these programs run on Linux")


def program(model: PictureModel, architecture: Architecture = "") -> bytes:
    """The program of a model, through the door that the backends use."""
    request = BuildRequest("linux", variant=model.variant, architecture=architecture)
    return targets.build(request, contents_of(model))


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory, zig_folder: Path) -> Callable[[str], Path]:  # noqa: F811
    """Programs by the name of their model, each built once."""
    folder = tmp_path_factory.mktemp("programs")

    def built(name: str) -> Path:
        place = folder / f"{name}.eim"
        if not place.exists():
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ZIG_GLOBAL_CACHE_DIR", str(zig_folder))
                place.write_bytes(program(MODELS[name]))
            place.chmod(0o755)
        return place

    return built


@pytest.fixture
def start(programs: Callable[[str], Path], tmp_path: Path) -> Iterator[Callable[[str], EimClient]]:
    """Starts a model's program; all are stopped at the end."""
    started: list[EimClient] = []

    def client(name: str) -> EimClient:
        started.append(EimClient([programs(name)], tmp_path))
        return started[-1]

    yield client
    for one in started:
        one.stop()


def scores(model: PictureModel, pixels: np.ndarray) -> np.ndarray:
    """What TFLite's reference kernels give, as real numbers."""
    (output,) = reference_outputs(model_file(model), [model_input(model, pixels).tobytes()])
    if model.input is None:
        return np.frombuffer(output, np.float32)
    return (np.frombuffer(output, np.int8).astype(np.int32) + 128) * np.float32(1 / 256)


def test_the_program_says_what_the_model_is(
    start: Callable[[str], EimClient], programs: Callable[[str], Path]
) -> None:
    client = start("rgb")
    told = client.hello()
    assert told["success"]
    assert told["project"]["name"] == 'Doors {1} "ö"'
    parameters = told["model_parameters"]
    assert parameters["labels"] == list(LABELS)
    size = {"image_input_width": 24, "image_input_height": 20, "image_channel_count": 3, "image_input_frames": 1}
    kind = {"model_type": "classification", "sensor": 3, "label_count": 3, "input_features_count": 480}
    assert parameters == parameters | size | kind | {"image_resize_mode": "fit-shortest", "thresholds": []}
    assert (told["features_shm"]["type"], told["features_shm"]["elements"]) == ("float32", 480)
    printed = subprocess.run([programs("rgb"), "--print-info"], capture_output=True, check=True).stdout
    printed_info = json.loads(printed)
    assert {name: value for name, value in told.items() if name != "features_shm"} == {
        name: value for name, value in printed_info.items() if name != "id"
    }


@pytest.mark.parametrize("name", ["rgb", "gray", "other scale", "gray, other scale", "float32"])
def test_scores_are_those_of_tflites_reference_kernels(name: str, start: Callable[[str], EimClient]) -> None:
    model, client = MODELS[name], start(name)
    client.hello()
    for number, pixels in enumerate(pictures(model, PICTURES)):
        result = client.classify(pixels, shared=number % 2 == 0)
        assert list(result["classification"]) == list(LABELS)
        given = np.array(list(result["classification"].values()), np.float32)
        if model.input:
            assert given.tolist() == scores(model, pixels).tolist()
        else:  # the last bits of float32 are the C library's
            assert given == pytest.approx(scores(model, pixels), abs=1e-6)


@pytest.mark.parametrize("name", ["fomo", "fomo float32"])
def test_boxes_are_those_of_edge_impulses_sdk(name: str, start: Callable[[str], EimClient]) -> None:
    model, client = MODELS[name], start(name)
    parameters = client.hello()["model_parameters"]
    assert (parameters["model_type"], parameters["labels"]) == ("constrained_object_detection", list(LABELS))
    (threshold,) = parameters["thresholds"]
    assert (threshold["type"], threshold["min_score"]) == ("object_detection", 0.5)
    height, width, _ = model.shape
    most = 0
    for pixels in pictures(model, PICTURES):
        grid = scores(model, pixels).reshape(height // 8, width // 8, len(LABELS) + 1)
        for least in THRESHOLDS:
            assert client.ask(set_threshold={"id": threshold["id"], "min_score": least}) == {"success": True}
            boxes = client.classify(pixels, shared=True)["bounding_boxes"]
            expected = find_boxes(grid, LABELS, least, (8, 8))
            assert [without(box, "value") for box in boxes] == [without(box, "value") for box in expected]
            given, wanted = ([box["value"] for box in found] for found in (boxes, expected))
            assert given == pytest.approx(wanted, abs=0 if model.input else 1e-6)
            most = max(most, len(boxes))
    assert most > 5, "the pictures have things to find"
    assert client.ask(hello=1)["model_parameters"]["thresholds"][0]["min_score"] == pytest.approx(THRESHOLDS[-1])


def without(box: dict[str, Any], name: str) -> dict[str, Any]:
    """A box without one of its values."""
    return {key: value for key, value in box.items() if key != name}


def test_messages_come_in_any_pieces(start: Callable[[str], EimClient]) -> None:
    client = start("gray")
    client.socket.sendall(b'{"hello":1,"id":1}{"hello":1,"id":2}\n \0{"hello": 1, "id": 3}')
    assert [answer["id"] for answer in client.answers(3)] == [1, 2, 3]
    pixels = pictures(MODELS["gray"], 1)[0]
    message = json.dumps({"classify": features_of(pixels).tolist(), "id": -7, "debug": True}).encode()
    for place in range(0, len(message), 7):
        client.socket.sendall(message[place : place + 7])
    answer = client.answer()
    assert (answer["success"], answer["id"]) == (True, -7)
    numbers = json.dumps({"classify": [float(value) for value in features_of(pixels)], "id": 1e3})
    client.socket.sendall(numbers.encode())
    assert client.answer()["result"] == answer["result"]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ('{"classify":[1,2],"id":9}', "expected 256 features, one 0xRRGGBB a pixel, but got 2"),
        ('{"classify":[],"id":9}', "but got 0"),
        ('{"classify":["a"],"id":9}', "'classify' should be an array of numbers"),
        ('{"classify":{"a":1},"id":9}', "'classify' should be an array of numbers"),
        ('{"classify":[1,null],"id":9}', "'classify' should be an array of numbers"),
        ('{"classify":[' + "0," * 255 + '-1],"id":9}', "feature 255 is no number from 0 to 0xFFFFFF"),
        ('{"classify":[' + "0," * 255 + '1e999],"id":9}', "feature 255 is no number from 0 to 0xFFFFFF"),
        ('{"classify_shm":{"elements":255},"id":9}', "expected 256 features, one 0xRRGGBB a pixel, but got 255"),
        ('{"classify_shm":{},"id":9}', "but got 0"),
        ('{"classify_shm":1,"id":9}', "'classify_shm' should be an object with 'elements'"),
        ('{"classify_continuous":[1],"id":9}', "'classify_continuous' is for models of sound and motion"),
        ('{"classify_continuous_shm":{"elements":4},"id":9}', "is for models of sound and motion"),
        ('{"set_parameter":{"image_width":4},"id":9}', "this model has no parameters"),
        ('{"set_threshold":{"id":3,"min_score":0.1},"id":9}', "a classification has no threshold"),
        ('{"set_threshold":{"id":4,"min_score":0.1},"id":9}', "there is no learn block with this 'id'"),
        ('{"set_threshold":[],"id":9}', "should be an object with 'id' and 'min_score'"),
        ('{"hello":2,"id":9}', "'hello' should be 1"),
        ('{"hello":1,"classify":[],"id":9}', "one command, it has 2"),
        ('{"goodbye":1,"id":9}', "one command, it has 0"),
        ('{"id":9}', "one command, it has 0"),
        ('{"hello":1}', "has no 'id'"),
        ('{"hello":1,"id":"9"}', "'id' should be a number"),
        ('{"hello":1,"id":9,}', "the message is no JSON"),
        ('{"hello":1,"id":09}', "the message is no JSON"),
        ('{"hello":1 "id":9}', "the message is no JSON"),
        ('{"a":[1,],"hello":1,"id":9}', "the message is no JSON"),
        ('{"a":"\\x","hello":1,"id":9}', "the message is no JSON"),
        ('{"a":tru,"hello":1,"id":9}', "the message is no JSON"),
        ("{}", "one command, it has 0"),
        ("hello\n", "what came is no JSON object"),
        ("[1]\n", "what came is no JSON object"),
        ('{"a":[}\n', "what came is no JSON object"),
        ('{"a":"b\n', "what came is no JSON object"),
        ('{"a":' + "[" * 40 + "\n", "what came is no JSON object"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(
    message: str, words: str, start: Callable[[str], EimClient]
) -> None:
    client = start("gray")
    client.socket.sendall(message.encode())
    answer = client.answer()
    assert answer["success"] is False
    assert words in answer["error"]
    if '"id":9}' in message and "no JSON" not in words:
        assert answer["id"] == 9
    assert client.ask(hello=1)["success"], "it goes on"


def test_an_unusable_threshold_is_refused(start: Callable[[str], EimClient]) -> None:
    client = start("fomo")
    for value in ("2", "-0.1", '"0.5"', "null", "1e99"):
        client.socket.sendall(f'{{"set_threshold":{{"id":3,"min_score":{value}}},"id":1}}'.encode())
        assert "'min_score' should be a number from 0 to 1" in client.answer()["error"]
    assert client.ask(hello=1)["model_parameters"]["thresholds"][0]["min_score"] == 0.5


def test_a_message_that_is_too_long_is_read_to_its_end(start: Callable[[str], EimClient]) -> None:
    client = start("gray")
    client.socket.sendall(b'{"classify":[' + b"16777215," * 100_000 + b'0],"id":1}{"hello":1,"id":2}')
    refused, told = client.answers(2)
    assert (refused["success"], told["id"]) == (False, 2)
    assert "longer than 12288 bytes" in refused["error"]


def test_the_program_ends_with_its_client_and_leaves_nothing(start: Callable[[str], EimClient]) -> None:
    client = start("gray")
    client.connect().close()
    client.hello()
    assert client.memory.exists(), "a connection that says nothing is no client"
    client.socket.sendall(b'{"classify":[1,')
    client.socket.close()
    assert client.process.wait(10) == 0
    assert not client.path.exists()
    assert not client.memory.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_program_and_leaves_nothing(
    number: signal.Signals, start: Callable[[str], EimClient]
) -> None:
    client = start("gray")
    client.hello()
    os.kill(client.process.pid, number)
    assert client.process.wait(10) == 0
    assert not client.path.exists()
    assert not client.memory.exists()


def test_a_file_in_the_sockets_place_is_left_alone(programs: Callable[[str], Path], tmp_path: Path) -> None:
    mine = tmp_path / "notes.txt"
    mine.write_text("mine")
    for place in (str(mine), str(tmp_path / "missing" / "runner.sock"), str(tmp_path / ("x" * 200))):
        ended = subprocess.run([programs("gray"), place], capture_output=True, text=True, timeout=10)
        assert ended.returncode != 0
        assert "failed: " in ended.stderr
    assert mine.read_text() == "mine"
    assert "usage: " in subprocess.run([programs("gray")], capture_output=True, text=True).stderr


def test_a_signal_at_any_moment_leaves_nothing(programs: Callable[[str], Path], tmp_path: Path) -> None:
    """Signals come as soon as the socket is seen, or any name of it, while the rest is still being made."""
    for number in range(EARLY_SIGNALS):
        path = tmp_path / "runner.sock"
        process = subprocess.Popen([programs("gray"), path])
        while not (path.exists() if number % 2 else any(tmp_path.iterdir())):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert list(tmp_path.iterdir()) == []
        assert list(Path("/dev/shm").glob(f"eim-{process.pid}-*")) == []


def test_a_file_beside_the_socket_is_left_alone(programs: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "runner.sock.new").write_text("mine")
    client = EimClient([programs("gray")], tmp_path)
    assert client.hello()["success"]
    assert {path.name for path in tmp_path.iterdir()} == {"runner.sock", "runner.sock.new"}
    assert client.stop() == 0
    assert (tmp_path / "runner.sock.new").read_text() == "mine"


@pytest.mark.parametrize("length", [*range(98, 108), 108])
def test_socket_paths_as_long_as_an_address_holds(
    length: int, programs: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "x" * length
    for _ in range(2):  # the second finds the socket of the first, that was killed
        process = subprocess.Popen([programs("gray"), name], stderr=subprocess.PIPE, text=True)
        if length > 107:
            assert "name too long" in process.communicate(timeout=10)[1]
            assert process.returncode == 1
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(10)
            connect(client, name)
            client.sendall(b'{"hello":1,"id":1}')
            assert b'"success":true' in client.recv(1 << 16)
            process.kill()
        process.communicate(timeout=10)
        for left in Path("/dev/shm").glob(f"eim-{process.pid}-*"):
            left.unlink()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def connect(client: socket.socket, name: str) -> None:
    """Connect as soon as a program listens, which may have left a socket there before."""
    deadline = time.monotonic() + 10
    while True:
        try:
            client.connect(name)
        except (FileNotFoundError, ConnectionRefusedError):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        else:
            return


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--print-infos"], ["-"], ["a", "b"], [""]])
def test_what_is_no_argument_is_answered_with_the_usage(
    arguments: list[str], programs: Callable[[str], Path], tmp_path: Path
) -> None:
    ended = subprocess.run(
        [programs("gray"), *arguments], capture_output=True, text=True, timeout=10, cwd=tmp_path
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: ")
    assert list(tmp_path.iterdir()) == []


def test_messages_on_the_standard_input(programs: Callable[[str], Path]) -> None:
    pixels = pictures(MODELS["rgb"], 1)[0]
    classify = json.dumps({"classify": features_of(pixels).tolist(), "id": 2})
    given = f'{{"hello":1,"id":1}}\n{classify}\n{{"hello"'
    ended = subprocess.run([programs("rgb"), "stdin"], input=given, capture_output=True, text=True, timeout=10)
    told, answer, cut = (json.loads(line) for line in ended.stdout.splitlines())
    assert (ended.returncode, told["id"], answer["id"]) == (0, 1, 2)
    assert list(answer["result"]["classification"].values()) == scores(MODELS["rgb"], pixels).tolist()
    assert "ended inside a message" in cut["error"]
    assert not (Path("/dev/shm") / told["features_shm"]["name"].lstrip("/")).exists()


@pytest.mark.parametrize("option", ["size=4k", "nr_inodes=1"])
def test_without_shared_memory_the_program_works_and_says_why(
    option: str, programs: Callable[[str], Path]
) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    features = json.dumps(features_of(pictures(MODELS["fomo"], 1)[0]).tolist())
    given = f'{{"hello":1,"id":1}}{{"classify_shm":{{"elements":4096}},"id":2}}{{"classify":{features},"id":3}}'
    script = f'mount -t tmpfs -o {option} none /dev/shm && exec "$0" stdin'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, programs("fomo")]
    ended = subprocess.run(command, input=given, capture_output=True, text=True, timeout=10)
    if ended.returncode:
        pytest.skip(f"this machine lets no test mount a file system: {ended.stderr.strip()}")
    told, refused, answer = [json.loads(line) for line in ended.stdout.splitlines()]
    assert told["features_shm_error"] == "no shared memory: No space left on device"
    assert "there is no shared memory, send 'classify'" in refused["error"]
    assert answer["success"]


def test_the_same_request_gives_the_same_bytes(programs: Callable[[str], Path], zig_cache: Path) -> None:  # noqa: F811
    assert program(MODELS["rgb"]) == programs("rgb").read_bytes()


def test_what_cannot_be_built_says_so() -> None:
    contents = contents_of(MODELS["rgb"])
    with pytest.raises(UsageError, match="pulls them row by row"):
        linux.source_files(BuildRequest("linux", memory="streamed-input"), contents)
    with pytest.raises(UsageError, match="cannot be built for riscv64") as caught:
        linux.this_architecture("riscv64")
    assert "x86_64, aarch64, armv7" in caught.value.hint
    assert [linux.this_architecture(name) for name in ("AMD64", "arm64", "armv7l")] == [
        "x86_64",
        "aarch64",
        "armv7",
    ]


def test_rubbish_neither_breaks_the_program_nor_holds_it_up(tmp_path: Path) -> None:
    files = linux.source_files(BuildRequest("linux"), contents_of(MODELS["fomo"]))
    compiler = host_compiler()
    if compiler is None:
        pytest.skip("there is no C compiler for this machine")
    arguments = [name for name in linux.ARGUMENTS if name not in ("-static", "-s", "-O3")]
    try:
        built = compile_c(compiler, files, [*SANITIZED, "-Wall", "-Wextra", "-Werror", *arguments], "model.eim")
    except JobFailedError as error:
        if "san" not in str(error):
            raise
        pytest.skip("the C compiler has no sanitizers here")
    place = tmp_path / "model.eim"
    place.write_bytes(built)
    place.chmod(0o755)
    given = b"\n".join(rubbish(MESSAGES)) + b'\n}]"\n{"hello":1,"id":12345}\n'
    ended = subprocess.run([place, "stdin"], input=given, capture_output=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, b"")
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    assert answers[-1]["id"] == 12345
    assert answers[-1]["success"] is True
    assert len(answers) > MESSAGES / 4


def rubbish(count: int) -> Iterator[bytes]:
    """Messages with bytes changed, cut, repeated and put in; some are still good."""
    chance = random.Random(3)
    good = [
        b'{"hello":1,"id":1}',
        b'{"classify_shm":{"elements":4096,"a":[1.5e3,{"b":null}]},"id":-20,"debug":false}',
        b'{"set_threshold":{"id":3,"min_score":0.25,"type":"a\\u00e9\\n"},"id":3}',
        json.dumps({"classify": [chance.randrange(1 << 24) for _ in range(4096)], "id": 4}).encode(),
        b'{"classify":[1,2.5,-0,1E+2,0.000001],"id":5}',
    ]
    tokens = [b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\0", b"\xff", b"e", b"-", b"9" * 40, b"[" * 50]
    for _ in range(count):
        text = bytearray(chance.choice(good))
        for _ in range(chance.randrange(4)):
            place, length = chance.randrange(len(text) + 1), chance.randrange(8)
            change = chance.choice(tokens) if chance.random() < 0.7 else bytes(text[place : place + length])
            text[place : place + chance.choice((0, 1, length))] = change
        yield bytes(text)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("architecture", ["aarch64", "armv7"])
def test_the_programs_for_arm_give_the_same_scores(
    architecture: Architecture,
    zig_cache: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Slow for the C library: zig builds it once for each architecture, which takes up to a minute."""
    model = MODELS["rgb"]
    built = program(model, architecture)
    assert (built[:4], int.from_bytes(built[18:20], "little")) == (b"\x7fELF", ELF_MACHINES[architecture])
    emulator = shutil.which(EMULATORS[architecture])
    if emulator is None:
        pytest.skip(f"{EMULATORS[architecture]} is not installed")
    place = tmp_path / "model.eim"
    place.write_bytes(built)
    place.chmod(0o755)
    client = EimClient([emulator, place], tmp_path)
    client.hello()
    for number, pixels in enumerate(pictures(model, PICTURES)):
        result = client.classify(pixels, shared=number % 2 == 0)
        assert list(result["classification"].values()) == scores(model, pixels).tolist()
    assert client.stop() == 0
