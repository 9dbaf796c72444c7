"""The WebAssembly deployment: the module in wasmtime, the page in headless Chromium."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image

from ei_automation.deployment import wasm
from ei_automation.dsp.image import resize
from ei_automation.errors import UsageError
from ei_automation.schema.deployment import BuildRequest
from ei_automation.schema.impulse import InputBlock, ResizeMode
from tests.compiler.oracle import reference_outputs, sample_inputs
from tests.deployment.browser import Page, chromium, served
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

INPUTS = 10
SIZES = (
    *((24, 20), (48, 40), (72, 60), (240, 200), (640, 480), (480, 640), (1280, 721), (97, 33)),
    *((23, 19), (12, 10), (5, 400), (400, 3), (1, 1), (25, 20), (24, 41)),
)
"""Width, height: the model's own, whole and broken factors, larger and smaller along one axis or both."""

Deployment = dict[str, bytes]


def deployment(name: str, resize_mode: ResizeMode = "fit-short") -> Deployment:
    """The files of a model."""
    model = MODELS[name]
    return wasm.files(BuildRequest("wasm", variant=model.variant), contents_of(model, resize_mode))


@pytest.fixture(scope="session")
def deployments(zig_folder: Path) -> Callable[..., Deployment]:  # noqa: F811
    """Deployments by model and resize mode, each built once."""
    made: dict[tuple[str, ResizeMode], Deployment] = {}

    def built(name: str, resize_mode: ResizeMode = "fit-short") -> Deployment:
        if (name, resize_mode) not in made:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("ZIG_GLOBAL_CACHE_DIR", str(zig_folder))
                made[name, resize_mode] = deployment(name, resize_mode)
        return made[name, resize_mode]

    return built


class Module:
    """model.wasm in wasmtime.

    Args:
        content: The file.
    """

    def __init__(self, content: bytes) -> None:
        wasmtime = pytest.importorskip("wasmtime", reason="the package wasmtime is not installed")
        engine = wasmtime.Engine()
        module = wasmtime.Module(engine, content)
        assert list(module.imports) == [], "it needs nothing of its surroundings"
        self._store = wasmtime.Store(engine)
        self._exports = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._memory = self._exports["memory"]

    def call(self, name: str, *values: float) -> Any:
        """Call an exported function."""
        return self._exports[name](self._store, *values)

    def read(self, place: str, count: int, dtype: Any) -> np.ndarray:
        """Values at what an exported function points to."""
        start = self.call(place)
        return np.frombuffer(
            self._memory.read(self._store, start, start + count * np.dtype(dtype).itemsize), dtype
        )

    def write(self, start: int, content: bytes) -> None:
        """Write bytes."""
        self._memory.write(self._store, content, start)

    def show(self, pixels: np.ndarray) -> None:
        """Bring a picture, uint8 (height, width, 3), to the model's size."""
        height, width, _ = pixels.shape
        rgba = np.dstack([pixels, np.full((height, width), 255, np.uint8)])
        self.write(self.call("source", width, height), rgba.tobytes())
        self.call("fit", width, height)


@pytest.mark.parametrize("name", MODELS)
def test_the_output_is_that_of_tflites_reference_kernels(
    name: str, deployments: Callable[..., Deployment]
) -> None:
    model, module = MODELS[name], Module(deployments(name)["model.wasm"])
    given = sample_inputs(model_file(model), INPUTS)
    for content, expected in zip(given, reference_outputs(model_file(model), given), strict=True):
        module.write(module.call("input"), content)
        assert module.call("invoke") == 0
        dtype = np.int8 if model.input else np.float32
        wanted = np.frombuffer(expected, dtype)
        output = module.read("output", len(wanted), dtype)
        if model.input:
            assert output.tobytes() == expected
        else:
            assert output == pytest.approx(wanted, abs=1e-6)
        real = (wanted.astype(np.int32) + 128) * np.float32(1 / 256) if model.input else output
        assert module.read("scores", len(wanted), np.float32).tolist() == real.tolist()


@pytest.mark.parametrize("name", MODELS)
def test_a_picture_becomes_the_models_input(name: str, deployments: Callable[..., Deployment]) -> None:
    model, module = MODELS[name], Module(deployments(name)["model.wasm"])
    for pixels in pictures(model, INPUTS):
        module.show(pixels)
        assert module.read("pixels", pixels.size, np.uint8).tobytes() == pixels.tobytes()
        module.call("classify")
        (expected,) = reference_outputs(model_file(model), [model_input(model, pixels).tobytes()])
        dtype = np.int8 if model.input else np.float32
        output = module.read("output", len(expected) // np.dtype(dtype).itemsize, dtype)
        assert output == pytest.approx(np.frombuffer(expected, dtype), abs=0 if model.input else 1e-6)


@pytest.mark.parametrize("resize_mode", get_args(ResizeMode))
def test_pictures_are_resized_as_in_the_training(
    resize_mode: ResizeMode, deployments: Callable[..., Deployment]
) -> None:
    module, random = Module(deployments("rgb", resize_mode)["model.wasm"]), np.random.default_rng(2)
    block = InputBlock(image_width=24, image_height=20, resize_mode=resize_mode)
    for width, height in (*SIZES, *random.integers(1, 300, (25, 2)).tolist()):
        pixels = random.integers(0, 256, (height, width, 3), np.uint8)
        module.show(pixels)
        seen = module.read("pixels", 24 * 20 * 3, np.uint8).reshape(20, 24, 3)
        assert np.array_equal(seen, resize(pixels, block)), f"{width} x {height}"


def test_boxes_are_those_of_edge_impulses_sdk(deployments: Callable[..., Deployment]) -> None:
    module = Module(deployments("fomo")["model.wasm"])
    words = np.dtype(
        [*((name, np.int32) for name in ("x", "y", "width", "height", "label")), ("value", np.float32)]
    )
    for pixels in pictures(MODELS["fomo"], INPUTS):
        module.show(pixels)
        module.call("classify")
        grid = module.read("scores", 8 * 8 * 4, np.float32).reshape(8, 8, 4)
        for threshold in (0.2, 0.5):
            found = module.read("boxes", module.call("find_boxes", threshold), words)
            boxes = [dict(zip(words.names or (), box.tolist(), strict=True)) for box in found]
            named = [{**box, "label": LABELS[box["label"]]} for box in boxes]
            assert named == find_boxes(grid, LABELS, threshold, (8, 8))


def test_a_picture_that_does_not_fit_is_refused(deployments: Callable[..., Deployment]) -> None:
    module = Module(deployments("gray")["model.wasm"])
    for width, height in ((0, 5), (5, -1), (40_000, 40_000), (2**31 - 1, 2**31 - 1)):
        assert module.call("source", width, height) == 0
    assert module.call("source", 3000, 2000) > 0


def test_the_files_need_nothing_else(deployments: Callable[..., Deployment]) -> None:
    files = deployments("rgb")
    assert set(files) == {"model.wasm", "model.js", "index.html", "labels.txt", "README.md"}
    script = files["model.js"].decode()
    (encoded,) = re.findall(r'EIAUTO_MODULE_BASE64 = "([^"]*)"', script)
    assert base64.b64decode(encoded) == files["model.wasm"]
    (facts,) = re.findall(r"EIAUTO_FACTS = ({.*?\n});", script, re.DOTALL)
    told = json.loads(facts)
    assert (told["labels"], told["resizeMode"], told["findsObjects"]) == (list(LABELS), "fit-short", False)
    assert files["labels.txt"].decode().split("\n") == list(LABELS)
    page = files["index.html"].decode()
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["data:,", "model.js"]
    assert not re.search(r"https?://", page + script.replace(encoded, ""))


def test_the_same_request_gives_the_same_bytes(
    deployments: Callable[..., Deployment],
    zig_cache: Path,  # noqa: F811
) -> None:
    assert deployment("rgb") == deployments("rgb")


def test_rows_cannot_be_pulled(zig_cache: Path) -> None:  # noqa: F811
    with pytest.raises(UsageError, match="target wasm gets whole pictures"):
        wasm.files(BuildRequest("wasm", memory="streamed-input"), contents_of(MODELS["rgb"]))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A page of headless Chromium."""
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        yield found


def lay_out(folder: Path, files: Deployment, picture: np.ndarray) -> Path:
    """A deployment in a folder, with a picture beside it."""
    for name, content in files.items():
        (folder / name).write_bytes(content)
    Image.fromarray(picture).save(folder / "photo.png")
    return folder


def result_of(page: Page) -> dict[str, Any]:
    """What the page found in its picture."""
    found: dict[str, Any] = json.loads(page.wait_for("document.body.dataset.result"))
    return found


def expected_scores(model: PictureModel, picture: np.ndarray, resize_mode: ResizeMode) -> dict[str, float]:
    """TFLite's scores for a picture of any size."""
    height, width, _ = model.shape
    pixels = resize(picture, InputBlock(image_width=width, image_height=height, resize_mode=resize_mode))
    (output,) = reference_outputs(model_file(model), [model_input(model, pixels).tobytes()])
    values = (np.frombuffer(output, np.int8).astype(np.int32) + 128) / 256
    return dict(zip(LABELS, values.tolist(), strict=True))


def photo(width: int, height: int, seed: int = 1) -> np.ndarray:
    """A picture with soft and hard edges: uint8, (height, width, 3)."""
    model = PictureModel("classifier", (height - height % 4, width - width % 4, 3))
    return pictures(model, 1, seed)[0]


@pytest.mark.parametrize(("name", "resize_mode"), [("rgb", "fit-long"), ("gray", "squash"), ("rgb", "fit-short")])
def test_the_page_gives_tflites_scores(
    name: str, resize_mode: ResizeMode, page: Page, deployments: Callable[..., Deployment], tmp_path: Path
) -> None:
    picture = photo(320, 212)
    folder = lay_out(tmp_path, deployments(name, resize_mode), picture)
    with served(folder) as address:
        page.open(f"{address}/index.html?image=photo.png")
        result = result_of(page)
        assert result["scores"] == expected_scores(MODELS[name], picture, resize_mode)
        shown = page.evaluate("[...document.querySelectorAll('.row .label')].map((each) => each.textContent)")
        assert shown == list(LABELS)
        assert page.evaluate("document.title") == 'Doors {1} "ö"'
        assert all(url.startswith((address, "data:", "blob:")) for url in page.requested), page.requested
        assert page.complaints == []
        fetched = 'EiautoModel.load("model.wasm").then((model) => model.facts.labels.length)'
        assert page.evaluate(fetched) == len(LABELS)


def test_the_page_draws_boxes_on_a_phone_in_the_dark(
    page: Page, deployments: Callable[..., Deployment], tmp_path: Path
) -> None:
    picture = photo(256, 256)
    with served(lay_out(tmp_path, deployments("fomo"), picture)) as address:
        page.open(f"{address}/index.html?image=photo.png", width=375, height=812, dark=True)
        boxes = result_of(page)["boxes"]
        before = page.evaluate("view.getContext('2d').getImageData(0, 0, 256, 256).data.join()")
        drawn = np.array(before.split(","), np.uint8).reshape(256, 256, 4)[..., :3]
        assert not np.array_equal(drawn, picture), "boxes are on it"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off"
        assert len(page.screenshot()) > 1000
    module = Module(deployments("fomo")["model.wasm"])
    module.show(picture)
    module.call("classify")
    grid = module.read("scores", 8 * 8 * 4, np.float32).reshape(8, 8, 4)
    expected = find_boxes(grid, LABELS, 0.5, (8, 8))
    assert expected
    assert [{**box, "value": box["score"]} for box in boxes] == [
        {**box, "score": pytest.approx(box["value"]), "value": pytest.approx(box["value"])} for box in expected
    ]


def test_the_page_works_from_the_disk(page: Page, deployments: Callable[..., Deployment], tmp_path: Path) -> None:
    picture = photo(100, 80)
    folder = lay_out(tmp_path, deployments("rgb"), picture)
    page.open((folder / "index.html").as_uri() + "?image=photo.png")
    assert "choose one" in page.wait_for("document.getElementById('problem').textContent")
    page.choose_file("#file", folder / "photo.png")
    assert result_of(page)["scores"] == expected_scores(MODELS["rgb"], picture, "fit-short")
    assert page.evaluate("document.getElementById('problem').textContent") == ""
    page.choose_file("#file", folder / "README.md")
    assert "no picture" in page.wait_for("document.getElementById('problem').textContent")


def test_the_page_shows_the_camera(page: Page, deployments: Callable[..., Deployment], tmp_path: Path) -> None:
    with served(lay_out(tmp_path, deployments("rgb"), photo(32, 32))) as address:
        page.open(f"{address}/index.html")
        page.wait_for("model")
        page.evaluate("document.getElementById('camera').click()")
        first = result_of(page)
        assert sum(first["scores"].values()) == pytest.approx(1, abs=0.02)
        assert page.wait_for("document.getElementById('camera').textContent") == "Stop the camera"
        page.evaluate("document.getElementById('camera').click()")
        assert page.evaluate("stream") is None


def test_a_camera_that_is_given_too_late_is_let_go(
    page: Page, deployments: Callable[..., Deployment], tmp_path: Path
) -> None:
    """Clicks while the permission is asked for, and a picture chosen meanwhile, leave no camera running."""
    folder = lay_out(tmp_path, deployments("rgb"), photo(32, 32))
    with served(folder) as address:
        page.open(f"{address}/index.html")
        page.wait_for("model")
        page.evaluate(
            "window.given = []; const ask = MediaDevices.prototype.getUserMedia; let answers = [];"
            "navigator.mediaDevices.getUserMedia = async (wish) => {"
            "  await new Promise((allow) => answers.push(allow));"
            "  given.push(await ask.call(navigator.mediaDevices, wish)); return given.at(-1); };"
            "window.allow = () => answers.splice(0).forEach((answer) => answer());"
        )
        running = "given.filter((each) => each.getTracks().some((track) => track.readyState === 'live')).length"
        label = "document.getElementById('camera').textContent"
        page.evaluate("for (let click = 0; click < 3; click++) document.getElementById('camera').click(); allow()")
        page.wait_for(f"given.length === 3 && {label} === 'Stop the camera'")
        assert page.evaluate(running) == 1
        page.evaluate("document.getElementById('camera').click()")
        assert page.evaluate(running) == 0
        page.evaluate("document.getElementById('camera').click()")
        page.choose_file("#file", folder / "photo.png")
        page.evaluate("allow()")
        page.wait_for("given.length === 4")
        page.wait_for(f"{running} === 0")
        assert (page.evaluate("stream"), page.evaluate(label)) == (None, "Start the camera")
        assert page.evaluate("document.getElementById('problem').textContent") == ""
