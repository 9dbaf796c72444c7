"""Time to the first word: `eiauto --help`, and a `reproduce` that finds nothing to do.

The reference is `import tensorflow` in the same interpreter, which both avoid.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPEATS = 5
MANIFEST = Path(__file__).resolve().parents[1] / "projects" / "digits" / "project.toml"
EIAUTO = [sys.executable, "-m", "ei_automation.cli.main"]


def best_s(command: list[str]) -> float:
    """The fastest of a few runs, wall seconds: the others measure what else the machine did."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure and print."""
    reference = best_s([sys.executable, "-c", "import tensorflow"])
    print(f"reference: import tensorflow        {reference:6.2f} s")
    found = best_s([*EIAUTO, "--help"])
    print(f"eiauto --help                       {found:6.2f} s, {reference / found:.0f} times less")
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "digits"
        project.mkdir()
        (project / "project.toml").write_text(MANIFEST.read_text())
        start = time.perf_counter()
        subprocess.run([*EIAUTO, "reproduce", str(project)], check=True, capture_output=True)
        first = time.perf_counter() - start
        found = best_s([*EIAUTO, "reproduce", str(project)])
    print(f"eiauto reproduce digits, first time {first:6.2f} s")
    print(
        f"eiauto reproduce digits, again      {found:6.2f} s, {first / found:.0f} times less than the first time"
    )


if __name__ == "__main__":
    main()
