"""Pulls from the fake registry with each kind of fault."""

from __future__ import annotations

import random
import re
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import subjects
from checking import part_path, part_size, problems
from kinds import KINDS, Kind, Subject
from rows import Row, Run
from wherry import Client, Store
from wherry.testing import Action, FakeRegistry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from wherry.testing import BuiltImage
    from wherry.testing._messages import IncomingRequest, Reply, RequestRecord

_SHORT, _LONG = 1, 60  # runs of each kind
_HOST = "registry.example"  # a registries.conf maps this name to the registry
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_OK, _PARTIAL, _UNSATISFIABLE = 200, 206, 416


@dataclass(frozen=True)
class Setting:
    """The image and the options of the pulls.

    `window` is how many bytes beyond the end of the part a request may begin, `span` the most bytes
    of one response (None: no limit). `at_once` is the number of concurrent pulls. The `mirrors` of
    the registry have the same faults.
    """

    image: BuiltImage
    timeout: float = 1.0
    at_once: int = 8
    split: int | None = None
    window: int = 0
    span: int | None = None
    mirrors: int = 0


def rows(seed: int, *, long: bool, only: str = "") -> Sequence[Row]:
    """Run every kind of fault with several seeds."""
    chosen = {kind: Row(kind.name) for kind in KINDS if only in kind.name}
    seeds = range(seed, seed + (_LONG if long else _SHORT))
    return pulls(chosen, seeds, Setting(subjects.small()))


def pulls(kinds: Mapping[Kind, Row], seeds: Iterable[int], setting: Setting) -> Sequence[Row]:
    """Pull with each kind of fault and each seed; return the rows."""

    def one(kind: Kind, seed: int) -> None:
        kinds[kind].add(_run(kind, seed, setting))

    with ThreadPoolExecutor(setting.at_once) as workers:
        runs = [workers.submit(one, kind, seed) for seed in seeds for kind in kinds]
    for run in runs:
        run.result()
    return list(kinds.values())


@dataclass(frozen=True)
class BlobRequest:
    """A request for a blob, and the size of its part file at that time."""

    digest: str
    start: int
    part: int
    record: RequestRecord


class ObservingRegistry(FakeRegistry):
    """A registry that reads the size of the client's part file at each request for a blob."""

    def __init__(
        self, store: Path, asked: list[BlobRequest] | None = None, **options: object
    ) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._store = store
        self.asked = [] if asked is None else asked

    def respond(self, request: IncomingRequest, record: RequestRecord) -> Reply:
        """Record the size of the part file, then answer."""
        digest = request.path.rpartition("/")[2]
        if "/blobs/" in request.path and request.method == "GET":
            found = _RANGE.fullmatch(request.headers.get("range", ""))
            start = int(found[1]) if found else 0
            self.asked.append(BlobRequest(digest, start, part_size(self._store, digest), record))
        return super().respond(request, record)


class _Revoke(Action):
    """Revoke all tokens before the request is checked."""

    def __init__(self, registry: FakeRegistry) -> None:
        self._registry = registry

    def bend(self, request: IncomingRequest) -> None:  # noqa: ARG002 - any request
        self._registry.revoke_tokens()


def _run(kind: Kind, seed: int, setting: Setting) -> Run:
    run = Run(seed)
    image = setting.image
    chance = random.Random(zlib.crc32(f"{kind.name} {seed}".encode()))
    blob = chance.choice([*image.layers[:2], *image.blobs()])
    subject = Subject(blob, chance, min(blob.size, setting.span or blob.size))
    options = {"redirect_blobs_to": kind.redirects and True, "redirect_uses": kind.redirects}
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        store = Store(directory / "store")
        left = _leave_part(store.path, kind, subject)
        places: list[ObservingRegistry] = []
        asked: list[BlobRequest] = []
        # All registries share the faults, so that each fault counts requests to any of them.
        faults = list(kind.faults(subject))
        for _ in range(1 + setting.mirrors):
            place = ObservingRegistry(store.path, asked, tokens=kind.tokens, **options)
            places.append(stack.enter_context(place))
            place.add_image("app", image, "t")
            for fault in faults:
                (place.storage or place).inject(fault)
            if kind.tokens:
                place.inject(subject.fault(_Revoke(place), skip=1))
        _pull(run, kind, store, setting, _configured(directory, places))
        store.close()
        run.faults = sum(fault.count for fault in faults) + (kind.part is not None)
        run.expect(run.faults > 0, "no fault occurred")
        check_requests(run, asked, setting.window)
        run.fetched = sum(_blob_bytes(image, place) for place in places)
    good = len(left) if subject.blob.data.startswith(left) else 0
    run.needed = subjects.blob_bytes(image) - good
    if kind.exact:
        run.expect(run.fetched == run.needed, f"{run.fetched - run.needed:+,} bytes were sent")
    return run


def _leave_part(store: Path, kind: Kind, subject: Subject) -> bytes:
    """Write a part file as an earlier pull may have left it; return its content."""
    if kind.part is None:
        return b""
    data = kind.part(subject)
    path = part_path(store, subject.blob.digest)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    return data


def _configured(directory: Path, places: Sequence[FakeRegistry]) -> Path:
    """Write a registries.conf: the last place is the registry, the others are its mirrors."""
    lines = ["[[registry]]", f'prefix = "{_HOST}"', f'location = "{places[-1].host}"']
    for mirror in places[:-1]:
        lines += ["[[registry.mirror]]", f'location = "{mirror.host}"']
    path = directory / "registries.conf"
    path.write_text("\n".join(lines))
    return path


def _pull(run: Run, kind: Kind, store: Store, setting: Setting, conf: Path) -> None:
    """Pull until the image is complete; once, unless the kind expects an error."""
    image, name = setting.image, f"{_HOST}/app:t"
    contents, names = subjects.contents(image), {name: image.digest}
    with Client(
        store=store, timeout=setting.timeout, split=setting.split, registries_conf=conf
    ) as client:
        try:
            client.pull(name)
        except Exception as error:
            expected = kind.ends is not None and isinstance(error, kind.ends)
            run.expect(expected, f"the pull failed: {type(error).__name__}: {error}")
            run.problems += problems(store.path, contents, {})
            client.pull(name)
        else:
            # Blobs of several segments may be fetched once more.
            may_be = kind.ends is None or setting.split is not None
            run.expect(may_be, "the pull succeeded unexpectedly")
    run.problems += problems(store.path, contents, names)
    run.expect(not list((store.path / "ingest").iterdir()), "a part was left over")
    run.expect(not list((store.path / "leases").iterdir()), "a lease was left over")


def check_requests(run: Run, asked: Sequence[BlobRequest], window: int = 0) -> None:
    """Check that each request begins at the end of the part file.

    It may begin at 0 after a refused range, and up to `window` bytes beyond the end.
    """
    refused: set[str] = set()
    for each in asked:
        fine = each.part <= each.start <= each.part + window
        fine = fine or (each.start == 0 and each.digest in refused)
        what = f"{each.digest[7:19]}: requested from {each.start:,}, but the part has {each.part:,}"
        run.expect(fine, what)
        refused.discard(each.digest)
        if (each.start or window) and each.record.status in {_PARTIAL, _UNSATISFIABLE}:
            # This kind of fault is about wrong ranges.
            refused.add(each.digest)


def _blob_bytes(image: BuiltImage, place: FakeRegistry) -> int:
    """Count the bytes of blobs that a registry and its storage have sent."""
    blobs = {piece.digest for piece in image.blobs()}
    return sum(
        each.bytes_sent
        for each in (*place.requests, *(place.storage.requests if place.storage else ()))
        if each.status in {_OK, _PARTIAL}
        and each.path.partition("?")[0].rpartition("/")[2] in blobs
    )
