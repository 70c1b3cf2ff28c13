"""Credentials stay with their host, out of logs and inside headers, whatever a registry sends."""

from __future__ import annotations

import base64
import contextlib
import logging
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wherry import Client, NetworkError, RegistryError, Store, Unauthorized, WherryError
from wherry.testing import (
    FakeRegistry,
    Fault,
    FixedReply,
    HttpProxy,
    SetHeader,
    build_image,
    make_certificate,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("environment")

IMAGE = build_image([tar_layer({"a": b"x" * 1000})])
PIECES = [
    ("manifests", IMAGE.digest),
    ("blobs", IMAGE.config.digest),
    ("blobs", IMAGE.layers[0].digest),
]
PASSWORD = "topsecret-password"
BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
NAME = "registry.test:4443"


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    """Another host, which accepts everything that is sent to it."""
    with FakeRegistry() as registry:
        registry.add_image("app", IMAGE, "t")
        yield registry


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Path, Path, Path]:
    return make_certificate(tmp_path / "tls", ["127.0.0.1", "registry.test"])


def client(store: Store) -> Client:
    return Client(store=store, credentials=("me", PASSWORD), retries=1)


def no_secret(registry: FakeRegistry) -> None:
    for request in registry.requests:
        assert "authorization" not in request.headers
        assert PASSWORD not in str(request)
        assert BASIC not in str(request)


@pytest.mark.parametrize("path", ["/manifests/", "/blobs/"])
@pytest.mark.parametrize("tokens", [False, True], ids=["basic", "tokens"])
def test_a_redirect_to_another_host_drops_the_credentials(
    store: Store, other: FakeRegistry, path: str, *, tokens: bool
) -> None:
    """RFC 9110, 15.4: the new request must not have the old one's credentials."""
    with FakeRegistry(users={"me": PASSWORD}, tokens=tokens) as registry:
        registry.add_image("app", IMAGE, "t")

        for digest in (IMAGE.digest, IMAGE.config.digest, IMAGE.layers[0].digest):
            target = f"/v2/app{path}{digest}"
            answer = FixedReply(307, {"Location": f"{other.url}{target}"})
            # The first request gets a 401; later ones have credentials at once.
            skip = 1 if digest == IMAGE.digest else 0
            registry.inject(Fault(answer, path=target, skip=skip, times=1))
        with client(store) as asking, contextlib.suppress(WherryError):
            asking.pull(f"{registry.host}/app@{IMAGE.digest}")
        (sent, *_) = [request for request in registry.requests if request.status == 307]
        assert "authorization" in sent.headers
    assert other.requests
    no_secret(other)


def test_a_redirect_within_a_host_keeps_the_credentials(store: Store) -> None:
    with FakeRegistry(users={"me": PASSWORD}) as registry:
        registry.add_image("app", IMAGE, "t")
        registry.add_image("moved", IMAGE, "t")
        location = f"/v2/moved/manifests/{IMAGE.digest}"
        old = f"/v2/app/manifests/{IMAGE.digest}"
        registry.inject(Fault(FixedReply(307, {"Location": location}), path=old, skip=1))
        with client(store) as asking:
            assert str(asking.pull(f"{registry.host}/app@{IMAGE.digest}").id) == IMAGE.id
        assert any(request.path == location for request in registry.requests)


@pytest.mark.parametrize("tokens", [False, True], ids=["basic", "tokens"])
def test_a_challenge_behind_a_redirect_within_the_host_is_answered(
    store: Store, *, tokens: bool
) -> None:
    with FakeRegistry(users={"me": PASSWORD}, tokens=tokens) as registry:
        registry.add_image("moved", IMAGE, "t")
        for old, new in ((f"/{kind}/{d}", f"/v2/moved/{kind}/{d}") for kind, d in PIECES):
            registry.inject(Fault(FixedReply(307, {"Location": new}), path=f"/v2/app{old}"))
        with client(store) as asking:
            assert str(asking.pull(f"{registry.host}/app@{IMAGE.digest}").id) == IMAGE.id


def test_a_challenge_of_another_host_is_not_answered(store: Store, other: FakeRegistry) -> None:
    with FakeRegistry(users={"me": PASSWORD}) as asking_one, FakeRegistry() as registry:
        registry.add_image("app", IMAGE, "t")
        asking_one.inject(Fault(challenge(f"{other.url}/token")))
        location = f"{asking_one.url}/v2/app/manifests/{IMAGE.digest}"
        registry.inject(Fault(FixedReply(307, {"Location": location}), path="/manifests/"))
        with client(store) as asking, pytest.raises(Unauthorized):
            asking.pull(f"{registry.host}/app@{IMAGE.digest}")
        assert asking_one.requests
        no_secret(asking_one)
        no_secret(registry)
    assert other.requests == []


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("a b", "not a valid host name"),
        ("%00", "no such host"),
        ("\xe9\x80", "not a valid host name"),
        ("a" * 64 + ".\xfc", "not a valid host name"),
    ],
)
def test_an_invalid_host_in_a_redirect_is_a_network_error(
    store: Store, host: str, problem: str
) -> None:
    with FakeRegistry() as registry:
        registry.add_image("app", IMAGE, "t")
        registry.inject(Fault(FixedReply(307, {"Location": f"http://{host}/"}), path="/manifests/"))
        followed = f"{problem}|redirects .* to an unusable address"
        with client(store) as asking, pytest.raises(NetworkError, match=followed):
            asking.pull(f"{registry.host}/app:t")
        registry.clear()
        registry.inject(Fault(FixedReply(401)))
        registry.inject(Fault(challenge(f"http://{host}/")))
        asked = f"{problem}|its token server is not an http or https address"
        refused = (NetworkError, Unauthorized)
        with client(store) as asking, pytest.raises(refused, match=asked):
            asking.pull(f"{registry.host}/app:t")


def challenge(realm: str) -> SetHeader:
    return SetHeader("WWW-Authenticate", f'Bearer realm="{realm}",service="s"')


def test_a_realm_without_tls_gets_no_credentials(
    store: Store, other: FakeRegistry, certificates: tuple[Path, Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    with FakeRegistry(tls=certificates[1:], users={"me": PASSWORD}) as registry:
        registry.inject(Fault(challenge(f"{other.url}/token")))
        with client(store) as asking, pytest.raises(Unauthorized, match="leaves TLS"):
            asking.pull(f"{registry.host}/app:t")
        no_secret(registry)
    assert other.requests == []


def test_a_realm_in_a_private_network_gets_no_credentials(
    store: Store, certificates: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    with (
        FakeRegistry(tls=certificates[1:]) as inner,
        FakeRegistry(tls=certificates[1:], users={"me": PASSWORD}) as registry,
        HttpProxy({NAME: registry.host}) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        registry.inject(Fault(challenge(f"{inner.url}/token")))
        with client(store) as asking, pytest.raises(Unauthorized, match="private network"):
            asking.pull(f"{NAME}/app:t")
        assert inner.requests == []


def test_a_token_servers_redirect_drops_the_credentials(store: Store, other: FakeRegistry) -> None:
    with FakeRegistry(users={"me": PASSWORD}, tokens=True) as registry:
        registry.add_image("app", IMAGE, "t")
        registry.inject(Fault(FixedReply(307, {"Location": f"{other.url}/token"}), path="/token"))
        with client(store) as asking, pytest.raises(RegistryError):
            asking.pull(f"{registry.host}/app:t")
    assert other.requests
    no_secret(other)


@pytest.mark.parametrize("tokens", [False, True], ids=["basic", "tokens"])
def test_no_log_and_no_repr_holds_a_credential(
    store: Store, caplog: pytest.LogCaptureFixture, *, tokens: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    with FakeRegistry(users={"me": PASSWORD}, tokens=tokens, redirect_blobs_to=True) as registry:
        registry.add_image("app", IMAGE, "t")
        with client(store) as asking:
            asking.pull(f"{registry.host}/app:t")
            shown = repr([asking, vars(asking), vars(vars(asking)["_context"])])
        sent = {r.headers.get("authorization", "") for r in registry.requests} - {""}
    assert sent
    for secret in (PASSWORD, BASIC, *(header.split()[1] for header in sent)):
        assert secret not in caplog.text
        assert secret not in shown


# Headers


header_values = st.one_of(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40),
    st.text(st.characters(min_codepoint=0xA0, max_codepoint=0xFF), max_size=10),
    st.sampled_from(
        ['<>; rel="next"', '<http://[::1>; rel="next"', "<?n=1&last=%ff>;rel=next", "bytes 0-0/*",
         "bytes 5-2/1", "bytes 0-999999999999999999/999999999999999999", "sha256:", "sha512:00",
         "9" * 400, "-1", "1e9", "Thu, 01 Jan 1970 00:00:00 GMT", "\t", "text/html;;;=", "gzip",
         'Bearer realm="//"', 'Bearer realm="https://[::1"', "Basic \u00e9", "http://[", "//", "?",
         "\u00ff://x", "http://h:99999/", "http://h:0/"]
    ),
)  # fmt: skip
HEADERS = [
    *("WWW-Authenticate", "Link", "Content-Range", "Docker-Content-Digest", "Content-Type"),
    *("Retry-After", "RateLimit-Remaining", "Content-Encoding", "Docker-Distribution-Api-Version"),
]


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep requests from reaching other hosts."""
    with HttpProxy({}) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        yield


@pytest.fixture(scope="module")
def talkative() -> Iterator[FakeRegistry]:
    with FakeRegistry(page_size=2) as registry:
        for number in range(5):
            registry.add_image("app", IMAGE, f"t{number}")
        yield registry


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(HEADERS),
    value=header_values,
    status=st.sampled_from([200, 401, 429, 503, 206]),
)
@example(name="Link", value="<?last=%80>;rel=next", status=200)  # empty, so the next value counts
def test_any_header_gives_a_response_or_a_wherry_error(
    talkative: FakeRegistry, store: Store, name: str, value: str, status: int
) -> None:
    talkative.clear()
    if status == 200:
        talkative.inject(Fault(SetHeader(name, value)))
    else:
        talkative.inject(Fault(FixedReply(status, {name: value}), times=2))
    with Client(store=store, retries=1, credentials=("me", PASSWORD), timeout=5) as asking:
        for call in (asking.tags, asking.digest, lambda n: asking.manifest(n + ":t1")):
            with contextlib.suppress(WherryError):
                call(f"{talkative.host}/app")
    # A circle of pages ends after a limited number of requests.
    assert len(talkative.requests) < 40


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(location=header_values, status=st.sampled_from([301, 302, 303, 307, 308]))
def test_any_redirect_gives_a_response_or_a_wherry_error(
    talkative: FakeRegistry, store: Store, nowhere: None, location: str, status: int
) -> None:
    assert nowhere is None
    talkative.clear()
    talkative.inject(Fault(FixedReply(status, {"Location": location}), path="/manifests/", times=1))
    with Client(store=store, retries=1, timeout=5) as asking, contextlib.suppress(WherryError):
        asking.digest(f"{talkative.host}/app:t1")
    assert len(talkative.requests) < 20
