"""Inputs for which a library raises its own exception.

Each of them must end in an error of wherry.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
import subprocess
import tarfile
import zlib
from typing import TYPE_CHECKING

import pytest

from wherry import Client
from wherry.errors import WherryError
from wherry.testing import FakeRegistry, build_image, tar_layer
from wherry.testing.archives import docker_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Wherry
    from raw_server import Peer, RawServer
    from wherry import Store

DIGEST = "sha256:" + "a" * 64
DIGITS = "9" * 5000  # more than `int` accepts
HOSTS = {
    "NUL": b"a\0b",
    "NUL in localhost": b"localhost\0:1",
    "NUL in an address": b"1.2\0.3.4",
    "DEL": b"a\x7fb",
    "a tab": b"a\tb",
    "a space": b"a b",
    "bytes": b"\xff",
    "a port of a digit that is none": b"x:\xb2",
    "an address of a future version": b"[v1.x]",
    "an open bracket": b"[::1",
    "nothing in brackets": b"[]",
    "a name in brackets": b"[x]",
    "a zone": b"[fe80::1%25lo]",
    "a zone of NUL": b"[fe80::1%\0]",
    "a name of 64 KiB": b"a" * 70_000,
    "a name of many labels": b"a." * 200,
    "an empty label": b"ex..ample",
    "punycode without a name": b"xn--",
    "a letter that becomes several": b"\xe2\x84\xa1.example",
    "a percent sign": b"%00",
    "a backslash": b"a\\b",
    "several ports": b"1:2:3",
    "NUL in a user": b"u\0:p@h",
    "nothing": b"",
}
LENGTHS = ["\xb2", "+5", "5_0", "-1", "0x5", "5,6", ",", "1e3", "\x0b5", "5\0", DIGITS, "9" * 400]
CHUNKS = [b"+5", b"0x5", b"5_0", b"-5", b"", b"\xb2", b"f" * 400, b"g", b"\x0c5"]
DATES = ["\xb2", DIGITS, "nan", "inf", "Wed, 99 Oct 99999 07:28:00 GMT", '"']
DATES += ["Wed, 21 Oct 2015 07:28:00 -" + "9" * 20, "Mon, 01 Jan 0001 00:00:00 +2359"]
DATES += [f"Wed, 21 Oct {DIGITS} 07:28:00 GMT"]
TOKENS = [rb'{"token": "\ud800"}', rb'{"token": "a\u0000b"}', b'{"token": "\xff"}']
TOKENS += [rb'{"token": "a\r\nX: y"}', '{"token": "é"}'.encode(), b'{"token": 1}', b"[" * 100_000]
TOKENS += [b'{"token": "a", "expires_in": %b}' % value for value in (DIGITS.encode(), b"1e999")]
TOKENS += [b'{"token": "a.eyJhY2Nlc3MiOlt7fV19.c"}', b'{"token": "a.%b.c"}' % (b"W" * 5001)]
BODIES = [b"\xff\xfe", DIGITS.encode(), b'{"tags": ["\\ud800"]}', b'{"tags": [1e999]}']
BODIES += [
    b'{"errors": [{"code": "\\ud800", "message": "\\udcff"}]}',
    b'{"errors": ' + b"[" * 99_999,
]
BODIES += [b"<html><title>&#xD800;&#x110000;&#%b;</title>" % DIGITS.encode()]
HEADERS = [b"Docker-Content-Digest: sha256:\xff", b"Content-Type: \xff\0", b"Link: <\0>; rel=next"]
HEADERS += [b"Content-Range: bytes \xb2-5/6", b"Link: <http://[>; rel=next", b"RateLimit: \xff"]
HEADERS += [b"Link: <http://x:\xb2/>; rel=next", b"Content-Type: text/html; charset=\xff"]


def answer(head: bytes, body: bytes = b"{}") -> bytes:
    lines = b"HTTP/1.1 %b\r\nConnection: close\r\n" % head
    length = b"" if b"Content-Length" in head else b"Content-Length: %d\r\n" % len(body)
    return lines + length + b"\r\n" + body


def challenge(realm: bytes) -> bytes:
    return answer(b'401 No\r\nWWW-Authenticate: Bearer realm="%b",service="s"' % realm)


SCRIPTS: dict[str, list[bytes]] = (
    {f"redirect to {k}": [answer(b"307 T\r\nLocation: http://%b/x" % v)] for k, v in HOSTS.items()}
    | {f"realm of {k}": [challenge(b"http://%b/t" % v)] for k, v in HOSTS.items()}
    | {
        f"length {v[:9]!r} of {s.decode()}": [
            answer(b"%b\r\nContent-Length: %b" % (s, v.encode("latin-1")))
        ]
        for v in LENGTHS
        for s in (b"200 OK", b"206 Part", b"307 T\r\nLocation: /x", b"401 No")
    }
    | {
        f"chunk {v[:9]!r}": [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b\r\n{}\r\n0\r\n\r\n" % v
        ]
        for v in CHUNKS
    }
    | {
        f"Retry-After {v[:40]!r}": [answer(b"429 T\r\nRetry-After: " + v.encode("latin-1"))]
        for v in DATES
    }
    | {
        f"token {v[:40]!r}": [challenge(b"http://HOST/t"), answer(b"200 OK", v), answer(b"200 OK")]
        for v in TOKENS
    }
    | {
        f"{v[:40]!r} with {s.decode()}": [answer(s, v)]
        for v in BODIES
        for s in (b"200 OK\r\nContent-Type: application/json", b"403 No", b"404 No", b"500 X")
    }
    | {f"header {v!r}": [answer(b"200 OK\r\n" + v)] for v in HEADERS}
)
CALLS: dict[str, Callable[[Client, str], object]] = {
    "inspect": lambda client, host: client.inspect(f"{host}/app:t"),
    "pull": lambda client, host: client.pull(f"{host}/app:t"),
    "tags": lambda client, host: client.tags(f"{host}/app"),
    "referrers": lambda client, host: client.referrers(f"{host}/app@{DIGEST}"),
    "blob": lambda client, host: client.blob(f"{host}/app", DIGEST).read(),
    "why": lambda client, host: client.why(f"{host}/app"),
    "login": lambda client, host: client.login(host, "u", "p"),
}


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.usefixtures("environment")
def test_answers(
    name: str,
    serve: Callable[..., RawServer],
    store: Store,
    record_property: Callable[[str, object], None],
) -> None:
    answers: list[bytes] = []

    def talk(peer: Peer) -> None:
        if peer.head():
            data = answers.pop(0) if len(answers) > 1 else answers[0]
            peer.sock.sendall(data.replace(b"HOST", host.encode()))

    host = serve(talk).host
    record_property("tries", len(CALLS))
    for call in CALLS.values():
        answers[:] = SCRIPTS[name]
        with Client(store=store, retries=1, timeout=2) as client, contextlib.suppress(WherryError):
            call(client, host)


# Archives


def gzip(data: bytes, flags: int, extra: bytes) -> bytes:
    """Return a gzip member with these flags and fields in its header (RFC 1952)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    head = b"\x1f\x8b\x08%c\0\0\0\0\0\xff" % flags
    return head + extra + body + struct.pack("<II", zlib.crc32(data), len(data))


def tar_of(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


TREE = tar_layer({"a": b"1"})
IMAGE = build_image([TREE])
SAVED = tar_of(docker_files(IMAGE, [TREE], ["app:1"]))
LONG = b"a" * (512 * 1024) + b"\0"
PACKED = {
    "gzip with a name of 512 KiB": gzip(SAVED, 8, LONG),
    "gzip with a comment of 512 KiB": gzip(SAVED, 16, LONG),
    "gzip with a name without an end": b"\x1f\x8b\x08\x08\0\0\0\0\0\xff" + LONG[:-1] * 2,
    "gzip with a long name in its second member": gzip(SAVED[:999], 0, b"")
    + gzip(SAVED[999:], 8, LONG),
    "gzip with reserved flags": gzip(SAVED, 0xE0, b""),
    "gzip by another method": b"\x1f\x8b\x07\0\0\0\0\0\0\xff" + SAVED[:99],
    "zstd of a frame that is skipped": b"\x50\x2a\x4d\x18\xff\xff\xff\xff" + b"x" * 100,
    "zstd with a dictionary": b"\x28\xb5\x2f\xfd\x03\xff\xff\xff\xff" + b"\xff" * 50,
    "xz with an unknown check": b"\xfd7zXZ\0\0\x0e" + b"\xff" * 50,
    "bzip2 without a level": b"BZh0" + b"\xff" * 50,
    "a text that JSON cannot have": tar_of(
        {"manifest.json": rb'[{"Config": "\ud800", "Layers": ["\udcff"], "RepoTags": ["\ud800"]}]'}
    ),
    "NUL in the name of a file": tar_of(
        {"manifest.json": rb'[{"Config": "a\u0000b", "Layers": ["a\u0000"]}]'}
    ),
    "a number of thousands of digits": tar_of({"manifest.json": DIGITS.encode()}),
    "a list in thousands of lists": tar_of({"manifest.json": b"[" * 100_000}),
    "a name of thousands of directories": tar_of(
        {"manifest.json": json.dumps([{"Config": "a/" * 5000, "Layers": []}]).encode()}
    ),
}


@pytest.mark.parametrize("name", PACKED)
def test_archives(name: str, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(PACKED[name])
    for call in (
        lambda: client.load(path),
        lambda: client.import_(path, "app:1"),
        lambda: client.inspect(f"docker-archive:{path}"),
        lambda: client.validate(f"docker-archive:{path}"),
    ):
        with contextlib.suppress(WherryError):
            call()


@pytest.mark.parametrize("name", [name for name in PACKED if name.startswith("gzip")])
def test_layers(name: str, client: Client, fake: FakeRegistry) -> None:
    built = build_image([TREE])
    layer = PACKED[name]
    manifest = json.loads(built.manifest.data)
    manifest["layers"][0] |= {"digest": fake.add_blob(layer), "size": len(layer)}
    fake.add_blob(built.config.data)
    fake.add_manifest("app", json.dumps(manifest).encode(), built.manifest.media_type, "t")
    with pytest.raises(WherryError):
        client.pull(f"{fake.host}/app:t")


# Files that cannot be written


@pytest.mark.parametrize("target", ["/dev/full", "/", "/dev/null/x"])
def test_the_file_that_cannot_be_written_is_named(
    target: str, wherry: Wherry, tmp_path: Path
) -> None:
    source = tmp_path / "saved.tar"
    source.write_bytes(SAVED)
    assert wherry("load", "-q", "-i", str(source)).returncode == 0
    done = wherry("save", "-q", "-o", target, "app:1")
    assert done.returncode in {1, 3}
    message, *hints = done.stderr.splitlines()
    assert message.startswith(f"wherry: {target.removesuffix('/x')}")
    assert all(hint.startswith("  ") for hint in hints)


@pytest.mark.parametrize("parts", [900, 1900, 3000])
@pytest.mark.parametrize("command", ["store", "oci", "authfile", "archive"])
def test_paths_of_thousands_of_parts(
    command: str, parts: int, wherry: Wherry, tmp_path: Path
) -> None:
    deep = str(tmp_path / "/".join("a" * parts))
    source = tmp_path / "saved.tar"
    source.write_bytes(SAVED)
    assert wherry("load", "-q", "-i", str(source)).returncode == 0
    given = {
        "store": ["--store", deep, "load", "-q", "-i", str(source)],
        "oci": ["save", "-q", "--format", "oci", "-o", deep, "app:1"],
        "authfile": ["why", "--offline", "--authfile", f"{deep}/auth.json", "x.example/a"],
        "archive": ["inspect", f"oci:{deep}"],
    }
    done = wherry(*given[command])
    assert "internal error" not in done.stderr
    assert "Traceback" not in done.stderr
    subprocess.run(["rm", "-rf", tmp_path / "a"], check=True)  # too deep for shutil
