"""Endless requests through trees of indexes, pages of lists, challenges and pauses."""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest

from wherry.content.budget import MAX_DOCUMENTS, Budget, BudgetExceeded
from wherry.content.cancel import CancelToken
from wherry.content.retry import RetryPolicy
from wherry.content.streams import skip
from wherry.errors import NetworkError, RateLimited, RegistryError, WherryError
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import parse
from wherry.model.reference import Reference
from wherry.registry.pager import Page, Pager
from wherry.registry.repository import Repository
from wherry.registry.session import Session
from wherry.testing import Cut, Delay, FakeRegistry, Fault, FixedReply, build_image, tar_layer
from wherry.testing._messages import IncomingRequest, Reply, json_reply
from wherry.testing.images import document, sha256
from wherry.transfer.graph import MAX_SEARCHED, select_all
from wherry.transfer.resume import resuming_blob

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import wherry as library

INDEX = "application/vnd.oci.image.index.v1+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE = build_image([tar_layer({"a": b"1"})])
WIDTH, DEPTH = 7, 5  # 19,608 documents


class TreeRegistry(FakeRegistry):
    """Serve a tree of indexes without images; each index has `pad` useless bytes."""

    def __init__(self, width: int = WIDTH, depth: int = DEPTH, pad: int = 0) -> None:
        super().__init__()
        self._made: dict[str, bytes] = {}
        self._width, self._pad = width, "x" * pad
        self.root = self._index("", depth)

    def _index(self, path: str, depth: int) -> str:
        """Make the tree below a path and return the digest of its root."""
        below = [
            self._index(f"{path}/{each}", depth - 1) for each in range(self._width * bool(depth))
        ]
        entries = [
            {"mediaType": INDEX, "digest": digest, "size": len(self._made[digest])}
            for digest in below
        ]
        notes = {"path": path, "pad": self._pad}
        found = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, "annotations": notes}
        raw = document(found)
        self._made[sha256(raw)] = raw
        return sha256(raw)

    def answer(self, request: IncomingRequest) -> Reply:
        if "/manifests/" not in request.path:
            return super().answer(request)
        name = request.path.rpartition("/")[2]
        digest = self.root if name == "t" else name
        headers = {"Content-Type": INDEX, "Docker-Content-Digest": digest}
        return Reply(200, headers, self._made[digest])


@pytest.fixture(scope="module")
def tree() -> Any:
    """A tree of 19,608 documents."""
    with TreeRegistry() as fake:
        yield fake


CALLS: dict[str, tuple[int, Callable[[library.Client, str], object]]] = {
    "inspect": (MAX_SEARCHED, lambda it, name: it.inspect(name)),
    "config": (MAX_SEARCHED, lambda it, name: it.config(name)),
    "history": (MAX_SEARCHED, lambda it, name: it.history(name)),
    "pull": (MAX_SEARCHED, lambda it, name: it.pull(name)),
    "pull for a platform": (
        MAX_SEARCHED,
        lambda it, name: it.pull(name, platform="linux/amd64"),
    ),
    "pull for all": (MAX_DOCUMENTS, lambda it, name: it.pull(name, all_platforms=True)),
    "platforms": (MAX_DOCUMENTS, lambda it, name: it.platforms(name)),
    "validate": (MAX_DOCUMENTS, lambda it, name: it.validate(name)),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_tree_of_indexes(tree: TreeRegistry, client: library.Client, call: str) -> None:
    most, ask = CALLS[call]
    tree.requests.clear()
    with pytest.raises(BudgetExceeded, match=r"it leads to over [0-9,]+ documents") as error:
        ask(client, f"{tree.host}/app:t")
    assert f"{tree.host}/app:t" in str(error.value)
    assert most <= len(tree.requests) <= most + WIDTH + 3


def test_the_command_says_what_was_bounded(tree: TreeRegistry, wherry: Any) -> None:
    done = wherry("inspect", f"{tree.host}/app:t")
    assert done.returncode == 1
    assert "it leads to over 256 documents, which are not followed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_flat_index_of_a_thousand_images() -> None:
    """A walk allows a thousand images; real indexes have at most a hundred."""
    images = [
        build_image([], architecture="amd64", config_extra={"author": str(number)})
        for number in range(MAX_DOCUMENTS)
    ]
    entries = [
        each.manifest.descriptor() | {"platform": {"os": "linux", "architecture": f"a{number}"}}
        for number, each in enumerate(images)
    ]
    raw = document({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})
    made = {each.digest: each.manifest.data for each in images}
    found = select_all(
        Digest.parse(sha256(raw)),
        parse(raw, INDEX),
        lambda digest: parse(made[str(digest)], MANIFEST),
    )
    assert len(found) == MAX_DOCUMENTS


def test_documents_that_are_large_together(client: library.Client) -> None:
    """Nine of the documents exceed 32 MiB together."""
    with TreeRegistry(width=40, depth=1, pad=4_180_000) as fake:
        with pytest.raises(BudgetExceeded, match="its documents have over 32 MiB together"):
            client.pull(f"{fake.host}/app:t", all_platforms=True)
        assert len(fake.requests) < 12


def test_documents_that_are_slow_together(client: library.Client) -> None:
    """Each document is within all limits, but together they exceed the time of a walk."""
    with TreeRegistry(width=40, depth=1) as fake:
        root = client.manifest(f"{fake.host}/app:t")
        fake.inject(Fault(Delay(0.05), path="/manifests/"))
        fetch = Budget(seconds=0.3).limit(
            lambda digest: client.manifest(f"{fake.host}/app@{digest}")
        )
        with pytest.raises(BudgetExceeded, match=r"take over 0\.3 seconds together"):
            select_all(Digest.parse(fake.root), root, fetch)
        assert len(fake.requests) < 20


@pytest.mark.parametrize("kind", [INDEX, LIST])
def test_an_index_that_lists_another_one_many_times(wherry: Any, tmp_path: Path, kind: str) -> None:
    """There are 7**8 paths through nine documents."""
    layout = tmp_path / "layout"
    (layout / "blobs" / "sha256").mkdir(parents=True)
    (layout / "oci-layout").write_bytes(b'{"imageLayoutVersion":"1.0.0"}')

    def put(raw: bytes, kind: str) -> dict[str, Any]:
        digest = sha256(raw)
        (layout / "blobs" / digest.replace(":", "/")).write_bytes(raw)
        return {"mediaType": kind, "digest": digest, "size": len(raw)}

    for blob in IMAGE.blobs():
        put(blob.data, blob.media_type)
    entry = put(IMAGE.manifest.data, MANIFEST) | {
        "platform": {"os": "linux", "architecture": "amd64"}
    }
    for _ in range(8):
        many = {"schemaVersion": 2, "mediaType": kind, "manifests": [entry] * WIDTH}
        entry = put(document(many), kind)
    top = {
        "schemaVersion": 2,
        "manifests": [entry | {"annotations": {"org.opencontainers.image.ref.name": "t"}}],
    }
    (layout / "index.json").write_bytes(document(top))
    address = f"oci:{layout}:t"
    for arguments in (
        ["inspect", address],
        ["validate", address],
        ["load", "-i", str(layout)],
        ["save", "--format", "oci", "-o", str(tmp_path / "out"), address],
    ):
        done = wherry(*arguments)
        assert done.returncode in {0, 1}, done.stderr
        assert "Traceback" not in done.stderr


# Lists


class ListRegistry(FakeRegistry):
    """Serve endless lists: each page links to a new one."""

    def __init__(self, entries: Callable[[int], list[str]]) -> None:
        super().__init__()
        self.add_image("app", IMAGE, "t")
        self._entries = entries
        self._pages = itertools.count()

    def answer(self, request: IncomingRequest) -> Reply:
        number = next(self._pages)
        name = request.path.partition("?")[0]
        if name.endswith("/tags/list"):
            link = {"Link": f'<{name}?last={number}>; rel="next"'}
            return json_reply(200, {"name": "app", "tags": self._entries(number)}, link)
        if "/referrers/" in name:
            entries = [
                {"mediaType": MANIFEST, "digest": sha256(each.encode()), "size": 1}
                for each in self._entries(number)
            ]
            found = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
            headers = {"Content-Type": INDEX, "Link": f'<{name}?last={number}>; rel="next"'}
            return Reply(200, headers, document(found))
        return super().answer(request)


PAGES: dict[str, Callable[[int], list[str]]] = {
    "one new entry": lambda number: [f"t{number}"],
    "blank": lambda _: [],
    "blank and one new entry in turns": lambda number: [f"t{number}"] * (number % 2),
    "99 blank, then one new entry": lambda number: [f"t{number}"] * (number % 100 == 99),
    "a hundred old entries and a new one": lambda number: [
        *(f"t{max(0, number - each)}" for each in range(100)),
        f"t{number}",
    ],
}


@pytest.mark.parametrize("pages", PAGES)
@pytest.mark.parametrize("what", ["tags", "referrers"])
def test_lists_of_a_million_pages(client: library.Client, pages: str, what: str) -> None:
    with ListRegistry(PAGES[pages]) as fake:
        name = f"{fake.host}/app" if what == "tags" else f"{fake.host}/app@{IMAGE.digest}"
        with pytest.raises(RegistryError, match="page") as error:
            getattr(client, what)(name)
        assert not error.value.transient
        assert len(fake.requests) < 300


def test_a_list_of_pages_of_ten(client: library.Client) -> None:
    """Each of the thousand pages has enough entries, so the limit of 200 does not apply."""

    def page(number: int) -> list[str]:
        return [f"t{number}-{each}" for each in range(10 if number < 1000 else 0)]

    class FiniteRegistry(ListRegistry):
        def answer(self, request: IncomingRequest) -> Reply:
            reply = super().answer(request)
            if b"t999-9" in bytes(reply.body):
                del reply.headers["Link"]
            return reply

    with FiniteRegistry(page) as fake:
        assert len(client.tags(f"{fake.host}/app")) == 10_000


def test_a_list_of_slow_pages() -> None:
    """Each page is within all limits, but together they exceed the time of a list."""

    def ask(target: str) -> Page[str, None]:
        time.sleep(0.02)
        return Page(dict.fromkeys(f"{target}{each}" for each in range(10)), f"{target}x")

    pages = Pager(ask, (), "the tag list", seconds=0.2)
    with pytest.raises(RegistryError, match="does not end"):
        list(pages.read(""))


def test_referrers_whose_types_only_their_documents_tell(client: library.Client) -> None:
    """An entry without a type costs a request if the registry does not filter."""
    entries = [
        {"mediaType": MANIFEST, "digest": sha256(f"{each}".encode()), "size": 1}
        for each in range(5000)
    ]
    manifest = document(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": entries[0], "layers": []}
    )
    found = document({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries})

    class Untyped(FakeRegistry):
        def answer(self, request: IncomingRequest) -> Reply:
            if "/referrers/" in request.path:
                return Reply(200, {"Content-Type": INDEX}, found)
            if "/manifests/" in request.path:
                return Reply(404, {}, b"{}") if self.is_missing else Reply(200, {}, manifest)
            return super().answer(request)

        is_missing = True

    with Untyped() as fake:
        with pytest.raises(WherryError):
            client.referrers(f"{fake.host}/app@{IMAGE.digest}", artifact_type="a/b")
        assert len(fake.requests) < MAX_DOCUMENTS + 10


# Challenges, redirects, pauses


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_thousand_token_servers(client: library.Client, status: int) -> None:
    class Asking(FakeRegistry):
        def answer(self, request: IncomingRequest) -> Reply:
            if "/token" in request.path:
                return Reply(500, {}, b"")
            realms = ", ".join(f'Bearer realm="http://{self.host}/token{n}"' for n in range(1000))
            return Reply(status, {"WWW-Authenticate": realms}, b"")

    with Asking() as fake:
        with pytest.raises(WherryError):
            client.inspect(f"{fake.host}/app:t")
        # five attempts with two requests each, and ten token servers for each request
        assert len(fake.requests) <= 5 * 2 * (10 + 2)


def test_redirects_without_end(client: library.Client) -> None:
    class Leading(FakeRegistry):
        def answer(self, request: IncomingRequest) -> Reply:
            return Reply(307, {"Location": request.path + "x"}, b"")

    with Leading() as fake:
        with pytest.raises(NetworkError, match="redirects in a loop"):
            client.inspect(f"{fake.host}/app:t")
        assert len(fake.requests) < 10


@pytest.mark.parametrize("wish", ["999999999", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
@pytest.mark.parametrize("status", [429, 503])
def test_pauses_that_no_one_waits_for(
    client: library.Client, fake: FakeRegistry, wish: str, status: int
) -> None:
    fake.inject(Fault(FixedReply(status, {"Retry-After": wish})))
    with pytest.raises((RateLimited, RegistryError)):
        client.inspect(f"{fake.host}/app:t")
    assert len(fake.requests) <= 2


def test_a_blob_in_a_thousand_pieces(fake: FakeRegistry) -> None:
    """Each connection makes progress, so the attempts are not used up."""
    blob = bytes(range(256)) * 128 * 1000
    digest = Digest.parse(fake.add_blob(blob))
    fake.inject(Fault(Cut(40_000), path="/blobs/"))
    policy = RetryPolicy(first=0.01, jitter=0.0, patience=0.1)
    cancel = CancelToken()
    with contextlib.closing(Session(connections=1)) as session:
        reference = Reference.parse(f"{fake.host}/app:t")
        endpoints = session.hosts.endpoints(reference)
        place = Repository(
            session, reference, endpoints, cancel, warn=print, on_retry=lambda *_: None
        )
        source = Descriptor("", digest, len(blob))
        stream = resuming_blob(place, source, policy, cancel, lambda *_: None)
        opened = stream.open(0, lambda: False)
        with pytest.raises(NetworkError):
            skip(opened.stream, len(blob))
    assert 9 <= len(fake.requests) <= 13
