"""The order of v2 and v1: which is asked, which serves, and whose error is reported.

Each row of `CASES` is a server whose protocols behave in one way. Four calls ask it.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wherry
from wherry.testing import (
    Action,
    Delay,
    FakeRegistry,
    FakeV1Registry,
    Fault,
    FixedReply,
    HangUp,
    build_image,
    build_v1_image,
    make_certificate,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

TAR = tar_layer({"a": b"1"})
V1_IMAGE = build_v1_image([TAR])
V2_IMAGE = build_image([tar_layer({"b": b"2"})])
USERS = {"ann": "secret"}
PAGE = FixedReply(200, {"Content-Type": "text/html"}, b"<html><title>Sign in</title></html>")


@dataclass(frozen=True)
class Server:
    """How the protocols of a server behave. What is not said here works.

    Attributes:
        v2: The tags of the repository by v2; empty for no repository, None for no v2.
        v1: The tags of the repository by v1; empty for no repository.
        v2_users: Whether v2 wants credentials.
        v1_users: Whether v1 wants credentials.
        faults: Actions, and the paths that they apply to.
    """

    v2: str | None = ""
    v1: str = "t one"
    v2_users: bool = False
    v1_users: bool = False
    faults: tuple[tuple[str, Action], ...] = ()

    def fails(self, path: str, action: Action) -> Server:
        """Return the server with a fault."""
        return replace(self, faults=(*self.faults, (path, action)))

    @contextlib.contextmanager
    def start(self) -> Iterator[FakeV1Registry]:
        """Serve both protocols at one address."""
        with contextlib.ExitStack() as stack:
            v2 = None
            if self.v2 is not None:
                v2 = FakeRegistry(users=USERS if self.v2_users else None)
                stack.callback(v2.close)
                if self.v2:
                    v2.add_image("acme/app", V2_IMAGE, *self.v2.split())
            users = USERS if self.v1_users else None
            registry = stack.enter_context(FakeV1Registry(v2=v2, users=users))
            if self.v1:
                registry.add_image("acme/app", V1_IMAGE, *self.v1.split())
            for path, action in self.faults:
                registry.inject(Fault(action, path=path))
            yield registry


@dataclass(frozen=True)
class Result:
    """What a call does.

    Attributes:
        asked: The protocols that are asked, in their order.
        served_by: The protocol that serves the result; empty for an error.
        error: The class of the error.
        says: A part of its text.
    """

    asked: str
    served_by: str = ""
    error: type[wherry.WherryError] = wherry.WherryError
    says: str = ""


@dataclass(frozen=True)
class Case:
    """A row: a server, and the results of the calls.

    Attributes:
        name: The name of the row.
        server: The server.
        result: What all calls do, unless `others` says something else.
        others: What single calls do.
        helps: Whether v1 could have helped, where it is tried.
        credentials: What the client knows.
        timeout: The time-out of the client in seconds.
    """

    name: str
    server: Server
    result: Result
    others: dict[str, Result] | None = None
    helps: bool = True
    credentials: tuple[str, str] | None = None
    timeout: float = 5.0

    def expected(self, call: str) -> Result:
        """Return what one call does."""
        return (self.others or {}).get(call, self.result)


BY_V1, BY_V2 = Result("v2 v1", "v1"), Result("v2", "v2")


def ends(error: type[wherry.WherryError], says: str = "") -> Result:
    """Return the result of an error after which v1 is not tried."""
    return Result("v2", "", error, says)


def both(error: type[wherry.WherryError], says: str) -> Result:
    """Return the result of two errors, of which one is raised."""
    return Result("v2 v1", "", error, says)


OFF = HangUp()
DENIED = both(wherry.Unauthorized, "access denied (401")
UNKNOWN = both(wherry.NotFound, "NAME_UNKNOWN")
NO_V1_IMAGES = both(wherry.NotFound, "images not found")
V1_FAILS = both(wherry.RegistryError, "/v1/repositories/")
MISSING = ends(wherry.NotFound, "not found (404)")
V2 = Server("t two")
FAILING_LIST = Server().fails("^/v1/repositories/", FixedReply(500))
NO_V1 = Server().fails("^/v1/", OFF)
DEAD = V2.fails("^/v2/", OFF)
FAILING_V2 = Server().fails("^/v2/", FixedReply(500))
FAILS = ends(wherry.RegistryError)
CASES = (
    # v2 serves something.
    Case("v2", V2, BY_V2),
    Case("v2-with-users", replace(V2, v2_users=True), BY_V2, credentials=("ann", "secret")),
    Case("no-blob", V2.fails("^/v2/.*/blobs/", FixedReply(404)), MISSING, {"tags": BY_V2}),
    Case(
        "tag-list-but-no-manifest",
        V2.fails("^/v2/.*/manifests/", FixedReply(404)),
        MISSING,
        {"tags": BY_V2, "pull": BY_V1},
    ),
    Case(
        "manifest-but-no-tag-list",
        V2.fails("^/v2/.*/tags/", FixedReply(404)),
        BY_V2,
        {"tags": BY_V1, "pull_all_tags": BY_V1},
    ),
    Case(
        "no-such-tag",
        Server("two"),
        BY_V2,
        {"inspect": ends(wherry.NotFound, "MANIFEST_UNKNOWN"), "pull": BY_V1},
    ),
    # v1 serves.
    Case("404", Server(None), BY_V1),
    Case("no-name", Server(), BY_V1),
    Case("401", Server("t", v2_users=True), BY_V1),
    Case("refused", Server("t", v2_users=True), BY_V1, credentials=("ann", "wrong")),
    Case("page", V2.fails("^/v2/", PAGE), BY_V1),
    Case("405", V2.fails("^/v2/", FixedReply(405)), BY_V1),
    Case("501", V2.fails("^/v2/", FixedReply(501)), BY_V1),
    Case("cut", DEAD, BY_V1, helps=False),
    Case("time-out", V2.fails("^/v2/", Delay(20)), BY_V1, helps=False, timeout=0.3),
    # Neither serves.
    Case("401-401", Server("t", v2_users=True, v1_users=True), DENIED),
    Case("401-404", Server("t", "", v2_users=True), DENIED),
    Case("401-cut", replace(NO_V1, v2="t", v2_users=True), DENIED),
    Case("404-401", Server(None, v1_users=True), DENIED),
    Case("404-404", Server(None, ""), NO_V1_IMAGES),
    Case("404-500", replace(FAILING_LIST, v2=None), V1_FAILS),
    Case("404-cut", replace(NO_V1, v2=None), both(wherry.NetworkError, "cut off")),
    Case("no-name-401", Server(v1_users=True), DENIED),
    Case(
        "no-name-403",
        Server().fails("^/v1/rep", FixedReply(403)),
        both(wherry.Denied, "access denied (403"),
    ),
    Case("no-name-404", Server("", ""), UNKNOWN),
    Case("no-name-500", FAILING_LIST, UNKNOWN),
    Case("no-name-cut", NO_V1, UNKNOWN),
    Case("page-page", Server().fails("", PAGE), both(wherry.NetworkError, "sent a web page")),
    Case("cut-404", replace(DEAD, v1=""), NO_V1_IMAGES, helps=False),
    Case("cut-500", FAILING_LIST.fails("^/v2/", OFF), V1_FAILS, helps=False),
    Case("cut-cut", Server().fails("", OFF), both(wherry.NetworkError, "cut off"), helps=False),
    Case(
        "404-no-tag",
        Server(None, "one"),
        both(wherry.NotFound, "acme/app:t: not found (404"),
        {"tags": BY_V1, "pull_all_tags": BY_V1},
    ),
    # The attempt ends.
    Case("403", Server().fails("^/v2/", FixedReply(403)), ends(wherry.Denied)),
    Case("429", Server().fails("^/v2/", FixedReply(429)), ends(wherry.RateLimited)),
    Case("400", Server().fails("^/v2/", FixedReply(400)), FAILS),
    Case("500", FAILING_V2, FAILS),
    Case("503", Server().fails("^/v2/", FixedReply(503)), FAILS),
)
CALLS = ("pull", "pull_all_tags", "inspect", "tags")
ROWS = [(case, call) for case in CASES for call in CALLS]
each_call = pytest.mark.parametrize("call", CALLS)
each_row = pytest.mark.parametrize(
    ("case", "call"), ROWS, ids=[f"{case.name}-{call}" for case, call in ROWS]
)


def run(client: wherry.Client, call: str, host: str) -> str:
    """Make a call and return the protocol that served the result."""
    name = f"{host}/acme/app"
    if call == "tags":
        found = client.tags(name)
        return "v1" if "one" in found else "v2"
    if call == "inspect":
        layers = client.inspect(f"{name}:t", tags=True).fields()["Layers"]
        return "v2" if V2_IMAGE.layers[0].digest in layers else "v1"
    images = client.pull_all_tags(name) if call == "pull_all_tags" else [client.pull(f"{name}:t")]
    (diff_ids,) = {tuple(map(str, image.config.diff_ids)) for image in images}
    return "v1" if diff_ids == V1_IMAGE.diff_ids else "v2"


def asked(registry: FakeV1Registry) -> str:
    """Return the protocols of the requests in the order of their first ones."""
    return " ".join(dict.fromkeys(each.path.split("/")[1] for each in registry.requests))


@pytest.fixture
def options(environment: dict[str, str], tmp_path: Path) -> dict[str, Any]:
    """The arguments of a client."""
    assert environment
    return {"store": tmp_path / "store", "retries": 1}


@each_row
def test_where_v1_is_allowed(case: Case, call: str, options: dict[str, Any]) -> None:
    expected = case.expected(call)
    options |= {"credentials": case.credentials, "timeout": case.timeout, "legacy": True}
    with case.server.start() as registry, wherry.Client(**options) as client:
        if expected.served_by:
            assert run(client, call, registry.host) == expected.served_by
        else:
            with pytest.raises(expected.error) as caught:
                run(client, call, registry.host)
            assert type(caught.value) is expected.error
            assert expected.says in str(caught.value)
            assert str(caught.value).startswith(registry.host)
            assert "--legacy" not in caught.value.hint
        assert asked(registry) == expected.asked


@each_row
def test_where_v1_is_not_allowed(case: Case, call: str, options: dict[str, Any]) -> None:
    """No request of v1 is sent, and the error says where v1 could have helped."""
    expected = case.expected(call)
    options |= {"credentials": case.credentials, "timeout": case.timeout}
    with case.server.start() as registry, wherry.Client(**options) as client:
        if expected.served_by == "v2":
            assert run(client, call, registry.host) == "v2"
        else:
            with pytest.raises(wherry.WherryError) as caught:
                run(client, call, registry.host)
            could_help = expected.asked == "v2 v1" and case.helps
            assert ("--legacy" in caught.value.hint) is could_help
        assert asked(registry) == "v2"


# Schemes. A host on this machine counts as any other one if there are certificates for it.


@each_call
@pytest.mark.parametrize(
    ("tls", "trusted", "insecure", "scheme"),
    [
        (True, True, False, "https"),
        (True, False, False, ""),
        (False, True, False, ""),
        (True, False, True, "https"),
        (False, False, True, "http"),
    ],
    ids=["trusted", "untrusted", "no-tls", "insecure-tls", "insecure-no-tls"],
)
def test_plain_http_only_where_it_is_allowed(
    call: str,
    tls: bool,
    trusted: bool,
    insecure: bool,
    scheme: str,
    options: dict[str, Any],
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    """Version 1 uses the scheme by which version 2 was asked, and never another one."""
    authority, chain, key = make_certificate(tmp_path / "server")
    other, *_ = make_certificate(tmp_path / "other")
    seen: list[str] = []
    options |= {"insecure": insecure, "legacy": True}
    options["on_request"] = lambda exchange: seen.append(exchange.url.partition(":")[0])
    with FakeV1Registry(tls=(chain, key) if tls else None) as registry:
        registry.add_image("acme/app", V1_IMAGE, "t", "one")
        directory = Path(environment["XDG_CONFIG_HOME"], "containers", "certs.d", registry.host)
        directory.mkdir(parents=True)
        (directory / "ca.crt").write_bytes((authority if trusted else other).read_bytes())
        with wherry.Client(**options) as client:
            if scheme:
                assert run(client, call, registry.host) == "v1"
            else:
                with pytest.raises(wherry.NetworkError):
                    run(client, call, registry.host)
        assert set(seen) == ({scheme} if scheme else set())
        assert asked(registry) == ("v2 v1" if scheme else "")


# Mirrors


@dataclass(frozen=True)
class MirrorCase:
    """A row: a mirror, a registry, where v1 is allowed, and what is asked.

    Attributes:
        name: The name of the row.
        mirror: The mirror.
        registry: The registry.
        result: What a pull does.
        mirror_asked: The protocols that the mirror is asked.
        allowed: The servers for which hosts.toml allows v1.
    """

    name: str
    mirror: Server
    registry: Server
    result: Result
    mirror_asked: str
    allowed: str = "mirror registry"


NO_MANIFESTS = V2.fails("^/v2/.*/manifests/", FixedReply(500))
NEITHER = ends(wherry.NotFound, "NAME_UNKNOWN")
MIRROR_CASES = (
    MirrorCase("mirror-serves", V2, Server(), Result("", "v2"), "v2"),
    MirrorCase("mirror-404", Server(), V2, BY_V2, "v2"),
    MirrorCase("mirror-cut", DEAD, V2, BY_V2, "v2"),
    MirrorCase("mirror-500", NO_MANIFESTS, V2, BY_V2, "v2"),
    MirrorCase("v1-after-mirror-404", Server(v1=""), Server(), BY_V1, "v2 v1"),
    MirrorCase("v1-after-mirror-500", FAILING_V2, Server(), BY_V1, "v2 v1"),
    MirrorCase("v1-of-registry", Server(), Server(), BY_V1, "v2", "registry"),
    MirrorCase("v1-of-mirror", Server(), Server(), Result("v2", "v1"), "v2 v1", "mirror"),
    MirrorCase("mirror-404-registry-500", Server(), FAILING_V2, FAILS, "v2"),
    MirrorCase("allowed-nowhere", Server(), Server(), NEITHER, "v2", ""),
)


@pytest.mark.parametrize("case", MIRROR_CASES, ids=lambda case: case.name)
def test_v1_comes_after_all_endpoints_of_v2(
    case: MirrorCase, options: dict[str, Any], environment: dict[str, str]
) -> None:
    settings = Path(environment["XDG_CONFIG_HOME"])
    with case.mirror.start() as mirror, case.registry.start() as registry:
        servers = {"mirror": mirror, "registry": registry}
        write(
            settings / "containers" / "registries.conf",
            f'[[registry]]\nprefix = "h.example"\nlocation = "{registry.host}"\n'
            f'[[registry.mirror]]\nlocation = "{mirror.host}"\n',
        )
        tables = [f'["{servers[name].host}"]\nlegacy = true\n' for name in case.allowed.split()]
        write(settings / "wherry" / "hosts.toml", "".join(tables))
        with wherry.Client(**options) as client:
            if case.result.served_by:
                assert run(client, "pull", "h.example") == case.result.served_by
            else:
                with pytest.raises(case.result.error) as caught:
                    run(client, "pull", "h.example")
                assert case.result.says in str(caught.value)
        assert asked(registry) == case.result.asked
        assert asked(mirror) == case.mirror_asked


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(text)
