"""The checksums that a version 1 registry computes, by `tarfile` as docker-registry 0.9 does.

They are independent of `wherry.model.tarsum`, which they check.
"""

from __future__ import annotations

import functools
import hashlib
import io
import posixpath
import tarfile
import zlib
from typing import Self, cast

__all__ = ["BAD_TAR", "payload_checksum", "tarsum"]

BAD_TAR = (tarfile.TarError, OSError, EOFError, zlib.error)  # what `tarsum` raises
_NAME_BYTES = 100


class _RawMember(tarfile.TarInfo):
    """A member that keeps its type and the slash after its name as they are in the header."""

    raw_type = b""
    has_slash = False

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Decode a header."""
        member = super().frombuf(buf, encoding, errors)
        name = bytes(buf[:_NAME_BYTES]).partition(b"\0")[0]
        member.raw_type = bytes(buf[156:157])
        # A longer name is in an extended header of GNU tar, without its slash.
        member.has_slash = name.endswith(b"/") or len(name) == _NAME_BYTES
        return member

    def fields(self) -> bytes:
        """Return the header as TarSum version 0 hashes it."""
        name = self.pax_headers.get("path", self.name)
        if self.isdir() and self.has_slash and not name.endswith("/"):
            name += "/"
        values = {
            "name": name,
            "mode": self.mode,
            "uid": self.uid,
            "gid": self.gid,
            "size": self.size,
            "mtime": self.pax_headers.get("mtime", str(int(self.mtime))).partition(".")[0],
            "typeflag": self.raw_type.decode("latin-1"),
            "linkname": self.linkname,
            "uname": self.uname,
            "gname": self.gname,
            "devmajor": self.devmajor if self.isdev() else 0,
            "devminor": self.devminor if self.isdev() else 0,
        }
        text = "".join(f"{key}{value}" for key, value in values.items())
        return text.encode("utf-8", "surrogateescape")


def payload_checksum(v1_json: bytes, layer: bytes) -> str:
    """Return ``sha256:<hex>`` over the JSON, a line feed and the layer as it was sent."""
    found = hashlib.sha256(v1_json + b"\n")
    found.update(layer)
    return f"sha256:{found.hexdigest()}"


def tarsum(v1_json: bytes, layer: bytes) -> str:
    """Return ``tarsum+sha256:<hex>`` of a tar, plain or compressed; raises `BAD_TAR`."""
    sums = []
    if layer:
        with tarfile.open(
            fileobj=io.BytesIO(layer), mode="r:*", tarinfo=_RawMember, errors="surrogateescape"
        ) as archive:
            for member in archive:
                found = hashlib.sha256(cast("_RawMember", member).fields())
                content = archive.extractfile(member) if member.isreg() else None
                while content is not None and (data := content.read(256 * 1024)):
                    found.update(data)
                sums.append((posixpath.normpath("/" + member.name), found.hexdigest()))
    ordered = sorted(enumerate(sums), key=functools.cmp_to_key(_compare))
    total = hashlib.sha256(v1_json + "".join(each for _, (_, each) in ordered).encode())
    return f"tarsum+sha256:{total.hexdigest()}"


def _compare(one: tuple[int, tuple[str, str]], other: tuple[int, tuple[str, str]]) -> int:
    """Compare by hash; members with the same name keep their order, as in moby."""
    (place, (name, found)), (other_place, (other_name, other_found)) = one, other
    if name == other_name:
        return place - other_place
    return (found > other_found) - (found < other_found)
