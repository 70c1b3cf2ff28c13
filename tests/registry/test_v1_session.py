"""Schemes, credentials, tokens, cookies and endpoints of version 1 registries."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from wherry.content.scheduler import run_tasks
from wherry.errors import NetworkError, Unauthorized, WherryError
from wherry.registry.auth.credential_store import CredentialStore
from wherry.registry.auth.credentials import Credentials
from wherry.registry.certs_d import CaBundle
from wherry.registry.hosts import Hosts
from wherry.registry.http.private_address import is_private
from wherry.registry.http.proxies import ProxySettings
from wherry.testing import (
    FakeRegistry,
    FakeV1Registry,
    Fault,
    FixedReply,
    HttpProxy,
    SetHeader,
    SocksProxy,
    build_v1_image,
    make_certificate,
    refused_port,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from legacy_repository import Legacy
    from wherry.content.cancel import CancelToken

    Open = Callable[..., Legacy]
    Files = tuple[Path, Path, Path]
    Serve = Callable[..., Any]

IMAGE = build_v1_image([tar_layer({f"f{number}": b"x" * 900}) for number in range(3)])
USERS = {"ann": "secret"}
ANN = CredentialStore(fixed=Credentials("ann", "secret"))
BASIC = "Basic " + base64.b64encode(b"ann:secret").decode()


@contextlib.contextmanager
def serving(**how: Any) -> Iterator[FakeV1Registry]:
    with FakeV1Registry(**how) as running:
        if how.get("index") is None:
            running.add_image("acme/app", IMAGE, "1")
        yield running


@contextlib.contextmanager
def index_and_endpoint(**how: Any) -> Iterator[tuple[FakeV1Registry, FakeV1Registry]]:
    """Start an index, and a server at another address that has its images."""
    with serving(users=USERS, tokens=True, **how) as index, serving(index=index, **how) as server:
        index.endpoints = [server.host]
        yield index, server


def read_all(found: Legacy) -> None:
    found.connect()
    found.chain(found.resolve("1"))
    for each in IMAGE.layers:
        assert found.layer(each.id) == (0, each.layer)


def sent(server: FakeV1Registry, header: str = "authorization") -> list[str]:
    return [each.headers.get(header, "") for each in server.requests]


class TestCredentials:
    def test_a_standalone_registry_gets_them_with_every_request(self, legacy: Open) -> None:
        with serving(users=USERS) as registry:
            read_all(legacy(f"{registry.host}/acme/app", credentials=ANN))
            assert sent(registry) == ["", *[BASIC] * (len(registry.requests) - 1)]

    def test_only_the_index_gets_them(self, legacy: Open) -> None:
        with index_and_endpoint() as (index, server):
            read_all(legacy(f"{index.host}/acme/app", credentials=ANN))
            assert sent(index) == ["", BASIC]
            assert {each.partition("=")[0] for each in sent(server)} == {"Token signature"}
            assert {each.status for each in server.requests} == {200}

    def test_not_even_if_the_endpoint_asks(self, legacy: Open) -> None:
        with index_and_endpoint() as (index, server):
            challenge = FixedReply(401, {"WWW-Authenticate": "Basic realm=x"})
            server.inject(Fault(challenge))
            found = legacy(f"{index.host}/acme/app", credentials=ANN)
            found.connect()
            with pytest.raises(Unauthorized, match=f"^{index.host}/acme/app: access denied"):
                found.resolve("1")
            assert all(each.startswith("Token ") for each in sent(server))
            assert index.tokens_issued == 2

    @pytest.mark.parametrize("how", [{}, {"tokens": True}])
    @pytest.mark.parametrize(
        ("store", "hint"),
        [
            (CredentialStore(), "no credentials for {host} were found; `wherry login {host}`"),
            (
                CredentialStore(fixed=Credentials("ann", "other")),
                "the credentials that were given do not allow this",
            ),
            (
                CredentialStore(fixed=Credentials("ann", identity_token="refresh")),
                "the credentials that were given do not allow this",
            ),
        ],
    )
    def test_refused(
        self, legacy: Open, store: CredentialStore, hint: str, how: dict[str, Any]
    ) -> None:
        with serving(users=USERS, **how) as registry:
            found = legacy(f"{registry.host}/acme/app", credentials=store)
            with pytest.raises(Unauthorized, match="Requires authorization") as caught:
                found.connect()
            assert caught.value.hint.startswith(hint.format(host=registry.host))
            assert caught.value.where == (f"{registry.host}/acme/app",)
            assert "refresh" not in "".join(sent(registry))

    def test_a_file_that_cannot_be_read(self, legacy: Open, tmp_path: Path) -> None:
        file = tmp_path / "auth.json"
        file.write_text("{")
        store = CredentialStore([file])
        with serving() as public, serving(users=USERS) as private:
            read_all(legacy(f"{public.host}/acme/app", credentials=store))
            with pytest.raises(WherryError, match=r"auth.json: not valid JSON"):
                legacy(f"{private.host}/acme/app", credentials=store).connect()

    def test_no_answer_repeats_them(self, legacy: Open) -> None:
        said = f'{{"error": "you sent {BASIC} which is ann:secret"}}'.encode()
        with serving(users=USERS) as registry:
            registry.inject(Fault(FixedReply(403, body=said), path="tags"))
            found = legacy(f"{registry.host}/acme/app", credentials=ANN)
            found.connect()
            with pytest.raises(WherryError, match=r"you sent Basic \*\*\* which is \*\*\*"):
                found.tags()


class TestTokens:
    def test_a_token_that_ends_is_renewed(self, legacy: Open) -> None:
        with index_and_endpoint() as (index, server):
            found = legacy(f"{index.host}/acme/app", credentials=ANN)
            found.connect()
            index.revoke_tokens()
            assert len(found.chain(IMAGE.id)) == 3
            assert sent(index) == ["", BASIC, BASIC]
            index.revoke_tokens()
            assert found.layer(IMAGE.id) == (0, IMAGE.layers[-1].layer)
            assert index.tokens_issued == 3
            assert [each.status for each in server.requests].count(401) == 2

    def test_a_token_for_one_request(self, legacy: Open) -> None:
        """The endpoint that fails has used the token up, and has set no cookie."""
        with index_and_endpoint(sessions=True) as (index, server), serving(index=index) as other:
            index.endpoints = [other.host, server.host]
            spent = FixedReply(200, body=b"[")
            other.inject(Fault(spent, path="ancestry"))
            found = legacy(f"{index.host}/acme/app", credentials=ANN)
            found.connect()
            assert found.resolve("1") == IMAGE.id
            assert len(found.chain(IMAGE.id)) == 3
            assert found.pauses == []
            assert index.tokens_issued == 2

    def test_a_token_for_one_request_of_many_threads(self, legacy: Open) -> None:
        """The first request with the new token starts a session, which the others use."""
        with index_and_endpoint(sessions=True) as (index, _):
            found = legacy(f"{index.host}/acme/app", credentials=ANN)
            found.connect()
            index.revoke_tokens()

            def fetch(image_id: str, _: CancelToken) -> None:
                found.image(image_id)

            tasks = [partial(fetch, each) for each in IMAGE.ancestry]
            run_tasks(None, tasks, jobs=3, cancel=found.cancel)
            assert index.tokens_issued == 2

    def test_the_scheme_is_not_repeated(self, legacy: Open) -> None:
        with serving(tokens=True) as registry:
            header = SetHeader("X-Docker-Token", 'Token signature=1,repository="a/b"')
            registry.inject(Fault(header, path="images$"))
            found = legacy(f"{registry.host}/acme/app")
            found.connect()
            with pytest.raises(Unauthorized):
                found.resolve("1")
            token = 'Token signature=1,repository="a/b"'
            assert sent(registry)[2:] == [token, ""]  # the index has no other one

    @pytest.mark.parametrize("token", ["x" * 20_000, "\xe9", "a\x7fb"])
    def test_unusable(self, legacy: Open, token: str) -> None:
        with serving() as registry:
            registry.inject(Fault(SetHeader("X-Docker-Token", token), path="images$"))
            found = legacy(f"{registry.host}/acme/app")
            with pytest.raises(
                NetworkError, match="the registry's token is not text of at most 16 KiB"
            ):
                found.connect()
            assert found.pauses == []


class TestCookies:
    def test_each_host_gets_its_own(self, legacy: Open) -> None:
        with index_and_endpoint() as (index, server):
            for each in (index, server):
                name = "index" if each is index else "server"
                each.inject(Fault(SetHeader("Set-Cookie", f"{name}=1; Path=/"), times=1))
            found = legacy(f"{index.host}/acme/app", credentials=ANN)
            read_all(found)
            assert sent(index, "cookie") == ["", "index=1"]
            assert sent(server, "cookie") == ["", *["server=1"] * (len(server.requests) - 1)]
            other = legacy(f"{index.host}/acme/app", credentials=ANN)
            other.connect()
            assert sent(index, "cookie")[2] == ""  # they end with the operation

    def test_a_redirect_brings_none(self, legacy: Open) -> None:
        with serving() as storage, serving(redirect_layers_to=storage.url) as registry:
            storage.inject(Fault(SetHeader("Set-Cookie", "a=1")))
            found = legacy(f"{registry.host}/acme/app")
            for _ in range(2):
                found.layer(IMAGE.id)
            assert {*sent(registry, "cookie"), *sent(storage, "cookie")} == {""}

    @pytest.mark.parametrize(
        ("size", "message"),
        [
            (5_000, "sets a cookie of over 4 KiB"),
            (2**20, "the head of its answer is over 256 KiB"),
        ],
    )
    def test_too_long(self, legacy: Open, size: int, message: str) -> None:
        with serving() as registry:
            registry.inject(Fault(SetHeader("Set-Cookie", "a=" + "x" * size)))
            found = legacy(f"{registry.host}/acme/app")
            with pytest.raises(NetworkError, match=message) as caught:
                found.connect()
            assert not caught.value.transient


class TestEndpoints:
    @pytest.mark.parametrize(
        "names", ["http://{host}", "{host}/v1/", "{host}, a b", "user@{host}", "{host}:x"]
    )
    def test_malformed(self, legacy: Open, names: str) -> None:
        with index_and_endpoint() as (index, server):
            index.endpoints = [names.format(host=server.host)]
            found = legacy(f"{index.host}/acme/app", credentials=ANN)
            with pytest.raises(
                NetworkError, match=r"X-Docker-Endpoints names .* not host\[:port\]"
            ):
                found.connect()
            assert (server.requests, found.pauses) == ([], [])

    def test_plain_http_only_where_it_is_allowed(self, legacy: Open) -> None:
        with serving(endpoints=["registry.example:5000"]) as registry:
            name = f"{registry.host}/acme/app"
            message = r"asked in plain http \(http://registry.example:5000\)"
            with pytest.raises(NetworkError, match=message) as caught:
                legacy(name).connect()
            assert caught.value.hint == "to ask it nevertheless: --insecure"
            insecure = legacy(name, hosts=Hosts(insecure=True))
            insecure.connect()
            assert [each.schemes for each in insecure.session.endpoints] == [("http",)]

    def test_by_the_scheme_of_the_index(self, legacy: Open, certificates: Files) -> None:
        """On this machine plain http comes first otherwise."""
        bundle = CaBundle("REQUESTS_CA_BUNDLE", certificates[0])
        with index_and_endpoint(tls=certificates[1:]) as (index, server):
            read_all(legacy(f"{index.host}/acme/app", credentials=ANN, ca_bundle=bundle))
            assert server.requests
            with serving() as plain:
                index.endpoints = [plain.host]
                found = legacy(f"{index.host}/acme/app", credentials=ANN, ca_bundle=bundle)
                found.connect()
                with pytest.raises(NetworkError):
                    found.resolve("1")
                assert plain.requests == []

    def test_the_next_one_is_asked(self, legacy: Open) -> None:
        with index_and_endpoint() as (index, server):
            index.endpoints = [f"127.0.0.1:{refused_port()}", server.host]
            found = legacy(f"{index.host}/acme/app", credentials=ANN)
            read_all(found)
            assert (found.pauses, found.warnings) == ([], [])
            server.inject(Fault(FixedReply(404), path="tags"))
            with pytest.raises(WherryError, match="not found"):  # of those that answered
                found.resolve("1")

    def test_an_error_of_one_tells_which_index_names_it(self, legacy: Open) -> None:
        with index_and_endpoint() as (index, _):
            index.endpoints = [f"127.0.0.1:{refused_port()}"]
            with pytest.raises(NetworkError, match="connection refused") as caught:
                read_all(legacy(f"{index.host}/acme/app", credentials=ANN))
        assert caught.value.hint == f"{index.host} names it as an endpoint for images"

    def test_the_index_itself_by_its_default_port(self, legacy: Open, certificates: Files) -> None:
        with serving(tls=certificates[1:], users=USERS) as registry:
            registry.endpoints = ["Registry.test:443"]
            with HttpProxy({"registry.test:443": registry.host}) as proxy:
                found = legacy(
                    "registry.test/acme/app",
                    credentials=ANN,
                    ca_bundle=CaBundle("REQUESTS_CA_BUNDLE", certificates[0]),
                    proxies=ProxySettings(https=proxy.url),
                )
                read_all(found)
                assert set(sent(registry)[1:]) == {BASIC}

    @pytest.mark.parametrize(
        "host", ["127.0.0.1", "localhost", "10.1.2.3:5000", "[fd00::1]", "127.1"]
    )
    def test_a_public_index_names_no_private_address(
        self, legacy: Open, certificates: Files, host: str
    ) -> None:
        """Names count as public where a proxy connects to them."""
        with (
            serving(tls=certificates[1:], tokens=True, endpoints=[host]) as registry,
            HttpProxy({"registry.test:443": registry.host}) as proxy,
        ):
            more: dict[str, Any] = {
                "ca_bundle": CaBundle("REQUESTS_CA_BUNDLE", certificates[0]),
                "proxies": ProxySettings(https=proxy.url),
            }
            with pytest.raises(NetworkError, match="in a private network") as caught:
                legacy("registry.test/acme/app", **more).connect()
            assert caught.value.where == ("registry.test/acme/app",)
            assert len(proxy.requests) == 1
            legacy("registry.test/acme/app", hosts=Hosts(insecure=True), **more).connect()

    def test_nor_a_name_of_one(self, legacy: Open, tmp_path: Path) -> None:
        name, address = socket.gethostname(), "93.184.216.34"
        try:
            found = {str(each[4][0]) for each in socket.getaddrinfo(name, 80, socket.AF_INET)}
        except OSError:
            found = set()
        if not found or not all(map(is_private, found)) or is_private(name):
            pytest.skip("the name of this machine is not that of a private address")
        files = make_certificate(tmp_path / "tls", [address, name])
        with index_and_endpoint(tls=files[1:]) as (index, server):
            index.endpoints = [f"{name}:{server.port}"]
            hosts = {f"{each}:{server.port}": server.host for each in found}
            with SocksProxy({f"{address}:443": index.host, **hosts}) as proxy:
                repository = legacy(
                    f"{address}/acme/app",
                    credentials=ANN,
                    ca_bundle=CaBundle("REQUESTS_CA_BUNDLE", files[0]),
                    proxies=ProxySettings(other=f"socks5://{proxy.host}"),
                )
                repository.connect()
                with pytest.raises(NetworkError, match=f"private network .*{name}"):
                    repository.resolve("1")
                assert server.requests == []


class TestSchemes:
    def test_https_on_this_machine(self, legacy: Open, certificates: Files) -> None:
        bundle = CaBundle("REQUESTS_CA_BUNDLE", certificates[0])
        with serving(tls=certificates[1:]) as registry:
            read_all(legacy(f"{registry.host}/acme/app", ca_bundle=bundle))
            with pytest.raises(NetworkError, match="certificate is not trusted"):
                legacy(f"{registry.host}/acme/app").connect()

    def test_no_http_after_https(self, legacy: Open, serve: Serve, certificates: Files) -> None:
        """A host that spoke HTTP over TLS is not asked in plain http, whatever it does next."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificates[1:])
        heads: list[bytes] = []

        def talk(peer: Any) -> None:
            if peer.number > 1:
                heads.append(peer.head())
                return
            peer.sock = context.wrap_socket(peer.sock, server_side=True)
            peer.head()
            peer.answer(b"true", "Connection: close")

        server = serve(talk)
        hosts = Hosts(insecure=True)
        first = legacy(f"{server.host}/acme/app", hosts=hosts)
        first.session.ping(first.cancel)
        with pytest.raises(NetworkError):
            first.tags()
        assert set(heads) == {b""}  # it never saw a request

    def test_insecure_hosts_may_speak_http(self, legacy: Open, certificates: Files) -> None:
        hosts = Hosts(insecure=True)
        with serving() as plain, serving(tls=certificates[1:]) as secure:
            for each in (plain, secure):
                read_all(legacy(f"{each.host}/acme/app", hosts=hosts))

    def test_version_2_has_found_the_scheme(self, legacy: Open, certificates: Files) -> None:
        bundle = CaBundle("REQUESTS_CA_BUNDLE", certificates[0])
        with FakeRegistry(tls=certificates[1:]) as v2, serving(v2=v2, tls=certificates[1:]) as both:
            found = legacy(f"{both.host}/acme/app", ca_bundle=bundle)
            read_all(found)
            assert both.connections <= 7


def test_layers_do_not_leave_tls(legacy: Open, certificates: Files) -> None:
    """No digest verifies them."""
    with serving() as storage:
        how = {"tls": certificates[1:], "redirect_layers_to": storage.url}
        with serving(**how) as registry:
            bundle = CaBundle("REQUESTS_CA_BUNDLE", certificates[0])
            found = legacy(f"{registry.host}/acme/app", ca_bundle=bundle)
            with pytest.raises(NetworkError, match="redirects from https to plain http"):
                found.layer(IMAGE.id)
            assert storage.requests == []


def test_docker_hub(legacy: Open, tmp_path: Path) -> None:
    """Its index has a host of its own, and is not asked what it is."""
    files = make_certificate(tmp_path / "tls", ["index.docker.io", "registry-1.docker.io"])
    with index_and_endpoint(tls=files[1:]) as (index, server):
        index.add_image("app", IMAGE, "1")
        index.endpoints = ["registry-1.docker.io"]
        hosts = {"index.docker.io:443": index.host, "registry-1.docker.io:443": server.host}
        with HttpProxy(hosts) as proxy:
            read_all(
                legacy(
                    "docker.io/library/app",
                    credentials=ANN,
                    ca_bundle=CaBundle("REQUESTS_CA_BUNDLE", files[0]),
                    proxies=ProxySettings(https=proxy.url),
                )
            )
    assert [each.path for each in index.requests] == ["/v1/repositories/library/app/images"]
    assert sent(index) == [BASIC]
    assert server.requests[0].path == "/v1/repositories/library/app/tags/1"


def test_warnings_are_shown(legacy: Open) -> None:
    with serving() as registry:
        registry.inject(Fault(SetHeader("Warning", '299 - "it closes in May"')))
        found = legacy(f"{registry.host}/acme/app")
        found.connect()
        assert found.warnings == [f"{registry.host} says: it closes in May"]


def test_requests_are_reported(legacy: Open) -> None:
    seen: list[Any] = []
    with serving(users=USERS) as registry:
        name = f"{registry.host}/acme/app"
        legacy(name, credentials=ANN, on_response=seen.append).connect()
        assert [(each.method, each.url, each.status) for each in seen] == [
            ("GET", f"{registry.url}/v1/_ping", 200),
            ("GET", f"{registry.url}/v1/repositories/acme/app/images", 200),
        ]
