"""Pulls from version 1 registries."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from wherry.content.cancel import CancelToken
from wherry.content.events import Event, Status, ignore
from wherry.content.retry import RetryPolicy
from wherry.image_store import local_store
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.ops.pull_options import PullOptions, PullResult
from wherry.ops.v1_pull import pull_all_tags_v1, pull_v1
from wherry.registry.session import Session
from wherry.registry.v1_repository import V1Repository
from wherry.testing.schema1 import Schema1Entry, schema1_of
from wherry.transfer.copy_options import CopyOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import wherry
    from wherry.testing import BuiltSchema1, BuiltV1Image, FakeV1Registry

HOST = Platform("linux", "amd64")
NO_PAUSES = RetryPolicy(first=0, step=0)
OPTIONS = PullOptions(host=HOST, platforms=(HOST,), copy=CopyOptions(policy=NO_PAUSES))


@contextlib.contextmanager
def connected(
    registry: FakeV1Registry, name: str = "team/app", cancel: CancelToken | None = None
) -> Iterator[V1Repository]:
    """Yield a repository whose retries do not wait."""
    session = Session(connections=8, policy=NO_PAUSES)
    reference = Reference.parse(f"{registry.host}/{name}")
    with contextlib.closing(session):
        found = V1Repository(
            session,
            reference,
            session.hosts.endpoints(reference),
            cancel or CancelToken(),
            warn=lambda _: None,
            on_retry=lambda *_: None,
        )
        found.connect()
        yield found


def pull(
    registry: FakeV1Registry,
    store: wherry.Store,
    tag: str = "t",
    options: PullOptions = OPTIONS,
    listener: Callable[[Event], None] = ignore,
    cancel: CancelToken | None = None,
) -> PullResult:
    """Pull one tag of ``team/app``."""
    token = cancel or CancelToken()
    with connected(registry, cancel=token) as repository:
        reference = repository.reference.with_tag(tag)
        return pull_v1(repository, local_store(store), reference, options, token, listener)


def pull_all(
    registry: FakeV1Registry,
    store: wherry.Store,
    options: PullOptions = OPTIONS,
    listener: Callable[[Event], None] = ignore,
) -> list[PullResult]:
    """Pull all tags of ``team/app``."""
    with connected(registry) as repository:
        return pull_all_tags_v1(
            repository,
            local_store(store),
            repository.reference,
            options,
            CancelToken(),
            listener,
        )


def schema1_with(image: BuiltV1Image) -> BuiltSchema1:
    """Return a schema1 manifest with the JSONs and layers of a version 1 image."""
    return schema1_of([Schema1Entry(each.layer, json.loads(each.json)) for each in image.layers])


def fetched(registry: FakeV1Registry, kind: str) -> list[str]:
    """Return the ids of the images of which ``layer`` or ``json`` was requested, in order."""
    paths = [request.path for request in registry.requests]
    return [path.split("/")[3] for path in paths if path.endswith(f"/{kind}")]


def steps(events: list[Event], v1_id: str) -> list[Status]:
    """Return the kinds of the events about the layer of an image."""
    return [event.status for event in events if event.digest and event.digest.hex == v1_id]
