"""Secrets stay out of the frames of errors and away from other peers."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, quote_plus

import pytest

import wherry as library
from wherry.errors import WherryError
from wherry.testing import (
    Corrupt,
    Cut,
    CutHead,
    FakeRegistry,
    Fault,
    FixedReply,
    HangUp,
    HttpProxy,
    SocksProxy,
    Stall,
    build_image,
    tar_layer,
)
from wherry.testing._messages import IncomingRequest, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wherry.testing.fault_actions import Action

pytestmark = pytest.mark.usefixtures("environment")

USER = "robot"
PASSWORD = "geheim/+&=ß%41 x"
REFRESH = "refresh-geheim/+&=x"
TOKEN = "token-geheim-0123456789"
ASCII = "geheim-ascii/+&="  # SOCKS5 accepts no other characters
SECRETS = (PASSWORD, REFRESH, TOKEN, ASCII)
IMAGE = build_image([tar_layer({"a": bytes(range(256)) * 64})])


def forms() -> set[str]:
    """Return each secret in all its encoded forms."""
    found = set()
    for secret in SECRETS:
        raw = secret.encode()
        pairs = [
            base64.b64encode(each).decode().rstrip("=")
            for each in (raw, USER.encode() + b":" + raw)
        ]
        found |= {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), *pairs}
        found |= {repr(raw)[2:-1], json.dumps(secret)[1:-1]}
    return found


def locals_of(error: BaseException) -> Iterator[tuple[str, str, str]]:
    """Yield function, name and `repr` of each local in an error's traceback and its causes."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        waiting += [found.__cause__, found.__context__]
        yield "", type(found).__name__, f"{found} {found.args!r} {found!r}"
        trace = found.__traceback__
        while trace is not None:
            code = trace.tb_frame.f_code
            if code.co_filename != __file__:
                for name, value in trace.tb_frame.f_locals.items():
                    yield code.co_qualname, name, repr(value)
            trace = trace.tb_next


def raised(call: Callable[..., object], *arguments: Any, **named: Any) -> WherryError:
    """Return the error that a call raises."""
    with pytest.raises(WherryError) as error:
        call(*arguments, **named)
    return error.value


def check_hidden(error: BaseException) -> None:
    """Fail if a local shows a secret, or if the traceback has no locals."""
    every = list(locals_of(error))
    assert len(every) > 5
    wanted = forms()
    shown = [
        f"{function}: {name} = {text[:200]}"
        for function, name, text in every
        if any(form in text for form in wanted)
    ]
    assert not shown, "\n".join(shown)


def test_the_search_finds_what_is_shown() -> None:
    with pytest.raises(json.JSONDecodeError) as error:
        json.loads(f'["{PASSWORD}')
    with pytest.raises(AssertionError, match="geheim"):
        check_hidden(error.value)


class EchoRegistry(FakeRegistry):
    """A registry that issues one token and repeats requests in its errors."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.status = self.token_status = 200
        self.token_answer = json.dumps({"token": TOKEN}).encode()
        realm = f"http://{self.host}/token"
        self._challenge = 'Basic realm="x"' if kind == "password" else f'Bearer realm="{realm}"'

    def answer(self, request: IncomingRequest) -> Reply:
        sent = request.headers.get("authorization", "")
        if request.path == "/token":
            body = self.token_answer if self.token_status == 200 else echo(request)
            return Reply(self.token_status, {"Content-Type": "application/json"}, body)
        if not sent:
            return Reply(401, {"WWW-Authenticate": self._challenge}, b"")
        if self.status != 200:
            return Reply(self.status, {"WWW-Authenticate": self._challenge}, echo(request))
        if "/manifests/" in request.path:
            headers = {
                "Content-Type": IMAGE.manifest.media_type,
                "Docker-Content-Digest": IMAGE.digest,
            }
            return Reply(200, headers, IMAGE.manifest.data)
        found = [blob.data for blob in IMAGE.blobs() if request.path.endswith(blob.digest)]
        return Reply(200, {}, found[0] if found else b"{}")


def echo(request: IncomingRequest) -> bytes:
    sent = request.headers.get("authorization", "")
    said = [sent, request.body.decode(errors="replace")]
    if sent.startswith("Basic "):
        pair = base64.b64decode(sent[6:]).decode()
        said += [pair, quote(pair.partition(":")[2]), quote_plus(pair.partition(":")[2])]
    said += parse_qs(said[1]).get("refresh_token", [])
    message = " ".join(filter(None, said)) + " is not good for this"
    return json.dumps({"errors": [{"code": "DENIED", "message": message}]}).encode()


FAILURES: dict[str, Callable[[EchoRegistry], object]] = {
    "400": lambda it: setattr(it, "status", 400),
    "401": lambda it: setattr(it, "status", 401),
    "403": lambda it: setattr(it, "status", 403),
    "404": lambda it: setattr(it, "status", 404),
    "429": lambda it: setattr(it, "status", 429),
    "500": lambda it: setattr(it, "status", 500),
    "no answer": lambda it: it.inject(Fault(HangUp(), skip=2)),
    "half a head": lambda it: it.inject(Fault(CutHead(20), skip=2)),
    "half a body": lambda it: it.inject(Fault(Cut(20), skip=2)),
    "a stall": lambda it: it.inject(Fault(Stall(10, 5), skip=2)),
    "other content": lambda it: it.inject(Fault(Corrupt(5), skip=2)),
    "redirects": lambda it: it.inject(Fault(FixedReply(307, {"Location": "/v2/x"}), skip=1)),
    "a token server's 400": lambda it: setattr(it, "token_status", 400),
    "a token server's 401": lambda it: setattr(it, "token_status", 401),
    "a token server's 500": lambda it: setattr(it, "token_status", 500),
    "a token with a blank": lambda it: setattr(
        it, "token_answer", json.dumps({"token": f"{TOKEN} x"}).encode()
    ),
    "half a token": lambda it: setattr(it, "token_answer", f'{{"token": "{TOKEN}'.encode()),
    "a web page with a token": lambda it: setattr(it, "token_answer", f"<html>{TOKEN}".encode()),
}


KINDS = ("password", "token", "refresh token")
# With only a password, no token server is used.
CASES = [
    (kind, failure)
    for kind in KINDS
    for failure in FAILURES
    if kind != "password" or "token" not in failure
]


@pytest.fixture
def known(store: library.Store, tmp_path: Path) -> Any:
    """Return a function that makes clients with the secrets for a host, without pauses."""
    authfile = tmp_path / "auth.json"

    def make(host: str, kind: str) -> library.Client:
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        entry = {"auth": pair} | ({"identitytoken": REFRESH} if kind == "refresh token" else {})
        authfile.write_text(json.dumps({"auths": {host: entry}}))
        return library.Client(store=store, authfile=authfile, timeout=0.3, retries=1)

    return make


@pytest.mark.parametrize(("kind", "failure"), CASES)
def test_no_frame_of_a_failing_pull(kind: str, known: Any, failure: str) -> None:
    with EchoRegistry(kind) as fake:
        FAILURES[failure](fake)
        with known(fake.host, kind) as client, pytest.raises(WherryError) as error:
            client.pull(f"{fake.host}/app:t")
    check_hidden(error.value)


# Files, helpers, calls


@pytest.mark.parametrize(
    "content",
    [
        f'{{"auths": {{"HOST": {{"auth": "{PASSWORD}"}}}}',
        json.dumps({"auths": {"HOST": {"auth": f"{PASSWORD}!"}}}),
        json.dumps({"auths": {"HOST": {"auth": "!", "password": PASSWORD, "username": USER}}}),
        json.dumps({"auths": {"HOST": {"identitytoken": REFRESH, "auth": "!"}}}),
    ],
)
def test_no_frame_of_a_file_that_cannot_be_read(
    store: library.Store, tmp_path: Path, content: str
) -> None:
    with EchoRegistry("password") as fake:
        authfile = tmp_path / "auth.json"
        authfile.write_text(content.replace("HOST", fake.host))
        with (
            library.Client(store=store, authfile=authfile) as client,
            pytest.raises(WherryError) as error,
        ):
            client.pull(f"{fake.host}/app:t")
    check_hidden(error.value)


def test_no_frame_of_a_login(store: library.Store, tmp_path: Path) -> None:
    with EchoRegistry("password") as fake:
        fake.status = 403
        with library.Client(store=store, authfile=tmp_path / "a.json") as client:
            for call in (
                lambda: client.login(fake.host, USER, PASSWORD),
                lambda: client.login(fake.host, username=USER, password=PASSWORD),
                lambda: client.login("no host", USER, PASSWORD),
            ):
                check_hidden(raised(call))


def test_no_frame_of_a_login_that_cannot_be_kept(store: library.Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        EchoRegistry("password") as fake,
        library.Client(store=store, authfile=tmp_path / "file" / "a.json") as client,
        pytest.raises(WherryError) as error,
    ):
        client.login(fake.host, USER, PASSWORD)
    check_hidden(error.value)


def test_no_frame_of_a_client_with_credentials(store: library.Store) -> None:
    with EchoRegistry("password") as fake:
        fake.status = 500
        with library.Client(store=store, credentials=(USER, PASSWORD), retries=1) as client:
            check_hidden(raised(client.pull, f"{fake.host}/app:t"))
    with pytest.raises(ValueError, match="jobs") as error:
        library.Client(store=store, credentials=(USER, PASSWORD), jobs=0)
    check_hidden(error.value)


@pytest.mark.parametrize(
    "script",
    [
        f'echo \'{{"Username": "u", "Secret": "{REFRESH}\'',
        f'echo \'{{"Username": 1, "Secret": "{REFRESH}"}}\'',
        f"echo '{{ {REFRESH}'; exit 1",
        f"yes {REFRESH}",
    ],
)
def test_no_frame_of_a_failing_helper(
    store: library.Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
) -> None:
    helper = tmp_path / "bin" / "docker-credential-bad"
    helper.parent.mkdir()
    helper.write_text(f"#!/bin/sh\ncat >/dev/null\n{script}\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:/usr/bin:/bin")
    authfile = tmp_path / "auth.json"
    with EchoRegistry("password") as fake:
        authfile.write_text(json.dumps({"credHelpers": {fake.host: "bad"}}))
        with library.Client(store=store, authfile=authfile) as client:
            check_hidden(raised(client.pull, f"{fake.host}/app:t"))
            if "exit 1" in script or "yes" in script:
                check_hidden(raised(client.login, fake.host, USER, PASSWORD))


# Proxies


@pytest.mark.parametrize("scheme", ["http", "socks5h", "gopher"])
@pytest.mark.parametrize("wrong", ["password", "host"])
def test_no_frame_of_a_proxy_that_refuses(
    store: library.Store, monkeypatch: pytest.MonkeyPatch, scheme: str, wrong: str
) -> None:
    known = (USER, "other" if wrong == "password" else PASSWORD)
    kind = HttpProxy if scheme == "http" else SocksProxy
    with kind({}, credentials=known) as proxy:
        host = proxy.host if isinstance(proxy, SocksProxy) else proxy.url.rpartition("/")[2]
        host = host.rpartition("@")[2]
        address = f"{scheme}://{USER}:{quote(ASCII, safe='')}@{host}"
        monkeypatch.setenv("HTTPS_PROXY", address)
        with library.Client(store=store, retries=1) as client:
            error = raised(client.pull, "registry.test/app:t")
    check_hidden(error)


# Signed addresses


@pytest.mark.parametrize("action", [FixedReply(403), FixedReply(500), HangUp(), Cut(5), Corrupt(1)])
def test_no_frame_of_a_signed_redirect(store: library.Store, action: Action) -> None:
    """A signed URL of object storage gives access until its signature expires."""
    with FakeRegistry() as storage, FakeRegistry() as registry:
        registry.add_image("app", IMAGE, "t")
        storage.add_image("app", IMAGE, "t")
        storage.inject(Fault(action))
        location = f"http://{USER}:{ASCII}@{storage.host}/storage/x?X-Signature={TOKEN}"
        registry.inject(Fault(FixedReply(307, {"Location": location}), path="/blobs/"))
        with library.Client(store=store, retries=1) as client:
            check_hidden(raised(client.pull, f"{registry.host}/app:t"))


# Mirrors


@pytest.mark.parametrize("kind", ["password", "token"])
@pytest.mark.parametrize("given", ["by the caller", "in a file"])
def test_a_mirror_that_asks_gets_nothing_of_the_registry(
    store: library.Store, tmp_path: Path, kind: str, given: str
) -> None:
    """A mirror gets no credentials of the registry, whatever its challenge says."""
    conf, authfile = tmp_path / "registries.conf", tmp_path / "auth.json"
    with EchoRegistry(kind) as mirror, EchoRegistry("password") as registry:
        conf.write_text(
            f'[[registry]]\nlocation = "{registry.host}"\n'
            f'[[registry.mirror]]\nlocation = "{mirror.host}"\n'
        )
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        entries = {registry.host: {"auth": pair}} if given == "in a file" else {}
        authfile.write_text(json.dumps({"auths": entries}))
        with library.Client(
            store=store,
            credentials=None if entries else (USER, PASSWORD),
            authfile=authfile,
            registries_conf=conf,
            retries=1,
        ) as client:
            assert client.pull(f"{registry.host}/app:t").id == IMAGE.id
    assert mirror.requests
    sent = [str(request) for request in mirror.requests]
    assert not any(form in text for text in sent for form in forms() - {TOKEN})
    # A mirror with anonymous tokens serves the pull; otherwise the registry does.
    assert any("authorization" in each.headers for each in registry.requests) is (
        kind == "password"
    )
