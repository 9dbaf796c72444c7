"""C compilers: zig's from the package index, the host's own, and GCC for Arm where they are installed.

zig carries clang and what it needs for boards, Linux and the browser, so that a build needs nothing else. What it
builds of a C library on first use (musl: half a minute) is kept in a cache folder that processes may share; the
objects of a build are not.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import platformdirs

from ei_automation.errors import JobFailedError, SettingsError, UsageError
from ei_automation.files import ensure_folder, storage_errors

EXTRA = 'pip install "eiauto[compile]"'
BUILD_TIMEOUT_S = 600.0
"""More than the half minute that zig takes to build a C library on a slow machine."""
LOG_LINES = 20
REPRODUCIBLE = ("-g0", "-ffile-prefix-map={folder}=.")
"""Neither debug information nor a path of this machine; sources are given by relative names besides."""
IGNORED_VARIABLES = frozenset(
    {"CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "OBJC_INCLUDE_PATH", "OBJCPLUS_INCLUDE_PATH",
    "LIBRARY_PATH", "LD_RUN_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX", "GCC_COMPARE_DEBUG", "GNUTARGET",
    "LDEMULATION", "DEPENDENCIES_OUTPUT", "SUNPRO_DEPENDENCIES", "CCC_OVERRIDE_OPTIONS", "CCC_ADD_ARGS",
    "QA_OVERRIDE_GCC3_OPTIONS", "SOURCE_DATE_EPOCH", "FORCE_SOURCE_DATE", "ZIG_LIB_DIR", "ZIG_LIBC"}
)  # fmt: skip
"""Variables with which GCC, GNU ld, clang or zig would make something else of the same files and arguments."""


@dataclass(frozen=True)
class CCompiler:
    """A C compiler that can be run.

    Attributes:
        name: zig, gcc, clang or arm-none-eabi-gcc.
        command: Its program and the arguments that every call has, the target's among them.
        version: For records, e.g. `clang 22.1.8 (ziglang 0.17.0)`.
        environment: Variables that every call has.
    """

    name: str
    command: tuple[str, ...]
    version: str
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def is_clang(self) -> bool:
        """Whether it takes clang's arguments (zig's does)."""
        return self.version.startswith("clang")


def has_zig() -> bool:
    """Whether the ziglang package is installed."""
    return importlib.util.find_spec("ziglang") is not None


def zig(target: str = "", cpu: str = "", *, cache: Path | None = None) -> CCompiler:
    """The compiler of the ziglang package.

    Args:
        target: zig's triple, e.g. `thumb-freestanding-eabihf`, `wasm32-freestanding`, `aarch64-linux-musl`; empty
            for this machine.
        cpu: zig's name of a processor with features, e.g. `cortex_m4`; empty for the target's baseline.
        cache: Folder for what is built once; default: ZIG_GLOBAL_CACHE_DIR, else `zig` in the user's cache folder.

    Raises:
        SettingsError: The package is not installed.
        StorageError: The cache folder cannot be made.
    """
    if not has_zig():
        raise SettingsError("the C compiler zig is not installed", hint=f"install it with: {EXTRA}")
    command = [sys.executable, "-m", "ziglang", "cc"]
    command += ["-target", target] if target else []
    command += [f"-mcpu={cpu}"] if cpu else []
    named = os.environ.get("ZIG_GLOBAL_CACHE_DIR")
    folder = cache or (Path(named) if named else Path(platformdirs.user_cache_dir("eiauto")) / "zig")
    ensure_folder(folder, "making zig's cache folder")
    environment = (("ZIG_GLOBAL_CACHE_DIR", str(folder.absolute())),)
    return CCompiler("zig", tuple(command), _zig_version(), environment)


@cache
def _zig_version() -> str:
    """The package's version and its clang's."""
    package = importlib.metadata.version("ziglang")
    with tempfile.TemporaryDirectory() as folder:  # zig wants a cache even to say its version
        words = _first_line((sys.executable, "-m", "ziglang", "cc"), (("ZIG_GLOBAL_CACHE_DIR", folder),))
    clang = re.search(r"clang version (\S+)", words)
    return f"clang {clang[1] if clang else 'of unknown version'} (ziglang {package})"


@cache
def host_compiler() -> CCompiler | None:
    """This machine's C compiler: cc, gcc or clang on the PATH; None where there is none."""
    for program in ("cc", "gcc", "clang"):
        found = _installed(program)
        if found is not None:
            return found
    return None


@cache
def arm_gcc() -> CCompiler | None:
    """GCC for Arm without an operating system (arm-none-eabi-gcc on the PATH); None where there is none."""
    return _installed("arm-none-eabi-gcc")


def _installed(program: str) -> CCompiler | None:
    """A compiler on the PATH that answers."""
    path = shutil.which(program)
    words = _first_line((path,)) if path else ""
    version = re.search(r"\d+\.\d+\.\d+", words)
    if not path or not version:
        return None
    kind = "clang" if "clang" in words else "gcc"
    return CCompiler(kind if program == "cc" else program, (path,), f"{kind} {version[0]}")


def _first_line(command: tuple[str, ...], environment: tuple[tuple[str, str], ...] = ()) -> str:
    """What a compiler says of itself; empty where it does not run."""
    variables = _variables(environment)
    try:
        ran = subprocess.run(
            [*command, "--version"], env=variables, capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return ran.stdout.partition("\n")[0]


def _variables(environment: tuple[tuple[str, str], ...]) -> dict[str, str]:
    """The environment of a compiler: the user's without what changes its results, and its own."""
    users = {name: value for name, value in os.environ.items() if name not in IGNORED_VARIABLES}
    return {**users, **dict(environment), "LC_ALL": "C"}


def build(
    compiler: CCompiler,
    files: Mapping[str, bytes],
    arguments: Sequence[str],
    output: str,
    *,
    doing: str = "compiling",
    timeout_s: float = BUILD_TIMEOUT_S,
) -> bytes:
    """Compile in a temporary folder; the same files and arguments give the same bytes.

    Args:
        compiler: Which.
        files: Sources and headers by their name, relative and with forward slashes.
        arguments: As on the command line, the sources' names among them, e.g. `("-O2", "main.c", "model.c")`.
        output: Name of the file to make; `-o` is added.
        doing: The work, for the error, e.g. "compiling the WebAssembly module".
        timeout_s: After which it is given up.

    Returns:
        The file made.

    Raises:
        JobFailedError: The compiler refused, with its words, or took too long.
        SettingsError: The compiler cannot be run.
        StorageError: The temporary folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="eiauto-build-") as name:
        folder = Path(name).resolve()
        with storage_errors(folder, doing):
            _write(folder, files)
        reproducible = [argument.format(folder=folder) for argument in REPRODUCIBLE]
        command = [*compiler.command, *reproducible, *arguments, "-o", output]
        _run(compiler, command, folder, doing=doing, timeout_s=timeout_s)
        if not (folder / output).is_file():
            raise JobFailedError(f"{doing} with {compiler.name} made no {output}", hint="check the arguments")
        return (folder / output).read_bytes()


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """The sources."""
    for name, content in files.items():
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise UsageError(f"{name} is not a name inside the build's folder")
        path = folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _run(compiler: CCompiler, command: list[str], folder: Path, *, doing: str, timeout_s: float) -> None:
    """Run a compiler; its refusal is an error with its last words."""
    # zig's local cache would keep every object of every model for ever: it goes away with the build.
    private = {"ZIG_LOCAL_CACHE_DIR": str(folder / ".zig-cache"), "SOURCE_DATE_EPOCH": "0"}
    variables = {**_variables(compiler.environment), **private}
    called = f"{compiler.name} ({compiler.version})"
    try:
        ran = subprocess.run(
            command, cwd=folder, env=variables, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise JobFailedError(
            f"{doing} with {called} took more than {timeout_s:.0f} s",
            hint="try again when the machine is less busy",
        ) from error
    except OSError as error:
        raise SettingsError(
            f"{doing} failed: {called} does not run: {error.strerror or error}",
            hint=f"install the compiler again, e.g. {EXTRA}",
        ) from error
    if ran.returncode != 0:
        raise _refusal(f"{doing} with {called} failed", ran)


def _refusal(what: str, ran: subprocess.CompletedProcess[bytes]) -> JobFailedError:
    """The error for a compiler that refused: its first complaint in the sentence, its last lines as the log."""
    lines = tuple((ran.stderr + ran.stdout).decode(errors="replace").strip().splitlines())
    first = next((line for line in lines if "error" in line), lines[0] if lines else f"exit code {ran.returncode}")
    return JobFailedError(
        f"{what}: {first}", log_tail=lines[-LOG_LINES:], hint="its last lines say what it refused"
    )
