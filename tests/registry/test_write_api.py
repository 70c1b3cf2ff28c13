"""The endpoints that write, each in one attempt."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from wherry.content.cancel import CancelToken
from wherry.content.streams import open_bytes
from wherry.errors import (
    Denied,
    IntegrityError,
    NetworkError,
    NotFound,
    RegistryError,
    Unauthorized,
)
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.registry.auth.credential_store import CredentialStore
from wherry.registry.auth.credentials import Credentials
from wherry.registry.certs_d import CaBundle
from wherry.registry.http.proxies import ProxySettings
from wherry.registry.http.request_body import StreamBody
from wherry.registry.session import Session
from wherry.registry.write_api import WriteApi
from wherry.testing import (
    DropHeader,
    FakeRegistry,
    Fault,
    FixedReply,
    HttpProxy,
    SetHeader,
    build_image,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Files = tuple[Path, Path, Path]

pytestmark = pytest.mark.usefixtures("environment")

DATA = bytes(range(256)) * 1000
DIGEST = Digest.of(DATA)
IMAGE = build_image([tar_layer({"etc/motd": b"hello"})])
MANIFEST = Descriptor.of(IMAGE.manifest.data, IMAGE.manifest.media_type)
LAYER = Digest.parse(IMAGE.layers[0].digest)
TOKEN = CancelToken()


def whole(data: bytes = DATA) -> StreamBody:
    return StreamBody(len(data), lambda: open_bytes(data, 0).stream)


@contextlib.contextmanager
def write_api(
    registry: FakeRegistry, name: str = "app", host: str = "", **more: Any
) -> Iterator[WriteApi]:
    session = Session(connections=2, **more)
    endpoint = session.hosts.host(host or registry.host).replace(path=name)
    with contextlib.closing(session):
        yield WriteApi(session, endpoint)


@pytest.fixture
def api(fake: FakeRegistry) -> Iterator[WriteApi]:
    with write_api(fake) as made:
        yield made


def upload(api: WriteApi) -> None:
    state = api.start_upload(DIGEST, TOKEN)
    assert state.received == 0
    api.finish(state.location, DIGEST, TOKEN, whole())


def test_a_blob_in_one_piece(fake: FakeRegistry, api: WriteApi) -> None:
    assert not api.has_blob(DIGEST, TOKEN)
    upload(api)
    assert api.has_blob(DIGEST, TOKEN)
    assert fake.blobs[str(DIGEST)] == DATA
    api.delete_blob(DIGEST, TOKEN)
    assert not api.has_blob(DIGEST, TOKEN)
    with pytest.raises(NotFound):
        api.delete_blob(DIGEST, TOKEN)


def test_a_blob_in_chunks(fake: FakeRegistry, api: WriteApi) -> None:
    state = api.start_upload(DIGEST, TOKEN)
    for start in range(0, len(DATA), 100_000):
        chunk = whole(DATA[start : start + 100_000])
        state = api.send(state.location, DIGEST, chunk, TOKEN, start=start)
        assert state.received == min(start + 100_000, len(DATA))
    assert api.get_upload_status(state.location, DIGEST, TOKEN).received == len(DATA)
    api.finish(state.location, DIGEST, TOKEN)
    assert fake.blobs[str(DIGEST)] == DATA


def test_a_cancelled_upload(fake: FakeRegistry, api: WriteApi) -> None:
    state = api.start_upload(DIGEST, TOKEN)
    api.cancel_upload(state.location, DIGEST, TOKEN)
    assert fake.uploads.open_sessions == 0
    with pytest.raises(NotFound):
        api.get_upload_status(state.location, DIGEST, TOKEN)


def test_the_least_chunk() -> None:
    with FakeRegistry(chunk_min_length=5000) as registry, write_api(registry) as api:
        assert api.start_upload(DIGEST, TOKEN).chunk_min_length == 5000


def test_mounts(fake: FakeRegistry, api: WriteApi) -> None:
    fake.add_image("base", IMAGE, "1")
    assert api.mount(LAYER, "base", TOKEN) is None
    assert api.has_blob(LAYER, TOKEN)
    state = api.mount(DIGEST, "", TOKEN)
    assert state is not None
    api.finish(state.location, DIGEST, TOKEN, whole())
    fake.inject(Fault(FixedReply(403), method="POST"))
    with pytest.raises(NotFound):
        api.mount(LAYER, "base", TOKEN)


def test_manifests(fake: FakeRegistry, api: WriteApi) -> None:
    for piece in IMAGE.blobs():
        fake.store_blob("app", piece.digest, piece.data)
    assert api.head_manifest("1", TOKEN) is None
    receipt = api.put_manifest(MANIFEST, IMAGE.manifest.data, TOKEN, tag="1")
    assert (receipt.tags, receipt.has_subject) == ((), False)
    assert api.head_manifest("1", TOKEN) == MANIFEST.digest
    api.put_manifest(MANIFEST, IMAGE.manifest.data, TOKEN)
    longer = Descriptor(MANIFEST.media_type, Digest.of(IMAGE.manifest.data, "sha512"), None)
    api.put_manifest(longer, IMAGE.manifest.data, TOKEN, tag="long")
    assert api.head_manifest("long", TOKEN) == longer.digest
    api.delete_tag("1", TOKEN)
    assert api.head_manifest("1", TOKEN) is None
    api.delete_manifest(longer.digest, TOKEN)
    assert fake.tags["app"] == {}


def test_a_refused_manifest_says_why(api: WriteApi) -> None:
    with pytest.raises(RegistryError, match="MANIFEST_BLOB_UNKNOWN") as caught:
        api.put_manifest(MANIFEST, IMAGE.manifest.data, TOKEN, tag="1")
    assert caught.value.status == 400


def test_several_tags() -> None:
    for takes_tags in (False, True):
        with FakeRegistry(takes_tags=takes_tags) as registry, write_api(registry) as api:
            registry.add_image("app", IMAGE)
            receipt = api.put_manifest(MANIFEST, IMAGE.manifest.data, TOKEN, tags=("a", "b"))
            assert receipt.tags == (("a", "b") if takes_tags else ())


@pytest.mark.parametrize("named", [f"sha256:{'0' * 64}", "", "sha512:0"])
def test_a_registry_that_stores_something_else(
    fake: FakeRegistry, api: WriteApi, named: str
) -> None:
    fake.add_image("app", IMAGE)
    fake.inject(Fault(SetHeader("Docker-Content-Digest", named), method="PUT"))
    if named.startswith("sha256"):
        with pytest.raises(IntegrityError, match="has stored"):
            api.put_manifest(MANIFEST, IMAGE.manifest.data, TOKEN, tag="1")
    else:
        api.put_manifest(MANIFEST, IMAGE.manifest.data, TOKEN, tag="1")


# Credentials


@pytest.mark.parametrize("tokens", [False, True])
def test_pushes_ask_for_what_they_need(tokens: bool) -> None:
    with FakeRegistry(users={"me": "secret"}, tokens=tokens) as registry:
        registry.add_image("base", IMAGE)
        known = CredentialStore(fixed=Credentials("me", "secret"))
        with write_api(registry, credentials=known) as api:
            assert not api.has_blob(DIGEST, TOKEN)
            upload(api)
            assert api.mount(LAYER, "base", TOKEN) is None
            api.delete_blob(DIGEST, TOKEN)
            assert registry.tokens_issued == (3 if tokens else 0)
            registry.revoke_tokens()
            upload(api)


def test_a_stranger_may_not_push() -> None:
    with (
        FakeRegistry(users={"me": "secret"}, tokens=True, public=True) as registry,
        write_api(registry) as api,
        pytest.raises(Unauthorized),
    ):
        api.start_upload(DIGEST, TOKEN)


def test_an_access_that_is_not_allowed(fake: FakeRegistry, api: WriteApi) -> None:
    fake.inject(Fault(FixedReply(403), method="POST"))
    with pytest.raises(Denied):
        api.start_upload(DIGEST, TOKEN)


# Locations


def test_another_host_gets_no_credentials() -> None:
    with FakeRegistry(users={"me": "secret"}) as registry, FakeRegistry() as other:
        known = CredentialStore(fixed=Credentials("me", "secret"))
        with write_api(registry, credentials=known) as api, write_api(other) as there:
            elsewhere = there.start_upload(DIGEST, TOKEN).location.url
            registry.inject(Fault(SetHeader("Location", elsewhere), method="POST"))
            upload(api)
        assert other.blobs[str(DIGEST)] == DATA
        assert not [request for request in other.requests if "authorization" in request.headers]


@pytest.mark.parametrize("location", ["ftp://example.com/x", "http://["])
def test_an_invalid_address(fake: FakeRegistry, api: WriteApi, location: str) -> None:
    fake.inject(Fault(SetHeader("Location", location), method="POST"))
    with pytest.raises(NetworkError, match="no usable address"):
        api.start_upload(DIGEST, TOKEN)


def test_no_address_at_all(fake: FakeRegistry, api: WriteApi) -> None:
    fake.inject(Fault(DropHeader("Location"), method="POST"))
    with pytest.raises(NetworkError, match="no usable address"):
        api.start_upload(DIGEST, TOKEN)


def test_uploads_never_leave_tls(certificates: Files) -> None:
    pair = certificates[1:]
    bundle = CaBundle("REQUESTS_CA_BUNDLE", certificates[0])
    with FakeRegistry(tls=pair) as registry, FakeRegistry() as plain:
        with write_api(registry, ca_bundle=bundle) as api:
            location = f"{plain.url}/v2/app/blobs/uploads/x"
            registry.inject(Fault(SetHeader("Location", location), method="POST", times=1))
            with pytest.raises(NetworkError, match="plain http"):
                api.start_upload(DIGEST, TOKEN)
            redirect = FixedReply(307, {"Location": location})
            registry.inject(Fault(redirect, method="PUT", times=1))
            with pytest.raises(NetworkError, match="plain http"):
                upload(api)
            upload(api)
        assert not plain.requests


def test_a_redirected_upload_goes_on_at_the_host_that_answered() -> None:
    with FakeRegistry() as front, FakeRegistry() as back, write_api(front) as api:
        target = {"Location": f"{back.url}/v2/app/blobs/uploads/"}
        front.inject(Fault(FixedReply(307, target), method="POST"))
        upload(api)
        assert [request.method for request in front.requests] == ["POST"]
        assert [request.method for request in back.requests] == ["POST", "PUT"]


def test_other_redirects_are_not_followed(fake: FakeRegistry, api: WriteApi) -> None:
    fake.inject(Fault(FixedReply(302, {"Location": "/v2/"}), method="POST"))
    with pytest.raises(RegistryError, match="302"):
        api.start_upload(DIGEST, TOKEN)


def test_a_public_registry_names_no_private_address(fake: FakeRegistry) -> None:
    """Names count as public where a proxy connects to them."""
    with HttpProxy({"registry.test:5000": fake.host}) as proxy:
        session = Session(connections=2, proxies=ProxySettings(http=proxy.url))
        endpoint = session.hosts.host("registry.test:5000").replace(path="app", schemes=("http",))
        with contextlib.closing(session):
            api = WriteApi(session, endpoint)
            location = f"{fake.url}/v2/app/blobs/uploads/x"
            fake.inject(Fault(SetHeader("Location", location), method="POST"))
            with pytest.raises(NetworkError, match="in a private network"):
                api.start_upload(DIGEST, TOKEN)
