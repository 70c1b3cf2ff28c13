"""TLS, client certificates, and configuration files that skopeo reads too.

With the same files, skopeo and wherry request the same endpoints, in the same order, with the same
credentials.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from auth_files import entry, write_file
from waiting import wait_for_server
from wherry.testing import (
    Distribution,
    FakeRegistry,
    Fault,
    FixedReply,
    build_image,
    find_binary,
    free_port,
    make_certificate,
    make_client_certificate,
    refused_port,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Wherry

PASSWORD = "correct horse"
IMAGE = build_image([tar_layer({"a": b"1"})])


# A registry with TLS, and one behind nginx that requires a client certificate


class TlsHost(NamedTuple):
    """A host with TLS, its authority, and a client certificate for it."""

    host: str
    authority: Path
    client: tuple[Path, Path]

    def trust(self, environment: dict[str, str], *, client: bool) -> Path:
        """Write the user's certs.d for the host (containers-certs.d(5))."""
        directory = Path(environment["HOME"]) / ".config" / "containers" / "certs.d" / self.host
        write_file(directory / "ca.crt", self.authority.read_text())
        if client:
            write_file(directory / "me.cert", self.client[0].read_text())
            write_file(directory / "me.key", self.client[1].read_text())
        return directory


@pytest.fixture
def usual(environment: dict[str, str]) -> dict[str, str]:
    """An environment in which skopeo finds `~/.config/containers` too."""
    environment["XDG_CONFIG_HOME"] = str(Path(environment["HOME"]) / ".config")
    return environment


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TlsHost, TlsHost]]:
    """A registry with a password, directly and through nginx."""
    root = tmp_path_factory.mktemp("tls")
    authority, certificate, key = make_certificate(root / "certificates")
    client = make_client_certificate(root / "certificates")[1:]
    users = {"me": PASSWORD}
    with Distribution(root / "r", tls=(certificate, key), htpasswd=users) as registry:
        registry.push("app", IMAGE, "t")
        with nginx(root / "nginx", registry.url, (certificate, key), authority) as host:
            yield TlsHost(registry.host, authority, client), TlsHost(host, authority, client)


@contextlib.contextmanager
def nginx(root: Path, target: str, tls: tuple[Path, Path], client_ca: Path) -> Iterator[str]:
    """Run nginx before `target` for clients with a certificate; yield its host."""
    root.mkdir()
    host = f"127.0.0.1:{free_port()}"
    places = "".join(
        f"{name}_temp_path {root}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = write_file(
        root / "nginx.conf",
        f"""
        daemon off; master_process off; pid {root}/pid; error_log {root}/error.log;
        events {{ }}
        http {{
            access_log off; client_body_temp_path {root}/body; {places}
            server {{
                listen {host} ssl;
                ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]};
                ssl_client_certificate {client_ca}; ssl_verify_client on;
                location / {{
                    proxy_pass {target}; proxy_set_header Host $http_host;
                }}
            }}
        }}
    """,
    )
    command = [find_binary("nginx") or "nginx", "-c", configuration, "-p", root]
    process = subprocess.Popen(
        [str(part) for part in ["timeout", "600", *command]], start_new_session=True
    )
    try:
        address, _, port = host.partition(":")
        wait_for_server(address, int(port))
        yield host
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.peer("docker-registry", "nginx")
class TestCertificates:
    def pull(self, wherry: Wherry, host: str) -> subprocess.CompletedProcess[str]:
        return wherry("pull", "-q", f"--creds=me:{PASSWORD}", f"{host}/app:t")

    def test_the_authority_in_certs_d(
        self, wherry: Wherry, usual: dict[str, str], secure: tuple[TlsHost, TlsHost]
    ) -> None:
        registry = secure[0]
        done = self.pull(wherry, registry.host)
        assert done.returncode == 6
        assert f"certs.d/{registry.host}/ca.crt" in done.stderr
        directory = registry.trust(usual, client=False)
        assert self.pull(wherry, registry.host).stdout == f"{IMAGE.id}\n"
        (found,) = json.loads(wherry("why", "--json", f"{registry.host}/app:t").stdout)
        place = found["endpoints"][0]
        assert place["certs_d"][-1] == {"place": str(directory), "outcome": "used"}
        assert place["addresses"] == [f"https://{registry.host}/v2/app"]

    def test_a_client_certificate(
        self, wherry: Wherry, usual: dict[str, str], secure: tuple[TlsHost, TlsHost]
    ) -> None:
        host = secure[1].host
        directory = secure[1].trust(usual, client=False)
        done = self.pull(wherry, host)
        assert done.returncode != 0
        assert "certificate" in done.stderr  # nginx answers 400 and names the missing certificate
        secure[1].trust(usual, client=True)
        assert self.pull(wherry, host).stdout == f"{IMAGE.id}\n"
        (directory / "me.key").unlink()
        done = self.pull(wherry, host)
        assert done.returncode == 1
        assert f"{directory}/me.cert: there is no me.key beside it" in done.stderr

    @pytest.mark.peer("skopeo")
    def test_skopeo_reads_the_same_files(
        self, usual: dict[str, str], secure: tuple[TlsHost, TlsHost]
    ) -> None:
        secure[1].trust(usual, client=True)
        done = ask_skopeo(usual, "--creds", f"me:{PASSWORD}", f"docker://{secure[1].host}/app:t")
        assert done.returncode == 0, done.stderr

    @pytest.mark.peer("skopeo")
    def test_skopeo_and_wherry_share_logins(
        self, wherry: Wherry, usual: dict[str, str], secure: tuple[TlsHost, TlsHost]
    ) -> None:
        registry = secure[0]
        registry.trust(usual, client=False)
        name = f"docker://{registry.host}/app:t"
        assert ask_skopeo(usual, name).returncode != 0
        done = wherry(
            "login", "-u", "me", "--password-stdin", registry.host, given=PASSWORD, env=usual
        )
        assert done.returncode == 0, done.stderr
        assert ask_skopeo(usual, name).returncode == 0
        run_skopeo(usual, "logout", registry.host)
        assert wherry("pull", "-q", name, env=usual).returncode == 4
        run_skopeo(usual, "login", "-u", "me", "-p", PASSWORD, registry.host)
        assert wherry("pull", "-q", name, env=usual).returncode == 0
        done = wherry("logout", registry.host, env=usual)
        assert done.returncode == 0, done.stderr
        assert ask_skopeo(usual, name).returncode != 0


def run_skopeo(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [find_binary("skopeo") or "skopeo", "--insecure-policy", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )


def ask_skopeo(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_skopeo(environment, "inspect", "--raw", *arguments)


# Endpoints and credentials of requests


class Farm:
    """Three registries with users, in which each test adds images."""

    def __init__(self, registries: list[FakeRegistry]) -> None:
        self.registries = registries

    def named(self, text: str) -> str:
        """Insert hosts: A, B and C are registries, X is a closed port."""
        for letter, registry in zip("ABC", self.registries, strict=True):
            text = text.replace(f"@{letter}@", registry.host)
        return text.replace("@X@", f"127.0.0.1:{refused_port()}")

    def asked(self) -> list[tuple[str, str, str]]:
        """Return registry, repository and user of each manifest request, without repetitions."""
        found = []
        for letter, registry in zip("ABC", self.registries, strict=True):
            for request in registry.requests:
                if "/manifests/" in request.path and request.headers.get("authorization"):
                    kind, _, pair = request.headers["authorization"].partition(" ")
                    assert kind == "Basic"
                    user = base64.b64decode(pair).decode("latin-1").partition(":")[0]
                    if user:  # skopeo sends an empty user name without credentials
                        found.append((letter, request.path.rpartition("/manifests/")[0], user))
            registry.clear()
        return list(dict.fromkeys(found))


@pytest.fixture
def farm() -> Iterator[Farm]:
    users = {f"user{number}": "x" for number in range(9)}
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(FakeRegistry(users=users)) for _ in "ABC"]
        yield Farm(made)


ALL = {
    "auths": {"@A@": entry("user1", "x"), "@B@": entry("user2", "x"), "@C@": entry("user3", "x")}
}


class Case(NamedTuple):
    conf: str
    name: str
    asked: list[tuple[str, str, str]]
    """Registry, repository and user of each request."""
    without: str = ""
    """Registries that do not have the image."""


def table(prefix: str, location: str, *mirrors: str, more: str = "") -> str:
    """Return one [[registry]], insecure since these registries use plain http."""
    lines = ["[[registry]]", f'prefix = "{prefix}"', f'location = "{location}"', "insecure = true"]
    lines.append(more)
    for mirror in mirrors:
        location, _, option = mirror.partition(" ")
        lines += ["[[registry.mirror]]", f'location = "{location}"', "insecure = true"]
        lines += [f'pull-from-mirror = "{option}"'] if option else []
    return "\n".join(lines) + "\n"


A, B, C = ("A", "/v2/app", "user1"), ("B", "/v2/app", "user2"), ("C", "/v2/app", "user3")
BY_DIGEST = f"reg.test/app@{IMAGE.digest}"
CASES = {
    "location": Case(table("reg.test", "@A@"), "reg.test/app:t", [A]),
    "longest": Case(
        table("reg.test", "@A@") + table("reg.test/team", "@B@/deep") + table("reg.test/te", "@C@"),
        "reg.test/team/app:t",
        [("B", "/v2/deep/app", "user2")],
    ),
    "tag-in-prefix": Case(
        table("reg.test", "@A@") + table("reg.test/app:t", "@B@/app:t"), "reg.test/app:t", [A]
    ),
    "wildcard": Case(table("*.reg.test", "@A@"), "x.y.reg.test/app:t", [A]),
    "wildcard-and-host": Case(  # the first of two prefixes of the same length counts
        table("*.reg.test", "@A@") + table("x.reg.test", "@B@"), "x.reg.test/app:t", [A]
    ),
    "wildcard-and-longer": Case(
        table("*.reg.test", "@A@") + table("xy.reg.test", "@B@"), "xy.reg.test/app:t", [B]
    ),
    "mirror": Case(table("reg.test", "@C@", "@A@", "@B@"), "reg.test/app:t", [A]),
    "second-mirror": Case(
        table("reg.test", "@C@", "@A@", "@B@"), "reg.test/app:t", [A, B], without="A"
    ),
    "no-mirror-has-it": Case(
        table("reg.test", "@C@", "@A@", "@B@"), "reg.test/app:t", [A, B, C], without="AB"
    ),
    "silent-mirror": Case(table("reg.test", "@C@", "@X@", "@B@"), "reg.test/app:t", [B]),
    "mirror-with-path": Case(
        table("reg.test/app", "@C@/app", "@A@/deep/copy"),
        "reg.test/app:t",
        [("A", "/v2/deep/copy", "user1")],
    ),
    "digest-only-by-tag": Case(
        table("reg.test", "@C@", "@A@", more="mirror-by-digest-only = true"), "reg.test/app:t", [C]
    ),
    "digest-only-by-digest": Case(
        table("reg.test", "@C@", "@A@", more="mirror-by-digest-only = true"), BY_DIGEST, [A]
    ),
    "pull-by-tag": Case(
        table("reg.test", "@C@", "@A@ digest-only", "@B@ tag-only"), "reg.test/app:t", [B]
    ),
    "pull-by-digest": Case(
        table("reg.test", "@C@", "@A@ tag-only", "@B@ digest-only"), BY_DIGEST, [B]
    ),
    "blocked": Case(table("@A@", "@A@", more="blocked = true"), "@A@/app:t", []),
    "blocked-location": Case(
        table("reg.test", "@A@") + table("@A@", "@A@", more="blocked = true"), "reg.test/app:t", []
    ),
    "blocked-mirror": Case(
        table("reg.test", "@B@", "@A@") + table("@A@", "@A@", more="blocked = true"),
        "reg.test/app:t",
        [B],
    ),
    "other-prefix": Case(table("reg.test/ap", "@A@") + table("reg.test", "@B@"),
                         "reg.test/app:t", [B]),
    "version-1": Case('[registries.insecure]\nregistries = ["@A@"]', "@A@/app:t", [A]),
    "version-1-blocked": Case('[registries.block]\nregistries = ["@A@"]', "@A@/app:t", []),
}  # fmt: skip


def pull_with_both(
    wherry: Wherry, farm: Farm, environment: dict[str, str], name: str, *options: str
) -> tuple[list[Any], list[Any]]:
    """Fetch the manifest with skopeo and wherry; return the requests of each."""
    plain = () if options else ("--tls-verify=false",)
    done = run_skopeo(environment, *options, "inspect", "--raw", *plain, f"docker://{name}")
    theirs = farm.asked()
    assert "no such flag" not in done.stderr
    named = [f"--registries-conf={option}" for option in options[1:]]
    insecure = () if options else ("--insecure",)
    mine = wherry(
        "pull", "-q", "--retries=1", *named, *insecure, f"docker://{name}", env=environment
    )
    # Both succeed, or both fail.
    assert (mine.returncode == 0) == (done.returncode == 0), (mine.stderr, done.stderr)
    return theirs, farm.asked()


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("case", CASES)
def test_the_same_endpoint_as_skopeo(
    wherry: Wherry, farm: Farm, usual: dict[str, str], tmp_path: Path, case: str
) -> None:
    conf, name, expected, without = CASES[case]
    for letter, registry in zip("ABC", farm.registries, strict=True):
        for repository in () if letter in without else ("app", "deep/app", "deep/copy"):
            registry.add_image(repository, IMAGE, "t")
    file = write_file(tmp_path / "registries.conf", farm.named(conf))
    credentials = Path(usual["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    write_file(credentials, farm.named(json.dumps(ALL)))
    theirs, mine = pull_with_both(
        wherry, farm, usual, farm.named(name), "--registries-conf", str(file)
    )
    assert theirs == expected
    assert mine == expected


AUTH_CASES: dict[str, tuple[dict[str, Any], str | None]] = {
    "nothing": ({}, None),
    "run": ({"run": {"@A@": "user1"}, "config": {"@A@": "user2"}}, "user1"),
    "config": ({"config": {"@A@": "user2"}, "docker": {"@A@": "user3"}}, "user2"),
    "docker": ({"docker": {"@A@": "user3"}, "dockercfg": {"@A@": "user4"}}, "user3"),
    "dockercfg": ({"dockercfg": {"@A@": "user4"}}, "user4"),
    "other-host": ({"run": {"@B@": "user1"}, "docker": {"@A@": "user3"}}, "user3"),
    "path": ({"run": {"@A@": "user1", "@A@/team": "user2", "@A@/team/app": "user3",
                      "@A@/team/app/x": "user4"}}, "user3"),
    "longest-path-there-is": ({"run": {"@A@": "user1", "@A@/team": "user2"}}, "user2"),
    "path-of-others": ({"run": {"@A@": "user1", "@A@/tea": "user2"}}, "user1"),
    "earlier-file-first": ({"run": {"@A@": "user1"}, "config": {"@A@/team": "user2"}}, "user1"),
    "legacy-address": ({"docker": {"https://@A@/v1/": "user5"}}, "user5"),
    "legacy-address-v2": ({"docker": {"http://@A@/v2/": "user5"}}, "user5"),
    "legacy-and-plain": ({"docker": {"https://@A@/v1/": "user5", "@A@": "user6"}}, "user6"),
    "helper": ({"run": {"@A@": "user1", "helper": "@A@"}}, "user8"),
    "helper-of-others": ({"run": {"@A@": "user1", "helper": "@B@"}}, "user1"),
    "helper-of-docker": ({"docker": {"@A@": "user1", "helper": "@A@"}}, "user8"),
    "newline": ({"run": {"@A@": {"auth": "dXNlcjE6eA==\n"}}}, "user1"),
    "wrapped": ({"run": {"@A@": {"auth": "dXNl\r\ncjE6\r\neA==\r\n"}}}, "user1"),
    "padded": ({"run": {"@A@": {"auth": "dXNlcjE6eAAA"}}}, "user1"),
    "latin-1": ({"run": {"@A@": {"auth": "dXNlcjE6eOQ="}}}, "user1"),
    "no-colon": ({"run": {"@A@": {"auth": "dXNlcjE="}}, "docker": {"@A@": "user3"}}, "user3"),
    "empty": ({"run": {"@A@": {}}, "docker": {"@A@": "user3"}}, "user3"),
    "null": ({"run": {"@A@": None}, "docker": {"@A@": "user3"}}, "user3"),
}  # fmt: skip


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("case", AUTH_CASES)
def test_the_same_credentials_as_skopeo(
    wherry: Wherry, farm: Farm, usual: dict[str, str], case: str,
    helper_program: Callable[..., Path],
) -> None:  # fmt: skip
    files, user = AUTH_CASES[case]
    farm.registries[0].add_image("team/app", IMAGE, "t")
    answer = '{"ServerURL":"","Username":"user8","Secret":"x"}'
    helper_program("eight", f"#!/bin/sh\ncat >/dev/null\necho '{answer}'")
    usual["PATH"] = os.environ["PATH"]
    home = Path(usual["HOME"])
    places = {
        "run": Path(usual["XDG_RUNTIME_DIR"]) / "containers" / "auth.json",
        "config": home / ".config" / "containers" / "auth.json",
        "docker": home / ".docker" / "config.json",
        "dockercfg": home / ".dockercfg",
    }
    for place, users in files.items():
        helped = {users["helper"]: "eight"} if "helper" in users else {}
        entries = {
            key: entry(user, "x") if isinstance(user, str) else user
            for key, user in users.items()
            if key != "helper"
        }
        content = entries if place == "dockercfg" else {"auths": entries, "credHelpers": helped}
        write_file(places[place], farm.named(json.dumps(content)))
    theirs, mine = pull_with_both(wherry, farm, usual, farm.named("@A@/team/app:t"))
    expected = [] if user is None else [("A", "/v2/team/app", user)]
    assert theirs == expected
    assert mine == expected


@pytest.mark.peer("skopeo")
def test_credentials_of_the_command_line_do_not_go_to_mirrors(
    wherry: Wherry, farm: Farm, usual: dict[str, str], tmp_path: Path
) -> None:
    """docs/configuration.md, "Credentials": `--creds` never applies to mirrors."""
    for registry in farm.registries:
        registry.add_image("app", IMAGE, "t")
    conf = write_file(tmp_path / "r.conf", farm.named(table("@C@", "@C@", "@A@")))
    name = farm.named("docker://@C@/app:t")
    arguments = ["--registries-conf", str(conf), "inspect", "--raw", "--creds", "user7:x", name]
    assert run_skopeo(usual, *arguments).returncode == 0
    expected = [("C", "/v2/app", "user7")]
    assert farm.asked() == expected
    options = [f"--registries-conf={conf}", "--creds=user7:x", "--retries=1"]
    assert wherry("pull", "-q", *options, name, env=usual).returncode == 0
    assert farm.asked() == expected


def test_a_real_mirror(
    wherry: Wherry,
    usual: dict[str, str],
    tmp_path: Path,
    distribution: Distribution,
    repository: str,
) -> None:
    """The registry gets no request for images of the mirror, and all others."""
    other = build_image([tar_layer({"b": b"2"})])
    conf = Path(usual["HOME"]) / ".config" / "containers" / "registries.conf"
    with Distribution(tmp_path / "mirror") as mirror:
        mirror.push(repository, IMAGE, "t")
        for image, tag in ((IMAGE, "t"), (other, "other")):
            distribution.push(repository, image, tag)
        write_file(conf, table("reg.test", distribution.host, mirror.host))
        for registry in (distribution, mirror):
            registry.clear()
        done = wherry("pull", "-q", f"reg.test/{repository}:t", env=usual)
        assert done.stdout == f"{IMAGE.id}\n", done.stderr
        assert distribution.requests() == []
        asked = {status for _, path, status in mirror.requests() if "/v2/" in path}
        assert asked == {200}
        done = wherry("pull", "-q", f"reg.test/{repository}:other", env=usual)
        assert done.stdout == f"{other.id}\n", done.stderr
        assert f"{mirror.host}" in done.stderr
    assert {status for _, _, status in distribution.requests()} == {200}
    (image,) = [each for each in json.loads(wherry("images", "--json", env=usual).stdout)
                if each["tag"] == "t"]  # fmt: skip
    assert image["name"] == f"reg.test/{repository}"


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_the_registry_is_used_after_any_error_of_a_mirror(
    wherry: Wherry, farm: Farm, usual: dict[str, str], tmp_path: Path, status: int
) -> None:
    """docs/configuration.md, "Registries": any error leads to the next endpoint."""
    for registry in farm.registries:
        registry.add_image("app", IMAGE, "t")
    conf = write_file(tmp_path / "r.conf", farm.named(table("reg.test", "@C@", "@A@")))
    write_file(
        Path(usual["XDG_RUNTIME_DIR"]) / "containers" / "auth.json", farm.named(json.dumps(ALL))
    )
    farm.registries[0].inject(Fault(FixedReply(status, {"Retry-After": "0"}), path="/manifests/"))
    done = wherry("pull", "-q", f"--registries-conf={conf}", "reg.test/app:t", env=usual)
    assert done.returncode == 0, done.stderr
    assert farm.asked()[-1] == C


# Files that skopeo and wherry refuse

REFUSED = {
    "search-path": 'unqualified-search-registries = ["docker.io/library"]',
    "short-name-mode": 'short-name-mode = "ask"',
    "blocked-twice": '[[registry]]\nlocation = "a.test"\nblocked = true\n'
    '[[registry]]\nlocation = "a.test"',
    "insecure-twice": '[[registry]]\nprefix = "x.test"\nlocation = "a.test"\ninsecure = true\n'
    '[[registry]]\nprefix = "y.test"\nlocation = "a.test"',
    "alias-without-host": '[[registry]]\nlocation = "a.test"\n[aliases]\n"a" = "x/y"',
    "wildcard-with-path": '[[registry]]\nprefix = "*.a.test/b"',
    "mirror-value": '[[registry]]\nlocation = "a.test"\n[[registry.mirror]]\nlocation = "b.test"\n'
    'pull-from-mirror = "some"',
    "mirror-conflict": '[[registry]]\nlocation = "a.test"\nmirror-by-digest-only = true\n'
    '[[registry.mirror]]\nlocation = "b.test"\npull-from-mirror = "all"',
    "no-location": '[[registry]]\nprefix = "a.test"',
}


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("conf", REFUSED.values(), ids=list(REFUSED))
def test_what_skopeo_refuses_is_refused(
    wherry: Wherry, usual: dict[str, str], tmp_path: Path, fake: FakeRegistry, conf: str
) -> None:
    """Both refuse the file before any request, and accept a valid one."""
    fake.add_image("app", IMAGE, "t")
    name = f"docker://{fake.host}/app:t"
    file = write_file(tmp_path / "registries.conf", conf)
    option = f"--registries-conf={file}"
    skopeo = subprocess.run(
        [find_binary("skopeo") or "skopeo", option, "inspect", "--raw", "--tls-verify=false", name],
        capture_output=True, text=True, env=usual, timeout=60, check=False,
    )  # fmt: skip
    assert skopeo.returncode != 0
    assert str(file) in skopeo.stderr
    done = wherry("pull", "-q", option, name, env=usual)
    assert done.returncode == 1
    assert done.stderr.startswith(f"wherry: {file}: ")
    assert len(done.stderr.splitlines()) == 1
    assert fake.requests == []
    file.write_text('[[registry]]\nlocation = "a.test"\n')
    assert wherry("pull", "-q", option, name, env=usual).returncode == 0
