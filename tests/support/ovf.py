"""Read an OVA as strictly as DSP0243 1.1.0 allows: anything not foreseen here is an error.

The DMTF's schema is not ours to copy, so what it says of the elements in use is written down as
tables: which children, in which order, how often, with which attributes.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

OVF = "{http://schemas.dmtf.org/ovf/envelope/1}"
CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
RASD = f"{{{CIM}CIM_ResourceAllocationSettingData}}"
VSSD = f"{{{CIM}CIM_VirtualSystemSettingData}}"
STREAM_OPTIMIZED = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"

# Children in the schema's order: ? may be missing, + once or more, * any number, else exactly one.
CHILDREN = {
    "Envelope": "References DiskSection? NetworkSection? VirtualSystem",
    "References": "File+",
    "DiskSection": "Info Disk+",
    "NetworkSection": "Info Network+",
    "Network": "Description?",
    "VirtualSystem": "Info Name? OperatingSystemSection? ProductSection? VirtualHardwareSection",
    "OperatingSystemSection": "Info Description?",
    "ProductSection": "Info Product? Vendor? Version? Property*",
    "Property": "Label? Description?",
    "VirtualHardwareSection": "Info System? Item+",
}
ATTRIBUTES = {  # required ones first, after the bar what may be there
    "File": "href id size |",
    "Disk": "capacity diskId format | capacityAllocationUnits fileRef",
    "Network": "name |",
    "VirtualSystem": "id |",
    "OperatingSystemSection": "id | version",
    "Property": "key type | userConfigurable value required",
    "VirtualHardwareSection": "| transport",
}
SETTINGS = {  # all of them in the order of the alphabet, after the bar what may be missing
    f"{OVF}System": (VSSD, "ElementName InstanceID | VirtualSystemIdentifier VirtualSystemType"),
    f"{OVF}Item": (
        RASD,
        "ElementName InstanceID ResourceType | Address AddressOnParent AllocationUnits"
        " AutomaticAllocation Connection Description HostResource Parent ResourceSubType"
        " VirtualQuantity",
    ),
}
MANIFEST_LINE = re.compile(r"SHA256\((.+)\)= ([0-9a-f]{64})")
CHUNK_BYTES = 1 << 20
RESOURCE_TYPES = {3: "processor", 4: "memory", 6: "SCSI", 10: "Ethernet", 17: "disk"}


class Ova(NamedTuple):
    """What a hypervisor takes from an OVA: networks, the network of each card, the disk's size."""

    networks: list[str]
    cards: list[str]
    disk_bytes: int


def read_ova(path: Path) -> Ova:
    """Check names, order, hashes and the whole descriptor; AssertionError says what is wrong."""
    with tarfile.open(path) as tar:
        members = tar.getmembers()
        names = [member.name for member in members]
        descriptor, manifest, *files = names
        stem = path.name.removesuffix(".ova")
        assert (descriptor, manifest) == (f"{stem}.ovf", f"{stem}.mf")
        lines = _read(tar, manifest).decode().splitlines()
        digests = dict(
            re.fullmatch(r"SHA256\((.+)\)= ([0-9a-f]{64})", line).groups() for line in lines
        )
        assert sorted(digests) == sorted([descriptor, *files])
        for name, digest in digests.items():
            assert _sha256(tar, name) == digest, name
        sizes = {member.name: member.size for member in members}
        return read_descriptor(
            _read(tar, descriptor).decode(), {name: sizes[name] for name in files}
        )


def read_descriptor(text: str, sizes: dict[str, int]) -> Ova:
    """Check a descriptor against the sizes of the files that are beside it."""
    envelope = ET.fromstring(text)  # noqa: S314 - our own
    assert envelope.tag == f"{OVF}Envelope"
    _check(envelope)
    files = {a["id"]: a for a in _all(envelope, "File")}
    assert {a["href"]: int(a["size"]) for a in files.values()} == sizes
    (disk,) = _all(envelope, "Disk")
    assert (disk["fileRef"] in files, disk["format"]) == (True, STREAM_OPTIMIZED)
    assert disk["capacityAllocationUnits"] == "byte"
    networks = [attributes["name"] for attributes in _all(envelope, "Network")]
    items = [_settings(item) for item in envelope.iter(f"{OVF}Item")]
    _check_items(items, disk["diskId"], networks)
    cards = [item["Connection"] for item in items if item["ResourceType"] == "10"]
    return Ova(networks, cards, int(disk["capacity"]))


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def _sha256(tar: tarfile.TarFile, name: str) -> str:
    """Digest a file that need not fit in memory."""
    digest = hashlib.sha256()
    file = tar.extractfile(name)
    assert file is not None
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _check(element: ET.Element) -> None:
    """Check an element of the OVF namespace and all below it."""
    tag = element.tag.removeprefix(OVF)
    if element.tag in SETTINGS:
        _settings(element)
        return
    names = [child.tag.removeprefix(OVF) for child in element]
    # "Info Disk+" -> (Info )(Disk )+, which the children's names have to match in their order
    grammar = re.sub(r"(\w+)([?+*]?) ?", r"(\1 )\2", CHILDREN.get(tag, ""))
    assert re.fullmatch(grammar, "".join(f"{name} " for name in names)), f"{tag}: {names}"
    needed, _, allowed = ATTRIBUTES.get(tag, "|").partition("|")
    given = {name.removeprefix(OVF) for name in element.attrib}
    assert set(needed.split()) <= given <= {*needed.split(), *allowed.split()}, f"{tag}: {given}"
    if names:
        assert not (element.text or "").strip(), f"text in {tag}"
    for child in element:
        _check(child)


def _settings(element: ET.Element) -> dict[str, str]:
    """Read a System or an Item, whose children are simple values."""
    namespace, names = SETTINGS[element.tag]
    needed, _, allowed = names.partition("|")
    found = [child.tag.removeprefix(namespace) for child in element]
    assert found == sorted(set(found)), f"not in the alphabet's order, or twice: {found}"
    assert set(needed.split()) <= set(found) <= {*needed.split(), *allowed.split()}, found
    return {name: child.text or "" for name, child in zip(found, element)}


def _check_items(items: list[dict[str, str]], disk_id: str, networks: list[str]) -> None:
    """Check what refers to what."""
    ids = [item["InstanceID"] for item in items]
    assert len(set(ids)) == len(ids)
    for item in items:
        kind = RESOURCE_TYPES[int(item["ResourceType"])]
        assert item.get("Parent", ids[0]) in ids
        if kind == "disk":
            assert item["HostResource"] == f"ovf:/disk/{disk_id}"
        elif kind == "Ethernet":
            assert item["Connection"] in networks
        elif kind in {"processor", "memory"}:
            assert int(item["VirtualQuantity"]) > 0


def _all(envelope: ET.Element, tag: str) -> list[dict[str, str]]:
    """Return the attributes of every such element, without their namespace."""
    return [
        {name.removeprefix(OVF): value for name, value in element.attrib.items()}
        for element in envelope.iter(f"{OVF}{tag}")
    ]
