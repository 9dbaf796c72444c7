"""Makers of small archives, images and a Kaggle on loopback."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.dataset.kaggle_server import Kaggle, serve


def jpeg(seed: int, size: tuple[int, int] = (24, 16)) -> bytes:
    """A small picture; each seed another one."""
    stream = io.BytesIO()
    Image.effect_noise(size, 40 + seed % 40).point(lambda v: (v + 37 * seed) % 256).convert("RGB").save(
        stream, "JPEG"
    )
    return stream.getvalue() + seed.to_bytes(4, "big")  # noise is random: the tail makes the bytes differ


def make_tree(folder: Path, names: list[str]) -> Path:
    """A folder with a picture under each name that looks like one, and text under the others."""
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        is_image = path.suffix.lower() in (".jpg", ".jpeg", ".png")
        path.write_bytes(jpeg(seed) if is_image else b"text")
    return folder


def make_zip(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """A zip with these members."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def kaggle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kaggle]:
    """A Kaggle on loopback; the environment leads the official client there."""
    members = {
        f"cells/{label}/{index}.jpg": jpeg(index) + bytes(8_000) for label in ("a", "b") for index in range(60)
    }
    state = Kaggle(archive=make_zip(tmp_path / "served.zip", members, zipfile.ZIP_STORED).read_bytes())
    server = serve(state)
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{state.port}")
    monkeypatch.setenv("NO_PROXY", "")
    yield state
    state.released.set()
    server.shutdown()
    server.server_close()
