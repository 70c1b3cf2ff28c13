"""Kinds of faults of the fake registry, at random offsets of random blobs."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherry import IntegrityError
from wherry.testing import (
    Action,
    Chunked,
    ContentLength,
    ContentRange,
    Corrupt,
    Cut,
    CutHead,
    Delay,
    DropHeader,
    Fault,
    FixedReply,
    HangUp,
    IgnoreRange,
    Replace,
    SetHeader,
    Stall,
    Trickle,
    refused_port,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from wherry.testing import Piece
    from wherry.testing._messages import Reply

JUNK = bytes(range(251))


@dataclass(frozen=True)
class Subject:
    """The blob of a fault, and the random numbers of the run.

    A response for the blob has at most `span` bytes.
    """

    blob: Piece
    chance: Random
    span: int

    @property
    def path(self) -> str:
        """The path of requests for the blob, at the registry or its storage."""
        return f"/{self.blob.digest}"

    def at(self) -> int:
        """Return a random offset in a response, often near its ends."""
        last = self.span - 1
        near = self.chance.choice([0, 1, 17, last - 17, last - 1, last])
        return max(0, min(last, self.chance.choice([near, self.chance.randint(0, last)])))

    def fault(self, action: Action, times: int = 1, skip: int = 0) -> Fault:
        """Return a fault of requests for the blob."""
        return Fault(action, path=self.path, times=times, skip=skip, method="GET")

    def cut(self) -> Fault:
        """Cut the first response in the middle, so that the next request has a range."""
        return self.fault(Cut(after=self.chance.randint(1, self.span - 1)))


@dataclass(frozen=True)
class Shorten(Action):
    """Send only the first bytes of the response, with their length."""

    size: int

    def shape(self, reply: Reply) -> None:
        """Set the number of bytes."""
        reply.stop = reply.start + min(self.size, reply.size)


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    `faults` makes the faults, `part` the part file of an earlier pull. `ends` is the expected error
    of the pull (None: it succeeds). With `exact`, no byte may be sent twice. `redirects` sends
    requests for blobs to storage, at URLs that are valid for so many requests. `tokens` requires
    tokens and revokes them.
    """

    name: str
    faults: Callable[[Subject], Sequence[Fault]] = lambda _: ()
    part: Callable[[Subject], bytes] | None = None
    ends: type[Exception] | None = None
    exact: bool = False
    redirects: int | None = None
    tokens: bool = False


def _one(make: Callable[[Subject], Action], times: int = 1) -> Callable[[Subject], Sequence[Fault]]:
    return lambda subject: [subject.fault(make(subject), subject.chance.randint(1, times))]


def _after_cut(
    *make: Callable[[Subject], Action], times: int = 1
) -> Callable[[Subject], Sequence[Fault]]:
    """Return a cut, and faults with the actions of `make` for the next requests."""
    return lambda subject: [
        subject.cut(),
        *(subject.fault(each(subject), times, skip=1) for each in make),
    ]


def _prefix(subject: Subject) -> bytes:
    return subject.blob.data[: subject.chance.randint(1, subject.blob.size - 1)]


def _damaged(subject: Subject) -> bytes:
    data = bytearray(_prefix(subject))
    data[subject.chance.randrange(len(data))] ^= 0xFF
    return bytes(data)


def _content_range(start: int, end: int, total: int) -> Callable[[Subject], Action]:
    """Return an action that sends a Content-Range shifted by these numbers of bytes."""

    def make(subject: Subject) -> Action:
        size = subject.blob.size
        first = max(0, subject.chance.randrange(size) + start)
        return ContentRange(f"bytes {first}-{size - 1 + end}/{size + total}")

    return make


def _retry_after(subject: Subject) -> Action:
    soon = email.utils.formatdate(time.time() + 1, usegmt=True)
    value = subject.chance.choice(["0", "1", soon, "soon", "-1"])
    return FixedReply(subject.chance.choice([429, 503]), {"Retry-After": value})


def _length_lies(subject: Subject) -> Sequence[Fault]:
    """Return a fault that sends a wrong Content-Length and the right body."""
    value = subject.chance.choice([subject.at(), subject.blob.size + 1, 10**12])
    return [subject.fault(ContentLength(value))]


def _unsatisfiable(subject: Subject) -> Sequence[Fault]:
    """Return faults that answer valid ranges by 416 with a wrong length and a stalled body."""
    return [
        subject.fault(FixedReply(416, body=b"a lie")),
        subject.fault(ContentLength(subject.blob.size)),
        subject.fault(Stall(after=5)),
    ]


def _bad_redirect(_: Subject) -> Action:
    return FixedReply(307, {"Location": f"http://127.0.0.1:{refused_port()}/gone?X-Signature=0"})


def _several(subject: Subject) -> Sequence[Fault]:
    """Return faults of three other kinds, one after the other."""
    chosen = subject.chance.sample(COMBINED, 3)
    return [
        Fault(fault.action, path=fault.path, times=1, skip=number, method="GET")
        for number, kind in enumerate(chosen)
        for fault in kind.faults(subject)
    ]


def _status(*codes: int) -> Callable[[Subject], Action]:
    return lambda subject: FixedReply(subject.chance.choice(codes), body=JUNK)


def _documents(make: Callable[[Subject], Action]) -> Callable[[Subject], Sequence[Fault]]:
    """Return a fault of requests for manifests."""
    return lambda subject: [
        Fault(make(subject), path="/manifests/", times=subject.chance.randint(1, 3))
    ]


COMBINED = [
    Kind("cut", _one(lambda s: Cut(after=s.at()), 4), exact=True),
    Kind("cut in the head", _one(lambda s: CutHead(s.chance.randrange(200)), 4), exact=True),
    Kind("connection closed without an answer", _one(lambda _: HangUp(), 4), exact=True),
    Kind("500, 502, 503, 504", _one(_status(500, 502, 503, 504), 4), exact=True),
    Kind("408, 425", _one(_status(408, 425), 4), exact=True),
    Kind("429 and 503 with Retry-After", _one(_retry_after, 2), exact=True),
    Kind("stalled in the body", _one(lambda s: Stall(after=s.at())), exact=True),
    Kind("redirected to a closed port", _one(_bad_redirect, 2), exact=True),
]

KINDS = [
    *COMBINED,
    Kind("reset", _one(lambda s: Cut(after=s.at(), reset=True), 4)),
    Kind("reset without an answer", _one(lambda _: HangUp(reset=True), 4), exact=True),
    Kind("no answer within the time-out", _one(lambda _: Delay(3600)), exact=True),
    Kind("slow trickle", _one(lambda s: Trickle(s.blob.size * 2)), exact=True),
    Kind("several of these", _several, exact=True),
    Kind("Range ignored", _after_cut(lambda _: IgnoreRange(), times=3)),
    Kind("Range ignored, cut again", _after_cut(lambda _: IgnoreRange(), lambda s: Cut(s.at()))),
    Kind("206 with another start", _after_cut(_content_range(1, 0, 0))),
    Kind("206 with another end", _after_cut(_content_range(0, -1, 0))),
    Kind("206 with another total", _after_cut(_content_range(0, 3, 3))),
    Kind("206 without Content-Range", _after_cut(lambda _: ContentRange(None))),
    Kind("206 with nonsense for a range", _after_cut(lambda _: ContentRange("bytes x-y/z"))),
    Kind("416 that is not true", _unsatisfiable, _prefix),
    Kind("416 after a cut", _after_cut(lambda _: FixedReply(416))),
    Kind("wrong bytes, fresh", _one(lambda s: Corrupt(s.at())), ends=IntegrityError),
    Kind("wrong bytes after a part", _one(lambda _: Corrupt(0)), _prefix),
    Kind("wrong bytes after a cut", _after_cut(lambda _: Corrupt(0))),
    Kind("another blob, fresh", _one(lambda s: Replace(bytes(s.blob.size))), ends=IntegrityError),
    Kind("another, shorter blob", _one(lambda s: Replace(bytes(s.at())))),
    Kind("too long, fresh", _one(lambda s: Replace(s.blob.data + JUNK)), ends=IntegrityError),
    Kind("too short", _one(lambda s: Shorten(s.at()), 4), exact=True),
    Kind("Content-Length lies", _length_lies),
    Kind("no Content-Length", _one(lambda _: ContentLength(None)), exact=True),
    Kind("no Content-Length, and cut", lambda s: [s.fault(ContentLength(None)), s.cut()]),
    Kind("Content-Length is no number", _one(lambda _: ContentLength("many"))),
    Kind("chunked", _one(lambda _: Chunked()), exact=True),
    Kind("chunked, and cut", lambda s: [s.fault(Chunked()), s.cut()], exact=True),
    Kind("no headers to speak of", _one(lambda _: DropHeader("Content-Type")), exact=True),
    Kind("says that it is packed", _one(lambda _: SetHeader("Content-Encoding", "gzip"))),
    Kind("part of an earlier pull", part=_prefix, exact=True),
    Kind("part that is whole", part=lambda s: s.blob.data, exact=True),
    Kind("part that is empty", part=lambda _: b"", exact=True),
    Kind("part that is too long", part=lambda s: s.blob.data + JUNK),
    Kind("part that is whole and wrong", part=lambda s: bytes(s.blob.size)),
    Kind("part with a wrong byte", part=_damaged),
    Kind("part with a wrong byte, and cut", lambda s: [s.fault(Cut(s.at()))], _damaged),
    Kind("redirects that expire", _one(lambda s: Cut(after=s.at()), 4), exact=True, redirects=1),
    Kind("token that expires", lambda s: [s.cut()], tokens=True, exact=True),
    Kind("documents: 5xx", _documents(_status(500, 502, 503, 504)), exact=True),
    Kind("documents: 429", _documents(_retry_after), exact=True),
    Kind("documents: cut", _documents(lambda s: Cut(s.chance.randrange(300))), exact=True),
    Kind("documents: cut in the head", _documents(lambda s: CutHead(s.chance.randrange(200)))),
    Kind("documents: stalled", _documents(lambda s: Stall(s.chance.randrange(300)))),
    Kind("documents: reset", _documents(lambda _: HangUp(reset=True)), exact=True),
]
