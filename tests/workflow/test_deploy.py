"""`eiauto deploy` of compiled code: wished and unwished, in the record, found again when it is old."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from ei_automation.cli.commands import deploy as command
from ei_automation.compiler.toolchain import has_zig
from ei_automation.schema.deployment import ARCHITECTURES, BuildRequest, artifact_stem, artifact_suffix
from ei_automation.schema.metrics import VARIANTS
from tests.deployment.test_edge_impulse import SDK_PATH, SDK_VARIABLE, made_up_sdk
from tests.helpers import Cli

CPP = '\n[[deployments]]\nformat = "cpp"\n'
PINNED = '\n[[deployments]]\nformat = "cpp"\nflavor = "edge-impulse"\nmemory = "planned"\n'


def wish(project: Path, text: str) -> None:
    with (project / "project.toml").open("a") as stream:
        stream.write(text)


def records(project: Path) -> dict[str, dict[str, Any]]:
    """File to record, as the lock has them."""
    lock = json.loads((project / "project.lock.json").read_text())
    return {
        record["file"].removeprefix("deployments/"): record for record in lock["splits"]["main"]["deployments"]
    }


def test_the_command_line_knows_every_choice() -> None:
    assert (command.ARCHITECTURES, command.VARIANTS) == (ARCHITECTURES, VARIANTS)


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (BuildRequest("cpp"), "ei-a-cpp.zip"),
        (BuildRequest("cpp", memory="planned", variant="float32"), "ei-a-cpp-planned-float32.zip"),
        (BuildRequest("cpp", flavor="edge-impulse"), "ei-a-cpp-edge-impulse.zip"),
        (BuildRequest("linux", architecture="armv7"), "ei-a-linux-armv7.eim"),
        (BuildRequest("wasm"), "ei-a-wasm.zip"),
        (BuildRequest("openmv", firmware_version="4.5.5"), "ei-a-openmv-4.5.5.zip"),
    ],
)
def test_a_name_tells_what_is_inside(request_: BuildRequest, name: str) -> None:
    assert artifact_stem("a", request_.format, request_) + artifact_suffix(request_) == name


def test_wished_code_is_recorded_verified_and_found_old(cli: Cli, copy: Path) -> None:
    wish(copy, CPP + PINNED)
    assert cli("deploy", copy) == 0
    found = records(copy)
    assert set(found) == {
        "ei-colours-bundle.zip",
        "ei-colours-openmv.zip",
        "ei-colours-cpp.zip",
        "ei-colours-cpp-edge-impulse-planned.zip",
    }
    assert not {"memory", "flavor", "architecture"} & {
        *found["ei-colours-cpp.zip"],
        *found["ei-colours-openmv.zip"],
    }
    pinned = found["ei-colours-cpp-edge-impulse-planned.zip"]
    assert (pinned["memory"], pinned["flavor"]) == ("planned", "edge-impulse")
    assert pinned["model_sha256"] == found["ei-colours-openmv.zip"]["model_sha256"]
    lock = (copy / "project.lock.json").read_bytes()
    assert cli("deploy", copy) == 0
    assert (copy / "project.lock.json").read_bytes() == lock
    assert cli("verify", copy) == 0
    assert "was compiled from the recorded model" in cli.out
    (copy / "deployments" / "ei-colours-cpp.zip").unlink()
    assert cli("verify", copy, "--json") == 8
    text = (copy / "project.toml").read_text()
    (copy / "project.toml").write_text(text.replace("training_cycles = 3", "training_cycles = 2"))
    assert cli("train", copy) == 0
    assert records(copy) == {}
    assert cli("deploy", copy, "--target", "cpp") == 0
    assert records(copy)["ei-colours-cpp.zip"]["model_sha256"] != pinned["model_sha256"]


def test_code_of_an_older_model_is_found(cli: Cli, copy: Path) -> None:
    """The file is whole and is the one recorded, but another model was trained since."""
    assert cli("deploy", copy, "--target", "cpp") == 0
    path = copy / "project.lock.json"
    lock = json.loads(path.read_text())
    for record in lock["splits"]["main"]["deployments"]:
        if record["format"] == "cpp":
            record["model_sha256"] = "0" * 64
    path.write_text(json.dumps(lock))
    assert cli("verify", copy, "--json") == 8
    details = {check["name"]: check["detail"] for check in cli.json()["checks"] if not check["ok"]}
    assert details["deployments/ei-colours-cpp.zip"].startswith("it was built from an older model")


def test_what_the_manifest_does_not_wish_is_built_with_flags(cli: Cli, copy: Path) -> None:
    before = records(copy)
    assert (
        cli("deploy", copy, "--target", "cpp", "--memory", "streamed-input", "--variant", "float32", "--json") == 0
    )
    (record,) = cli.json()["deployments"]
    assert record["file"] == "deployments/ei-colours-cpp-streamed-input-float32.zip"
    with zipfile.ZipFile(copy / record["file"]) as archive:
        assert '#define MODEL_MEMORY "streamed-input"' in archive.read("model.h").decode()
        assert "typedef float model_input_t;" in archive.read("model.h").decode()
    assert set(records(copy)) == {*before, "ei-colours-cpp-streamed-input-float32.zip"}
    assert cli("deploy", copy, "--format", "cpp", "--target", "openmv") == 0
    assert "ei-colours-cpp.zip" in records(copy)
    assert cli("verify", copy) == 0
    assert cli("deploy", copy) == 0
    assert records(copy) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--memory", "planned"), "--memory says how to build a target, and none is named"),
        (("--target", "openmv", "--memory", "planned"), "openmv has no --memory planned"),
        (("--target", "linux", "--flavor", "edge-impulse"), "linux has no --flavor edge-impulse"),
        (("--target", "cpp", "--architecture", "armv7"), "cpp has no --architecture armv7"),
        (("--target", "zip"), "wishes no deployment 'zip' with --backend local"),
        (("--target", "cpp", "--memory", "heap"), "'heap' is not one of"),
        (("--target", "openmv", "--variant", "float32"), "holds the int8 model"),
        (("--target", "cpp", "--flavor", "edge-impulse", "--memory", "streamed-input"), "gives whole images"),
        (("--target", "bundle", "--variant", "float32"), "has no variant to choose"),
        (("--target", "cpp", "--sdk", "."), "--sdk is for the C++ library of flavor edge-impulse"),
        (("--target", "cpp", "--backend", "studio"), "wishes no deployment 'cpp' with --backend studio"),
    ],
)
def test_wrong_calls_are_named(cli: Cli, copy: Path, arguments: tuple[str, ...], words: str) -> None:
    assert cli("deploy", copy, *arguments) == 2
    assert words in cli.err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('memmory = "planned"', "unknown key; did you mean 'memory'?"),
        ('memory = "stream"', "did you mean 'streamed'?"),
        ('firmware_version = "4.5.5"', "firmware_version: unknown key\n"),
        ('flavor = "arduino"', "found 'arduino', expected one of"),
        ('backend = "studio"\nmemory = "planned"', "memory: unknown key"),
    ],
)
def test_a_wrong_wish_is_refused_with_its_line(cli: Cli, copy: Path, text: str, words: str) -> None:
    wish(copy, CPP + text + "\n")
    assert cli("deploy", copy) == 2
    assert words in cli.err
    assert "project.toml:" in cli.err


def test_an_unknown_format_names_every_known_one(cli: Cli, copy: Path) -> None:
    wish(copy, CPP.replace("cpp", "cop"))
    assert cli("deploy", copy) == 2
    assert "did you mean 'cpp'?" in cli.err
    assert "expected one of: openmv, bundle, cpp, wasm, linux" in cli.err


def test_boards_are_asked_and_unknown_ones_are_said(cli: Cli, copy: Path) -> None:
    wish(copy, CPP + '\n[[boards]]\nname = "OpenMV Cam H7"\n\n[[boards]]\nname = "Toaster 3000"\n')
    assert cli("deploy", copy) == 0
    assert cli.err.count("Toaster 3000") == 1
    assert "OpenMV Cam H7" not in cli.err


def test_what_does_not_fit_a_board_is_refused_before_it_is_built(cli: Cli, project: Path) -> None:
    """120 x 120 x 3 float32 values are more than the board's 128 KiB; int8 values are not."""
    manifest = (project / "project.toml").read_text().replace("_width = 12", "_width = 120")
    (project / "project.toml").write_text(manifest.replace("_height = 12", "_height = 120"))
    wish(project, '\n[[boards]]\nname = "Cortex-M4F 80 MHz"\n')
    assert cli("sync", project) == 0
    assert cli("train", project) == 0
    large = ("deploy", project, "--target", "cpp", "--variant", "float32", "--memory", "planned")
    assert cli(*large) == 10
    assert "does not fit" in cli.err
    assert "Cortex-M4F 80 MHz" in cli.err
    with_sdk = ("deploy", project, "--target", "cpp", "--variant", "float32", "--flavor", "edge-impulse")
    assert cli(*with_sdk) == 10
    assert "RAM, the SDK's features" in cli.err
    assert "--memory streamed-input" not in cli.err
    assert not (project / "deployments").exists()
    assert cli(*large, "--skip-fit") == 0
    assert cli("deploy", project, "--target", "cpp") == 0
    assert set(records(project)) == {"ei-colours-cpp.zip", "ei-colours-cpp-planned-float32.zip"}


def test_what_is_named_twice_is_recorded_once(cli: Cli, copy: Path) -> None:
    wish(copy, CPP + CPP)
    for arguments in (("--target", "cpp", "--target", "cpp"), ("--target", "wasm", "--target", "wasm"), ()):
        if arguments[1:2] == ("wasm",) and not has_zig():
            continue
        assert cli("deploy", copy, *arguments, "--json") == 0
        files = [record["file"] for record in cli.json()["deployments"]]
        assert len(files) == len(set(files))
        lock = json.loads((copy / "project.lock.json").read_text())
        recorded = [record["file"] for record in lock["splits"]["main"]["deployments"]]
        assert len(recorded) == len(set(recorded))


def test_the_manifest_wishes_no_variant_of_a_bundle(cli: Cli, copy: Path) -> None:
    wish(copy, '\n[[deployments]]\nformat = "bundle"\nvariant = "float32"\n')
    assert cli("deploy", copy) == 2
    assert "has no variant to choose" in cli.err


def test_the_sdk_is_looked_for_before_anything_is_built(cli: Cli, copy: Path, tmp_path: Path) -> None:
    lock = (copy / "project.lock.json").read_bytes()
    assert cli("deploy", copy, "--target", "cpp", "--sdk", made_up_sdk(tmp_path / "sdk")) == 2
    absent = ("--target", "cpp", "--flavor", "edge-impulse", "--sdk", tmp_path / "absent")
    assert cli("deploy", copy, *absent) == 4
    assert (copy / "project.lock.json").read_bytes() == lock
    assert not list((copy / "deployments").glob("*cpp*"))


def test_an_sdk_that_is_none_is_refused(cli: Cli, copy: Path, tmp_path: Path) -> None:
    arguments = ("deploy", copy, "--target", "cpp", "--flavor", "edge-impulse", "--sdk")
    assert cli(*arguments, tmp_path / "absent") == 4
    assert "is not Edge Impulse's inferencing SDK" in cli.err
    assert cli(*arguments, made_up_sdk(tmp_path / "made-up")) == 7
    assert "the SDK is not 1.93.20" in cli.err


def test_the_real_sdk_is_joined_built_and_checked(cli: Cli, copy: Path) -> None:
    if not SDK_PATH:
        pytest.skip(f"{SDK_VARIABLE} names no checkout of Edge Impulse's inferencing SDK")
    arguments = ("deploy", copy, "--target", "cpp", "--flavor", "edge-impulse", "--sdk", Path(SDK_PATH).resolve())
    assert cli(*arguments) == 0
    assert "3 scores of one image equal those of LiteRT's reference kernels" in cli.out
    folder = copy / "deployments" / "ei-colours-cpp-edge-impulse"
    assert (folder / "edge-impulse-sdk" / "classifier" / "ei_run_classifier.h").is_file()
    assert cli(*arguments, "--json") == 0
    (report,) = cli.json()["sdk"]
    assert (report["is_pinned"], report["scores"], Path(report["folder"])) == (True, 3, folder)
    assert cli("verify", copy) == 0
