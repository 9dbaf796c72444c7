"""Compilers for the generated C: each fixture skips with a sentence where there is none."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import platformdirs
import pytest

from ei_automation.compiler.toolchain import CCompiler, arm_gcc, has_zig, host_compiler, zig


@pytest.fixture(scope="session")
def zig_cache() -> Path:
    """The user's own cache, also under a test's clean HOME: what zig builds there once takes half a minute."""
    named = os.environ.get("ZIG_GLOBAL_CACHE_DIR")
    return Path(named) if named else Path(platformdirs.user_cache_dir("eiauto")) / "zig"


@pytest.fixture(scope="session")
def host(zig_cache: Path) -> CCompiler:
    """A C compiler for this machine: its own, or zig's."""
    found = host_compiler()
    if found is not None:
        return found
    if not has_zig():
        pytest.skip("this machine has no C compiler, and the extra with zig is not installed")
    return zig(cache=zig_cache)


@pytest.fixture(scope="session")
def board_compiler(zig_cache: Path) -> CCompiler:
    """A compiler for Cortex-M, with the emulator to run what it makes."""
    pytest.importorskip("unicorn", reason="the emulator unicorn is not installed")
    pytest.importorskip("elftools", reason="pyelftools is not installed")
    if has_zig():
        return zig(cache=zig_cache)
    found = arm_gcc()
    if found is None:
        pytest.skip("there is neither zig nor arm-none-eabi-gcc")
    return found


@pytest.fixture(scope="session")
def installed_compilers() -> list[CCompiler]:
    """gcc and clang, those of them that are installed."""
    paths = {name: shutil.which(name) for name in ("gcc", "clang")}
    found = [CCompiler(name, (path,), f"{name} on the PATH") for name, path in paths.items() if path]
    if not found:
        pytest.skip("neither gcc nor clang is installed")
    return found
