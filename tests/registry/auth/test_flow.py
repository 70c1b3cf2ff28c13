"""Registries that hide private repositories from anonymous clients behind 403 and 404."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from waiting import wait_for, wait_for_server
from wherry import Client, Denied, NetworkError, NotFound, Store, Unauthorized
from wherry.testing import (
    Distribution,
    DropHeader,
    FakeRegistry,
    Fault,
    FixedReply,
    HangUp,
    build_image,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("environment")

IMAGE = build_image([tar_layer({"a": b"x" * 1000})])
PASSWORD = "topsecret-password"
BASIC = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
WAYS: list[Any] = ["artifactory", "harbor", "keppel"]
Way = Literal["artifactory", "harbor", "keppel"]


def registry_of(way: Way | None, *, tokens: bool, **more: Any) -> FakeRegistry:
    registry = FakeRegistry(users={"me": PASSWORD}, tokens=tokens, like=way, **more)
    registry.add_image("app", IMAGE, "t")
    registry.add_image("other", IMAGE, "t")
    return registry


def client(store: Store, credentials: tuple[str, str] | None = ("me", PASSWORD)) -> Client:
    return Client(store=store, credentials=credentials, retries=1)


def paths(registry: FakeRegistry) -> list[str]:
    return [request.path for request in registry.requests]


@pytest.mark.parametrize("tokens", [False, True], ids=["basic", "tokens"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "ask",
    [
        lambda asking, name: asking.pull(f"{name}:t"),
        lambda asking, name: asking.pull(f"{name}@{IMAGE.digest}"),
        lambda asking, name: asking.digest(f"{name}:t"),
        lambda asking, name: asking.manifest(f"{name}:t"),
        lambda asking, name: list(asking.tags(name)),
        lambda asking, name: list(asking.referrers(f"{name}:t")),
        lambda asking, name: asking.inspect(f"{name}:t"),
    ],
    ids=["pull", "pull-digest", "digest", "manifest", "tags", "referrers", "inspect"],
)
def test_a_hidden_repository_is_requested_with_credentials(
    store: Store, way: Way, ask: Callable[[Client, str], Any], *, tokens: bool
) -> None:
    """A 404 or 403 without a challenge is not final if there are credentials."""
    with registry_of(way, tokens=tokens) as registry, client(store) as asking:
        ask(asking, f"{registry.host}/app")
        assert paths(registry).count("/v2/") == 1
        registry.clear()
        asking.digest(f"{registry.host}/other:t")
        # The session knows that the host hides things: the next call has credentials at once.
        assert "/v2/" not in paths(registry)
        assert all(request.status == 200 for request in registry.requests)


@pytest.mark.parametrize("status", [403, 404])
def test_a_single_blob_may_be_hidden(store: Store, status: int) -> None:
    with FakeRegistry() as registry, client(store) as asking:
        registry.add_image("app", IMAGE, "t")
        registry.inject(Fault(FixedReply(status), path="/blobs/", times=1))
        challenge = {"WWW-Authenticate": 'Basic realm="r"'}
        registry.inject(Fault(FixedReply(401, challenge), path="/v2/$"))
        asking.pull(f"{registry.host}/app:t")
        again = [r for r in registry.requests if "/blobs/" in r.path and r.status == 200]
        assert BASIC in [request.headers.get("authorization") for request in again]


@pytest.mark.parametrize("tokens", [False, True], ids=["basic", "tokens"])
@pytest.mark.parametrize("way", WAYS)
def test_without_credentials_the_registrys_error_is_final(
    store: Store, way: Way, *, tokens: bool
) -> None:
    error = Denied if way == "keppel" else NotFound
    with registry_of(way, tokens=tokens) as registry, client(store, None) as asking:
        with pytest.raises(error):
            asking.manifest(f"{registry.host}/app:t")
        # Without credentials there is no other request.
        assert paths(registry) == ["/v2/app/manifests/t"]


@pytest.mark.parametrize("tokens", [False, True], ids=["basic", "tokens"])
@pytest.mark.parametrize("way", WAYS)
def test_a_404_to_a_call_with_credentials_is_final(store: Store, way: Way, *, tokens: bool) -> None:
    with registry_of(way, tokens=tokens) as registry, client(store) as asking:
        with pytest.raises(NotFound):
            asking.manifest(f"{registry.host}/app:none")
        assert paths(registry).count("/v2/app/manifests/none") == 2


@pytest.mark.parametrize("tokens", [False, True], ids=["basic", "tokens"])
def test_a_wrong_password_is_reported_as_such(store: Store, *, tokens: bool) -> None:
    with (
        registry_of("harbor", tokens=tokens) as registry,
        client(store, ("me", "wrong")) as asking,
        pytest.raises(Unauthorized) as caught,
    ):
        asking.manifest(f"{registry.host}/app:t")
    assert "do not allow" in caught.value.hint


def test_the_challenge_is_requested_once_for_a_host(store: Store) -> None:
    """A public registry hides nothing: only its first 404 costs another request."""
    with FakeRegistry() as registry, client(store) as asking:
        registry.add_image("app", IMAGE, "t")
        for _ in range(3):
            with pytest.raises(NotFound):
                asking.manifest(f"{registry.host}/app:none")
        assert paths(registry).count("/v2/") == 1
        assert len(registry.requests) == 1 + 3 * 2


def test_a_registry_without_challenges_gets_the_password_after_a_404(
    store: Store,
) -> None:
    """Artifactory with anonymous access: ``/v2/`` is open, and private repositories are 404."""
    with FakeRegistry(users={"me": PASSWORD}, like="artifactory") as registry:
        registry.add_image("app", IMAGE, "t")
        registry.inject(Fault(FixedReply(200, {}, b"{}"), path="/v2/$"))
        with client(store) as asking:
            asking.pull(f"{registry.host}/app:t")
            registry.clear()
            asking.digest(f"{registry.host}/app:t")
        assert {request.headers.get("authorization") for request in registry.requests} == {BASIC}


def test_a_refused_preemptive_password_leaves_the_404(store: Store) -> None:
    with FakeRegistry(users={"me": PASSWORD}, like="artifactory") as registry:
        registry.add_image("app", IMAGE, "t")
        registry.inject(Fault(FixedReply(200, {}, b"{}"), path="/v2/$"))
        with client(store, ("me", "wrong")) as asking, pytest.raises(NotFound):
            asking.manifest(f"{registry.host}/app:t")


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("tokens", [False, True], ids=["basic", "tokens"])
def test_a_challenge_with_403_is_answered(store: Store, status: int, *, tokens: bool) -> None:
    """RFC 6750, 3.1: a token with too few scopes gets a 403 with a challenge."""
    with registry_of(None, tokens=tokens) as registry:
        bearer = f'Bearer realm="{registry.url}/token",service="s"'
        header = bearer if tokens else 'Basic realm="r"'
        answer = FixedReply(status, {"WWW-Authenticate": header})
        registry.inject(Fault(answer, path="/manifests/", times=1))
        with client(store) as asking:
            asking.pull(f"{registry.host}/app:t")
        assert "/v2/" not in paths(registry)


def test_a_404_with_a_challenge_is_final_after_credentials(store: Store) -> None:
    """Some servers send a challenge with every response."""
    with registry_of(None, tokens=True) as registry:
        header = f'Bearer realm="{registry.url}/token",service="s"'
        registry.inject(Fault(FixedReply(404, {"WWW-Authenticate": header}), path="/manifests/"))
        with client(store) as asking, pytest.raises(NotFound):
            asking.manifest(f"{registry.host}/app:t")
        assert len(registry.requests) == 3


def test_an_unknown_challenge_is_ignored(store: Store) -> None:
    with registry_of("harbor", tokens=False) as registry:
        answer = FixedReply(404, {"WWW-Authenticate": "Negotiate"})
        registry.inject(Fault(answer, path="/manifests/", times=1))
        with client(store) as asking:
            asking.pull(f"{registry.host}/app:t")


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc to count descriptors in")
def test_an_error_of_the_probe_leaves_nothing_open(store: Store) -> None:
    """The body of the 404 is still unread while ``/v2/`` is requested."""
    with registry_of("harbor", tokens=False) as registry:
        registry.inject(Fault(HangUp(), path="/v2/$"))
        before = len(list(Path("/proc/self/fd").iterdir()))
        with client(store) as asking, pytest.raises(NetworkError) as caught:
            asking.manifest(f"{registry.host}/app:t")
        wait_for(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before)
    assert caught.value.host  # the error keeps unclosed objects alive


def test_a_401_without_a_challenge_uses_that_of_the_root(store: Store) -> None:
    with registry_of(None, tokens=True) as registry:
        registry.inject(Fault(DropHeader("WWW-Authenticate"), path="/manifests/"))
        with client(store) as asking:
            asking.pull(f"{registry.host}/app:t")
        assert paths(registry).count("/v2/") == 1


def test_a_transient_error_of_the_root_is_not_final(store: Store) -> None:
    with registry_of("harbor", tokens=False) as registry:
        registry.inject(Fault(FixedReply(503), path="/v2/$", times=1))
        with Client(store=store, credentials=("me", PASSWORD), retries=3) as asking:
            asking.pull(f"{registry.host}/app:t")


def test_a_403_of_object_storage_is_final(store: Store) -> None:
    """An expired signed URL is not a hidden image."""
    with registry_of(None, tokens=True, redirect_blobs_to=True, redirect_uses=0) as registry:
        with client(store) as asking, pytest.raises(Denied):
            asking.pull(f"{registry.host}/app:t")
        assert registry.storage is not None
        assert all("authorization" not in r.headers for r in registry.storage.requests)
        assert "/v2/" not in paths(registry)


def test_a_mirror_may_hide_repositories_too(store: Store, tmp_path: Path) -> None:
    """It gets credentials from files, not those of the caller."""
    with registry_of("harbor", tokens=True) as mirror, FakeRegistry() as registry:
        text = (
            f'[[registry]]\nprefix = "{registry.host}"\nlocation = "{registry.host}"\n'
            f'[[registry.mirror]]\nlocation = "{mirror.host}"\n'
        )
        conf, auth = tmp_path / "registries.conf", tmp_path / "auth.json"
        conf.write_text(text)
        encoded = BASIC.removeprefix("Basic ")
        auth.write_text(json.dumps({"auths": {mirror.host: {"auth": encoded}}}))
        with Client(store=store, registries_conf=conf, authfile=auth, retries=1) as asking:
            asking.pull(f"{registry.host}/app:t")
        assert registry.requests == []
        mirror.clear()
        with (
            Client(
                store=store, registries_conf=conf, credentials=("me", PASSWORD), retries=1
            ) as asking,
            pytest.raises(NotFound),
        ):
            asking.manifest(f"{registry.host}/app:t")
        assert all("authorization" not in request.headers for request in mirror.requests)


@pytest.mark.parametrize("broken", ["{", '{"auths": {"HOST": {"auth": "%%%"}}}'])
def test_an_unreadable_file_does_not_replace_a_404(
    store: Store, tmp_path: Path, broken: str
) -> None:
    with FakeRegistry() as registry:
        registry.add_image("app", IMAGE, "t")
        auth = tmp_path / "auth.json"
        auth.write_text(broken.replace("HOST", registry.host))
        with Client(store=store, authfile=auth, retries=1) as asking, pytest.raises(NotFound):
            asking.manifest(f"{registry.host}/app:none")


def test_a_404_after_an_anonymous_token_is_final_without_credentials(store: Store) -> None:
    with FakeRegistry(users={"me": PASSWORD}, tokens=True, public=True) as registry:
        registry.add_image("app", IMAGE, "t")
        with client(store, None) as asking, pytest.raises(NotFound):
            asking.manifest(f"{registry.host}/app:none")
        assert "/v2/" not in paths(registry)


# A real registry behind nginx, which turns 401 into 404 except at /v2/.

NGINX = """
daemon off;
pid {root}/nginx.pid;
error_log {root}/error.log;
events {{}}
http {{
  access_log {root}/access.log;
  client_body_temp_path {root}/body;
  proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi;
  scgi_temp_path {root}/scgi;
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 0;
    proxy_set_header Host $http_host;
    location = /v2/ {{ proxy_pass {registry}; }}
    location / {{
      proxy_pass {registry};
      proxy_intercept_errors on;
      error_page 401 ={status} /hidden;
    }}
    location = /hidden {{ internal; return {status}; }}
  }}
}}
"""


@pytest.fixture(params=[404, 403])
def hidden(request: pytest.FixtureRequest, tmp_path: Path, guarded: Distribution) -> Iterator[str]:
    """The address of nginx in front of a registry with passwords."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    text = NGINX.format(root=tmp_path, port=port, registry=guarded.url, status=request.param)
    (tmp_path / "nginx.conf").write_text(text)
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin") or "nginx"
    server = subprocess.Popen([program, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")])
    try:
        wait_for_server("127.0.0.1", port)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Distribution]:
    with Distribution(tmp_path / "registry", htpasswd={"me": PASSWORD}) as registry:
        registry.push("team/app", IMAGE, "t")
        yield registry


@pytest.mark.peer("docker-registry", "nginx", "skopeo")
def test_a_real_registry_hidden_by_a_reverse_proxy(
    store: Store, hidden: str, tmp_path: Path
) -> None:
    """skopeo finds the image as well."""
    name = f"{hidden}/team/app:t"
    with client(store) as asking:
        assert asking.digest(name) == IMAGE.digest
        assert str(asking.pull(name).id) == IMAGE.id
        assert list(asking.tags(f"{hidden}/team/app")) == ["t"]
    with client(store, None) as asking, pytest.raises((NotFound, Denied)):
        asking.manifest(name)
    peer = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", f"--creds=me:{PASSWORD}", f"docker://{name}"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert json.loads(peer.stdout)["Digest"] == IMAGE.digest
