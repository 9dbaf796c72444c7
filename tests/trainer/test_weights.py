import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ei_automation.errors import NetworkError, NotFoundError, VerificationError
from ei_automation.schema.training import Conv2dLayer, KerasLearnBlock, TransferLayer, TransferLearnBlock
from ei_automation.trainer.architectures.registry import ARCHITECTURES, PUBLISHED, PublishedWeights
from ei_automation.trainer.weights import HDF5_SIGNATURE, download, resolve_weights

CONTENT = HDF5_SIGNATURE + bytes(range(256)) * 1000
FILE = PublishedWeights("some/where/net.h5", hashlib.sha256(CONTENT).hexdigest())


def block(weights: str = "pretrained", layer: str = "transfer_mobilenetv2_a35") -> TransferLearnBlock:
    return TransferLearnBlock(
        type="keras-transfer-image",
        visual_layer=TransferLayer(type=layer),
        weights=weights,  # type: ignore[arg-type]
    )


class Server(BaseHTTPRequestHandler):
    """Answers in turn: a status, or a body that may be shorter than announced."""

    answers: ClassVar[list[int | bytes]] = []

    def do_GET(self) -> None:
        answer = self.answers.pop(0)
        self.send_response(answer if isinstance(answer, int) else 200)
        self.send_header("Content-Length", "0" if isinstance(answer, int) else str(len(CONTENT)))
        self.end_headers()
        if isinstance(answer, bytes):
            self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(*answers: int | bytes) -> Iterator[str]:
    Server.answers = list(answers)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_every_layer_type_has_an_architecture_and_published_colour_weights() -> None:
    assert {layer for layer, _ in PUBLISHED} == set(ARCHITECTURES)
    assert all((layer, "RGB") in PUBLISHED for layer in ARCHITECTURES)
    assert len({published.path for published in PUBLISHED.values()}) == len(PUBLISHED)
    assert ARCHITECTURES["transfer_mobilenetv2_160_a75"].alpha == 0.75
    assert ARCHITECTURES["transfer_mobilenetv2_a05"].alpha == 0.05


def test_a_given_file_wins_over_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "mine.h5").write_bytes(b"abc")
    (tmp_path / "other.h5").write_bytes(b"xyz")
    resolve = partial(resolve_weights, channels="RGB", project_folder=tmp_path, cache_folder=tmp_path / "cache")
    found = resolve(block("mine.h5"))
    assert found is not None
    assert (found.path, found.source, found.sha256) == (
        tmp_path / "mine.h5",
        "mine.h5",
        hashlib.sha256(b"abc").hexdigest(),
    )
    overridden = resolve(block("none"), override=tmp_path / "other.h5")
    assert overridden is not None
    assert overridden.source == "other.h5"
    with pytest.raises(NotFoundError, match=r"absent\.h5 does not exist"):
        resolve(block("absent.h5"))


def test_none_is_said_and_a_block_without_a_base_needs_none(tmp_path: Path) -> None:
    resolve = partial(resolve_weights, channels="RGB", project_folder=tmp_path, cache_folder=tmp_path)
    scratch = resolve(block("none"))
    assert scratch is not None
    assert (scratch.path, scratch.source) == (None, "none")
    visual = KerasLearnBlock(type="keras", visual_layers=(Conv2dLayer(type="conv2d", filters=4),))
    assert resolve(visual) is None


def test_offline_without_the_file_names_the_three_ways_on(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="offline") as caught:
        resolve_weights(block(), "RGB", project_folder=tmp_path, cache_folder=tmp_path / "cache", offline=True)
    hint = caught.value.hint
    assert "--weights PATH" in hint
    assert str(tmp_path / "cache") in hint
    assert PUBLISHED["transfer_mobilenetv2_a35", "RGB"].name in hint
    assert 'weights = "none"' in hint


def test_nothing_published_for_the_pair(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="Grayscale weights were ever published for transfer_mobilenetv1_a2"):
        resolve_weights(
            block(layer="transfer_mobilenetv1_a2_d100"),
            "Grayscale",
            project_folder=tmp_path,
            cache_folder=tmp_path,
        )


def test_a_file_put_into_the_cache_by_hand_is_used_and_a_false_one_is_not(tmp_path: Path) -> None:
    unknown, known = PUBLISHED["transfer_mobilenetv2_160_a35", "RGB"], PUBLISHED["transfer_mobilenetv2_a35", "RGB"]
    for published in (unknown, known):
        (tmp_path / published.name).write_bytes(CONTENT)
    resolve = partial(
        resolve_weights, channels="RGB", project_folder=tmp_path, cache_folder=tmp_path, offline=True
    )
    found = resolve(block(layer="transfer_mobilenetv2_160_a35"))
    assert found is not None
    assert (found.source, found.sha256) == ("pretrained", FILE.sha256)
    with pytest.raises(VerificationError, match="the published file has a94030b8"):
        resolve(block())


def test_a_download_survives_a_server_error_and_a_cut_and_reports_progress(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with serving(503, CONTENT[:5000], CONTENT) as root:
        path = download(FILE, tmp_path / "cache", on_progress=lambda *at: seen.append(at), root=root)
    assert path == tmp_path / "cache" / "net.h5"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [entry.name for entry in path.parent.iterdir()] == ["net.h5"], "nothing half-written stays"


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ((404,), NotFoundError),
        ((500, 502, 503), NetworkError),
        ((b"<html>" + CONTENT[6:],) * 3, NetworkError),
        ((HDF5_SIGNATURE + bytes(len(CONTENT) - 8),), VerificationError),
    ],
)
def test_a_failed_download_leaves_nothing(
    answers: tuple[int | bytes, ...], error: type[Exception], tmp_path: Path
) -> None:
    with serving(*answers) as root, pytest.raises(error) as caught:
        download(FILE, tmp_path / "cache", root=root)
    assert list((tmp_path / "cache").iterdir()) == []
    assert "--weights PATH" in caught.value.hint  # type: ignore[attr-defined]


def test_an_unreachable_server(tmp_path: Path) -> None:
    with serving() as root:
        pass
    with pytest.raises(NetworkError, match="could not be downloaded") as caught:
        download(FILE, tmp_path, root=root)
    assert "(1)" in caught.value.hint
    assert "(3)" in caught.value.hint
