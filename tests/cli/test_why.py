"""``wherry why``, and short names on the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from auth_files import entry, write_file
from wherry.model import mediatype
from wherry.testing import (
    FakeRegistry,
    Fault,
    FixedReply,
    HttpProxy,
    SetHeader,
    SilentPort,
    Tunnel,
    build_image,
    make_certificate,
    make_client_certificate,
    refused_port,
    tar_layer,
)

IMAGE = build_image([tar_layer({"a": b"1"})])
OTHER = build_image([tar_layer({"a": b"2"})])
SECRET = "topsecret-password"
Run = Callable[..., Any]


def why(wherry: Run, *arguments: str, **options: Any) -> list[dict[str, Any]]:
    done = wherry("why", "--json", *arguments, **options)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture
def settings(environment: dict[str, str]) -> Path:
    return Path(environment["XDG_CONFIG_HOME"]) / "containers"


def test_all_settings_are_shown_without_secrets(
    wherry: Run, environment: dict[str, str], settings: Path, tmp_path: Path,
    helper_program: Callable[..., Path],
) -> None:  # fmt: skip
    """docs/command.md, "why"."""
    authority, certificate, key = make_certificate(tmp_path / "tls")
    _, mine, my_key = make_client_certificate(tmp_path / "tls")
    assert certificate != key
    conf = write_file(
        settings / "registries.conf",
        """
        [[registry]]
        prefix = "h.example/team"
        location = "real.example/inner"
        [[registry.mirror]]
        location = "mirror.example:5000"
        insecure = true
    """,
    )
    host = settings / "certs.d" / "real.example"
    for name, file in (("ca.crt", authority), ("me.cert", mine), ("me.key", my_key)):
        write_file(host / name, file.read_text())
    run = Path(environment["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    write_file(run, {"auths": {"real.example/inner": entry("inner-user", SECRET)}})
    docker = Path(environment["HOME"]) / ".docker" / "config.json"
    write_file(
        docker,
        {"credsStore": "bad", "auths": {"mirror.example:5000": entry("mirror-user", SECRET)}},
    )
    helper_program("bad", f"#!/bin/sh\necho '\"{SECRET}\"'\nexit 1")
    env = {
        "HTTPS_PROXY": f"http://me:{SECRET}@proxy.example:3128",
        "SSL_CERT_FILE": str(authority),
        "PATH": str(tmp_path / "programs") + ":/usr/bin:/bin",
    }
    arguments = ("--offline", "h.example/team/app:1")
    (found,) = why(wherry, *arguments, env=env)
    assert found["reference"] == "h.example/team/app:1"
    first, second, *_ = found["registries_conf"]
    assert first == {"place": str(conf), "outcome": "read: the main file"}
    system = "/etc/containers/registries.conf"
    assert second == {"place": system, "outcome": f"not read: {conf} is the main file"}
    assert (found["prefix"], found["prefix_file"]) == ("h.example/team", str(conf))
    assert found["trust"] == f"SSL_CERT_FILE={authority}"
    mirror, real = found["endpoints"]
    assert mirror["addresses"] == [
        f"{scheme}://mirror.example:5000/v2/app" for scheme in ("https", "http")
    ]
    assert (mirror["mirror"], mirror["verify"]) == (True, False)
    assert mirror["credentials"] == "mirror-user"
    assert mirror["scope"] == "repository:app:pull"
    outcomes = [look["place"] for look in mirror["looked"]]
    assert outcomes == [
        str(run), str(settings / "auth.json"), f"docker-credential-bad ({docker})", str(docker)
    ]  # fmt: skip
    assert real["addresses"] == ["https://real.example/v2/inner/app"]
    assert (real["mirror"], real["verify"]) == (False, True)
    assert real["authorities"] == [str(host / "ca.crt")]
    assert real["client_certificates"] == [str(host / "me.cert")]
    assert real["certs_d"][0] == {"place": str(host), "outcome": "used"}
    assert real["proxy"] == "http://proxy.example:3128"
    assert real["credentials"] == "inner-user"
    assert real["looked"] == [{"place": str(run), "outcome": "entry real.example/inner"}]
    assert real["scope"] == "repository:inner/app:pull"
    assert real["answer"] is None
    text = wherry("why", *arguments, env=env)
    assert text.returncode == 0
    for word in (
        *("1. https://mirror.example:5000/v2/app  (a mirror)", "2. https://real.example/v2"),
        *("mirror-user", "inner-user", "proxy.example:3128", str(conf), "me.cert", "ca.crt"),
    ):
        assert word in text.stdout
    for shown in (json.dumps(found), text.stdout, text.stderr):
        assert SECRET not in shown
        assert entry("inner-user", SECRET)["auth"] not in shown


def test_settings_of_a_host_are_shown_with_their_file(
    wherry: Run, environment: dict[str, str]
) -> None:
    file = write_file(
        Path(environment["XDG_CONFIG_HOME"]) / "wherry" / "hosts.toml",
        '["h.example"]\nprivate-realm = true\nschema1 = "deny"\nlegacy = true\n',
    )
    (found,) = why(wherry, "--offline", "h.example/app")
    (place,) = found["endpoints"]
    user, system = place["hosts_toml"]
    assert user["place"] == str(file)
    assert user["outcome"] == 'private-realm = true, schema1 = "deny", legacy = true'
    assert system["place"] == "/etc/wherry/hosts.toml"
    assert place["settings"] == {"private_realm": True, "schema1": "deny", "legacy": True}
    assert place["legacy"] == str(file)
    text = wherry("why", "--offline", "h.example/app").stdout
    assert f'{file}: private-realm = true, schema1 = "deny"' in text
    assert f"legacy v1        allowed by {file}\n" in text
    (found,) = why(wherry, "--offline", "other.example/app")
    assert found["endpoints"][0]["hosts_toml"][0] == {
        "place": str(file),
        "outcome": "no settings for other.example",
    }
    assert found["endpoints"][0]["settings"] == {
        "private_realm": False,
        "schema1": None,
        "legacy": False,
    }
    assert found["endpoints"][0]["legacy"] is None
    assert "legacy v1        not allowed\n" in wherry("why", "--offline", "o.example/app").stdout


def test_the_response_of_the_registry(wherry: Run, fake: FakeRegistry) -> None:
    """Both `-v` and `why` show the `RateLimit-*` headers."""
    fake.add_image("app", IMAGE, "t")
    fake.inject(Fault(SetHeader("RateLimit-Limit", "100;w=21600")))
    fake.inject(Fault(SetHeader("RateLimit-Remaining", "76;w=21600")))
    (found,) = why(wherry, f"{fake.host}/app:t")
    (place,) = found["endpoints"]
    assert place["answer"]["status"] == 200
    assert place["answer"]["rate_limit"] == {
        "RateLimit-Limit": "100;w=21600",
        "RateLimit-Remaining": "76;w=21600",
    }
    assert [request.method for request in fake.requests] == ["HEAD"]
    assert mediatype.OCI_MANIFEST in fake.requests[0].headers["accept"]
    text = wherry("why", f"{fake.host}/app:t").stdout
    assert "RateLimit-Remaining: 76;w=21600" in text
    assert "200 to HEAD" in text
    fake.clear()
    (found,) = why(wherry, "--offline", f"{fake.host}/app:t")
    assert found["endpoints"][0]["answer"] is None
    assert fake.requests == []


@pytest.mark.parametrize("tokens", [False, True])
def test_the_user_whose_access_is_denied(wherry: Run, *, tokens: bool) -> None:
    with FakeRegistry(users={"me": SECRET}, tokens=tokens) as registry:
        registry.add_image("app", IMAGE, "t")
        (found,) = why(wherry, f"{registry.host}/app:t", "--creds", f"me:{SECRET}")
        answer = found["endpoints"][0]["answer"]
        assert (answer["status"], found["endpoints"][0]["credentials"]) == (200, "me")
        (found,) = why(wherry, f"{registry.host}/app:t", "--creds", "me:wrong-one")
        answer = found["endpoints"][0]["answer"]
        assert answer["status"] == 401
        assert "access denied" in answer["error"]
        scheme = f"Bearer from {registry.url}/token" if tokens else "Basic"
        assert answer["asks_for"] == scheme
        assert "wrong-one" not in json.dumps(found)


def test_a_host_that_does_not_respond(wherry: Run) -> None:
    """`--offline` sends no request."""
    (found,) = why(wherry, f"127.0.0.1:{refused_port()}/app")
    assert "refused" in found["endpoints"][0]["answer"]["error"]
    with SilentPort() as port:
        (found,) = why(wherry, "--timeout=0.3", f"{port.host}/app")
        assert "no answer" in found["endpoints"][0]["answer"]["error"]


def test_a_blocked_name(wherry: Run, settings: Path) -> None:
    conf = settings / "registries.conf"
    write_file(conf, '[[registry]]\nlocation = "bad.example"\nblocked = true\n')
    (found,) = why(wherry, "bad.example/app")
    assert found["error"] == f"bad.example/app:latest: bad.example is blocked in {conf}"
    assert found["endpoints"] == []
    assert "is blocked in" in wherry("why", "bad.example/app").stdout
    done = wherry("pull", "bad.example/app")
    assert done.returncode == 4
    assert "is blocked in" in done.stderr


def test_an_invalid_file_is_named(wherry: Run, settings: Path) -> None:
    write_file(settings / "registries.conf", "registry = [")
    done = wherry("why", "--offline", "h.example/app")
    assert (done.returncode, done.stdout) == (1, "")
    assert "registries.conf: not valid TOML" in done.stderr


def test_control_characters_from_a_registry_are_replaced(wherry: Run, fake: FakeRegistry) -> None:
    said = {"errors": [{"code": "DENIED\x1b[31m", "message": "no\x1b]0;x\x07\nsecond line"}]}
    fake.inject(Fault(FixedReply(429, {"RateLimit-Limit": "1"}, json.dumps(said).encode())))
    done = wherry("why", f"{fake.host}/app")
    assert done.returncode == 0
    assert all(c.isprintable() or c == "\n" for c in done.stdout)


# Short names


def test_short_names(wherry: Run, settings: Path) -> None:
    """An alias, else the search list, else Docker Hub (docs/configuration.md, "Registries")."""
    (found,) = why(wherry, "--offline", "no-alias/app:1")
    assert found["reference"] == "docker.io/no-alias/app:1"
    conf = write_file(
        settings / "registries.conf",
        """
        unqualified-search-registries = ["one.example:5000", "docker.io"]
        [aliases]
        "known/app" = "there.example/o/app"
    """,
    )
    (found,) = why(wherry, "--offline", "known/app:2")
    assert (found["reference"], found["source"]) == (
        "there.example/o/app:2",
        f"a short name in {conf}",
    )
    names = [each["reference"] for each in why(wherry, "--offline", "other")]
    assert names == ["one.example:5000/other:latest", "docker.io/library/other:latest"]
    for full in ("docker://known/app:2", "docker.io/known/app:2"):
        (found,) = why(wherry, "--offline", full)
        assert found["reference"] == "docker.io/known/app:2"


def search(settings: Path, *hosts: str) -> None:
    listed = ", ".join(f'"{host}"' for host in hosts)
    write_file(settings / "registries.conf", f"unqualified-search-registries = [{listed}]\n")


def test_registries_are_searched_in_order(wherry: Run, settings: Path, fake: FakeRegistry) -> None:
    with FakeRegistry() as second:
        search(settings, fake.host, second.host)
        second.add_image("app", IMAGE, "t")
        done = wherry("pull", "-q", "app:t")
        assert (done.returncode, done.stdout) == (0, f"{IMAGE.id}\n"), done.stderr
        assert fake.host in done.stderr
        assert json.loads(wherry("images", "--json").stdout)[0]["name"] == f"{second.host}/app"
        fake.add_image("app", OTHER, "t")
        assert wherry("pull", "-q", "app:t").stdout == f"{OTHER.id}\n"


@pytest.mark.parametrize(
    "command",
    ["inspect", "inspect --raw", "tags", "digest", "manifest", "config", "history", "referrers",
     "validate", f"blob - {IMAGE.config.digest}"],
)  # fmt: skip
def test_every_command_accepts_short_names(
    wherry: Run, settings: Path, fake: FakeRegistry, command: str
) -> None:
    fake.add_image("team/app", IMAGE, "latest")
    name, *arguments = command.split()
    where = "known" if name == "tags" else "known:latest"
    with FakeRegistry() as empty:
        for conf in (
            f'[aliases]\n"known" = "{fake.host}/team/app"\n',
            f'unqualified-search-registries = ["{empty.host}", "{fake.host}"]\n',
        ):
            write_file(settings / "registries.conf", conf)
            address = where if "alias" in conf else where.replace("known", "team/app")
            given = [address if part == "-" else part for part in arguments]
            done = wherry(name, *given, *([address] if "-" not in arguments else []))
            assert done.returncode == 0, done.stderr
    assert fake.requests


def test_a_registry_that_fails_ends_the_search(
    wherry: Run, settings: Path, fake: FakeRegistry
) -> None:
    """Otherwise blocking the first registry would select an image of the next one."""
    fake.add_image("app", IMAGE, "t")
    search(settings, f"127.0.0.1:{refused_port()}", fake.host)
    done = wherry("pull", "-q", "--retries=1", "app:t")
    assert (done.returncode, done.stdout) == (6, "")
    assert fake.requests == []


def test_short_names_in_python_mean_docker_hub(
    wherry: Run, settings: Path, fake: FakeRegistry
) -> None:
    search(settings, fake.host)
    fake.add_image("app", IMAGE, "t")
    with HttpProxy({}) as proxy:  # the message names the registry
        env = {"HTTPS_PROXY": proxy.url}
        done = wherry("pull", "-q", "--retries=1", "docker://app:t", env=env)
    assert done.returncode == 6
    assert proxy.requests == [Tunnel("CONNECT", "registry-1.docker.io:443")]
    assert fake.requests == []


def test_another_registries_conf(wherry: Run, tmp_path: Path, settings: Path) -> None:
    """By `CONTAINERS_REGISTRIES_CONF` and `--registries-conf`."""
    write_file(settings / "registries.conf", "registry = [")
    files = [write_file(tmp_path / f"{name}.conf", f'[[registry]]\nlocation="{name}.example"\n')
             for name in ("variable", "option")]  # fmt: skip
    env = {"CONTAINERS_REGISTRIES_CONF": str(files[0])}
    (found,) = why(wherry, "--offline", "variable.example/x", env=env)
    assert found["prefix_file"] == str(files[0])
    (found,) = why(
        wherry, "--offline", f"--registries-conf={files[1]}", "option.example/x", env=env
    )
    assert found["prefix_file"] == str(files[1])
    done = wherry("why", "--offline", "x", env={"CONTAINERS_REGISTRIES_CONF": "/no/such/file"})
    assert done.returncode == 1
    assert "/no/such/file: no such file" in done.stderr
