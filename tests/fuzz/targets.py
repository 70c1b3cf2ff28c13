"""Fuzz targets: parsers, and commands that read files, variables and servers.

A target takes bytes. It may raise `WherryError`, and a command may end with a documented exit
code. Any other result is a finding.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import conversions
import exported_trees
from wherry import Client
from wherry.cli import messages, outcome, printable
from wherry.cli.inspect_template import FormatTemplate
from wherry.cli.main import _run as run_command
from wherry.errors import WherryError
from wherry.model import schema1, semver
from wherry.model.address import Address, Where
from wherry.model.changes import apply_changes
from wherry.model.config import parse_config
from wherry.model.digest import Digest
from wherry.model.inspection import inspection
from wherry.model.manifest import Manifest, parse
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.model.schema1_signatures import Signature, verify_signatures
from wherry.registry import link_header
from wherry.registry.auth import challenge as auth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_BEGINNINGS = (
    *("  ", "Warning: ", "wherry: ", "lost: ", "Retrying in ", "Logged out of "),
    "no names were restored: ",
)
READING = {"images", "show", "history", "inspect", "manifest", "config", "blob", "validate", "df"}
READING |= {"why", "tag", "untag", "rm", "tags", "digest", "referrers", "--help", "-v", "--debug"}
SPOKEN = b"not HTTP"  # marks a part for other protocols
CODES = {0, 1, 2, 3, 4, 5, 6}
VERBOSE = bool(os.environ.get("FUZZ_VERBOSE"))  # print the result of each input
_PLATFORM = Platform("linux", "amd64", "")
BREAK = b"\n=====\n"  # between the responses of a server, and between the parts of an input
VARIABLES = (
    *("WHERRY_PLATFORM", "WHERRY_TIMEOUT", "WHERRY_JOBS", "WHERRY_RETRIES", "WHERRY_SPLIT"),
    *("WHERRY_LIMIT_RATE", "WHERRY_INSECURE", "WHERRY_SCHEMA1", "WHERRY_LEGACY"),
    "DOCKER_DEFAULT_PLATFORM",
    *("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "CONTAINERS_REGISTRIES_CONF", "SOURCE_DATE_EPOCH"),
)


class Finding(Exception):
    """A command ended in a way that is not documented."""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


# Parsers


def references(data: bytes) -> None:
    """Read a reference, also as an argument of the command line."""
    Reference.parse(_text(data))


def addresses(data: bytes) -> None:
    """Read an address."""
    str(Address.parse(_text(data), Where.ANY))


def platforms(data: bytes) -> None:
    """Read platforms."""
    str(Platform.parse_list(_text(data), _PLATFORM))


def digests(data: bytes) -> None:
    """Read a digest."""
    Digest.parse(_text(data))


def versions(data: bytes) -> None:
    """Read a filter of tags, and versions."""
    semver.Version.parse(_text(data))
    semver.Range(_text(data))


def manifests(data: bytes) -> None:
    """Read a manifest, index or schema1 document."""
    document = parse(data, "")
    if isinstance(document, schema1.Schema1):
        verify_signatures(document.signatures, document.payload)


def signatures(data: bytes) -> None:
    """Verify the signatures of a schema1 document."""
    found = Signature("ES256", {}, (_text(data),), b"1" * 64, "e30")
    verify_signatures([found], b"{}")


def configs(data: bytes) -> None:
    """Read a config."""
    str(parse_config(data).created)


def changes(data: bytes) -> None:
    """Apply changes to a config."""
    apply_changes({"config": {"Env": ["A=b"]}}, _text(data).split("\n"))


def challenges(data: bytes) -> None:
    """Read WWW-Authenticate headers, and build the token request."""
    header = data.decode("latin-1")
    auth.describe_challenges([header])
    for challenge in auth.parse_challenges([header]):
        auth.make_token_request(challenge, ["repository:app:pull"], None)


def tokens(data: bytes) -> None:
    """Read the response of a token server."""
    auth.refuses_grant(data)
    auth.parse_token(data, "fuzz.example")


def link_headers(data: bytes) -> None:
    """Read Link headers."""
    with contextlib.suppress(ValueError):  # as `registry.list_page` expects
        link_header.next_target(
            [data.decode("latin-1")], "https://x.example/v2/a/tags/list", "/v2/a/l"
        )


def templates(data: bytes) -> None:
    """Evaluate a Go template."""
    FormatTemplate(_text(data)).config(_inspected())


def _inspected() -> Any:
    manifest = parse(SMALL_MANIFEST, "")
    assert isinstance(manifest, Manifest)
    return inspection("fuzz.example/app", Digest.of(SMALL_MANIFEST), manifest, SMALL_CONFIG, ("t",))


# Commands that read files


class Home:
    """A directory with all files that the command reads, one for each process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_memory()))
        self.variables = {
            "HOME": str(self.path),
            "XDG_CONFIG_HOME": str(self.path / "config"),
            "XDG_DATA_HOME": str(self.path / "data"),
            "XDG_CACHE_HOME": str(self.path / "cache"),
            "XDG_RUNTIME_DIR": str(self.path / "run"),
            "WHERRY_STORE": str(self.path / "store"),
            "WHERRY_RETRIES": "1",
            "WHERRY_TIMEOUT": "2",
        }
        for name in ("config/containers", "data", "cache", "run", "programs"):
            (self.path / name).mkdir(parents=True, exist_ok=True)

    def put(self, name: str, data: bytes) -> Path:
        """Write a file below the directory."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def close(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.path, ignore_errors=True)


def _memory() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - no disk to wait for


_homes: list[Home] = []


def home() -> Home:
    """Return this process's directory."""
    if not _homes:
        _homes.append(Home())
    return _homes[0]


def close() -> None:
    """Remove the files of the targets."""
    while _homes:
        _homes.pop().close()


@contextlib.contextmanager
def _environment(**more: str) -> Iterator[None]:
    before = dict(os.environ)
    kept = {name: before[name] for name in ("PATH", "LANG", "LC_ALL") if name in before}
    os.environ.clear()
    os.environ.update(kept | home().variables | more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _file() -> io.TextIOWrapper:
    raw = tempfile.TemporaryFile(dir=_memory(), buffering=0)  # noqa: SIM115 - `command` closes it
    return io.TextIOWrapper(raw, "utf-8", printable.ERRORS, write_through=True)


def command(*arguments: str, **variables: str) -> bool:
    """Run a command in this process as `wherry.cli.main.main` does; return whether it succeeded.

    Raises `Finding` for an unknown code, and for an error of several lines or with a control
    character in it.
    """
    out, err = _file(), _file()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _environment(**variables),
    ):
        messages.configure(arguments)
        try:
            result = run_command(list(arguments))
            code = result if isinstance(result, int) else 0
        except click.ClickException as error:
            code = outcome.report_usage_error(error, arguments)
        except WherryError as error:
            code = outcome.report_error(error, debug=False)
    err.seek(0)
    said = err.read()
    out.close()
    err.close()
    if VERBOSE:
        print(arguments, code, said)
    if code not in CODES:
        raise Finding(f"exit code {code}")
    odd = [line for line in said.splitlines() if not line.startswith(_BEGINNINGS)]
    if odd or printable.printable_lines(said) != said:
        raise Finding(f"stderr: {said[:500]!r}")
    return code == 0


def auth_files(data: bytes) -> bool:
    """Read auth.json, and change it by `logout`."""
    path = str(home().put("auth.json", data))
    command("why", "--offline", "fuzz.example/app", REGISTRY_AUTH_FILE=path)
    command("logout", "--authfile", path, "fuzz.example")
    return command("logout", "--authfile", path, "--all")


def registries_confs(data: bytes) -> bool:
    """Read registries.conf."""
    path = str(home().put("registries.conf", data))
    command("why", "--offline", "app", CONTAINERS_REGISTRIES_CONF=path)
    return command("why", "--offline", "fuzz.example/app", CONTAINERS_REGISTRIES_CONF=path)


def hosts_tomls(data: bytes) -> bool:
    """Read hosts.toml."""
    path = home().put("config/wherry/hosts.toml", data)
    try:
        return command("why", "--offline", "fuzz.example/app")
    finally:
        path.unlink()


def certificates(data: bytes) -> bool:
    """Read authorities, certificates and keys of certs.d."""
    directory = home().path / "config/containers/certs.d/127.0.0.1:1"
    for number, part in enumerate(data.split(BREAK)[:3]):
        home().put(f"{directory}/{('ca.crt', 'a.cert', 'a.key')[number]}", part)
    try:
        return command("why", "127.0.0.1:1/app")
    finally:
        shutil.rmtree(directory)


def helpers(data: bytes) -> bool:
    """Read the output of a credential helper."""
    answer = home().put("answer", data)
    program = home().put(
        "programs/docker-credential-fuzz", b"#!/bin/sh\ncat '%b'\n" % bytes(answer)
    )
    program.chmod(0o755)
    path = str(home().put("helped.json", b'{"credHelpers": {"fuzz.example": "fuzz"}}'))
    search = f"{program.parent}:{os.environ['PATH']}"
    name = "fuzz.example/app"
    return command("why", "--offline", name, REGISTRY_AUTH_FILE=path, PATH=search)


def variables(data: bytes) -> bool:
    """Read environment variables from lines of `NAME=VALUE`."""
    given: dict[str, str] = {}
    for line in _text(data.replace(b"\0", b"")).split("\n"):
        name, _, value = line.partition("=")
        if name in VARIABLES:
            given[name] = value
    command("images", **given)
    return command("why", "--offline", "fuzz.example/app", **given)


def names_copies(data: bytes) -> bool:
    """Rebuild a store from its copy of the names."""
    store = home().path / "rebuilt"
    shutil.rmtree(store, ignore_errors=True)
    blobs = store / "blobs/sha256"
    blobs.mkdir(parents=True)
    for blob in (SMALL_MANIFEST, SMALL_CONFIG):
        (blobs / hashlib.sha256(blob).hexdigest()).write_bytes(blob)
    (store / "names.json").write_bytes(data)
    command("--store", str(store), "fsck", "--rebuild")
    return command("--store", str(store), "images")


def archives(data: bytes) -> bool:
    """Load an archive, and inspect it in each format."""
    path = home().put("archive", data)
    shutil.rmtree(home().path / "store", ignore_errors=True)
    loaded = command("load", "-q", "-i", str(path))
    command("inspect", f"oci-archive:{path}")
    command("inspect", f"docker-archive:{path}")
    command("validate", f"oci-archive:{path}")
    return loaded


def imports(data: bytes) -> bool:
    """Import a tar as an image."""
    shutil.rmtree(home().path / "store", ignore_errors=True)
    return command("import", str(home().put("tree.tar", data)), "fuzz/tree:1")


def layers(data: bytes) -> None:
    """Unpack layers, and compare the tree with that of their export."""
    found = [exported_trees.with_checksums(each) for each in data.split(BREAK)][:4]
    differences = exported_trees.unpack_and_export(found, home().path / "layers")
    if differences:
        raise Finding("\n".join(differences))


def layouts(data: bytes) -> bool:
    """Read a layout and a flat directory whose documents are the input's parts."""
    index, manifest, config, *_ = [*data.split(BREAK), b"", b"", b""]
    directory = home().path / "layout"
    shutil.rmtree(directory, ignore_errors=True)
    replaced = index
    for name, part in ((b"CONFIG", config), (b"MANIFEST", manifest)):
        digest = hashlib.sha256(part).hexdigest().encode()
        manifest = manifest.replace(name, digest)
        if name == b"MANIFEST":
            digest = hashlib.sha256(manifest).hexdigest().encode()
        replaced = replaced.replace(name, digest)
    for part in (manifest, config):
        home().put(f"layout/blobs/sha256/{hashlib.sha256(part).hexdigest()}", part)
    home().put("layout/oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    home().put("layout/index.json", replaced)
    home().put("layout/version", b"Directory Transport Version: 1.1\n")
    home().put("layout/manifest.json", manifest)
    home().put(f"layout/{hashlib.sha256(config).hexdigest()}", config)
    inspected = False
    for address in (f"dir:{directory}", f"oci:{directory}"):
        inspected = command("inspect", address)
        command("inspect", "--config", address)
        command("history", "--no-trunc", address)
        command("validate", address)
        command("referrers", address)
        command("inspect", "--all-platforms", address)
        for form in ("oci-archive", "docker-archive"):
            command("copy", "-q", address, f"{form}:{home().path}/copied")
    return inspected


def written_layouts(data: bytes) -> bool:
    """Copy an image into a layout with this ``index.json``."""
    source, directory = home().path / "source", home().path / "written"
    home().put("source/version", b"Directory Transport Version: 1.1\n")
    home().put("source/manifest.json", SMALL_MANIFEST)
    home().put(f"source/{hashlib.sha256(SMALL_CONFIG).hexdigest()}", SMALL_CONFIG)
    shutil.rmtree(directory, ignore_errors=True)
    home().put("written/oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
    home().put("written/index.json", data)
    written = command("copy", "-q", f"dir:{source}", f"oci:{directory}:fuzz")
    if written and not command("config", f"oci:{directory}:fuzz"):
        raise Finding("the image that was written cannot be read")
    return written


# Commands that read servers


class Server:
    """A server that answers requests by the parts of an input.

    A part is a line and the response to requests whose head contains that line. The first matching
    part answers, or else the last one.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._parts: list[tuple[bytes, bytes]] = []
        threading.Thread(target=self._serve, name="fuzz-server", daemon=True).start()

    def script(self, data: bytes) -> None:
        """Set the parts; the last one also answers other protocols."""
        self._parts = []
        self._others = data.rpartition(SPOKEN + b"\n")[2] if SPOKEN in data else b""
        for part in data.replace(b"HOST", self.host.encode()).split(BREAK):
            text, _, answer = part.partition(b"\n")
            self._parts.append((text, answer))

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(65536)
                head += data
                if head[:1] in {b"\x05", b"\x16"}:  # SOCKS or TLS
                    connection.sendall(self._others)
                    return
                if not data:
                    return
            parts = self._parts
            answer = next((answer for text, answer in parts if text in head), parts[-1][1])
            if head.startswith(b"HEAD"):
                answer = answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass


_servers: list[Server] = []


def _against_server(*arguments: str, **variables: str) -> Callable[[bytes], bool]:
    def target(data: bytes) -> bool:
        if not _servers:
            _servers.append(Server())
        server = _servers[0]
        server.script(data)
        shutil.rmtree(home().path / "store", ignore_errors=True)
        given = {name: value.replace("HOST", server.host) for name, value in variables.items()}
        return command(*(each.replace("HOST", server.host) for each in arguments), **given)

    target.__doc__ = f"Run `{' '.join(arguments)}` against a server."
    return target


# Other commands


def arguments(data: bytes) -> bool:
    """Run a command with one argument per line that changes no file outside of the store."""
    words = _text(data.replace(b"\0", b"")).split("\n")
    name, *rest = words if words[0] in READING else ["images", *words]
    return command(name, *rest)


def databases(data: bytes) -> bool:
    """Open a store whose database is the input."""
    shutil.rmtree(home().path / "store", ignore_errors=True)
    home().put("store/wherry.db", data)
    for name in ("df", "gc", "fsck"):
        command(name)
    return command("images")


def streams(data: bytes) -> None:
    """Load an archive from a pipe."""
    shutil.rmtree(home().path / "store", ignore_errors=True)
    with Client(store=home().path / "store") as client:
        client.load(io.BufferedReader(io.BytesIO(data)))


SMALL_CONFIG = (
    b'{"created": "2024-01-02T03:04:05Z", "architecture": "amd64", "os": "linux",'
    b' "config": {"Env": ["A=b"], "Labels": {"a": "b"}, "Cmd": ["sh"]},'
    b' "rootfs": {"type": "layers", "diff_ids": []}, "history": [{"created_by": "x",'
    b' "empty_layer": true}]}'
)
SMALL_MANIFEST = (
    b'{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",'
    b' "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:%b",'
    b' "size": %d}, "layers": []}'
    % (hashlib.sha256(SMALL_CONFIG).hexdigest().encode(), len(SMALL_CONFIG))
)

# Thousands of inputs a second for parsers, ten to a hundred for commands.
PARSERS: dict[str, Callable[[bytes], object]] = {
    "references": references,
    "addresses": addresses,
    "platforms": platforms,
    "digests": digests,
    "versions": versions,
    "manifests": manifests,
    "rewrites": conversions.rewrites,
    "schema1_writers": conversions.schema1_writers,
    "packs": conversions.packs,
    "signatures": signatures,
    "configs": configs,
    "changes": changes,
    "challenges": challenges,
    "tokens": tokens,
    "links": link_headers,
    "templates": templates,
}
COMMANDS: dict[str, Callable[[bytes], object]] = {
    "auth_files": auth_files,
    "registries_confs": registries_confs,
    "hosts_tomls": hosts_tomls,
    "certificates": certificates,
    "helpers": helpers,
    "variables": variables,
    "names_copies": names_copies,
    "archives": archives,
    "imports": imports,
    "layers": layers,
    "layouts": layouts,
    "written_layouts": written_layouts,
    "pull": _against_server("pull", "-q", "HOST/app:t"),
    "inspect": _against_server("inspect", "HOST/app:t"),
    "tags": _against_server("tags", "HOST/app"),
    "referrers": _against_server(
        "referrers", f"HOST/app@sha256:{hashlib.sha256(SMALL_MANIFEST).hexdigest()}"
    ),
    "blob": _against_server("blob", f"HOST/app@{Digest.of(b'x')}"),
    "arguments": arguments,
    "databases": databases,
    "streams": streams,
    "proxies": _against_server(
        "inspect", "--no-tags", "fuzz.example/app:t", HTTPS_PROXY="http://HOST"
    ),
    "socks_proxies": _against_server(
        "inspect", "--no-tags", "fuzz.example/app:t", ALL_PROXY="socks5h://HOST"
    ),
    "tls": _against_server("inspect", "--no-tags", "HOST/app:t"),
    "why": _against_server("why", "--creds", "u:p", "HOST/app"),
}
TARGETS = PARSERS | COMMANDS
