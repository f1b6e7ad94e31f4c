"""A raw disk -> an OVA: a compressed VMDK, its descriptor (vtap.ovf) and a manifest, in one tar.

Stands on qemu-img; knows nothing of what is on the disk.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import re
import string
import subprocess
import sys
import tarfile
from pathlib import Path

TEMPLATE = Path(__file__).resolve().parent / "vtap.ovf"
CHUNK_BYTES = 1 << 20
CID = re.compile(rb"^CID=[0-9a-f]+$", re.MULTILINE)
"""The VMDK's content identifier, which qemu-img draws by chance; only snapshots compare it."""
SECTOR_BYTES = 512
DESCRIPTOR_SECTORS = 20  # after the header's, filled up with zeros (qemu, block/vmdk.c)


def convert_disk(raw: Path, vmdk: Path) -> None:
    """Compress the disk into a VMDK that is the same for the same disk."""
    progress = ["-p"] if sys.stderr.isatty() else []
    subprocess.run(
        [*("qemu-img", "convert", *progress, "-f", "raw", "-O", "vmdk", "-o"),
         "subformat=streamOptimized,adapter_type=lsilogic", raw, vmdk],
        check=True,
        stdout=sys.stderr,
    )  # fmt: skip
    with vmdk.open("r+b") as file:
        file.seek(SECTOR_BYTES)
        descriptor = file.read(DESCRIPTOR_SECTORS * SECTOR_BYTES)
        file.seek(SECTOR_BYTES)
        file.write(fix_identifier(descriptor))


def fix_identifier(descriptor: bytes) -> bytes:
    """Give a VMDK's descriptor an identifier that is always the same; its digits are 1 to 8."""
    fixed, count = CID.subn(b"CID=76746170", descriptor.rstrip(b"\0"))
    if count != 1 or len(fixed) > len(descriptor):
        message = f"cannot make the VMDK reproducible: {count} identifiers in its descriptor"
        raise ValueError(message)
    return fixed.ljust(len(descriptor), b"\0")


def render_descriptor(version: str, vmdk: Path, disk_bytes: int) -> str:
    """Fill the template's holes."""
    if not re.fullmatch(r"[0-9A-Za-z.+~-]+", version):
        message = f"'{version}' is not a version"
        raise ValueError(message)
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        version=version,
        disk_name=vmdk.name,
        file_bytes=vmdk.stat().st_size,
        disk_bytes=disk_bytes,
    )


def render_manifest(digests: dict[str, str]) -> str:
    """Write a line a file (DSP0243 1.1.0, section 5.1)."""
    return "".join(f"SHA256({name})= {digest}\n" for name, digest in digests.items())


def sha256(path: Path) -> str:
    """Digest a file that need not fit in memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def pack(ova: Path, texts: dict[str, str], vmdk: Path, time: int) -> None:
    """Write the tar, descriptor first, as a reader that cannot seek needs it; files have no owner.

    Takes the time of its files, seconds since 1970.
    """

    def member(name: str, size: int) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, time, 0o644
        return info

    with tarfile.open(ova, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, text in texts.items():
            data = text.encode()
            tar.addfile(member(name, len(data)), io.BytesIO(data))
        with vmdk.open("rb") as file:
            tar.addfile(member(vmdk.name, vmdk.stat().st_size), file)


def make_ova(raw: Path, ova: Path, version: str, time: int) -> None:
    """Make an OVA of a raw disk; the VMDK is made beside the disk, and removed."""
    vmdk = raw.with_name(f"{ova.stem}-disk1.vmdk")
    convert_disk(raw, vmdk)
    descriptor = render_descriptor(version, vmdk, raw.stat().st_size)
    descriptor_name = f"{ova.stem}.ovf"
    manifest = render_manifest(
        {
            descriptor_name: hashlib.sha256(descriptor.encode()).hexdigest(),
            vmdk.name: sha256(vmdk),
        }
    )
    pack(ova, {descriptor_name: descriptor, f"{ova.stem}.mf": manifest}, vmdk, time)
    vmdk.unlink()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Make an OVA of a raw disk.")
    parser.add_argument("raw", type=Path)
    parser.add_argument("ova", type=Path)
    parser.add_argument("--version", required=True)
    parser.add_argument("--time", required=True, type=int, help="of its files, since 1970")
    arguments = parser.parse_args()
    make_ova(arguments.raw, arguments.ova, arguments.version, arguments.time)


if __name__ == "__main__":
    main()
