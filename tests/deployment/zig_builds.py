"""zig's cache and what is built with it, once in a test run."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest

from ei_automation.compiler.toolchain import has_zig


@pytest.fixture(scope="session")
def zig_folder() -> Path:
    """The user's own cache, also under a test's clean HOME: what zig builds there once takes half a minute."""
    if not has_zig():
        pytest.skip("the C compiler zig is not installed")
    named = os.environ.get("ZIG_GLOBAL_CACHE_DIR")
    return Path(named) if named else Path(platformdirs.user_cache_dir("eiauto")) / "zig"


@pytest.fixture
def zig_cache(zig_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A test in which zig uses that cache."""
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(zig_folder))
    return zig_folder
