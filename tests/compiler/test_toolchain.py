"""C compilers: what they build is the same every time, and their refusals are sentences."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ei_automation.compiler.toolchain import CCompiler, build, has_zig, host_compiler, zig
from ei_automation.errors import JobFailedError, SettingsError, StorageError, UsageError

MARK = b"a mark that no library has"
FILES = {
    "main.c": b'#include "parts/answer.h"\nint main(void) { return answer(__FILE__); }\n',
    "parts/answer.h": b"int answer(const char *where);\n",
    "parts/answer.c": b'#include "answer.h"\nconst char mark[] = "' + MARK + b'";\n'
    b"int answer(const char *where) { return where[0] == 0 ? mark[0] : 42; }\n",
}
ARGUMENTS = ("-O1", "-c", "parts/answer.c")


@pytest.fixture
def board(zig_cache: Path) -> CCompiler:
    if not has_zig():
        pytest.skip("the package ziglang is not installed")
    return zig("thumb-freestanding-eabi", "cortex_m4", cache=zig_cache)


def test_the_host_builds_the_same_program_twice(host: CCompiler) -> None:
    arguments = ("-O1", "main.c", "parts/answer.c")
    first, second = (build(host, FILES, arguments, "program") for _ in range(2))
    assert first == second
    assert MARK in first
    assert b"eiauto-build" not in first, "the build's folder stands in the program"


def test_a_build_depends_on_nothing_in_the_users_environment(
    host: CCompiler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"when.c": b'#include <string.h>\nconst char when[] = __DATE__ " " __TIME__;\n'}
    arguments = ("-O1", "-c", "when.c")
    before = build(host, files, arguments, "when.o")
    (tmp_path / "string.h").write_text("#error the user's own\n")
    for name in ("CPATH", "C_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX"):
        monkeypatch.setenv(name, f"{tmp_path}/")
    monkeypatch.setenv("CCC_OVERRIDE_OPTIONS", "+-DNONSENSE +-include +nowhere.h")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    monkeypatch.setenv("DEPENDENCIES_OUTPUT", str(tmp_path / "list.d"))
    assert build(host, files, arguments, "when.o") == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["string.h"]


def test_zig_builds_for_a_board(board: CCompiler) -> None:
    built = build(board, FILES, ARGUMENTS, "answer.o")
    assert built[:4] == b"\x7fELF"
    assert built[18:20] == b"\x28\x00", "not a program for Arm"
    assert b"eiauto-build" not in built
    assert board.version.startswith("clang ")
    assert "ziglang" in board.version
    assert board.is_clang


def test_builds_at_once_share_a_cache_and_leave_no_object_in_it(tmp_path: Path) -> None:
    if not has_zig():
        pytest.skip("the package ziglang is not installed")
    compiler = zig("wasm32-freestanding", cache=tmp_path / "cache")
    with ThreadPoolExecutor(3) as pool:
        built = list(pool.map(lambda _: build(compiler, FILES, ARGUMENTS, "answer.o"), range(3)))
    assert built[0] == built[1] == built[2]
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and MARK in path.read_bytes()]
    assert kept == [], "objects of a build pile up in the cache"


def test_the_cache_is_where_it_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_zig():
        pytest.skip("the package ziglang is not installed")
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "named"))
    assert dict(zig().environment) == {"ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "named")}
    assert dict(zig(cache=tmp_path / "given").environment) == {"ZIG_GLOBAL_CACHE_DIR": str(tmp_path / "given")}
    monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR")
    assert dict(zig().environment)["ZIG_GLOBAL_CACHE_DIR"].startswith(str(Path.home()))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="zig's cache folder"):
        zig(cache=tmp_path / "file" / "cache")


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ziglang", None)
    with pytest.raises(SettingsError, match="zig is not installed") as caught:
        zig()
    assert 'pip install "eiauto[compile]"' in caught.value.hint


def test_no_compiler_on_the_path_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    host_compiler.cache_clear()
    try:
        assert host_compiler() is None
    finally:
        host_compiler.cache_clear()


def test_a_compilers_refusal_is_an_error_with_its_words(host: CCompiler) -> None:
    with pytest.raises(JobFailedError, match=r"building a test with .* failed: bad\.c:2") as caught:
        build(
            host,
            {"bad.c": b"int f(void) {\n  return undeclared;\n}\n"},
            ("-c", "bad.c"),
            "x",
            doing="building a test",
        )
    assert any("undeclared" in line for line in caught.value.log_tail)


def test_a_compiler_that_is_gone_or_slow_is_an_error(tmp_path: Path, host: CCompiler) -> None:
    gone = CCompiler("gcc", (str(tmp_path / "gone"),), "gcc 0.0.0")
    with pytest.raises(SettingsError, match="does not run"):
        build(gone, FILES, ARGUMENTS, "x")
    slow = CCompiler("slow", (sys.executable, "-c", "import time; time.sleep(60)"), "slow 1.0.0")
    with pytest.raises(JobFailedError, match="took more than"):
        build(slow, FILES, ARGUMENTS, "x", timeout_s=0.3)
    with pytest.raises(JobFailedError, match="made no nothing"):
        build(host, FILES, ("-fsyntax-only", "parts/answer.c"), "nothing")


@pytest.mark.parametrize("name", ["../outside.c", "/outside.c"])
def test_no_file_outside_the_builds_folder(name: str, host: CCompiler) -> None:
    with pytest.raises(UsageError, match="is not a name inside"):
        build(host, {name: b""}, ("-c", name), "x")
