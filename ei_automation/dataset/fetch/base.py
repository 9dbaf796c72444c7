"""What every origin shares: the request, the answer, and the layout of the cache folder.

```
downloads/
├── archives/<sha256>.zip          whole, checked archives
├── bundled/<name>/                sets written out from a dependency
├── kaggle/<owner>/<name>/<N>.json which archive version N is
├── kaggle/<owner>/<name>/<N>.part/  a download under way; the next run continues it
└── unpacked/<sha256>/             the archive's files
```
Beside each written-out folder stand `<folder>.json`, its listing's fingerprint, and `<folder>.lock`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ei_automation.errors import VerificationError
from ei_automation.schema.lock import OriginRecord

OnProgress = Callable[[str, int, int], None]
"""Called with the step (download, unpack, write), what is done and what there is: bytes or files.

What there is may be 0 while it is not known.
"""


@dataclass(frozen=True)
class FetchRequest:
    """What an origin needs besides its own section of the manifest.

    Attributes:
        project_folder: Relative paths of the manifest start here.
        downloads: The cache folder; may not exist yet.
        expected_sha256: Of the archive, where the record knows it.
        offline: Whether the network is off limits.
        on_progress: Gets the progress.
    """

    project_folder: Path
    downloads: Path
    expected_sha256: str | None
    offline: bool
    on_progress: OnProgress


@dataclass(frozen=True)
class Fetched:
    """Data that is on this machine.

    Attributes:
        root: Its folder.
        origin: Where it came from, for the record.
    """

    root: Path
    origin: OriginRecord


def check_sha256(actual: str, expected: str | None, what: str, hint: str) -> None:
    """Hold an archive's hash against the recorded one.

    Args:
        actual: SHA-256 that was counted, hexadecimal.
        expected: SHA-256 of the record; None accepts any.
        what: The archive, for the sentence.
        hint: What to do next.

    Raises:
        VerificationError: They differ.
    """
    if expected is not None and actual != expected.lower():
        raise VerificationError(f"{what} has SHA-256 {actual}, but the record says {expected}", hint=hint)
