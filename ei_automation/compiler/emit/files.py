"""All files of a compiled model."""

from __future__ import annotations

from ei_automation.compiler.emit.header import header_text
from ei_automation.compiler.emit.kernels import kernel_headers
from ei_automation.compiler.emit.parameters import ConstantPool
from ei_automation.compiler.emit.request import EmitRequest
from ei_automation.compiler.emit.source import source_text


def emit_files(request: EmitRequest) -> tuple[dict[str, bytes], int]:
    """NAME.h, NAME.c and the kernel headers; the same request gives the same bytes.

    Returns:
        The files by name, and the bytes of the constants, equal ones counted once.
    """
    pool = ConstantPool()
    source = source_text(request, pool)
    files = {
        f"{request.name}.h": header_text(request).encode("ascii"),
        f"{request.name}.c": source.encode("ascii"),
        **kernel_headers(call.header for call in request.calls),
    }
    return files, pool.bytes
