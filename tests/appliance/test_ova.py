"""make_ova.py on a small disk, and what of the image can be tried without booting it; boot.py does
the rest.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from appliance.make_ova import fix_identifier
from tests.support.ovf import Ova, read_descriptor, read_ova

ROOT = Path(__file__).resolve().parent.parent.parent
MAKE_OVA = ROOT / "appliance/make_ova.py"
ROLE = ROOT / "appliance/root/usr/lib/vtap-appliance/interface-role"
DISK_BYTES = 8 << 20
ETHERNET_CLASS, STORAGE_CLASS, WIRELESS_CLASS = "0x020000", "0x010601", "0x028000"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A disk of 8 MiB whose second megabyte has something in it."""
    raw = tmp_path / "disk.raw"
    with raw.open("wb") as file:
        file.truncate(DISK_BYTES)
        file.seek(1 << 20)
        file.write(bytes(range(256)) * 4096)
    return raw


def make_ova(raw: Path, ova: Path, version: str = "1.2.3") -> Path:
    command = [sys.executable, MAKE_OVA, raw, ova, "--version", version, "--time", "1700000000"]
    subprocess.run(command, check=True, timeout=60)
    return ova


def rewrite(ova: Path, name: str, old: bytes, new: bytes) -> None:
    """Replace something in one file of the OVA, and nothing else."""
    changed = io.BytesIO()
    with tarfile.open(ova) as tar, tarfile.open(fileobj=changed, mode="w") as to:
        for member in tar.getmembers():
            file = tar.extractfile(member)
            assert file
            data = file.read()
            if member.name == name:
                assert old in data
                data = data.replace(old, new)
            member.size = len(data)
            to.addfile(member, io.BytesIO(data))
    ova.write_bytes(changed.getvalue())


def test_the_ova_is_one_that_the_standard_allows(disk: Path, tmp_path: Path) -> None:
    """Every element, reference, order and hash; the cards are mgmt, then tap."""
    ova = read_ova(make_ova(disk, tmp_path / "vtap-1.2.3.ova"))

    assert ova == Ova(networks=["mgmt", "tap"], cards=["mgmt", "tap"], disk_bytes=DISK_BYTES)


def test_the_disk_comes_out_as_it_went_in(disk: Path, tmp_path: Path) -> None:
    """Unpacked and expanded by qemu-img, byte for byte."""
    ova = make_ova(disk, tmp_path / "vtap-1.2.3.ova")
    subprocess.run(["tar", "-xf", ova, "-C", tmp_path], check=True)
    vmdk, raw = tmp_path / "vtap-1.2.3-disk1.vmdk", tmp_path / "again.raw"

    subprocess.run(["qemu-img", "convert", "-f", "vmdk", "-O", "raw", vmdk, raw], check=True)

    assert b'createType="streamOptimized"' in vmdk.read_bytes()[: 1 << 16]
    assert raw.read_bytes() == disk.read_bytes()


def test_the_same_disk_gives_the_same_bytes(disk: Path, tmp_path: Path) -> None:
    """qemu-img's random identifier is not in it."""
    (tmp_path / "again").mkdir()

    first = make_ova(disk, tmp_path / "vtap-1.2.3.ova")
    second = make_ova(disk, tmp_path / "again/vtap-1.2.3.ova")

    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("identifier", [b"1", b"1f00", b"89abcdef"])
def test_an_identifier_of_any_length_is_replaced(identifier: bytes) -> None:
    """qemu-img pads it with nothing; the parent's is another matter, and the size stays."""
    text = b"version=1\nCID=%s\nparentCID=ffffffff\n" % identifier

    fixed = fix_identifier(text.ljust(512, b"\0"))

    assert fixed == b"version=1\nCID=76746170\nparentCID=ffffffff\n".ljust(512, b"\0")


def test_a_descriptor_without_identifier_is_an_error() -> None:
    """Rather than an OVA that is another one each time."""
    with pytest.raises(ValueError, match="0 identifiers"):
        fix_identifier(b"version=1\nparentCID=ffffffff\n".ljust(512, b"\0"))


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("vtap-1.2.3.ovf", b"2048 MB", b"4096 MB"),
        ("vtap-1.2.3.mf", b"= ", b"= 0"),
        ("vtap-1.2.3-disk1.vmdk", b"CID=76746170", b"CID=76746171"),
    ],
)
def test_a_changed_file_is_noticed(
    disk: Path, tmp_path: Path, name: str, old: bytes, new: bytes
) -> None:
    """The reader of these tests believes no hash."""
    ova = make_ova(disk, tmp_path / "vtap-1.2.3.ova")
    rewrite(ova, name, old, new)

    with pytest.raises((AssertionError, AttributeError)):
        read_ova(ova)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('ovf:fileRef="disk-file"', 'ovf:fileRef="disk-fil"'),
        ("ovf:/disk/disk<", "ovf:/disk/dusk<"),
        ("<rasd:Connection>tap<", "<rasd:Connection>top<"),
        ("<rasd:InstanceID>6<", "<rasd:InstanceID>5<"),
        ("<rasd:Parent>3<", "<rasd:Parent>9<"),
        ("<rasd:Address>0</rasd:Address>", "<rasd:Caption>0</rasd:Caption>"),
        ("<Info>The one disk</Info>", ""),
        ("<Product>vTap</Product>", "<Product>vTap</Product><Product>vTap</Product>"),
        ('ovf:userConfigurable="true"', 'ovf:userConfigurabel="true"'),
    ],
)
def test_the_reader_is_strict(old: str, new: str) -> None:
    """A broken reference, a missing, doubled or misspelt part: not valid."""
    text = (ROOT / "appliance/vtap.ovf").read_text()
    for hole, value in (("disk_name", "d"), ("file_bytes", "7"), ("disk_bytes", "9")):
        text = text.replace(f"${{{hole}}}", value)
    assert read_descriptor(text, {"d": 7}).disk_bytes == 9
    assert old in text

    with pytest.raises(AssertionError):
        read_descriptor(text.replace(old, new), {"d": 7})


def test_a_version_is_no_place_for_xml(disk: Path, tmp_path: Path) -> None:
    """What is written into the descriptor is checked first."""
    with pytest.raises(subprocess.CalledProcessError):
        make_ova(disk, tmp_path / "vtap.ova", version="1</Name>")

    assert not (tmp_path / "vtap.ova").exists()


def role(folder: Path, cards: dict[str, str], path: str) -> str:
    """Ask for the role of an interface on a PCI bus with these cards (place: class)."""
    for place, pci_class in cards.items():
        card = folder / "bus/pci/devices" / place
        card.mkdir(parents=True)
        (card / "class").write_text(f"{pci_class}\n")
    asked = subprocess.run(
        [ROLE, path],
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "SYSFS": str(folder)},
    )
    return asked.stdout.strip()


BUS = {
    "0000:0b:00.0": ETHERNET_CLASS,
    "0000:00:01.0": STORAGE_CLASS,
    "0000:00:02.0": WIRELESS_CLASS,
    "0000:03:00.0": ETHERNET_CLASS,
    "0000:13:00.0": ETHERNET_CLASS,
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/devices/pci0000:00/0000:00:15.0/0000:03:00.0/net/eth1", "mgmt"),
        ("/devices/pci0000:00/0000:00:16.0/0000:0b:00.0/virtio3/net/eth0", "tap"),
        ("/devices/pci0000:00/0000:00:17.0/0000:13:00.0/net/eth2", ""),
        ("/devices/pci0000:00/0000:00:02.0/net/wlan0", ""),
        ("/devices/virtual/net/veth0", ""),
    ],
)
def test_the_first_card_is_mgmt_the_second_tap(tmp_path: Path, path: str, expected: str) -> None:
    """By their places on the bus, whatever the order of drivers; other cards have no role."""
    assert role(tmp_path, BUS, path) == expected
