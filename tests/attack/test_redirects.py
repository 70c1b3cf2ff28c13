"""Redirects from https to plain http, followed only if a digest verifies the content."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

import wherry as library
from wherry.errors import NetworkError, Unauthorized
from wherry.testing import FakeRegistry, Fault, FixedReply, build_image, make_certificate, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Call = Callable[[library.Client, str], object]

pytestmark = pytest.mark.usefixtures("environment")

IMAGE = build_image([tar_layer({"a": b"1"})])
CALLS: dict[str, tuple[str, Call]] = {
    "a manifest by tag": ("/manifests/t", lambda it, name: it.pull(f"{name}:t")),
    "a digest by tag": ("/manifests/t", lambda it, name: it.digest(f"{name}:t")),
    "a tag list": ("/tags/list", lambda it, name: it.tags(name)),
    "referrers": ("/referrers/", lambda it, name: it.referrers(f"{name}@{IMAGE.digest}")),
    "the referrers' tag": (
        "/manifests/sha256-",
        lambda it, name: it.referrers(f"{name}@{IMAGE.digest}"),
    ),
    "a login": ("^/v2/$", lambda it, name: it.login(name.partition("/")[0], "me", "x")),
}


TARGETS = {
    "/manifests/t": "/v2/app/manifests/t",
    "/tags/list": "/v2/app/tags/list",
    "/referrers/": f"/v2/app/referrers/{IMAGE.digest}",
    "/manifests/sha256-": f"/v2/app/manifests/{IMAGE.digest.replace(':', '-')}",
    "^/v2/$": "/v2/",
}


@pytest.fixture
def plain() -> Iterator[FakeRegistry]:
    """A plain-http server with all content; its responses could be altered on the way."""
    with FakeRegistry(referrers=True) as fake:
        fake.add_image("app", IMAGE, "t")
        yield fake


@pytest.fixture
def secure(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeRegistry]:
    authority, *pair = make_certificate(tmp_path / "tls", ["127.0.0.1"])
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    environment["SSL_CERT_FILE"] = str(authority)  # for the command
    with FakeRegistry(tls=(pair[0], pair[1])) as fake:
        fake.add_image("app", IMAGE, "t")
        yield fake


@pytest.fixture
def asking(store: library.Store, tmp_path: Path) -> Iterator[library.Client]:
    with library.Client(store=store, authfile=tmp_path / "auth.json", retries=2) as made:
        yield made


def redirect(there: FakeRegistry, path: str) -> Fault:
    """Redirect requests for a path to the same path of another server."""

    return Fault(FixedReply(307, {"Location": there.url + TARGETS[path]}), path=path)


@pytest.mark.parametrize("what", CALLS)
def test_what_no_digest_verifies(
    secure: FakeRegistry, plain: FakeRegistry, asking: library.Client, what: str
) -> None:
    path, call = CALLS[what]
    secure.inject(redirect(plain, path))
    with pytest.raises(NetworkError, match="redirects from https to plain http") as error:
        call(asking, f"{secure.host}/app")
    assert plain.requests == []
    assert "--insecure" in error.value.hint
    assert sum(request.status == 307 for request in secure.requests) == 1


def test_a_way_back_to_tls_changes_nothing(
    secure: FakeRegistry, plain: FakeRegistry, asking: library.Client
) -> None:
    """The plain-http redirect may lead to any server with a certificate."""
    plain.inject(Fault(FixedReply(307, {"Location": f"{secure.url}/v2/app/manifests/t2"})))
    secure.inject(redirect(plain, "/manifests/t"))
    with pytest.raises(NetworkError, match="redirects from https to plain http"):
        asking.pull(f"{secure.host}/app:t")
    assert plain.requests == []


def test_a_token(secure: FakeRegistry, plain: FakeRegistry, asking: library.Client) -> None:
    challenge = f'Bearer realm="{secure.url}/token"'
    secure.inject(Fault(FixedReply(401, {"WWW-Authenticate": challenge}), path="^/v2/"))
    secure.inject(Fault(FixedReply(307, {"Location": f"{plain.url}/token"}), path="^/token"))
    with pytest.raises(Unauthorized, match="redirects from https to plain http"):
        asking.pull(f"{secure.host}/app:t")
    assert plain.requests == []


def test_what_a_digest_verifies(
    secure: FakeRegistry, plain: FakeRegistry, asking: library.Client
) -> None:
    """Some registries use object storage in plain http; the digest verifies its content."""
    digests = (IMAGE.digest, *(blob.digest for blob in IMAGE.blobs()))
    for kind, digest in zip(("manifests", "blobs", "blobs"), digests, strict=True):
        target = f"/v2/app/{kind}/{digest}"
        secure.inject(Fault(FixedReply(307, {"Location": plain.url + target}), path=target))
    assert asking.pull(f"{secure.host}/app@{IMAGE.digest}").id == IMAGE.id
    assert len(plain.requests) == len(digests)
    assert not any("authorization" in request.headers for request in plain.requests)


@pytest.mark.parametrize("what", [each for each in CALLS if each != "a login"])
def test_insecure_follows(
    store: library.Store, secure: FakeRegistry, plain: FakeRegistry, what: str
) -> None:
    path, call = CALLS[what]
    secure.inject(redirect(plain, path))
    with library.Client(store=store, insecure=True) as client:
        call(client, f"{secure.host}/app")
    assert plain.requests


def test_the_command_says_so(secure: FakeRegistry, plain: FakeRegistry, wherry: Any) -> None:
    secure.inject(redirect(plain, "/tags/list"))
    trust = {"SSL_CERT_FILE": os.environ["SSL_CERT_FILE"]}
    done = wherry("tags", f"{secure.host}/app", env=trust)
    assert done.returncode == 6
    assert f"{secure.host}: redirects from https to plain http ({plain.url}/" in done.stderr
    assert "Traceback" not in done.stderr
