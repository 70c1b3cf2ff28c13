"""Fixtures for tests of connections: a registry behind TLS, tunnels and proxies."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

import pytest

from legacy_repository import Legacy
from wherry.content.cancel import CancelToken
from wherry.content.retry import RetryPolicy
from wherry.registry.certs_d import CaBundle
from wherry.registry.http.deadlines import Timeouts
from wherry.registry.http.proxies import ProxySettings
from wherry.registry.http.request import HttpRequest
from wherry.registry.http.transport import Transport
from wherry.registry.session import Session
from wherry.testing import FakeRegistry, HttpProxy, SocksProxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from wherry.registry.hosts import Endpoint
    from wherry.registry.http.response import HttpResponse

    Files = tuple[Path, Path, Path]

BEHIND = "registry.test:4443"  # the registry's name behind a proxy


class Way:
    """A registry and the transport that reaches it.

    ``kind`` is ``plain``, ``tls``, ``tunnel``, ``within`` (TLS with the proxy, too) or ``socks``.
    Timeouts are longer than any test, so that no operation ends by itself.
    """

    def __init__(self, files: Files, kind: str) -> None:
        pair = files[1:]
        self.registry = FakeRegistry(tls=None if kind == "plain" else pair)
        self.url = self.registry.url
        self.proxy: HttpProxy | SocksProxy | None = None
        proxies = ProxySettings()
        if kind in {"tunnel", "within"}:
            hosts = {BEHIND: self.registry.host}
            self.proxy = HttpProxy(hosts, tls=pair if kind == "within" else None)
            self.url = f"https://{BEHIND}"
            proxies = ProxySettings(https=self.proxy.url)
        if kind == "socks":
            self.proxy = SocksProxy({BEHIND: self.registry.host})
            self.url = f"https://{BEHIND}"
            proxies = ProxySettings(other=f"socks5h://{self.proxy.host}")
        self.transport = make_transport(files, proxies)

    def send(
        self,
        method: str = "GET",
        path: str = "/v2/",
        cancel: CancelToken | None = None,
        **more: Any,
    ) -> HttpResponse:
        """Send a request to the registry."""
        request = HttpRequest(method, self.url + path, **more)
        return self.transport.send(request, cancel or CancelToken())

    def __enter__(self) -> Self:
        self.registry.__enter__()
        if self.proxy is not None:
            self.proxy.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.proxy is not None:
            self.proxy.__exit__(kind, error, trace)
        self.registry.close()


def make_transport(files: Files, proxies: ProxySettings | None = None) -> Transport:
    return Transport(
        connections=1,
        timeouts=Timeouts(connect=600, read=600),
        proxies=proxies,
        ca_bundle=CaBundle("REQUESTS_CA_BUNDLE", files[0]),
    )


@pytest.fixture
def way(certificates: Files) -> Iterator[Callable[[str], Way]]:
    """Make a `Way` of a kind, a context manager; its transport is closed after the test."""
    with contextlib.ExitStack() as end:

        def make(kind: str) -> Way:
            made = Way(certificates, kind)
            end.callback(made.transport.close)
            return made

        yield make


@pytest.fixture
def legacy() -> Iterator[Callable[..., Legacy]]:
    """Make a `Legacy` of a name, without pauses; more arguments are those of `Session`."""
    with contextlib.ExitStack() as end:

        def make(name: str, *mirrors: Endpoint, **more: Any) -> Legacy:
            options: dict[str, Any] = {"connections": 8, "policy": RetryPolicy(step=0)} | more
            session = Session(**options)
            end.callback(session.close)
            return Legacy(session, name, *mirrors)

        yield make


@pytest.fixture
def patient(certificates: Files) -> Iterator[Callable[..., Transport]]:
    """Make a transport with long timeouts, closed after the test."""
    with contextlib.ExitStack() as end:

        def make(proxies: ProxySettings | None = None) -> Transport:
            transport = make_transport(certificates, proxies)
            end.callback(transport.close)
            return transport

        yield make
