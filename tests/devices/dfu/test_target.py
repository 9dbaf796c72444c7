"""What DFU writes to: layouts, suffixes, and what is refused before anything is erased."""

from __future__ import annotations

import shutil
import struct
import subprocess
import zlib
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ei_automation.devices.dfu.target import (
    DfuAlt,
    find_alt,
    pages_to_erase,
    parse_layout,
    require_allowed,
    without_suffix,
)
from ei_automation.errors import DeviceError, DoesNotFitError, UsageError
from tests.devices.dfu_board import CAMERA, FLASH, LAYOUT, NICLA


def with_suffix(content: bytes, vid: int, pid: int, *, spec: int = 0x0100, extra: bytes = b"") -> bytes:
    """A file with a DFU suffix, written down from the specification: appendix B."""
    body = content + extra + struct.pack("<HHHH3sB", 0xFFFF, pid, vid, spec, b"UFD", 16 + len(extra))
    return body + struct.pack("<I", zlib.crc32(body) ^ 0xFFFF_FFFF)


class TestLayout:
    def test_says_what_pages_there_are(self) -> None:
        layout = parse_layout(LAYOUT)
        assert layout is not None
        assert layout.name == "Internal Flash"
        assert [(group.start, group.count, group.size_bytes, group.access) for group in layout.sectors] == [
            (0x0800_0000, 1, 131_072, 1),
            (0x0802_0000, 15, 131_072, 7),
        ]

    @pytest.mark.parametrize(
        ("name", "sizes"),
        [
            ("@Internal Flash /0x08000000/16*128Kg", [131_072]),
            ("@Internal Flash  /0x08000000/064*0002Kg", [2048]),
            ("@Internal Flash  /0x08000000/04*016Kg,01*064Kg,07*128Kg", [16_384, 65_536, 131_072]),
            ("@Option Bytes  /0x1FFFF800/01*016 e", [16]),
            ("@OTP Memory /0x1FFF7800/01*512 e,01*016 e", [512, 16]),
            ("@Ext RAWData /0x90000000/4096*4Kg", [4096]),
            ("@Two banks/0x08000000/1*1Mg/0x90000000/2*4Mg", [1 << 20, 4 << 20]),
        ],
    )
    def test_published_names_are_read(self, name: str, sizes: list[int]) -> None:
        layout = parse_layout(name)
        assert layout is not None
        assert [group.size_bytes for group in layout.sectors] == sizes

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "@",
            "FIRMWARE",
            "@Flash",
            "@Flash/0x08000000",
            "@Flash/8000000/16*128Kg",
            "@Flash/0x08000000/16*128K",
            "@Flash/0x08000000/0*128Kg",
            "@Flash/0x08000000/16*128Kz",
            "@Flash/0x08000000/1*1Mg/0x08000000/1*1Mg",
            "@Flash/0xFFFFFFFF/9*128Mg",
        ],
    )
    def test_what_is_no_layout_is_none(self, name: str) -> None:
        assert parse_layout(name) is None

    @settings(max_examples=50)
    @given(st.one_of(st.text(max_size=40), st.from_regex(r"@[ -~]{0,8}/0x[0-9a-f]{1,9}/[0-9*, KMa-h]{0,20}")))
    def test_no_name_breaks_it(self, name: str) -> None:
        layout = parse_layout(name)
        assert layout is None or all(0 <= group.start < group.stop <= 1 << 32 for group in layout.sectors)

    @settings(max_examples=50)
    @given(
        st.lists(st.tuples(st.integers(1, 64), st.sampled_from([1, 2, 16, 128])), min_size=1, max_size=4),
        st.integers(0, 200_000),
        st.integers(0, 200_000),
    )
    def test_pages_cover_the_image_without_a_gap(
        self, groups: list[tuple[int, int]], offset: int, size: int
    ) -> None:
        layout = parse_layout("@F/0x08000000/" + ",".join(f"{count}*{kilo:03d}Kg" for count, kilo in groups))
        assert layout is not None
        total = sum(count * kilo << 10 for count, kilo in groups)
        if offset + size > total:
            with pytest.raises(DeviceError):
                layout.pages(FLASH + offset, size)
            return
        pages = layout.pages(FLASH + offset, size)
        assert all(left.stop == right.start for left, right in pairwise(pages))
        if size:
            assert pages[0].start <= FLASH + offset < pages[0].stop
            assert pages[-1].start < FLASH + offset + size <= pages[-1].stop


class TestWhatIsRefused:
    def test_pages_behind_the_boot_loader_are_erased(self) -> None:
        pages = pages_to_erase(DfuAlt(0, LAYOUT), 131_073, NICLA)
        assert [(page.start, len(page)) for page in pages] == [(0x0804_0000, 131_072), (0x0806_0000, 131_072)]

    def test_a_device_that_erases_by_itself_has_no_pages(self) -> None:
        assert pages_to_erase(DfuAlt(2, "FIRMWARE"), 1000, CAMERA) == []

    def test_an_image_that_is_too_large(self) -> None:
        with pytest.raises(DoesNotFitError, match="1,835,009 bytes, and the board has 1,835,008") as caught:
            pages_to_erase(DfuAlt(0, LAYOUT), 1_835_009, NICLA)
        assert caught.value.exit_code == 10

    def test_a_page_that_the_boot_loader_lies_in_too(self) -> None:
        with pytest.raises(DeviceError, match=r"erasing 0x08000000\.\.0x08080000 would erase more") as caught:
            pages_to_erase(DfuAlt(0, "@Internal Flash/0x08000000/4*512Kg"), 1000, NICLA)
        assert "nothing was erased" in caught.value.hint

    def test_memory_that_cannot_be_written(self) -> None:
        with pytest.raises(DeviceError, match="cannot be written at 0x08040000"):
            pages_to_erase(DfuAlt(0, "@Internal Flash/0x08000000/16*128Ka"), 1000, NICLA)

    def test_memory_that_ends_too_early(self) -> None:
        with pytest.raises(DeviceError, match="cannot be written at 0x08060000"):
            pages_to_erase(DfuAlt(0, "@Internal Flash/0x08000000/3*128Kg"), 131_073, NICLA)

    def test_memory_that_is_not_described(self) -> None:
        with pytest.raises(DeviceError, match="does not say what memory it has: 'FIRMWARE'"):
            pages_to_erase(DfuAlt(0, "FIRMWARE"), 1000, NICLA)

    @pytest.mark.parametrize(("address", "size"), [(FLASH, 4), (FLASH + 0x3_FFFF, 2), (FLASH + 0x1F_FFFF, 2)])
    def test_the_last_check_before_a_write(self, address: int, size: int) -> None:
        with pytest.raises(DeviceError, match="refused to write"):
            require_allowed(address, size, NICLA)

    def test_a_partition_by_its_name_or_number(self) -> None:
        alts = DfuAlt(0, "BOOTLOADER"), DfuAlt(2, "FIRMWARE")
        assert find_alt(alts, CAMERA) == alts[1]
        assert find_alt((DfuAlt(0, LAYOUT),), NICLA).number == 0
        named = CAMERA.model_copy(update={"alt": "Internal Flash"})
        assert find_alt((DfuAlt(3, LAYOUT),), named).number == 3

    def test_a_partition_that_is_not_there(self) -> None:
        with pytest.raises(DeviceError, match="no partition 'FIRMWARE'; it has 0 'BOOTLOADER', 1 'ROMFS0'"):
            find_alt((DfuAlt(0, "BOOTLOADER"), DfuAlt(1, "ROMFS0")), CAMERA)


class TestSuffix:
    @pytest.mark.parametrize(("vid", "pid"), [(0x2341, 0x035F), (0xFFFF, 0xFFFF), (0x2341, 0xFFFF)])
    def test_is_taken_off(self, vid: int, pid: int) -> None:
        assert without_suffix(with_suffix(b"code" * 9, vid, pid), "2341:035F", "a.bin") == b"code" * 9

    def test_a_longer_one_is_taken_off_whole(self) -> None:
        file = with_suffix(b"code", 0x2341, 0x035F, extra=b"vendor's own")
        assert without_suffix(file, "2341:035F", "a.bin") == b"code"

    def test_of_another_device_is_refused(self) -> None:
        with pytest.raises(UsageError, match="for the device 37C5:9204, and this one is 2341:035F") as caught:
            without_suffix(with_suffix(b"code", 0x37C5, 0x9204), "2341:035F", "a.bin")
        assert "--board" in caught.value.hint

    def test_that_does_not_match_the_content_is_refused(self) -> None:
        file = with_suffix(b"code", 0x2341, 0x035F)
        with pytest.raises(UsageError, match=r"a\.bin is damaged"):
            without_suffix(b"c0de" + file[4:], "2341:035F", "a.bin")

    def test_a_file_without_one_is_left_alone(self) -> None:
        for content in (b"", b"code", b"\x00" * 40, b"x" * 40 + b"UFD"):
            assert without_suffix(content, "2341:035F", "a.bin") == content

    def test_a_container_of_st_is_refused(self) -> None:
        with pytest.raises(UsageError, match="DfuSe container"):
            without_suffix(b"DfuSe\x01" + b"\x00" * 50, "2341:035F", "a.dfu")

    @settings(max_examples=50)
    @given(st.binary(max_size=60))
    def test_no_file_breaks_it(self, content: bytes) -> None:
        with suppress(UsageError):  # it may look like a damaged one
            assert content.startswith(without_suffix(content, "2341:035F", "a.bin"))

    def test_of_the_program_dfu_suffix(self, tmp_path: Path) -> None:
        program = shutil.which("dfu-suffix")
        if program is None:
            pytest.skip("dfu-suffix, of the package dfu-util, is not installed")
        file = tmp_path / "a.bin"
        file.write_bytes(bytes(range(200)))
        subprocess.run([program, "-v", "2341", "-p", "035f", "-a", file], check=True, capture_output=True)
        assert file.stat().st_size == 216
        assert without_suffix(file.read_bytes(), "2341:035F", "a.bin") == bytes(range(200))
        assert file.read_bytes() == with_suffix(bytes(range(200)), 0x2341, 0x035F)
