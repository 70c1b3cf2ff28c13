"""Kinds of faults of a registry that takes uploads, and of the source of the uploads."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kinds import JUNK
from target import REPOSITORY
from wherry import Denied, IntegrityError, NetworkError, NotFound, RegistryError, Unauthorized
from wherry.testing import (
    Action,
    CutHead,
    CutRequest,
    Delay,
    DropHeader,
    EarlyReply,
    Fault,
    FixedReply,
    HangUp,
    SetHeader,
    refused_port,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from kinds import Kind
    from target import TargetRegistry
    from wherry.testing import Piece, RegistryName, TcpProxy
    from wherry.testing._messages import IncomingRequest

    Make = Callable[["Subject"], Action]
    Faults = Callable[["Subject"], Sequence[Fault]]

_UPLOADS, _MANIFESTS = "/blobs/uploads/", "/manifests/"
_HEAD = 200  # bytes of the head of an answer
_REQUEST = 150  # bytes that every connection carries to the registry
_LIKE: tuple[RegistryName | None, ...] = (
    *(None, "distribution-2.8", "ecr", "gar", "ghcr", "hub", "artifactory", "gitlab", "nexus"),
    *("quay", "harbor", "keppel", "acr"),
)
# How many requests of each kind the image takes beside the first one: one layer is streamed.
_MORE = {"POST": 3, "PATCH": 0, "PUT": 3}


_REFUSED = (NetworkError, RegistryError)


class SourceBlob(Protocol):
    """A blob where it is read; the tests change it."""

    def write(self, data: bytes) -> None:
        """Replace the content."""
        ...

    def remove(self) -> None:
        """Remove the blob."""
        ...


@dataclass(frozen=True)
class Subject:
    """The large blob of the image, where it comes from and goes to, and random numbers."""

    blob: Piece
    chance: Random
    target: TargetRegistry
    source: SourceBlob

    def at(self, size: int | None = None) -> int:
        """Return a random offset in the blob, often near its ends."""
        last = (size or self.blob.size) - 1
        near = self.chance.choice([0, 1, 17, last - 17, last - 1, last])
        return max(0, min(last, self.chance.choice([near, self.chance.randint(0, last)])))


@dataclass(frozen=True)
class Do(Action):
    """Do something before the request is answered."""

    act: Callable[[], object]

    def bend(self, request: IncomingRequest) -> None:  # noqa: ARG002 - any request
        """Do it."""
        self.act()


@dataclass(frozen=True)
class WriteKind:
    """A kind of fault of a push or copy.

    ``ends`` is the expected error (None: it succeeds); nothing may be named after it. With
    ``exact``, no byte may be sent twice. ``like`` are the registries to choose from; ``tokens``
    requires tokens. ``network`` sets the cuts of a proxy before the registry. ``change`` changes
    the source before the move. ``held`` adds the blobs to the registry before. ``reads`` are faults
    of the registry that is copied from.
    """

    name: str
    faults: Faults = lambda _: ()
    ends: type[Exception] | tuple[type[Exception], ...] | None = None
    exact: bool = False
    like: Sequence[RegistryName | None] = (None,)
    tls: bool = False
    tokens: bool = False
    network: Callable[[TcpProxy, Random], None] | None = None
    change: Callable[[Subject], None] | None = None
    held: bool = False
    reads: Kind | None = None


def _upload(method: str, make: Make, times: int = 1) -> Faults:
    """Return a fault of uploads: of any of the requests with the method."""
    return lambda subject: [
        Fault(
            make(subject),
            method=method,
            path=_UPLOADS,
            times=subject.chance.randint(1, times),
            skip=subject.chance.randint(0, _MORE[method]),
        )
    ]


def _any_upload(make: Make, times: int = 1) -> Faults:
    return lambda subject: _upload(subject.chance.choice(list(_MORE)), make, times)(subject)


def _manifest(make: Make, method: str = "PUT", times: int = 1) -> Faults:
    return lambda subject: [
        Fault(
            make(subject),
            method=method,
            path=_MANIFESTS,
            times=subject.chance.randint(1, times),
        )
    ]


def _after_cut(method: str, make: Make) -> Faults:
    """Return a cut of a stream, and a fault of the requests that go on from there."""
    return lambda subject: [
        Fault(CutRequest(subject.chance.randrange(1, 10**6)), method="PATCH", times=1),
        Fault(
            make(subject),
            method=method,
            path=_UPLOADS + ".",
            times=1,
            skip=1 if method == "PATCH" else 0,
        ),
    ]


def _cut_request(subject: Subject) -> Action:
    return CutRequest(_exact(subject.at(10**6)))


def _cut_small(subject: Subject) -> Action:
    return CutRequest(_exact(subject.at(900)))


def _exact(size: int) -> int:
    """Avoid an upload of one byte: registries name the range of it as that of none."""
    return 2 if size == 1 else size


def _cut_head(subject: Subject) -> Action:
    return CutHead(subject.chance.randrange(_HEAD))


def _hang_up(subject: Subject) -> Action:
    return HangUp(reset=subject.chance.random() < 0.5)


def _status(*codes: int) -> Make:
    return lambda subject: FixedReply(subject.chance.choice(codes), body=JUNK)


def _pause(subject: Subject) -> dict[str, str]:
    soon = email.utils.formatdate(time.time() + 1, usegmt=True)
    return {"Retry-After": subject.chance.choice(["0", "1", soon, "soon", "-1"])}


def _slow_down(subject: Subject) -> Action:
    return FixedReply(subject.chance.choice([429, 503]), _pause(subject))


def _early(*codes: int) -> Make:
    """Return an answer before the end of a body of 1 MB or more."""

    def make(subject: Subject) -> Action:
        code = subject.chance.choice(codes)
        pause = _pause(subject) if code in {429, 503} else {}
        return EarlyReply(code, pause, body=JUNK, after=subject.at(10**6))

    return make


def _revoke(subject: Subject) -> Action:
    return Do(subject.target.revoke_tokens)


def _nowhere(subject: Subject) -> Action:
    return SetHeader("Location", subject.chance.choice(["", "http://", "x:y", "//"]))


def _no_session(_: Subject) -> Action:
    return SetHeader("Location", f"/v2/{REPOSITORY}/blobs/uploads/none")


def _no_location(_: Subject) -> Action:
    return DropHeader("Location")


def _closed_port(_: Subject) -> Action:
    return SetHeader("Location", f"http://127.0.0.1:{refused_port()}/upload?x=1")


def _plain(subject: Subject) -> Action:
    return SetHeader("Location", f"http://{subject.target.host}/v2/{REPOSITORY}/blobs/uploads/x")


def _range(subject: Subject) -> Action:
    """Return a range that goes back or is none."""
    back = f"0-{subject.chance.randrange(1000)}"
    return SetHeader("Range", subject.chance.choice([back, "0-0", "5-3", "bytes=0-7", "x", ""]))


def _range_beyond(subject: Subject) -> Action:
    return SetHeader("Range", f"0-{subject.blob.size * subject.chance.choice([2, 10**6])}")


def _vanish(subject: Subject) -> Sequence[Fault]:
    """Remove a blob when the manifest arrives that needs it."""

    def act() -> None:
        if subject.target.has_blob(REPOSITORY, subject.blob.digest):
            subject.target.delete_blob(REPOSITORY, subject.blob.digest)

    return [Fault(Do(act), method="PUT", path=_MANIFESTS, times=1)]


def _refused(_: Subject) -> Sequence[Fault]:
    body = b'{"errors":[{"code":"MANIFEST_INVALID","message":"a policy forbids it"}]}'
    return [Fault(FixedReply(400, body=body), method="PUT", path=_MANIFESTS, times=None)]


def _quota(*codes: int) -> Faults:
    """Refuse an upload, and all that follow."""
    body = b'{"errors":[{"code":"DENIED","message":"the quota is exceeded"}]}'

    def make(subject: Subject) -> Sequence[Fault]:
        method = subject.chance.choice(list(_MORE))
        reply = FixedReply(subject.chance.choice(codes), body=body)
        skip = subject.chance.randint(0, _MORE[method])
        return [Fault(reply, method=method, path=_UPLOADS, skip=skip)]

    return make


def _flip(subject: Subject) -> None:
    data = bytearray(subject.blob.data)
    data[subject.at()] ^= 0xFF
    subject.source.write(bytes(data))


def _shorten(subject: Subject) -> None:
    subject.source.write(subject.blob.data[: subject.at()])


def _lengthen(subject: Subject) -> None:
    subject.source.write(subject.blob.data + JUNK)


def _change_after_cut(subject: Subject) -> Sequence[Fault]:
    """Change all of the source when its upload is cut."""
    other = bytes(each ^ 0xFF for each in subject.blob.data)
    cut = CutRequest(subject.chance.randrange(10**6))
    change = Do(lambda: subject.source.write(other))
    return [Fault(action, method="PATCH", times=1) for action in (change, cut)]


def _upload_cuts(proxy: TcpProxy, chance: Random) -> None:
    """Cut some connections after any number of bytes from the client, heads included."""
    least = [chance.randrange(_REQUEST)]
    more = [chance.choice([2_000, 10**6]) for _ in range(chance.randint(0, 3))]
    proxy.upload_cuts = least + [chance.randrange(most) for most in more]


def _answer_cuts(proxy: TcpProxy, chance: Random) -> None:
    """Cut some connections after any number of bytes to the client."""
    proxy.cuts = [chance.randrange(_HEAD) for _ in range(chance.randint(1, 4))]


def _resets(proxy: TcpProxy, chance: Random) -> None:
    proxy.reset = True
    chance.choice([_upload_cuts, _answer_cuts])(proxy, chance)


NETWORKS = [
    WriteKind("connections cut", network=_upload_cuts),
    WriteKind("connections cut, registries by name", network=_upload_cuts, like=_LIKE),
    WriteKind("connections cut, TLS", network=_upload_cuts, tls=True),
    WriteKind("answers cut", network=_answer_cuts),
    WriteKind("answers cut, TLS", network=_answer_cuts, tls=True),
    WriteKind("connections reset", network=_resets),
    WriteKind("connections reset, TLS", network=_resets, tls=True),
]

WRITE_KINDS = [
    *NETWORKS,
    WriteKind("stream cut", _upload("PATCH", _cut_request, 4), exact=True),
    WriteKind("stream cut, registries by name", _upload("PATCH", _cut_request), like=_LIKE),
    WriteKind("small blob cut", _upload("PUT", _cut_small, 4), exact=True),
    WriteKind("manifest cut", _manifest(lambda s: CutRequest(s.at(400)), times=4), exact=True),
    WriteKind("answer cut in the head", _any_upload(_cut_head, 4), exact=True),
    WriteKind("no answer to an upload", _any_upload(_hang_up, 4)),
    WriteKind("no answer to a manifest", _manifest(_hang_up, times=4), exact=True),
    WriteKind("no answer to HEAD", _manifest(_hang_up, "HEAD", 4), exact=True),
    WriteKind("no answer within the time-out", _any_upload(lambda _: Delay(3600))),
    WriteKind("500, 502, 503, 504", _any_upload(_status(500, 502, 503, 504), 4)),
    WriteKind("408, 425", _any_upload(_status(408, 425), 4)),
    WriteKind("429 and 503 with Retry-After", _any_upload(_slow_down, 2)),
    WriteKind("manifest: 429, 503", _manifest(_slow_down, times=2), exact=True),
    WriteKind("manifest: 5xx", _manifest(_status(500, 502, 504), times=4), exact=True),
    WriteKind("early 429, 503", _upload("PATCH", _early(429, 503), 2)),
    WriteKind("early 429, 503, TLS", _upload("PATCH", _early(429, 503), 2), tls=True),
    WriteKind("early 401", _upload("PATCH", _early(401)), ends=Unauthorized),
    WriteKind("early 401, TLS", _upload("PATCH", _early(401)), ends=Unauthorized, tls=True),
    WriteKind("early 413", _upload("PATCH", _early(413)), ends=RegistryError),
    WriteKind("early 413, TLS", _upload("PATCH", _early(413)), ends=RegistryError, tls=True),
    WriteKind("token that expires", _any_upload(_revoke), tokens=True),
    WriteKind("token that expires, TLS", _any_upload(_revoke), tokens=True, tls=True),
    WriteKind("Location at a closed port", _upload("POST", _closed_port), ends=NetworkError),
    WriteKind("Location in plain http", _upload("POST", _plain), ends=NetworkError, tls=True),
    WriteKind("Location that is none", _upload("POST", _nowhere), ends=_REFUSED),
    WriteKind("Location missing", _upload("POST", _no_location), ends=NetworkError),
    WriteKind("Location missing after a stream", _upload("PATCH", _no_location)),
    WriteKind("Location of no session", _upload("POST", _no_session)),
    WriteKind("Range that goes back", _upload("PATCH", _range, 2)),
    WriteKind("status with a Range that goes back", _after_cut("GET", _range)),
    WriteKind("Range beyond", _upload("PATCH", _range_beyond)),
    WriteKind("status with a Range beyond", _after_cut("GET", _range_beyond)),
    WriteKind("status: 404", _after_cut("GET", _status(404))),
    WriteKind("chunks refused", _after_cut("PATCH", _status(400, 404, 405, 416))),
    WriteKind("blob that vanishes", _vanish),
    WriteKind("blob that vanishes after HEAD", _vanish, held=True),
    WriteKind("manifest refused", _refused, ends=RegistryError),
    WriteKind("quota: 403", _quota(403), ends=Denied),
    WriteKind("quota: 413", _quota(413), ends=RegistryError),
    WriteKind("source with a wrong byte", change=_flip, ends=IntegrityError),
    WriteKind("source that ends early", change=_shorten, ends=IntegrityError),
    WriteKind("source that is longer", change=_lengthen, ends=IntegrityError),
    WriteKind("source that changes", _change_after_cut, ends=IntegrityError),
    WriteKind("source that vanishes", change=lambda s: s.source.remove(), ends=NotFound),
]


def reading(kind: Kind) -> WriteKind:
    """Return the faults of a pull as those of the source of a copy."""
    return WriteKind(f"source: {kind.name}", ends=kind.ends, reads=kind)


def both(kind: Kind) -> WriteKind:
    """Return the faults of a pull together with those of a network before the destination."""
    return WriteKind(f"both sides: {kind.name}", reads=kind, network=_upload_cuts)
