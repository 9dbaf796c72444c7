"""`eiauto report --readme`: the tables of published against reproduced, in Markdown, from manifest and lock."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ei_automation.errors import UsageError
from ei_automation.files import fingerprint, write_atomically
from ei_automation.schema.lock import Lock
from ei_automation.schema.manifest import Manifest
from ei_automation.workflow.project import Session
from ei_automation.workflow.reproduce import Reproduction, summarise
from ei_automation.workflow.verdict import VerdictRow

BEGIN, END = "<!-- projects: written by `eiauto report --readme` -->", "<!-- end of projects -->"
MARK = "<!-- written by `eiauto report --readme`, lock "
DOING = "writing a README"


def write_readmes(session: Session) -> list[Path]:
    """Write the project's README.md, and its row in a README.md two folders up that has the marks for it.

    Returns:
        What was written.

    Raises:
        UsageError: The project has a README.md that somebody else wrote.
    """
    own = session.folder / "README.md"
    if own.is_file() and not own.read_text(encoding="utf-8").startswith(MARK):
        raise UsageError(f"{own} was not written by this command", hint="move it away, or delete it")
    write_atomically(own, project_readme(session), doing=DOING)
    above = session.folder.parent.parent / "README.md"
    text = above.read_text(encoding="utf-8") if above.is_file() else ""
    if BEGIN not in text or END not in text or session.manifest.published is None:
        return [own]
    write_atomically(above, with_row(text, session), doing=DOING)
    return [own, above]


def project_readme(session: Session) -> str:
    """A project's README.md."""
    lines = _lines(session.manifest, session.read_lock(), summarise(session))
    return "\n".join(lines) + "\n"


def is_of_this_lock(session: Session) -> bool:
    """Whether the project's README.md was written from today's lock: another run may have measured otherwise."""
    path = session.folder / "README.md"
    return path.is_file() and path.read_text(encoding="utf-8").startswith(
        f"{MARK}{_seal(session.read_lock())} -->"
    )


def _seal(lock: Lock) -> str:
    return fingerprint(lock.seals)[:12] if lock.dataset else "without a lock"


def _lines(manifest: Manifest, lock: Lock, result: Reproduction) -> Iterator[str]:
    yield from (f"{MARK}{_seal(lock)} -->", f"# {manifest.name}", "", manifest.description, "")
    if manifest.published:
        published = manifest.published
        by = f" by {', '.join(published.authors)}" if published.authors else ""
        yield from (f"Reproduces [{published.title}]({published.url}){by}.", "")
    yield from (f"`eiauto reproduce projects/{manifest.name}`", "", "## Published and reproduced", "")
    yield from _table(
        ("number", "published", "ours", "95 % interval", "verdict", "where the source says it"),
        [_verdict(row) for row in result.rows],
    )
    for split in result.splits:
        if split.metrics:
            yield from ("", f"## Split {split.name} ({split.method})", "")
            rows = [
                (m.variant, m.category, f"{m.sample_count:,}", f"{m.accuracy:.1%}", f"{m.loss:.3f}")
                for m in split.metrics
            ]
            yield from _table(("variant", "category", "samples", "accuracy", "loss"), rows)
    if manifest.published and manifest.published.facts:
        yield from ("", "## Also published", "")
        facts = [(fact.name, fact.value, fact.source) for fact in manifest.published.facts]
        yield from _table(("what", "value", "where the source says it"), facts)
    yield from _listing("Assumptions", result.assumptions)
    yield from _listing("Findings of the audit", [f"{f.severity}: {f.message}" for f in result.findings])


def _verdict(row: VerdictRow) -> tuple[str, ...]:
    interval = f"{row.interval[0]:.3f} .. {row.interval[1]:.3f}" if row.interval else ""
    why = f" ({row.reason})" if row.reason else ""
    published = "not given" if row.published is None else f"{row.published:.3f} ± {row.tolerance:g}"
    return (
        row.name,
        published,
        "" if row.ours is None else f"{row.ours:.3f}",
        interval,
        row.verdict.value + why,
        row.source,
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def _listing(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield from ("", f"## {title}", "")
        yield from (f"- {line}" for line in lines)


def overview_row(session: Session) -> str:
    """A project's row in the overview: the int8 accuracy in testing where it was published."""
    manifest, result = session.manifest, summarise(session)
    measured = [row for row in result.rows if row.ours is not None]
    best = [row for row in measured if row.name == "accuracy, int8, testing"]
    row = next(iter([*best, *measured, *result.rows]), None)
    published = f"{row.published:.3f} ({row.name})" if row and row.published is not None else "no readable number"
    ours = f"{row.ours:.3f}" if row and row.ours is not None else "not run with the data at hand"
    verdict = row.verdict.value if row else ""
    return f"| [{manifest.name}](projects/{manifest.name}/README.md) | {published} | {ours} | {verdict} |"


def with_row(text: str, session: Session) -> str:
    """The overview with the project's row replaced or added; rows stay sorted."""
    before, rest = text.split(BEGIN, 1)
    table, after = rest.split(END, 1)
    rows = [line for line in table.strip().splitlines() if line.startswith("| [")]
    own = f"| [{session.manifest.name}]("
    rows = sorted([*(line for line in rows if not line.startswith(own)), overview_row(session)], key=_name)
    head = "| project | published | ours | verdict |\n|---|---|---|---|"
    return f"{before}{BEGIN}\n{head}\n" + "\n".join(rows) + f"\n{END}{after}"


def _name(row: str) -> str:
    found = re.match(r"\| \[([^\]]*)\]", row)
    return found.group(1) if found else row
