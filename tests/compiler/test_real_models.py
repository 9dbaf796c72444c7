"""Models that Edge Impulse Studio and others trained: dead channels, PAD operators, older converters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from ei_automation.compiler.toolchain import CCompiler
from ei_automation.schema.deployment import Memory
from tests.compiler.harness import MODES, Case, check_on_host, make_cases

STUDIO = {
    "mask": "studio_deployments/openmv_cls_2020_mask/trained.tflite",
    "person": "studio_deployments/openmv_cls_2023_person/trained.tflite",
    "speed_sign": "studio_deployments/openmv_cls_2025_speed_sign/trained.tflite",
    "food": "studio_deployments/openmv_cls_2026_food/trained.tflite",
    "balloon": "studio_deployments/openmv_fomo_2023_balloon/trained.tflite",
    "rubbish": "openmv_rubbish/trained.tflite",
}
VWW = {
    "vww_int8": "weights/mobilenet_v1_0.25_96_vww/vww_96_int8.tflite",
    "vww_float": "weights/mobilenet_v1_0.25_96_vww/vww_96_float.tflite",
}
PHOTOS = 2


def photos(folder: Path, model: bytes, count: int) -> tuple[bytes, ...]:
    """Real images as the model's input: squashed to its size, in its type."""
    details = Interpreter(model_content=model, num_threads=1).get_input_details()[0]
    _, height, width, channels = details["shape"]
    found = sorted((folder / "openmv_rubbish" / "dataset").rglob("*.jpg"))
    made = []
    for path in found[:: max(1, len(found) // count)][:count]:
        image = Image.open(path).convert("RGB" if channels == 3 else "L").resize((int(width), int(height)))
        pixels = np.asarray(image).astype(np.int16)
        values = pixels / np.float32(255) if details["dtype"] == np.float32 else pixels - 128
        made.append(values.astype(details["dtype"]).tobytes())
    return tuple(made)


def real_cases(
    folder: Path, names: dict[str, str], *, count: int, modes: Sequence[Memory] | None = None
) -> list[Case]:
    """The models on made-up inputs and photos, in the given memory modes, or in one each, the modes in turn."""
    cases = []
    for number, (name, path) in enumerate(names.items()):
        model = (folder / path).read_bytes()
        given = photos(folder, model, count)
        cases += make_cases(
            f"real_{name}", model, note=name, modes=modes or (MODES[number % 3],), inputs=count, given=given
        )
    return cases


def test_the_models_of_studio_and_others_give_tflites_bytes(
    shared_data: Path, host: CCompiler, tmp_path: Path
) -> None:
    cases = real_cases(shared_data, STUDIO | VWW, count=PHOTOS)
    check_on_host(cases, host, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", STUDIO | VWW)
def test_a_real_model_in_every_memory_mode(name: str, shared_data: Path, host: CCompiler, tmp_path: Path) -> None:
    cases = real_cases(shared_data, {name: (STUDIO | VWW)[name]}, count=12, modes=MODES)
    check_on_host(cases, host, tmp_path, ("-O2",))
