"""What a project's target device was said to be: schema TargetConstraints, kept as it is set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from ei_automation.studio_server.call import RefusalError


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, alias_generator=to_camel, allow_inf_nan=False)


class _Range(_Part):
    minimum: float | None = None
    maximum: float | None = None


class _MemorySpec(_Part):
    fast_bytes: _Range | None = None
    slow_bytes: _Range | None = None


class _Memory(_Part):
    ram: _MemorySpec | None = None
    rom: _MemorySpec | None = None


class _Processor(_Part):
    part: str | None = None
    format: str | None = None
    architecture: str | None = None
    specific_architecture: str | None = None
    accelerator: str | None = None
    fpu: bool | None = None
    clock_rate_mhz: _Range | None = None
    memory: _Memory | None = None


class _Device(_Part):
    processors: list[_Processor] | None = None
    board: str | None = None
    name: str | None = None
    latency_device: str | None = None


class _Budget(_Part):
    latency_per_inference_ms: _Range | None = None
    energy_per_inference_joules: _Range | None = None
    memory_overhead: _Memory | None = None


class _Constraints(_Part):
    selected_target_based_on: (
        Literal["user-configured", "default", "default-accepted", "recent-project", "connected-device"] | None
    ) = None
    target_devices: list[_Device]
    application_budgets: list[_Budget]


def target_constraints(body: Mapping[str, Any]) -> dict[str, Any]:
    """The constraints of a request, without what is not set.

    Raises:
        RefusalError: They are none.
    """
    try:
        found = _Constraints.model_validate(dict(body))
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise RefusalError(f"Missing or invalid value for '{place}'") from None
    return found.model_dump(by_alias=True, exclude_none=True)
