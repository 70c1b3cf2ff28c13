"""Uploads of one blob: what is sent, and how they go on after failures."""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from wherry.content.cancel import CancelToken
from wherry.content.protocols import Blob, Opened
from wherry.content.retry import RetryPolicy
from wherry.content.streams import blob_of, open_bytes
from wherry.errors import (
    Cancelled,
    Denied,
    IntegrityError,
    NetworkError,
    NotFound,
    RateLimited,
    RegistryError,
    WherryError,
)
from wherry.model.descriptor import Descriptor
from wherry.registry.auth.credential_store import CredentialStore
from wherry.registry.auth.credentials import Credentials
from wherry.registry.certs_d import CaBundle
from wherry.registry.host_pauses import HostPauses
from wherry.registry.http.proxies import ProxySettings
from wherry.registry.session import Session
from wherry.registry.upload_options import UploadOptions
from wherry.registry.uploads import CHUNK, upload_blob
from wherry.registry.write_api import WriteApi
from wherry.testing import (
    Action,
    CutHead,
    CutRequest,
    Distribution,
    EarlyReply,
    FakeRegistry,
    Fault,
    FixedReply,
    HangUp,
    HttpProxy,
    SetHeader,
    TcpProxy,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wherry.model.digest import Digest
    from wherry.testing import RegistryName
    from wherry.testing._messages import Reply

    Files = tuple[Path, Path, Path]

pytestmark = pytest.mark.usefixtures("environment")

MIB = 2**20
DATA = random.Random(17).randbytes(12 * MIB + 345)  # noqa: S311 - content that repeats
BLOB = Descriptor.of(DATA, "")
SMALL = DATA[:5000]
CREATED = 201


class Sessions:
    """Addresses of upload sessions, as a store keeps them."""

    def __init__(self) -> None:
        self.urls: dict[tuple[str, str], str] = {}

    def load(self, repository: str, digest: Digest) -> str | None:
        return self.urls.get((repository, str(digest)))

    def save(self, repository: str, digest: Digest, url: str) -> None:
        self.urls[repository, str(digest)] = url

    def forget(self, repository: str, digest: Digest) -> None:
        self.urls.pop((repository, str(digest)), None)


@dataclass
class Pusher:
    """Uploads to one registry, each time with a client of its own; keeps what it is told."""

    host: str
    sessions: Sessions = field(default_factory=Sessions)
    policy: RetryPolicy = RetryPolicy(attempts=5, first=0.001)
    more: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    retries: list[WherryError] = field(default_factory=list)
    progress: list[int] = field(default_factory=list)

    def push(
        self,
        content: bytes | Blob,
        cancel: CancelToken | None = None,
        on_bytes: Callable[[int], None] = lambda _: None,
    ) -> int:
        blob = (
            content if isinstance(content, Blob) else blob_of(Descriptor.of(content, ""), content)
        )
        self.progress.clear()

        def told(position: int) -> None:
            self.progress.append(position)
            on_bytes(position)

        session = Session(connections=2, **self.more)
        with contextlib.closing(session):
            api = WriteApi(session, session.hosts.host(self.host).replace(path="app"))
            options = UploadOptions(
                self.policy,
                session.upload_pauses,
                self.sessions,
                self.warnings.append,
                lambda _, error: self.retries.append(error),
            )
            return upload_blob(api, blob, options, cancel or CancelToken(), told)


@pytest.fixture
def pusher(fake: FakeRegistry) -> Pusher:
    return Pusher(fake.host)


def methods(registry: FakeRegistry) -> list[str]:
    return [request.method for request in registry.requests]


def sent(registry: FakeRegistry) -> int:
    return sum(request.bytes_received for request in registry.requests)


def require_whole(registry: FakeRegistry, data: bytes = DATA) -> None:
    """Require that the blob is there and that no session is left."""
    found = registry.blobs[str(Descriptor.of(data, "").digest)]
    assert (found if isinstance(found, bytes) else found.read_bytes()) == data
    assert registry.uploads.open_sessions == 0


# Without failures


@pytest.mark.parametrize("data", [b"", SMALL])
def test_small_blobs_take_two_requests(fake: FakeRegistry, pusher: Pusher, data: bytes) -> None:
    assert pusher.push(data) == len(data)
    assert methods(fake) == ["POST", "PUT"]
    require_whole(fake, data)


def test_large_blobs_are_one_stream(fake: FakeRegistry, pusher: Pusher) -> None:
    assert pusher.push(DATA) == len(DATA)
    assert methods(fake) == ["POST", "PATCH", "PUT"]
    assert "content-range" not in fake.requests[1].headers
    assert sent(fake) == len(DATA)
    assert pusher.progress == sorted(pusher.progress)
    assert pusher.progress[-1] == len(DATA)
    assert pusher.sessions.urls == {}
    require_whole(fake)


@pytest.mark.parametrize("size", [None, len(DATA) - 10, len(DATA) + 10])
def test_a_size_that_is_unknown_or_wrong(
    fake: FakeRegistry, pusher: Pusher, size: int | None
) -> None:
    """The digest decides where a layer ends."""
    blob = blob_of(Descriptor("", BLOB.digest, size), DATA)
    assert pusher.push(blob) == len(DATA)
    assert pusher.warnings == []
    require_whole(fake)


# Failures


@pytest.mark.parametrize("cut", [0, 1, 1000, 65536, MIB, 6 * MIB, len(DATA) - 1])
def test_a_stream_that_is_cut_goes_on_in_chunks(
    fake: FakeRegistry, pusher: Pusher, cut: int
) -> None:
    fake.inject(Fault(CutRequest(cut), method="PATCH", times=1))
    assert pusher.push(DATA) == len(DATA)
    require_whole(fake)
    assert methods(fake)[:3] == ["POST", "PATCH", "GET"]
    chunks = [request for request in fake.requests if "content-range" in request.headers]
    assert all(0 < chunk.bytes_received <= CHUNK for chunk in chunks)
    # A range of one byte is written like an empty one: the registry refuses the first byte.
    assert pusher.warnings == [] or cut == 1
    assert sent(fake) == len(DATA) or cut == 1


def test_chunks_that_are_cut_again_and_again(fake: FakeRegistry, pusher: Pusher) -> None:
    """A failure after some progress counts as the first one."""
    chance = random.Random(5)  # noqa: S311 - cuts that repeat
    for _ in range(8):
        fake.inject(Fault(CutRequest(chance.randrange(MIB, 2 * MIB)), method="PATCH", times=1))
    assert pusher.push(DATA) == len(DATA)
    require_whole(fake)
    assert sent(fake) == len(DATA)
    assert len(pusher.retries) == 8


def test_no_progress_ends_the_upload(fake: FakeRegistry, pusher: Pusher) -> None:
    """The session is kept: the network may be back in a later process."""
    fake.inject(Fault(CutRequest(0), method="PATCH"))
    with pytest.raises(NetworkError) as caught:
        pusher.push(DATA)
    assert caught.value.attempts == 5
    assert len(pusher.sessions.urls) == 1
    fake.clear()
    assert pusher.push(DATA) == len(DATA)
    assert methods(fake)[0] == "GET"
    require_whole(fake)


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
@pytest.mark.parametrize("data", [SMALL, DATA], ids=["small", "large"])
@pytest.mark.parametrize("action", [CutHead(9), HangUp(), FixedReply(503)])
def test_an_answer_that_is_lost(
    fake: FakeRegistry, pusher: Pusher, method: str, data: bytes, action: Any
) -> None:
    """Whether the registry has handled the request is found out, not guessed."""
    fake.inject(Fault(action, method=method, times=1))
    pusher.push(data)
    found = fake.blobs[str(Descriptor.of(data, "").digest)]
    assert (found if isinstance(found, bytes) else found.read_bytes()) == data
    assert pusher.warnings == []


@pytest.mark.parametrize("data", [SMALL, DATA])
def test_a_put_after_an_earlier_one_has_finished(
    fake: FakeRegistry, pusher: Pusher, data: bytes
) -> None:
    """The session is gone, and the blob is there: nothing has to be sent again."""
    fake.inject(Fault(FixedReply(404), method="PUT", times=1))
    fake.add_blob(data)
    assert pusher.push(data) == len(data)
    assert methods(fake)[-2:] == ["PUT", "HEAD"]
    assert pusher.warnings == []
    assert pusher.sessions.urls == {}


def test_a_session_that_an_earlier_process_has_finished(fake: FakeRegistry, pusher: Pusher) -> None:
    """Its PUT may end after the process was killed."""
    pusher.push(DATA)
    fake.clear()
    url = f"{fake.url}/v2/app/blobs/uploads/finished"
    pusher.sessions.save(f"{fake.host}/app", BLOB.digest, url)
    assert pusher.push(DATA) == len(DATA)
    assert methods(fake) == ["GET", "HEAD"]
    assert (pusher.warnings, pusher.sessions.urls) == ([], {})


def test_a_session_that_always_refuses_to_finish(fake: FakeRegistry, pusher: Pusher) -> None:
    fake.inject(Fault(FixedReply(404), method="PUT"))
    with pytest.raises(NotFound):
        pusher.push(DATA)
    assert len(pusher.warnings) == pusher.policy.attempts - 1
    assert pusher.sessions.urls == {}


def test_a_session_that_is_gone_begins_again(fake: FakeRegistry, pusher: Pusher) -> None:
    fake.inject(Fault(CutRequest(5 * MIB), method="PATCH", times=1))
    fake.inject(Fault(FixedReply(404), method="GET", times=1))
    pusher.push(DATA)
    require_cancelled = fake.uploads.open_sessions
    assert require_cancelled == 1  # the one that the registry denied
    assert ["begins again" in warning for warning in pusher.warnings] == [True]


def test_a_later_process_goes_on(fake: FakeRegistry, pusher: Pusher) -> None:
    for stop in (3 * MIB, 7 * MIB, 11 * MIB):
        token = CancelToken()

        def stop_at(position: int, token: CancelToken = token, stop: int = stop) -> None:
            if position >= stop:
                token.cancel()

        with pytest.raises(Cancelled):
            pusher.push(DATA, token, stop_at)
    pusher.push(DATA)
    require_whole(fake)
    assert sent(fake) <= len(DATA) + 3 * 2 * CHUNK
    assert methods(fake).count("POST") == 1
    assert pusher.sessions.urls == {}


@pytest.mark.parametrize(
    "address",
    ["", "x", "ftp://127.0.0.1/", "http://[", "http://127.0.0.1:1/v2/app/blobs/uploads/x"],
)
def test_a_kept_address_that_is_of_no_use(fake: FakeRegistry, pusher: Pusher, address: str) -> None:
    """It may have been kept by another version, or be in a network that is out of reach."""
    pusher.sessions.save(f"{fake.host}/app", BLOB.digest, address)
    pusher.push(DATA)
    require_whole(fake)
    assert len(pusher.warnings) <= 1


@pytest.mark.parametrize("status", [400, 404, 405, 416])
def test_a_kept_session_that_the_registry_refuses(
    fake: FakeRegistry, pusher: Pusher, status: int
) -> None:
    pusher.sessions.save(f"{fake.host}/app", BLOB.digest, f"{fake.url}/v2/app/blobs/uploads/x")
    fake.inject(Fault(FixedReply(status), method="GET"))
    pusher.push(DATA)
    require_whole(fake)
    assert len(pusher.warnings) == 1


def test_a_later_process_whose_source_has_changed(fake: FakeRegistry, pusher: Pusher) -> None:
    """The registry compares the digest of an upload that two processes have sent."""
    fake.inject(Fault(CutRequest(2 * MIB), method="PATCH", times=1))
    fake.inject(Fault(CutRequest(0), method="PATCH"))
    with pytest.raises(NetworkError):
        pusher.push(blob_of(BLOB, bytes(len(DATA))))
    fake.clear()
    pusher.push(DATA)
    require_whole(fake)
    assert len(pusher.warnings) == 1


# Answers that mislead


@pytest.mark.parametrize("answer", ["0-5", "0-0", "5-3", "bytes=0-7", "x", ""])
@pytest.mark.parametrize("method", ["PATCH", "GET"])
def test_a_range_that_goes_back(
    fake: FakeRegistry, pusher: Pusher, answer: str, method: str
) -> None:
    """A range that does not advance is no reason to send anything twice, or to stop."""
    fake.inject(Fault(CutRequest(5 * MIB), method="PATCH", times=1))
    fake.inject(Fault(SetHeader("Range", answer), method=method))
    pusher.push(DATA)
    require_whole(fake)


@pytest.mark.parametrize("method", ["PATCH", "GET"])
def test_a_range_beyond_what_was_sent(fake: FakeRegistry, pusher: Pusher, method: str) -> None:
    fake.inject(Fault(CutRequest(5 * MIB), method="PATCH", times=1))
    skip = 1 if method == "PATCH" else 0  # the answer to the stream is lost
    fake.inject(Fault(SetHeader("Range", f"0-{2**40}"), method=method, times=1, skip=skip))
    pusher.push(DATA)
    require_whole(fake)
    assert "more bytes than were sent" in pusher.warnings[0]


def test_a_registry_that_always_misleads(fake: FakeRegistry, pusher: Pusher) -> None:
    fake.inject(Fault(SetHeader("Range", f"0-{2**40}"), method="PATCH"))
    with pytest.raises(NetworkError, match="more bytes than were sent"):
        pusher.push(DATA)
    assert fake.uploads.open_sessions == 0


class KeepBytes(Action):
    """Confirm a few more bytes than the time before, however many arrived."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.kept = 0

    def shape(self, reply: Reply) -> None:
        self.kept += self.step
        reply.set("Range", f"0-{min(self.kept, len(DATA) - 1)}")


@pytest.mark.parametrize("step", [1, 1000])
def test_a_registry_that_keeps_next_to_nothing(step: int) -> None:
    """It is not asked for ever, however far it gets with each request."""
    with FakeRegistry(like="distribution-2.8") as registry:
        pusher = Pusher(registry.host)
        registry.inject(Fault(KeepBytes(step), method="PATCH"))
        with pytest.raises(NetworkError, match="keeps too little of what it is sent") as caught:
            pusher.push(DATA)
        assert not caught.value.transient
        assert pusher.retries == []
        assert methods(registry).count("PATCH") < 20
        assert registry.uploads.open_sessions == 0


def test_a_registry_that_keeps_half() -> None:
    """The upload goes on to its end; this registry has appended all that was sent."""
    with FakeRegistry(like="distribution-2.8") as registry:
        registry.inject(Fault(KeepBytes(CHUNK // 2), method="PATCH"))
        with pytest.raises(IntegrityError, match="other bytes"):
            Pusher(registry.host).push(DATA)
        assert "PUT" in methods(registry)


def test_a_registry_that_gets_other_bytes(fake: FakeRegistry, pusher: Pusher) -> None:
    body = b'{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}'
    headers = {"Content-Type": "application/json"}
    fake.inject(Fault(FixedReply(400, headers, body), method="PUT"))
    with pytest.raises(IntegrityError, match="other bytes"):
        pusher.push(DATA)


# Answers before the end


WAYS = ["plain", "tls", "within"]  # within: TLS, also with an https proxy


@contextlib.contextmanager
def reach(certificates: Files, way: str, **more: Any) -> Iterator[tuple[FakeRegistry, Pusher]]:
    """A registry, and an uploader that reaches it in one of these ways."""
    pair = certificates[1:]
    bundle = CaBundle("REQUESTS_CA_BUNDLE", certificates[0])
    known = CredentialStore(fixed=Credentials("me", "secret"))
    with contextlib.ExitStack() as end:
        registry = FakeRegistry(tls=None if way == "plain" else pair, **more)
        end.enter_context(registry)
        host, proxies = registry.host, ProxySettings()
        if way == "within":
            host = "registry.test:4443"
            proxy = end.enter_context(HttpProxy({host: registry.host}, tls=pair))
            proxies = ProxySettings(https=proxy.url)
        options = {"ca_bundle": bundle, "credentials": known, "proxies": proxies}
        yield registry, Pusher(host, more=options)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("after", [0, 3 * MIB])
def test_too_large(certificates: Files, way: str, after: int) -> None:
    with reach(certificates, way) as (registry, pusher):
        registry.inject(Fault(EarlyReply(413, after=after), method="PATCH"))
        with pytest.raises(RegistryError, match="413") as caught:
            pusher.push(DATA)
        assert caught.value.status == 413
        assert sent(registry) < len(DATA)
        assert registry.uploads.open_sessions == 0
        assert pusher.retries == []


@pytest.mark.parametrize("way", WAYS)
def test_a_token_that_expires_within_the_upload(certificates: Files, way: str) -> None:
    with reach(certificates, way, users={"me": "secret"}, tokens=True) as (registry, pusher):
        realm = pusher.host if way == "within" else registry.host
        scheme = "http" if way == "plain" else "https"
        challenge = f'Bearer realm="{scheme}://{realm}/token",service="{registry.service}"'
        refused = EarlyReply(401, {"WWW-Authenticate": challenge}, after=MIB)
        registry.inject(Fault(refused, method="PATCH", times=1))
        if way == "within":  # the registry does not know its name behind the proxy
            header = SetHeader("WWW-Authenticate", challenge)
            registry.inject(Fault(header, method="HEAD"))
            registry.inject(Fault(header, method="POST", times=1))
        pusher.push(DATA)
        require_whole(registry)
        assert registry.tokens_issued == 2
        assert pusher.retries == []


@pytest.mark.parametrize("way", WAYS)
def test_a_pause_that_is_asked_for_within_the_body(certificates: Files, way: str) -> None:
    with reach(certificates, way) as (registry, pusher):
        busy = EarlyReply(429, {"Retry-After": "1"}, after=MIB)
        registry.inject(Fault(busy, method="PATCH", times=1))
        started = time.monotonic()
        pusher.push(DATA)
        require_whole(registry)
        assert time.monotonic() - started >= 1
        assert isinstance(pusher.retries[0], RateLimited)


def test_a_quota(fake: FakeRegistry, pusher: Pusher) -> None:
    fake.inject(Fault(FixedReply(403), method="PUT"))
    with pytest.raises(Denied):
        pusher.push(DATA)
    assert fake.uploads.open_sessions == 0


# Registries that ask for a pause


def test_a_pause_holds_back_every_upload_to_the_host(fake: FakeRegistry, pusher: Pusher) -> None:
    fake.inject(Fault(FixedReply(429, {"Retry-After": "1"}), method="POST", times=1))
    started = time.monotonic()
    pusher.push(SMALL)
    assert time.monotonic() - started >= 1
    assert isinstance(pusher.retries[0], RateLimited)
    pauses = HostPauses()
    pauses.hold("a", 0.2)
    started = time.monotonic()
    pauses.wait("b", CancelToken())
    pauses.wait("a", CancelToken())
    assert time.monotonic() - started >= 0.2


# Sources that fail


class Failing:
    def __init__(self, data: bytes, error: WherryError | None = None) -> None:
        self.left = data
        self.error = error

    def read1(self, size: int) -> bytes:
        data, self.left = self.left[:size], self.left[size:]
        if not data and self.error is not None:
            raise self.error
        return data

    def close(self) -> None:
        pass


@pytest.mark.parametrize("data", [SMALL, DATA], ids=["small", "large"])
def test_a_source_that_fails(fake: FakeRegistry, pusher: Pusher, data: bytes) -> None:
    """Its error is the error; nothing is tried again at the destination."""
    problem = NetworkError("the source is gone", host="elsewhere")
    blob = Blob(
        Descriptor.of(data, ""),
        lambda offset, _: Opened(Failing(data[offset : len(data) // 2], problem), offset),
    )
    with pytest.raises(NetworkError, match="the source is gone"):
        pusher.push(blob)
    assert fake.blobs == {}
    assert pusher.retries == []
    assert fake.uploads.open_sessions == 0


@pytest.mark.parametrize("data", [SMALL, DATA], ids=["small", "large"])
@pytest.mark.parametrize("wrong", [b"x", b"", b"xx"], ids=["other", "shorter", "longer"])
def test_a_source_with_other_content(
    fake: FakeRegistry, pusher: Pusher, data: bytes, wrong: bytes
) -> None:
    with pytest.raises(IntegrityError):
        pusher.push(blob_of(Descriptor.of(data, ""), data[:-1] + wrong))
    assert fake.blobs == {}
    assert fake.uploads.open_sessions == 0


@pytest.mark.parametrize("data", [SMALL, DATA], ids=["small", "large"])
@pytest.mark.parametrize("bad", [1, 2])
def test_a_source_whose_pieces_do_not_fit(
    fake: FakeRegistry, pusher: Pusher, data: bytes, bad: int
) -> None:
    """A source that was interrupted is read once more from its start."""
    wrong = data[:-1] + b"x"
    reads = iter([wrong] * bad + [data])
    blob = Blob(
        Descriptor.of(data, ""),
        lambda offset, _: open_bytes(next(reads), offset),
        joined=lambda: True,
    )
    if bad == 1:
        assert pusher.push(blob) == len(data)
        require_whole(fake, data)
    else:
        with pytest.raises(IntegrityError):
            pusher.push(blob)
        assert fake.blobs == {}
    assert pusher.warnings == []


# Registries by name


@pytest.mark.parametrize(
    ("like", "restarts"),
    [
        ("acr", 0),
        ("artifactory", 0),
        ("distribution-2.8", 1),
        ("ecr", 1),
        ("gar", 1),
        ("ghcr", 0),
        ("gitlab", 0),
        ("harbor", 0),
        ("hub", 0),
        ("keppel", 0),
        ("nexus", 0),
        ("quay", 0),
    ],
)
def test_a_cut_at_registries_by_name(like: RegistryName, restarts: int) -> None:
    with FakeRegistry(like=like) as registry:
        pusher = Pusher(registry.host)
        for cut in (5 * MIB, MIB):
            registry.inject(Fault(CutRequest(cut), method="PATCH", times=1))
            pusher.push(DATA)
            require_whole(registry)
            assert len(pusher.warnings) == restarts
            registry.blobs.clear()
            pusher.warnings.clear()
            registry.faults.clear()


def test_chunks_are_as_long_as_the_registry_wants() -> None:
    with FakeRegistry(chunk_min_length=5 * MIB) as registry:
        registry.inject(Fault(CutRequest(MIB), method="PATCH", times=1))
        Pusher(registry.host).push(DATA)
        require_whole(registry)
        chunks = [one.bytes_received for one in registry.requests if "content-range" in one.headers]
        assert chunks == [5 * MIB, 5 * MIB, len(DATA) - 11 * MIB]


# A real registry


@pytest.fixture
def proxied(distribution: Distribution) -> Iterator[TcpProxy]:
    with TcpProxy(distribution.port) as proxy:
        yield proxy


@pytest.mark.parametrize("cut", [1, 100_000, MIB, 6 * MIB, len(DATA)])
def test_a_connection_to_a_real_registry_is_cut(
    distribution: Distribution, proxied: TcpProxy, cut: int
) -> None:
    """Distribution 2.8 drops a session whose PATCH breaks, so the blob begins again."""
    distribution.clear()
    pusher, cuts = Pusher(proxied.host), [cut]
    data = DATA[:-8] + cut.to_bytes(8)  # the registry has the blobs of other runs

    def cut_at(position: int) -> None:
        if cuts and position >= cuts[0]:
            cuts.clear()
            proxied.cut()

    assert pusher.push(data, on_bytes=cut_at) == len(data)
    assert not cuts
    assert pusher.retries
    found = [status for method, _, status in distribution.requests() if method == "PUT"]
    assert found == [CREATED]
    with contextlib.closing(Session(connections=1)) as session:
        endpoint = session.hosts.host(distribution.host).replace(path="app")
        assert WriteApi(session, endpoint).has_blob(Descriptor.of(data, "").digest, CancelToken())
