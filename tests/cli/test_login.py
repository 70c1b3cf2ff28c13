"""``wherry login``, and credentials that a client uses."""

import base64
import contextlib
import json
import os
import pty
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import wherry as library
from auth_files import entry, write_file
from wherry.testing import (
    Distribution,
    FakeRegistry,
    Fault,
    FixedReply,
    TokenServer,
    build_image,
    tar_layer,
)
from wherry.testing._messages import IncomingRequest, Reply

IMAGE = build_image([tar_layer({"a": b"1"})])
PASSWORD = 'p:w "\\\u00e9'
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=[False, True], ids=["basic", "tokens"])
def guarded(request: pytest.FixtureRequest) -> Iterator[FakeRegistry]:
    with FakeRegistry(users={"me": PASSWORD}, tokens=request.param) as registry:
        registry.add_image("app", IMAGE, "t")
        yield registry


@pytest.fixture
def guarded_once() -> Iterator[FakeRegistry]:
    with FakeRegistry(users={"me": PASSWORD}) as registry:
        registry.add_image("app", IMAGE, "t")
        yield registry


def login(wherry: Run, host: str, *options: str, password: str = PASSWORD) -> Any:
    return wherry("login", "-u", "me", "--password-stdin", *options, host, given=password + "\n")


def test_accepted_credentials_are_stored_and_used(
    wherry: Run, guarded: FakeRegistry, auth_file: Path
) -> None:
    """They are checked first, and the file gets mode 0600 (docs/configuration.md, "login")."""
    assert wherry("pull", "-q", f"{guarded.host}/app:t").returncode == 4
    done = login(wherry, guarded.host)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr == f"Logged in to {guarded.host} as me; kept in {auth_file}\n"
    assert json.loads(auth_file.read_text()) == {"auths": {guarded.host: entry("me", PASSWORD)}}
    assert stat.S_IMODE(auth_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(auth_file.parent.stat().st_mode) == 0o700
    assert [path.name for path in auth_file.parent.iterdir()] == ["auth.json"]
    assert wherry("pull", "-q", f"{guarded.host}/app:t").stdout == f"{IMAGE.id}\n"


def test_refused_credentials_are_not_stored(
    wherry: Run, guarded: FakeRegistry, auth_file: Path
) -> None:
    done = login(wherry, guarded.host, password="wrong")
    assert (done.returncode, done.stdout) == (4, "")
    first, *hints = done.stderr.splitlines()
    assert "access denied (401 UNAUTHORIZED: " in first
    assert guarded.host in first
    assert any("given" in hint for hint in hints)
    assert "wrong" not in done.stderr
    assert not auth_file.exists()


def test_other_content_of_the_file_stays(
    wherry: Run, guarded_once: FakeRegistry, auth_file: Path
) -> None:
    """Login replaces the file as a whole, with mode 0600, and keeps unknown content."""
    before = {
        "unknown": [1, {"x": None}],
        "auths": {"other": {"auth": "eDp5", "email": "x@y"}, guarded_once.host: {"auth": "bw=="}},
        "credHelpers": {"third": "box"},
    }
    write_file(auth_file, before).chmod(0o644)
    assert login(wherry, guarded_once.host).returncode == 0
    auths = before["auths"] | {guarded_once.host: entry("me", PASSWORD)}  # type: ignore[operator]
    assert json.loads(auth_file.read_text()) == before | {"auths": auths}
    assert stat.S_IMODE(auth_file.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["{", "[]", '{"auths": 5}', "\xff"])
def test_an_invalid_file_is_not_changed(
    wherry: Run, guarded_once: FakeRegistry, tmp_path: Path, content: str
) -> None:
    file = write_file(tmp_path / "broken.json", content)
    done = login(wherry, guarded_once.host, f"--authfile={file}")
    assert done.returncode == 1
    assert str(file) in done.stderr.splitlines()[0]
    assert file.read_text() == content
    assert [path.name for path in tmp_path.iterdir() if "broken" in path.name] == ["broken.json"]


def test_an_unwritable_file(wherry: Run, guarded_once: FakeRegistry, tmp_path: Path) -> None:
    write_file(tmp_path / "file", "x")
    done = login(wherry, guarded_once.host, f"--authfile={tmp_path}/file/auth.json")
    assert done.returncode == 1
    first, *hints = done.stderr.splitlines()
    assert f"{tmp_path}/file/auth.json" in first
    assert any("--authfile" in hint for hint in hints)


def test_the_file_for_credentials(
    wherry: Run, guarded_once: FakeRegistry, tmp_path: Path, auth_file: Path
) -> None:
    host = guarded_once.host
    assert login(wherry, host, f"--authfile={tmp_path}/a/option.json").returncode == 0
    named = {"REGISTRY_AUTH_FILE": str(tmp_path / "variable.json")}
    done = wherry("login", "-u", "me", "--password-stdin", host, given=PASSWORD, env=named)
    assert done.returncode == 0
    for name in ("a/option.json", "variable.json"):
        assert json.loads((tmp_path / name).read_text())["auths"].keys() == {host}
    assert not auth_file.exists()


def test_a_symbolic_link_stays_one(wherry: Run, guarded_once: FakeRegistry, tmp_path: Path) -> None:
    real = write_file(tmp_path / "real.json", {})
    link = tmp_path / "link.json"
    link.symlink_to(real)
    assert login(wherry, guarded_once.host, f"--authfile={link}").returncode == 0
    assert link.is_symlink()
    assert guarded_once.host in json.loads(real.read_text())["auths"]


def test_a_path_of_a_host(wherry: Run, guarded_once: FakeRegistry, auth_file: Path) -> None:
    assert login(wherry, f"{guarded_once.host}/team/").returncode == 0
    assert set(json.loads(auth_file.read_text())["auths"]) == {f"{guarded_once.host}/team"}
    guarded_once.add_image("team/app", IMAGE, "t")
    assert wherry("pull", "-q", f"{guarded_once.host}/team/app:t").returncode == 0
    assert wherry("pull", "-q", f"{guarded_once.host}/app:t").returncode == 4
    assert wherry("logout", f"{guarded_once.host}/team").returncode == 0
    assert json.loads(auth_file.read_text()) == {"auths": {}}


@pytest.mark.parametrize("key", ["credHelpers", "credsStore"])
def test_a_configured_helper_stores_credentials(
    wherry: Run, guarded_once: FakeRegistry, helper: Path, environment: dict[str, str],
    auth_file: Path, key: str,
) -> None:  # fmt: skip
    host = guarded_once.host
    config = Path(environment["HOME"]) / ".docker" / "config.json"
    write_file(config, {key: {host: "box"} if key == "credHelpers" else "box"})
    before = config.read_bytes()
    done = login(wherry, host)
    assert done.stderr.endswith(f"kept in docker-credential-box, which {config} names\n")
    assert json.loads((helper / host).read_text())["Secret"] == PASSWORD
    assert not auth_file.exists()
    assert config.read_bytes() == before
    assert wherry("pull", "-q", f"{host}/app:t").returncode == 0
    done = wherry("logout", host)
    assert (done.returncode, list(helper.iterdir())) == (0, [])
    assert "docker-credential-box" in done.stderr


def test_an_entry_with_precedence_over_a_helper_is_updated(
    wherry: Run, guarded_once: FakeRegistry, helper: Path, environment: dict[str, str],
    auth_file: Path,
) -> None:  # fmt: skip
    """The next command must find the credentials that login has stored."""
    write_file(Path(environment["HOME"]) / ".docker" / "config.json", {"credsStore": "box"})
    write_file(auth_file, {"auths": {guarded_once.host: entry("me", "old")}})
    assert login(wherry, guarded_once.host).returncode == 0
    assert not helper.exists()
    assert wherry("pull", "-q", f"{guarded_once.host}/app:t").returncode == 0


def test_a_helper_that_fails_is_an_error(
    wherry: Run, guarded_once: FakeRegistry, tmp_path: Path, auth_file: Path
) -> None:
    content = {"credHelpers": {guarded_once.host: "missing"}}
    done = login(
        wherry, guarded_once.host, f"--authfile={write_file(tmp_path / 'a.json', content)}"
    )
    assert done.returncode == 1
    assert "docker-credential-missing: there is no such program" in done.stderr
    assert not auth_file.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["login"],
        ["login", "-u", "me"],
        ["login", "--password-stdin"],
        ["login", "-u", "a:b", "--password-stdin"],
        ["login", "-u", "me", "--password-stdin", "registry"],
        ["login", "-u", "me", "--password-stdin", "h.example/Upper"],
        ["login", "-u", "me", "--password-stdin", "h.example/a:tag"],
        ["login", "-u", "me", "--password-stdin", ""],
        ["logout", "--all", "h.example"],
        ["logout", "no host"],
    ],
)
def test_usage_errors(wherry: Run, arguments: list[str]) -> None:
    done = wherry(*arguments, given="pw")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("wherry: ")
    assert "Traceback" not in done.stderr


def test_an_invalid_variable(wherry: Run) -> None:
    for arguments in (["logout"], ["login", "-u", "me", "--password-stdin", "h.example"], ["load"]):
        done = wherry(*arguments, given="pw", env={"WHERRY_JOBS": "many"})
        assert done.returncode == 2
        assert done.stderr.startswith("wherry: WHERRY_JOBS is 'many': that is not a whole number")


def test_a_registry_that_does_not_respond(wherry: Run, auth_file: Path) -> None:
    done = login(wherry, "no-such-host.invalid")
    assert done.returncode == 6
    assert not auth_file.exists()


def test_the_password_prompt_has_no_echo(
    environment: dict[str, str], guarded_once: FakeRegistry, auth_file: Path
) -> None:
    """The terminal must not show the password."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "wherry", "login", guarded_once.host],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment,
        start_new_session=True,
    )
    os.close(follower)
    seen = b""
    for prompt, answer in [(b"Username", b"me\n"), (b"Password", PASSWORD.encode() + b"\n")]:
        while prompt not in seen:
            seen += os.read(leader, 1000)
        while not seen.endswith(b": "):
            seen += os.read(leader, 1000)
        os.write(leader, answer)
    with contextlib.suppress(OSError):  # Linux: reading on after the last writer has left
        while data := os.read(leader, 1000):
            seen += data
    os.close(leader)
    assert process.wait(10) == 0, seen
    assert b"Logged in" in seen
    assert PASSWORD.encode() not in seen
    assert json.loads(auth_file.read_text())["auths"][guarded_once.host] == entry("me", PASSWORD)


def test_concurrent_logins_lose_nothing(client: library.Client, auth_file: Path) -> None:
    """Each login rewrites the whole file."""
    with FakeRegistry() as registry:
        hosts = [f"{registry.host}/n{number}" for number in range(12)]
        threads = [threading.Thread(target=client.login, args=(host, "me", "x")) for host in hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(json.loads(auth_file.read_text())["auths"]) == set(hosts)


def test_a_refused_client_reads_credentials_again(
    client: library.Client, guarded: FakeRegistry, auth_file: Path
) -> None:
    with pytest.raises(library.Unauthorized, match="401"):
        client.pull(f"{guarded.host}/app:t")
    write_file(auth_file, {"auths": {guarded.host: entry("me", "wrong")}})
    with pytest.raises(library.Unauthorized) as caught:
        client.pull(f"{guarded.host}/app:t")
    assert str(auth_file) in caught.value.hint
    write_file(auth_file, {"auths": {guarded.host: entry("me", PASSWORD)}})
    assert str(client.pull(f"{guarded.host}/app:t").id) == IMAGE.id


def test_a_client_uses_credentials_that_it_has_stored(
    client: library.Client, guarded: FakeRegistry
) -> None:
    with pytest.raises(library.Unauthorized):
        client.pull(f"{guarded.host}/app:t")
    with pytest.raises(library.Unauthorized):
        client.login(guarded.host, "me", "wrong")
    client.login(f"https://{guarded.host}/v1/", "me", PASSWORD)
    assert str(client.pull(f"{guarded.host}/app:t").id) == IMAGE.id
    assert str(client.digest(f"{guarded.host}/app:t")) == IMAGE.digest
    assert client.logout(guarded.host).removed
    with pytest.raises(library.Unauthorized):  # the client uses no earlier token
        client.digest(f"{guarded.host}/app:t")
    with pytest.raises(library.NotFound, match="not logged in"):
        client.logout(guarded.host)


@pytest.mark.parametrize("status", [0, 1], ids=["old", "failing"])
def test_a_helper_is_asked_again_after_a_refusal(
    wherry: Run, guarded: FakeRegistry, tmp_path: Path, environment: dict[str, str],
    helper_program: Callable[..., Path], status: int,
) -> None:  # fmt: skip
    """Helpers of cloud providers return passwords that are valid for hours."""
    there = helper_program(
        "cloud",
        f"""#!/bin/sh
        n=$(dirname "$0")/asked
        echo >> "$n"
        [ "$(wc -l < "$n")" -gt 1 ] && secret='{PASSWORD.replace('"', "").replace(chr(92), "")}'
        printf '{{"Username":"me","Secret":"%s"}}' "${{secret:-old}}"
        [ {status} = 0 ] || [ "$(wc -l < "$n")" -gt 1 ]
    """,
    )
    guarded.grants.users = {"me": PASSWORD.replace('"', "").replace("\\", "")}
    environment["PATH"] = os.environ["PATH"]
    file = write_file(tmp_path / "auth.json", {"credHelpers": {guarded.host: "cloud"}})
    done = wherry("pull", "-q", f"--authfile={file}", f"{guarded.host}/app:t")
    if status == 0:
        assert done.stdout == f"{IMAGE.id}\n", done.stderr
        assert len((there / "asked").read_text()) == 2
    else:  # it was not refused, so the helper is not asked again
        assert done.returncode == 4
        assert "  docker-credential-cloud: it failed (exit code 1)" in done.stderr.splitlines()


def test_a_password_in_latin_1(
    environment: dict[str, str], wherry: Run, auth_file: Path, guarded: FakeRegistry
) -> None:
    """Its bytes are stored and sent unchanged."""
    guarded.grants.users = {"me": "p\udce4ss"}
    done = subprocess.run(
        [sys.executable, "-m", "wherry", "login", "-u", "me", "--password-stdin", guarded.host],
        input=b"p\xe4ss\n",
        env=environment | {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8:strict"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (kept,) = json.loads(auth_file.read_text())["auths"].values()
    assert base64.b64decode(kept["auth"]) == b"me:p\xe4ss"
    assert wherry("pull", "-q", f"{guarded.host}/app:t").stdout == f"{IMAGE.id}\n"


def test_a_name_in_latin_1(wherry: Run, auth_file: Path) -> None:
    """Its bytes are also sent in token requests, and `why` shows the name."""
    with FakeRegistry(users={"m\udce9": "x"}, tokens=True) as registry:
        registry.add_image("app", IMAGE, "t")
        auth = base64.b64encode(b"m\xe9:x").decode()
        write_file(auth_file, {"auths": {registry.host: {"auth": auth}}})
        assert wherry("pull", "-q", f"{registry.host}/app:t").stdout == f"{IMAGE.id}\n"
        assert any("account=m%E9" in request.path for request in registry.requests)
        for option in ([], ["--json"]):
            done = wherry("why", *option, f"{registry.host}/app:t")
            assert done.returncode == 0, done.stderr


def test_why_reports_a_skipped_entry(wherry: Run, auth_file: Path) -> None:
    write_file(auth_file, {"auths": {"h.example": {"auth": base64.b64encode(b"secret").decode()}}})
    done = wherry("why", "--offline", "h.example/app")
    assert done.returncode == 0
    (line,) = [line for line in done.stdout.splitlines() if str(auth_file) in line]
    assert line.endswith(
        f"{auth_file}: entry h.example is skipped: "
        "its auth has no colon, expected the base64 of USER:PASSWORD"
    )
    assert "secret" not in done.stdout


# Registries whose `/v2/` does not check credentials


PLAIN = "secret"
OPEN = {"Docker-Distribution-Api-Version": "registry/2.0"}


@pytest.fixture
def half_open() -> Iterator[FakeRegistry]:
    """A registry with an open `/v2/` that still checks passwords."""
    with LeavingOpen(users={"me": PLAIN}) as registry:
        registry.add_image("app", IMAGE, "t")
        yield registry


class LeavingOpen(FakeRegistry):
    """A registry that answers 200 to anonymous requests for `/v2/`."""

    def answer(self, request: IncomingRequest) -> Reply:
        if request.path == "/v2/" and "authorization" not in request.headers:
            return Reply(200, dict(self.open), b"{}")
        return super().answer(request)

    open: Mapping[str, str] = OPEN


def test_a_password_is_sent_without_a_challenge(
    wherry: Run, half_open: FakeRegistry, auth_file: Path
) -> None:
    """A registry may check a password that it did not ask for."""
    done = login(wherry, half_open.host, password="wrong")
    assert done.returncode == 4
    assert "401" in done.stderr
    assert "Logged in" not in done.stderr
    assert not auth_file.exists()
    done = login(wherry, half_open.host, password=PLAIN)
    assert done.returncode == 0
    warning, kept = done.stderr.splitlines()
    assert warning == (
        f"Warning: {half_open.host}: answers without a password too; "
        "this one was sent, but may be wrong"
    )
    assert kept == f"Stored credentials for {half_open.host} as me; kept in {auth_file}"


def test_a_registry_that_accepts_any_password(
    wherry: Run, distribution: Distribution, auth_file: Path
) -> None:
    """A real registry without access control ignores credentials."""
    done = login(wherry, distribution.host, password="any")
    assert done.returncode == 0
    assert "answers without a password too" in done.stderr
    assert "Logged in" not in done.stderr
    assert distribution.host in json.loads(auth_file.read_text())["auths"]


@pytest.mark.parametrize("status", [403, 404])
def test_a_registry_that_hides_its_root(wherry: Run, auth_file: Path, status: int) -> None:
    class Hiding(FakeRegistry):
        def answer(self, request: IncomingRequest) -> Reply:
            if "authorization" not in request.headers:
                return Reply(status)
            return super().answer(request)

    with Hiding(users={"me": PLAIN}) as registry:
        assert login(wherry, registry.host, password="wrong").returncode == 4
        assert not auth_file.exists()
        done = login(wherry, registry.host, password=PLAIN)
        assert done.stderr == f"Logged in to {registry.host} as me; kept in {auth_file}\n"


@pytest.mark.parametrize("tokens", [False, True], ids=["basic", "tokens"])
def test_a_challenge_with_status_200_is_answered(
    wherry: Run, auth_file: Path, *, tokens: bool
) -> None:
    with LeavingOpen(users={"me": PLAIN}, tokens=tokens) as registry:
        way = f'Bearer realm="{registry.url}/token",service="s"' if tokens else 'Basic realm="r"'
        registry.open = {"WWW-Authenticate": way}
        assert login(wherry, registry.host, password="wrong").returncode == 4
        assert not auth_file.exists()
        done = login(wherry, registry.host, password=PLAIN)
        assert done.returncode == 0
        assert ("Logged in" in done.stderr) is tokens
    sent = [r.headers.get("authorization", "") for r in registry.requests if "/v2/" in r.path]
    assert any(header.startswith("Bearer" if tokens else "Basic") for header in sent)


def test_a_token_server_that_ignores_passwords(wherry: Run, tmp_path: Path) -> None:
    """A token server ignores a wrong password, in front of a real registry."""

    class Careless(TokenServer):
        def answer(self, request: IncomingRequest) -> Reply:
            request.headers.pop("authorization", None)
            return super().answer(request)

    with Careless(users={"me": PLAIN}) as tokens, Distribution(tmp_path, tokens=tokens) as there:
        done = login(wherry, there.host, password="wrong")
    assert done.returncode == 0
    assert "its token server took no notice of the password, which may be wrong" in done.stderr
    assert "Logged in" not in done.stderr


@pytest.mark.parametrize("fault", [FixedReply(404), FixedReply(500), FixedReply(403)])
def test_nothing_is_stored_after_a_token_server_error(
    wherry: Run, auth_file: Path, fault: FixedReply
) -> None:
    with FakeRegistry(users={"me": PLAIN}, tokens=True) as registry:
        registry.inject(Fault(fault, path="^/token"))
        done = login(wherry, registry.host, password=PLAIN)
    assert done.returncode == (4 if fault.status == 403 else 1)
    assert "token server" in done.stderr
    assert not auth_file.exists()


def test_a_password_does_not_follow_a_redirect_to_another_host(wherry: Run) -> None:
    with FakeRegistry() as other, FakeRegistry(users={"me": PLAIN}) as registry:
        registry.inject(Fault(FixedReply(307, {"Location": f"{other.url}/v2/"})))
        done = login(wherry, registry.host, password="any")
    assert done.returncode == 0
    assert f"redirects to {other.url}/v2/; the password was not sent there" in done.stderr
    assert "Logged in" not in done.stderr
    assert all("authorization" not in request.headers for request in other.requests)


def test_a_web_page_is_not_a_registry(wherry: Run, auth_file: Path) -> None:
    with FakeRegistry() as registry:
        page = FixedReply(200, {"Content-Type": "text/html"}, b"<html><title>Shop</title></html>")
        registry.inject(Fault(page))
        done = login(wherry, registry.host, password=PLAIN)
    assert done.returncode == 6
    assert "web page" in done.stderr
    assert not auth_file.exists()
