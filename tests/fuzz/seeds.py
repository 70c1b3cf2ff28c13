"""Valid inputs of each target, from which mutations start."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
import json
import sqlite3
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import targets
from trees import LAYERS, member, tar, tree_layers
from wherry import Client
from wherry.testing import build_image, build_schema1, compress, tar_layer
from wherry.testing.archives import docker_files, flat_files, layout_files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_CONFIG_DIGEST = hashlib.sha256(targets.SMALL_CONFIG).hexdigest().encode()
_IMAGE = build_image([tar_layer({"a": b"1"})], labels={"a": "b"}, env=["A=b"])
_DIGEST = "sha256:" + "0" * 64


def _tar(files: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


_LAST = "Connection: close"


def _answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", _LAST, *headers, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


def _chunked(body: bytes, *headers: str) -> bytes:
    head = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", _LAST, *headers, "", ""]
    return "\r\n".join(head).encode() + b"%x\r\n%b\r\n0\r\nX: y\r\n\r\n" % (len(body), body)


_MANIFEST = "Content-Type: application/vnd.oci.image.manifest.v1+json"
_OK = _answer(b"{}", "Docker-Distribution-Api-Version: registry/2.0")
_REFUSED = _answer(
    b'{"errors": [{"code": "UNAUTHORIZED", "message": "no", "detail": {"a": 1}}]}',
    'WWW-Authenticate: Bearer realm="http://HOST/token",service="s",scope="repository:app:pull"',
    "Retry-After: 0",
    status="401 Unauthorized",
)
_TOKEN = _answer(b'{"token": "abc", "expires_in": 300, "issued_at": "2024-01-02T03:04:05Z"}')
_MOVED = _answer(b"", "Location: http://HOST/v2/other", status="307 Temporary Redirect")
_TAGS = _answer(
    b'{"name": "app", "tags": ["1.0", "latest"]}',
    'Link: </v2/app/tags/list?last=latest&n=2>; rel="next"',
    "Content-Type: application/json",
)
_REFERRERS = _answer(
    json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": _DIGEST,
                    "size": 2,
                    "artifactType": "application/spdx+json",
                }
            ],
        }
    ).encode(),
    "Content-Type: application/vnd.oci.image.index.v1+json",
    "OCI-Filters-Applied: artifactType",
)
_DOCUMENT = _answer(targets.SMALL_MANIFEST, _MANIFEST)
_CONFIG = _answer(targets.SMALL_CONFIG)
_LIMITED = _answer(b"", "Retry-After: Wed, 21 Oct 2015 07:28:00 GMT", status="429 Too Many")
_PAGE = _answer(b"<html><title>x &amp; y</title>", "Content-Type: text/html", status="404 No")


_REGISTRIES = b"""unqualified-search-registries = ["a.example"]
short-name-mode = "enforcing"
[[registry]]
prefix = "*.example"
location = "b.example:5/x"
insecure = true
blocked = false
[[registry.mirror]]
location = "m.example"
pull-from-mirror = "digest-only"
[aliases]
"app" = "fuzz.example/app"
"""
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


def _script(**parts: bytes) -> bytes:
    """Return an input of a server: responses by a text of their requests."""
    texts = {"manifest": b"/manifests/", "blob": b"/blobs/", "tags": b"/tags/", "token": b"/token"}
    texts |= {"referrers": b"/referrers/", "moved": b"/other", "known": b"Authorization: Bearer"}
    return targets.BREAK.join(
        texts.get(name, b"GET") + b"\n" + answer for name, answer in parts.items()
    )


_SERVED = [
    _script(manifest=_DOCUMENT, blob=_CONFIG, tags=_TAGS, rest=_OK),
    _script(token=_TOKEN, blob=_CONFIG, known=_DOCUMENT, rest=_REFUSED),
    _script(
        manifest=_chunked(targets.SMALL_MANIFEST, _MANIFEST),
        blob=_chunked(targets.SMALL_CONFIG),
        tags=_chunked(b'{"tags": ["a"]}'),
        rest=_OK,
    ),
    _script(manifest=_MOVED, moved=_DOCUMENT, blob=_CONFIG, tags=_MOVED, rest=_OK),
    _script(rest=_LIMITED),
    _script(rest=_PAGE),
    _script(manifest=b"HTTP/1.1 100 Continue\r\n\r\n" + _DOCUMENT, blob=_CONFIG, rest=_OK),
    _script(tags=_answer(b'{"name": "app", "tags": ["x"]}'), manifest=_DOCUMENT, rest=_CONFIG),
    _script(referrers=_REFERRERS, manifest=_DOCUMENT, rest=_PAGE),
    _script(blob=_answer(b"x", "Content-Range: bytes 0-0/1", status="206 Partial Content")),
    _script(blob=_answer(b"x"), rest=_OK),
]


@functools.cache
def _indexed() -> bytes:
    descriptor = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 2}
    platform = {"os": "linux", "architecture": "arm", "variant": "v7", "os.features": ["a"]}
    entry = descriptor | {"digest": _DIGEST, "platform": platform, "annotations": {"a": "b"}}
    return json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()


def _documents() -> list[bytes]:
    old = build_schema1([tar_layer({"a": b"1"}), tar_layer({"b": b"2"})])
    return [_IMAGE.manifest.data, targets.SMALL_MANIFEST, _indexed(), old.manifest.data]


def _conversions() -> list[bytes]:
    subject = json.loads(_indexed())["manifests"][0] | {"platform": None}
    extra = {"subject": subject, "annotations": {"a": "b"}, "odd": [1, 2.50, None]}
    image = build_image([b"1", b"2"], compression=["zstd", "gzip"], manifest_extra=extra)
    docker = build_image([b"1", b"2"], style="docker", compression=["none", "gzip"])
    return [*_documents(), image.manifest.data, docker.manifest.data]


def _layers() -> list[bytes]:
    layer = tar_layer({"a": b"1", "b/": None})
    return [compress(layer, how) for how in ("none", "gzip", "zstd", "bzip2", "xz")]


def _archives() -> list[bytes]:
    layout = _tar(layout_files({"fuzz/app:1": _IMAGE}))
    docker = _tar(docker_files(_IMAGE, [tar_layer({"a": b"1"})], ["fuzz/app:1"]))
    packed = [compress(docker, how) for how in ("gzip", "zstd")]
    legacy = {
        "repositories": b'{"fuzz/old": {"1": "%b"}}' % (b"a" * 64),
        f"{'a' * 64}/json": b'{"id": "%b", "config": {}}' % (b"a" * 64),
        f"{'a' * 64}/VERSION": b"1.0",
        f"{'a' * 64}/layer.tar": tar_layer({"a": b"1"}),
    }
    return [layout, docker, *packed, _tar(legacy), _tar(flat_files(_IMAGE), tarfile.GNU_FORMAT)]


def _databases() -> list[bytes]:
    with tempfile.TemporaryDirectory() as directory:
        archive = Path(directory, "archive")
        archive.write_bytes(_archives()[1])
        with Client(store=Path(directory, "store")) as client:
            client.load(archive)
        with contextlib.closing(sqlite3.connect(Path(directory, "store/wherry.db"))) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return [Path(directory, "store/wherry.db").read_bytes()]


def _trees() -> list[bytes]:
    long = {"a" * 200: b"1", "ü" * 80 + "/b": b"2"}
    trees = [_tar(long, form) for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT)]
    layer = tar_layer({"a": b"1", "b/": b""})
    return [*trees, layer, *(compress(layer, how) for how in ("gzip", "zstd"))]


def _layer_stacks() -> list[bytes]:
    odd = tree_layers()
    sparse = [
        {"GNU.sparse.map": "0,4,8,4", "GNU.sparse.size": "16", "GNU.sparse.name": "s"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "16"},
    ]
    holes = tar(
        (member("a", pax_headers=sparse[0]), b"x" * 8),
        (member("b", pax_headers=sparse[1]), b"2\n0\n4\n8\n4\n".ljust(512, b"\0") + b"x" * 8),
    )
    return [targets.BREAK.join(LAYERS), targets.BREAK.join(odd), odd[0], holes, *_trees()]


def seeds(target: str) -> Sequence[bytes]:
    """Return the valid inputs of a target."""
    pair = base64.b64encode(b"u:p").decode()
    inputs: dict[str, list[bytes] | Callable[[], list[bytes]]] = {
        "references": [b"alpine", b"127.0.0.1:5000/a/b_c:t.1@" + _DIGEST.encode(), b"[::1]:5/a"],
        "addresses": [b"docker://a/b:c", b"oci:dir:name", b"docker-archive:a.tar:@1", b"store:x"],
        "platforms": [b"linux/arm/v7,windows(10.0.17763)/amd64", b"linux(+a+b)/arm64", b"x"],
        "digests": [_DIGEST.encode(), b"sha512:" + b"a" * 128],
        "versions": [b">=1.2 <2 || ~1.4", b"semver:1.x", b"1.2 - 1.4.3-rc.1+b", b"^0.1.2"],
        "manifests": _documents(),
        "rewrites": _conversions,
        "schema1_writers": [targets.SMALL_CONFIG, _IMAGE.config.data],
        "packs": _layers,
        "signatures": [base64.b64encode(b"0\x82" + b"a" * 60)],
        "configs": [targets.SMALL_CONFIG, _IMAGE.config.data],
        "changes": [
            b'ENV A="b c" D=$A\nCMD ["a"]\nLABEL a=b',
            b"EXPOSE 1-3/tcp\nUSER 1:2",
            b"HEALTHCHECK --interval=5s --retries=3 CMD x\nVOLUME /a /b\nWORKDIR ${A:-x}",
        ],
        "challenges": [b'Bearer realm="https://x/t",service="s\\"x",scope="a b", Basic realm=x'],
        "tokens": [b'{"token": "abc", "expires_in": 300}', b'{"access_token": "a.b.c"}'],
        "links": [b'</v2/a/tags/list?last=b&n=1>; rel="next"; title="a\\"b", <x>; rel=prev'],
        "templates": [
            b'{{range $i, $e := .Config.Env}}{{if eq $e "A=b"}}{{$i}}{{end}}{{else}}x{{end}}',
            b'{{/* c */}}{{$e := "x"}}{{$e | printf "%-10q|%5d" 7}}',
            b'{{with .Config}}{{json .Labels}}{{index .Labels "a"}}{{join .Cmd ","}}{{end}}',
            b'{{- printf "%08.3s%x" .Author 255 -}}{{len .History}}{{.Created}}{{upper `a`}}',
        ],
        "auth_files": [
            json.dumps({"auths": {"fuzz.example": {"auth": pair}, "https://x/v1/": {}}}).encode(),
            b'{"auths": {"fuzz.example/app": {"username": "u", "password": "p"}}}',
            b'{"auths": {"x": {"identitytoken": "t"}}, "credsStore": ""}',
            b'{"credHelpers": {"fuzz.example": "b"}}',
        ],
        "registries_confs": [
            _REGISTRIES,
            b'[registries.search]\nregistries = ["a"]\n[registries.insecure]\nregistries = []\n',
        ],
        "hosts_tomls": [
            b'["fuzz.example"]\nprivate-realm = true\nschema1 = "deny"\n["x:5"]\nlegacy = true\n'
        ],
        "certificates": [_CERTIFICATE],
        "helpers": [b'{"ServerURL": "x", "Username": "u", "Secret": "p"}', b"not found"],
        "variables": [
            b"WHERRY_PLATFORM=linux/arm64\nWHERRY_TIMEOUT=5\nWHERRY_JOBS=3\nWHERRY_SPLIT=2",
            b"WHERRY_LIMIT_RATE=1.5MiB\nWHERRY_INSECURE=true\nWHERRY_SCHEMA1=deny\nWHERRY_RETRIES=1",
            b"HTTPS_PROXY=http://u:p@x.example:8080\nNO_PROXY=a,.b,10.0.0.0/8,[::1]:5",
            b"REGISTRY_AUTH_FILE=/x\nSSL_CERT_FILE=/etc\nCONTAINERS_REGISTRIES_CONF=/x",
        ],
        "names_copies": [
            json.dumps(
                {"version": 1, "names": [["docker.io/library/a:1", _DIGEST, _DIGEST, 1]]}
            ).encode()
        ],
        "archives": _archives,
        "imports": _trees,
        "layers": _layer_stacks,
        "arguments": [
            b"images\n--filter\nreference=a*\n--format\n{{.ID}}",
            b"show\n--format\n{{json .Config}}\nalpine",
            b"inspect\n--platform\nlinux/arm64\noci:x:y",
            b"tag\nalpine\nfuzz/a:1\nb",
            b"why\n--offline\n--json\nalpine",
            b"blob\nstore:a\nsha256:" + b"0" * 64,
            b"tags\n--filter\n>=1.2\n--order\nversion\nfuzz.invalid/a",
            b"df\n--json",
        ],
        "databases": _databases,
        "streams": _archives,
        "proxies": [
            b"CONNECT\nHTTP/1.1 200 OK\r\nX: y\r\n\r\n",
            b"CONNECT\nHTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        ],
        "socks_proxies": [
            _script(rest=_OK) + targets.BREAK + b"not HTTP\n" + answer
            for answer in (
                b"\x05\x00",
                b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50",
                b"\x05\xff",
            )
        ],
        "tls": [
            _script(rest=_OK) + targets.BREAK + b"not HTTP\n" + answer
            for answer in (
                b"\x15\x03\x01\x00\x02\x02\x46",
                b"\x16\x03\x03\x00\x31\x02\x00\x00\x2d\x03\x03",
            )
        ],
        "written_layouts": [
            layout_files({"fuzz/app:1": _IMAGE, "": _IMAGE})["index.json"],
            b'{"manifests": [{"annotations": {"a": "b"}, "digest": "sha256:0", "x": 1.5}]}',
            _indexed(),
        ],
        "layouts": [
            targets.BREAK.join(
                [
                    _indexed().replace(_DIGEST.encode(), b"sha256:MANIFEST"),
                    targets.SMALL_MANIFEST.replace(_CONFIG_DIGEST, b"CONFIG"),
                    targets.SMALL_CONFIG,
                ]
            )
        ],
    }
    found = inputs.get(target, _SERVED)
    return found() if callable(found) else found
