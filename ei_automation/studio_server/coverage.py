"""Which operations of the API the local Studio serves."""

from __future__ import annotations

from dataclasses import dataclass

from ei_automation.studio_server.operations import Operation, all_operations, handlers


@dataclass(frozen=True)
class TagCoverage:
    """One tag of the API.

    Attributes:
        tag: Its name.
        served: Operations that are served, in the order of their paths.
        not_served: The others; they answer with status 501 and their name.
    """

    tag: str
    served: tuple[Operation, ...]
    not_served: tuple[Operation, ...]


def coverage() -> list[TagCoverage]:
    """Every tag, by name."""
    have = handlers()
    by_tag: dict[str, list[Operation]] = {}
    for operation in all_operations():
        by_tag.setdefault(operation.tag, []).append(operation)
    return [
        TagCoverage(
            tag,
            tuple(item for item in operations if item.name in have),
            tuple(item for item in operations if item.name not in have),
        )
        for tag, operations in sorted(by_tag.items())
    ]
