"""Token servers: redirects, failures, several challenges, scopes and realms."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from wherry import Client, Denied, NetworkError, RegistryError, Store, Unauthorized, WherryError
from wherry.testing import (
    FakeRegistry,
    Fault,
    FixedReply,
    HangUp,
    HttpProxy,
    SetHeader,
    build_image,
    make_certificate,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    Files = tuple[Path, Path, Path]

pytestmark = pytest.mark.usefixtures("environment")

IMAGE = build_image([tar_layer({"a": b"x" * 1000})])
PASSWORD = "topsecret-password"
BASIC = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
REFRESH = "topsecret-refresh"
QUERY = "service=s&scope=repository:app:pull"
NAME = "registry.test:4443"
REDIRECTS = [301, 302, 303, 307, 308]


@pytest.fixture
def certificates(tmp_path: Path) -> Files:
    return make_certificate(tmp_path / "tls", ["127.0.0.1", "localhost", "registry.test"])


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    """A registry with tokens whose realm is ``/moved``; each test decides what is there."""
    with FakeRegistry(users={"me": PASSWORD}, tokens=True, refresh_tokens={REFRESH: "me"}) as one:
        one.add_image("app", IMAGE, "t")
        one.add_image("public", IMAGE, "t")
        one.grants.public = ["public"]
        yield one


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    """A token server on another port, which issues a token to every client."""
    with FakeRegistry(tokens=True) as one:
        yield one


def client(store: Store, credentials: tuple[str, str] | None = ("me", PASSWORD)) -> Client:
    return Client(store=store, credentials=credentials, retries=1)


def challenge(*headers: str) -> SetHeader:
    return SetHeader("WWW-Authenticate", ", ".join(headers))


def bearer(realm: str, more: str = "") -> str:
    return f'Bearer realm="{realm}",service="s"{more}'


def requests(server: FakeRegistry, path: str) -> list[Any]:
    return [request for request in server.requests if request.path.startswith(path)]


def no_secret(server: FakeRegistry) -> None:
    for request in server.requests:
        assert "authorization" not in request.headers
        for secret in (PASSWORD, BASIC.removeprefix("Basic "), REFRESH):
            assert secret not in str(request)


# Redirects


def move(registry: FakeRegistry, status: int, location: str) -> None:
    registry.inject(Fault(challenge(bearer(f"{registry.url}/moved")), path="^/v2/"))
    registry.inject(Fault(FixedReply(status, {"Location": location}), path="^/moved"))


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("status", REDIRECTS)
@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
def test_a_token_servers_redirect_is_followed_with_the_password(
    store: Store, registry: FakeRegistry, tmp_path: Path, status: int, *, relative: bool
) -> None:
    """skopeo does the same: net/http keeps ``Authorization`` within a host."""
    move(registry, status, f"{'' if relative else registry.url}/token?{QUERY}")
    with client(store) as asking:
        asking.pull(f"{registry.host}/app:t")
    assert [r.headers.get("authorization") for r in requests(registry, "/token")] == [BASIC]
    peer = subprocess.run(
        [
            *("skopeo", "inspect", "--tls-verify=false", f"--creds=me:{PASSWORD}"),
            f"docker://{registry.host}/app:t",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert json.loads(peer.stdout)["Digest"] == IMAGE.digest


@pytest.mark.parametrize("status", REDIRECTS)
def test_an_anonymous_request_follows_any_redirect(
    store: Store, registry: FakeRegistry, status: int
) -> None:
    move(registry, status, f"http://localhost:{registry.port}/token?service=s&scope="
         "repository:public:pull")  # fmt: skip
    with client(store, None) as asking:
        asking.pull(f"{registry.host}/public:t")


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_password_stays_within_one_host_and_port(
    store: Store, registry: FakeRegistry, other: FakeRegistry, status: int
) -> None:
    """net/http keeps ``Authorization`` within a host; here the port has to match, too."""
    move(registry, status, f"{other.url}/token?{QUERY}")
    with client(store) as asking, pytest.raises(Unauthorized, match="redirects by") as caught:
        asking.pull(f"{registry.host}/app:t")
    assert f"to {other.url}/token; no credentials were sent there" in str(caught.value)
    assert requests(other, "/token")
    no_secret(other)


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_password_does_not_follow_to_another_name_of_its_host(
    store: Store, registry: FakeRegistry, status: int
) -> None:
    move(registry, status, f"http://localhost:{registry.port}/token?{QUERY}")
    with client(store) as asking, pytest.raises(Unauthorized):
        asking.pull(f"{registry.host}/app:t")
    assert all("authorization" not in r.headers for r in requests(registry, "/token"))


def logged_in(registry: FakeRegistry, directory: Path) -> Path:
    """A file with an identity token, which is sent in the body of a POST."""
    file = directory / "auth.json"
    entry = {"auth": base64.b64encode(b"me:").decode(), "identitytoken": REFRESH}
    file.write_text(json.dumps({"auths": {registry.host: entry}}))
    return file


@pytest.mark.parametrize("status", [307, 308])
def test_307_and_308_repeat_a_post_within_its_host(
    store: Store, registry: FakeRegistry, tmp_path: Path, status: int
) -> None:
    """RFC 9110, 15.4.8: method and body stay."""
    move(registry, status, "/token")
    with Client(store=store, authfile=logged_in(registry, tmp_path), retries=1) as asking:
        asking.pull(f"{registry.host}/app:t")
    (sent,) = requests(registry, "/token")
    assert sent.method == "POST"
    assert parse_qs(sent.body.decode())["refresh_token"] == [REFRESH]


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_post_becomes_a_get_without_its_body(
    store: Store, registry: FakeRegistry, tmp_path: Path, status: int
) -> None:
    """RFC 9110, 15.4.2 to 15.4.4; net/http does the same."""
    move(registry, status, f"/token?{QUERY}")
    with (
        Client(store=store, authfile=logged_in(registry, tmp_path), retries=1) as asking,
        pytest.raises(Unauthorized),
    ):
        asking.pull(f"{registry.host}/app:t")
    sent = requests(registry, "/token")
    assert {request.method for request in sent} == {"GET"}
    assert {request.body for request in sent} == {b""}


@pytest.mark.parametrize("status", REDIRECTS)
def test_an_identity_token_stays_within_one_host(
    store: Store, registry: FakeRegistry, other: FakeRegistry, tmp_path: Path, status: int
) -> None:
    """It is in the body, which HTTP libraries do not treat as a secret."""
    move(registry, status, f"{other.url}/token?{QUERY}")
    with (
        Client(store=store, authfile=logged_in(registry, tmp_path), retries=1) as asking,
        pytest.raises(Unauthorized) as caught,
    ):
        asking.pull(f"{registry.host}/app:t")
    no_secret(other)
    assert REFRESH not in str(caught.value) + caught.value.hint
    if status in {307, 308}:
        assert f"redirects by {status} to {other.url}/token" in str(caught.value)
        assert other.requests == []


@pytest.mark.parametrize("location", ["/moved", "ftp://a/b", "http://[", ""])
def test_a_redirect_without_a_usable_target_is_an_error(
    store: Store, registry: FakeRegistry, location: str
) -> None:
    move(registry, 307, location)
    with client(store) as asking, pytest.raises((NetworkError, RegistryError)) as caught:
        asking.pull(f"{registry.host}/app:t")
    assert "token server" in str(caught.value)
    assert len(requests(registry, "/moved")) <= 6


def test_a_dropped_password_is_reported_instead_of_a_404(store: Store, other: FakeRegistry) -> None:
    """The 404 to an anonymous client may be untrue; the redirect is the problem."""
    with FakeRegistry(users={"me": PASSWORD}, tokens=True, like="harbor") as registry:
        registry.add_image("app", IMAGE, "t")
        issue(other, registry, ())
        registry.inject(Fault(FixedReply(307, {"Location": f"{other.url}/token"}), path="^/token"))
        with client(store) as asking, pytest.raises(Unauthorized, match="redirects by 307"):
            asking.pull(f"{registry.host}/app:t")
    no_secret(other)


@pytest.mark.parametrize("status", [400, 401])
def test_an_expired_identity_token_is_unauthorized(
    store: Store, registry: FakeRegistry, tmp_path: Path, status: int
) -> None:
    """RFC 6749, 5.2: the error is invalid_grant, with status 400."""
    said = {"error": "invalid_grant", "error_description": "it has expired"}
    registry.inject(Fault(FixedReply(status, {}, json.dumps(said).encode()), path="^/token"))
    file = logged_in(registry, tmp_path)
    with Client(store=store, authfile=file, retries=1) as asking:
        with pytest.raises(Unauthorized, match="it has expired") as caught:
            asking.pull(f"{registry.host}/app:t")
        assert f"the credentials of {file} do not allow this" in caught.value.hint


# Several challenges

DEAD = "http://127.0.0.1:1/token"  # refuses connections


@pytest.mark.parametrize("first", ["bearer", "basic"])
@pytest.mark.parametrize(
    "realm",
    ["token", "/token", "//127.0.0.1/token", "ftp://127.0.0.1/", "", "http://[::1", DEAD, "404",
     "400", "403", "500", "503", "429", "page", "204", "empty", "list", "hang-up"],
)  # fmt: skip
def test_the_next_challenge_is_tried_if_a_token_server_fails(
    store: Store, realm: str, first: str
) -> None:
    faults = {
        "page": FixedReply(200, {"Content-Type": "text/html"}, b"<html>Sign in</html>"),
        "204": FixedReply(204),
        "empty": FixedReply(200, {}, b"{}"),
        "list": FixedReply(200, {}, b"[]"),
        "hang-up": HangUp(),
    }
    with FakeRegistry(users={"me": PASSWORD}) as registry:
        registry.add_image("app", IMAGE, "t")
        ways = [bearer(realm), 'Basic realm="r"']
        if realm.isdigit() or realm in faults:
            ways[0] = bearer(f"{registry.url}/token")
            fault = faults.get(realm) or FixedReply(int(realm))
            registry.inject(Fault(fault, path="^/token"))
        registry.inject(Fault(challenge(*(ways if first == "bearer" else ways[::-1]))))
        with client(store) as asking:
            asking.pull(f"{registry.host}/app:t")
        asked = [one for one in registry.requests if one.path.startswith("/token")]
        served = realm.isdigit() or realm in faults
        assert len(asked) == served  # not once for each blob, since it may take long


def test_challenges_may_come_in_several_headers(store: Store, serve: Any) -> None:
    """RFC 9110, 11.6.1."""
    sent: list[bytes] = []

    def talk(peer: Any) -> None:
        while head := peer.head():
            sent.append(head)
            if BASIC.encode() in head:
                peer.answer(IMAGE.manifest.data, f"Content-Type: {IMAGE.manifest.media_type}")
            else:
                ways = ('WWW-Authenticate: Bearer realm="token"', "WWW-Authenticate: Basic")
                peer.answer(b"", *ways, status="401 Unauthorized")

    with client(store) as asking:
        asking.manifest(f"{serve(talk).host}/app@{IMAGE.digest}")
    assert len(sent) == 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (FixedReply(404), RegistryError),
        (FixedReply(405), RegistryError),
        (FixedReply(500), RegistryError),
        (FixedReply(302), RegistryError),
        (FixedReply(401, {}, b"wrong"), Unauthorized),
        (FixedReply(403), Denied),
        (FixedReply(200, {}, b"{}"), NetworkError),
        (HangUp(), NetworkError),
    ],
)
@pytest.mark.parametrize("credentials", [None, ("me", PASSWORD)], ids=["anonymous", "user"])
def test_an_error_of_a_token_server_is_not_a_missing_image(
    store: Store, registry: FakeRegistry, fault: Any, kind: Any, credentials: tuple[str, str] | None
) -> None:
    registry.inject(Fault(fault, path="^/token"))
    with client(store, credentials) as asking, pytest.raises(WherryError) as caught:
        asking.pull(f"{registry.host}/app:t")
    assert type(caught.value) is kind
    assert "token server" in str(caught.value)


@pytest.mark.parametrize("realm", [DEAD, "token", "404"])
def test_a_wrong_password_is_refused_by_both_challenges(store: Store, realm: str) -> None:
    with FakeRegistry(users={"me": PASSWORD}) as registry:
        registry.inject(Fault(FixedReply(404), path="^/token"))
        realm = f"{registry.url}/token" if realm == "404" else realm
        registry.inject(Fault(challenge(bearer(realm), 'Basic realm="r"')))
        with client(store, ("me", "wrong")) as asking, pytest.raises(Unauthorized) as caught:
            asking.pull(f"{registry.host}/app:t")
        assert "access denied (401 " in str(caught.value)
        assert "; its token server" in str(caught.value)
        assert len(requests(registry, "/v2/")) == 3  # refused once, and not tried again


def test_a_password_that_both_challenges_refuse_is_a_401(store: Store) -> None:
    with FakeRegistry(users={"me": PASSWORD}) as registry:
        registry.inject(Fault(FixedReply(401), path="^/token"))
        registry.inject(Fault(challenge(bearer(f"{registry.url}/token"), "Basic realm=r")))
        with client(store, ("me", "wrong")) as asking, pytest.raises(Unauthorized) as caught:
            asking.pull(f"{registry.host}/app:t")
        assert "401" in str(caught.value)
        assert "do not allow" in caught.value.hint
        assert len(registry.requests) <= 5


@pytest.mark.parametrize("status", [401, 403])
def test_a_registry_may_accept_a_password_that_its_token_server_refuses(
    store: Store, status: int
) -> None:
    """skopeo answers the first challenge, which is the one that works here."""
    with FakeRegistry(users={"me": PASSWORD}) as registry:
        registry.add_image("app", IMAGE, "t")
        registry.inject(Fault(FixedReply(status), path="^/token"))
        registry.inject(Fault(challenge("Basic realm=r", bearer(f"{registry.url}/token"))))
        with client(store) as asking:
            asking.pull(f"{registry.host}/app:t")


@pytest.mark.parametrize("realm", [DEAD, "token"])
def test_a_failed_challenge_does_not_hide_missing_credentials(store: Store, realm: str) -> None:
    with FakeRegistry(users={"me": PASSWORD}) as registry:
        registry.inject(Fault(challenge(bearer(realm), 'Basic realm="r"')))
        error = NetworkError if realm == DEAD else Unauthorized
        with client(store, None) as asking, pytest.raises(error) as caught:
            asking.pull(f"{registry.host}/app:t")
        if realm != DEAD:
            assert "wherry login" in caught.value.hint


def test_a_transient_error_of_a_token_server_is_retried(
    store: Store, registry: FakeRegistry
) -> None:
    registry.inject(Fault(FixedReply(503), path="^/token", times=1))
    with Client(store=store, credentials=("me", PASSWORD), retries=3) as asking:
        asking.pull(f"{registry.host}/app:t")


def test_two_token_servers_are_tried_in_order(store: Store, registry: FakeRegistry) -> None:
    header = challenge(bearer(DEAD), bearer(f"{registry.url}/token"))
    registry.inject(Fault(header, path="^/v2/"))
    with client(store) as asking:
        asking.pull(f"{registry.host}/app:t")


def test_endless_challenges_are_answered_a_few_times(store: Store) -> None:
    """Each challenge names another realm."""
    with FakeRegistry(users={"other": PASSWORD}) as registry:
        token = json.dumps({"token": "abc"}).encode()
        for number in range(40):
            realm = f"{registry.url}/token/{number}"
            registry.inject(Fault(challenge(bearer(realm)), path="^/v2/", times=1))
            answer = FixedReply(200, {}, token.replace(b"abc", b"t%d" % number))
            registry.inject(Fault(answer, path=f"^/token/{number}\\?"))
        with client(store) as asking, pytest.raises(Unauthorized):
            asking.pull(f"{registry.host}/app:t")
        assert len(requests(registry, "/v2/")) < 10


# Scopes


@pytest.mark.parametrize(
    "error",
    ["", ',error="invalid_token"', ',error="insufficient_scope"', ',error="other"'],
    ids=["none", "invalid_token", "insufficient_scope", "other"],
)
@pytest.mark.parametrize("more", ["repository:app:metadata_read", "a:b:c registry:catalog:*"])
def test_the_scope_of_a_second_challenge_is_requested(
    store: Store, registry: FakeRegistry, error: str, more: str
) -> None:
    """RFC 6750, 3. Azure's registry wants ``metadata_read`` for tags in a second challenge."""
    header = bearer(f"{registry.url}/token", f',scope="{more}"{error}')
    registry.inject(Fault(FixedReply(401, {"WWW-Authenticate": header}), path="/tags/", times=2))
    with client(store) as asking:
        assert list(asking.tags(f"{registry.host}/app")) == ["t"]
    first, second = requests(registry, "/token")
    assert parse_qs(first.path)["scope"] == ["repository:app:pull"]
    assert parse_qs(second.path)["scope"] == ["repository:app:pull", *more.split()]
    assert len(requests(registry, "/v2/")) == 3


def test_a_token_with_too_few_scopes_gets_a_403(store: Store, registry: FakeRegistry) -> None:
    """RFC 6750, 3.1: insufficient_scope comes with 403."""
    more = ',scope="repository:app:metadata_read",error="insufficient_scope"'
    header = bearer(f"{registry.url}/token", more)
    answer = FixedReply(403, {"WWW-Authenticate": header})
    registry.inject(Fault(answer, path="/tags/", times=1, skip=1))
    with client(store) as asking:
        assert list(asking.tags(f"{registry.host}/app")) == ["t"]
    assert "metadata_read" in requests(registry, "/token")[-1].path


def test_a_scope_is_requested_once(store: Store, registry: FakeRegistry) -> None:
    for number in range(9):
        header = bearer(f"{registry.url}/token", f',scope="repository:app:x{number}"')
        answer = FixedReply(401, {"WWW-Authenticate": header})
        registry.inject(Fault(answer, path="/tags/", times=1))
    with client(store) as asking, pytest.raises(Unauthorized):
        list(asking.tags(f"{registry.host}/app"))
    assert len(requests(registry, "/token")) == 2


# Realms


def reach(monkeypatch: pytest.MonkeyPatch, certificates: Files, proxy: HttpProxy | None) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    if proxy is not None:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)


def issue(
    other: FakeRegistry, registry: FakeRegistry, actions: Collection[str] = ("pull",)
) -> None:
    """Make another server issue a token that the registry accepts."""
    access = frozenset(("repository", "app", action) for action in actions)
    token = registry.grants.mint("me", "s", access)
    answer = FixedReply(200, {}, json.dumps({"access_token": token}).encode())
    other.inject(Fault(answer, path="^/token"))


def in_hosts_toml(environment: dict[str, str], text: str) -> None:
    directory = Path(environment["XDG_CONFIG_HOME"]) / "wherry"
    directory.mkdir(parents=True)
    (directory / "hosts.toml").write_text(text)


def test_a_realm_in_plain_http_gets_no_credentials(
    store: Store, certificates: Files, other: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach(monkeypatch, certificates, None)
    with FakeRegistry(tls=certificates[1:], tokens=True) as registry:
        registry.add_image("app", IMAGE, "t")
        issue(other, registry)
        registry.inject(Fault(challenge(bearer(f"{other.url}/token")), path="^/v2/"))
        with client(store, None) as asking:
            asking.pull(f"{registry.host}/app:t")
    assert requests(other, "/token")


@pytest.mark.parametrize("insecure", [False, True])
def test_a_password_does_not_leave_tls(
    store: Store,
    certificates: Files,
    other: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    *,
    insecure: bool,
) -> None:
    reach(monkeypatch, certificates, None)
    with FakeRegistry(tls=certificates[1:], tokens=True, users={"me": PASSWORD}) as registry:
        registry.add_image("app", IMAGE, "t")
        issue(other, registry)
        registry.inject(Fault(challenge(bearer(f"{other.url}/token")), path="^/v2/"))
        with Client(
            store=store, credentials=("me", PASSWORD), retries=1, insecure=insecure
        ) as asking:
            if insecure:
                asking.pull(f"{registry.host}/app:t")
                return
            with pytest.raises(Unauthorized, match="leaves TLS") as caught:
                asking.pull(f"{registry.host}/app:t")
    assert "no credentials were sent" in str(caught.value)
    assert "--insecure" in caught.value.hint
    no_secret(other)


def test_a_password_not_sent_to_an_unsafe_realm_answers_the_other_challenge(
    store: Store, certificates: Files, other: FakeRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach(monkeypatch, certificates, None)
    with FakeRegistry(tls=certificates[1:], users={"me": PASSWORD}) as registry:
        registry.add_image("app", IMAGE, "t")
        registry.inject(Fault(challenge(bearer(f"{other.url}/token"), "Basic realm=r")))
        with client(store) as asking:
            asking.pull(f"{registry.host}/app:t")
    assert other.requests == []


@pytest.mark.parametrize("allowed", ["", "anonymous", "insecure", "private-realm", "other-host"])
def test_a_private_realm_of_a_public_registry(
    store: Store,
    certificates: Files,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    allowed: str,
) -> None:
    """Behind a proxy, which looks names up, the registry's name makes it public."""
    with (
        FakeRegistry(tls=certificates[1:], tokens=True, users={"me": PASSWORD}) as registry,
        HttpProxy({NAME: registry.host}) as proxy,
    ):
        reach(monkeypatch, certificates, proxy)
        registry.add_image("app", IMAGE, "t")
        registry.grants.public = True
        name = {"private-realm": NAME, "other-host": registry.host}.get(allowed, "")
        if name:
            in_hosts_toml(environment, f'["{name}"]\nprivate-realm = true\n')
        credentials = None if allowed == "anonymous" else ("me", PASSWORD)
        with Client(
            store=store, credentials=credentials, retries=1, insecure=allowed == "insecure"
        ) as asking:
            if allowed not in {"", "other-host"}:
                asking.pull(f"{NAME}/app:t")
                assert requests(registry, "/token")
                return
            with pytest.raises(Unauthorized, match="private network") as caught:
                asking.pull(f"{NAME}/app:t")
        assert requests(registry, "/token") == []
        assert "private-realm" in caught.value.hint
        assert f'["{NAME}"]' in caught.value.hint
        no_secret(registry)


@pytest.mark.parametrize("realm", ["127.0.0.1", "localhost", "127.1", "2130706433"])
def test_a_private_registry_may_name_a_private_realm(
    store: Store, registry: FakeRegistry, realm: str
) -> None:
    """Split DNS: allowed if the registry's own address is private as well."""
    registry.inject(Fault(challenge(bearer(f"http://{realm}:{registry.port}/token")), path="^/v2/"))
    with client(store) as asking:
        asking.pull(f"{registry.host}/app:t")


@pytest.mark.parametrize("scheme", ["Negotiate", "Digest realm=r, nonce=n", "AWS4-HMAC-SHA256"])
def test_a_password_that_was_not_sent_is_not_reported_as_wrong(
    store: Store, registry: FakeRegistry, scheme: str
) -> None:
    registry.inject(Fault(FixedReply(401, {"WWW-Authenticate": scheme}), path="/tags/", times=None))
    with client(store, ("me", PASSWORD)) as asking, pytest.raises(Unauthorized) as caught:
        asking.tags(f"{registry.host}/app")
    word = scheme.partition(" ")[0].capitalize()
    assert f"{registry.host} asks for {word}, " in caught.value.hint
    assert "no password was sent" in caught.value.hint
    assert not any("Authorization" in request.headers for request in registry.requests)
