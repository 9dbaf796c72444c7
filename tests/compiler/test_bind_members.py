"""The types of the kernels' struct members: what `fields` is told is what the C says."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from ei_automation.compiler.bind import bind_graph
from ei_automation.compiler.bind.calls import CType, Field
from ei_automation.compiler.read import read_graph
from tests.compiler.filters import Conv, FullyConnected
from tests.compiler.net import Net

KERNELS = files("ei_automation.compiler") / "kernels"
NARROW = {"nn_conv_s8_t", "nn_depthwise_s8_t", "nn_fully_connected_s8_t"}


def struct_members(header: str, struct: str) -> dict[str, str]:
    """The members of a struct in a kernel's header, with their types; pointers have a star."""
    text = re.sub(r"/\*.*?\*/", "", (KERNELS / header).read_text(), flags=re.DOTALL)
    body = text[: text.index(f"}} {struct};")].rpartition("typedef struct {")[2]
    found = {}
    for declaration in filter(None, map(str.strip, body.split(";"))):
        c_type, _, names = declaration.removeprefix("const ").partition(" ")
        for name in names.split(","):
            found[name.strip(" *")] = c_type + "*" * name.count("*")
    return found


def test_members_have_the_order_and_the_types_of_the_c_structs() -> None:
    net = Net(0)
    image = net.value((1, 6, 6, 8), "int8", 0.05, 0)
    made = FullyConnected(3)(net, Conv(2, 1)(net, Conv(8)(net, image)))
    seen = set()
    for call in bind_graph(read_graph(net.build.finish(image.index, made.index))):
        members = struct_members(call.header, call.struct)
        assert [field.name for field in call.fields] == list(members)
        assert all(field.c_type == members[field.name] for field in call.fields if field.limits)
        seen.add(call.struct)
    assert seen >= NARROW


def test_the_members_of_all_other_structs_are_what_fields_takes_them_for() -> None:
    narrow = set()
    for header in KERNELS.iterdir():
        for struct in re.findall(r"\} (nn_\w+_t);", header.read_text()):
            types = {c_type for c_type in struct_members(header.name, struct).values() if "*" not in c_type}
            if types - {"int32_t", "float"}:
                narrow.add(struct)
    assert narrow == NARROW


@pytest.mark.parametrize(
    ("c_type", "limits"),
    [("uint8_t", (0, 255)), ("int16_t", (-32768, 32767)), ("int32_t", (-(2**31), 2**31 - 1))],
)
def test_limits(c_type: CType, limits: tuple[int, int]) -> None:
    assert Field("depth", 5, c_type).limits == limits
    assert Field("beta", 1.0).limits is None
    assert Field("longs", None).limits is None
