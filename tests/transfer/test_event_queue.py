"""Events for listeners that are slow or fail."""

from __future__ import annotations

import logging
import threading
import time

import pytest

import wherry as library
from running_threads import begun_since, running
from waiting import wait_for
from wherry.content.cancel import CancelToken
from wherry.content.events import Event, Status
from wherry.errors import Cancelled
from wherry.model.digest import Digest
from wherry.testing import (
    BuiltImage,
    FakeRegistry,
    Fault,
    Stall,
    Trickle,
    build_image,
    pseudo_random_files,
    tar_layer,
)
from wherry.transfer.event_queue import EventQueue
from wherry.transfer.progress import INTERVAL

PATIENCE = 20.0
ONE, TWO = Digest.of(b"1"), Digest.of(b"2")


def image(layers: int = 3) -> BuiltImage:
    return build_image([tar_layer(pseudo_random_files(n, 300_000, 2)) for n in range(layers)])


def moving(digest: Digest, current: int) -> Event:
    return Event(Status.DOWNLOADING, "x", digest, current, 100)


class Busy:
    """A listener that blocks at its first event until it is released."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.begun = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, event: Event) -> None:
        self.heard.append(event)
        self.begun.set()
        assert self.go_on.wait(PATIENCE)


def test_the_listener_gets_all_events_in_order_before_the_queue_closes() -> None:
    heard: list[Event] = []
    relay = EventQueue(heard.append)
    events = [Event(Status.COMPLETE, "x", ONE, n) for n in range(500)]
    for event in events:
        relay(event)
    relay.close(CancelToken())
    assert heard == events


def test_a_busy_listener_hears_the_latest_bytes_of_each_layer() -> None:
    listener = Busy()
    relay = EventQueue(listener)
    relay(Event(Status.RESOLVED, "x"))
    assert listener.begun.wait(PATIENCE)
    for current in range(50):
        relay(moving(ONE, current))
        relay(moving(TWO, current))
    relay(Event(Status.RETRYING, "x", ONE))
    relay(moving(ONE, 60))
    relay(moving(ONE, 61))
    relay(Event(Status.COMPLETE, "x", ONE, 100))
    listener.go_on.set()
    relay.close(CancelToken())
    assert [(event.status, event.digest, event.current) for event in listener.heard[1:]] == [
        (Status.DOWNLOADING, ONE, 49),
        (Status.DOWNLOADING, TWO, 49),
        (Status.RETRYING, ONE, 0),
        (Status.DOWNLOADING, ONE, 61),
        (Status.COMPLETE, ONE, 100),
    ]


def test_a_listener_that_never_returns_ends_with_the_cancel() -> None:
    listener, token = Busy(), CancelToken()
    relay = EventQueue(listener)
    relay(moving(ONE, 1))
    threading.Timer(0.1, token.cancel).start()
    relay.close(token)
    assert token.cancelled
    listener.go_on.set()


def test_an_unused_queue_has_no_thread() -> None:
    before = running()
    relay = EventQueue(lambda _: None)
    assert not begun_since(before)
    relay.close(CancelToken())


# Through a pull


def test_a_listener_that_blocks_holds_up_nothing(
    fake: FakeRegistry, client: library.Client, store: library.Store
) -> None:
    """The image is complete and named while the listener still handles its first event."""
    fake.add_image("app", image(), "t")
    name, listener = f"{fake.host}/app:t", Busy()
    pulling = threading.Thread(target=lambda: client.pull(name, on_event=listener))
    pulling.start()
    wait_for(store.images)
    assert listener.begun.wait(PATIENCE)  # it is woken some hundredths of a second later
    assert len(listener.heard) == 1
    assert pulling.is_alive()
    listener.go_on.set()
    pulling.join(PATIENCE)
    assert listener.heard[-1].status is Status.DONE


def test_a_listener_that_throws_stops_nothing(
    fake: FakeRegistry, client: library.Client, caplog: pytest.LogCaptureFixture
) -> None:
    built = image()
    fake.add_image("app", built, "t")
    calls: list[Event] = []

    def throws(event: Event) -> None:
        calls.append(event)
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, logger="wherry"):
        assert str(client.pull(f"{fake.host}/app:t", on_event=throws).id) == built.id
    assert len(calls) > 5
    assert len(caplog.records) == 1


def test_a_listener_may_cancel(fake: FakeRegistry, client: library.Client) -> None:
    fake.add_image("app", image(), "t")
    fake.inject(Fault(Trickle(100_000), path="/blobs/"))
    token = CancelToken()

    def stop(event: Event) -> None:
        if event.status is Status.DOWNLOADING:
            token.cancel()

    with pytest.raises(Cancelled):
        client.pull(f"{fake.host}/app:t", on_event=stop, cancel=token)


# One fetches, the other one watches


def test_a_waiting_pull_reports_the_progress_of_the_other(
    fake: FakeRegistry, store: library.Store
) -> None:
    """A waiting pull reports the progress of the pull that fetches the layer."""
    big = build_image([tar_layer(pseudo_random_files(3, 1_500_000, 2))])
    fake.add_image("app", big, "t")
    layer, name = big.layers[0], f"{fake.host}/app:t"
    fake.inject(Fault(Trickle(layer.size / 1.5), path=layer.digest))
    heard: list[Event] = []
    with library.Client(store=store) as first, library.Client(store=store) as second:
        fetching = threading.Thread(target=lambda: first.pull(name))
        fetching.start()
        wait_for(lambda: any(layer.digest in request.path for request in fake.requests))
        started = time.monotonic()
        second.pull(name, on_event=heard.append)
        seconds = time.monotonic() - started
        fetching.join(PATIENCE)
    waits = [event.current for event in heard if event.status is Status.WAITING]
    assert waits == sorted(set(waits))  # once for each step
    assert 2 <= len(waits) <= 2 + seconds / INTERVAL
    assert 0 < waits[-1] <= layer.size
    assert heard[-1].message == f"Downloaded newer image for {name}"  # as for the first one
    assert sum(layer.digest in request.path for request in fake.requests) == 1


def test_a_layer_that_is_there_twice_is_fetched_once(
    fake: FakeRegistry, client: library.Client
) -> None:
    tar = tar_layer(pseudo_random_files(6, 100_000, 2))
    built = build_image([tar, tar_layer({"a": b"a"}), tar])
    fake.add_image("app", built, "t")
    heard: list[Event] = []
    pulled = client.pull(f"{fake.host}/app:t", on_event=heard.append)
    assert len(pulled.layers) == 3
    assert sum(built.layers[0].digest in request.path for request in fake.requests) == 1
    assert sum(event.status is Status.COMPLETE for event in heard) == 2


def test_after_a_cancelled_pull_the_waiting_one_fetches(
    fake: FakeRegistry, store: library.Store
) -> None:
    big = build_image([tar_layer(pseudo_random_files(4, 1_500_000, 2))])
    fake.add_image("app", big, "t")
    layer, name = big.layers[0], f"{fake.host}/app:t"
    fake.inject(Fault(Stall(after=500_000), path=layer.digest, times=1))
    token, waiting, ids = CancelToken(), threading.Event(), list[str]()

    def watch(event: Event) -> None:
        if event.status is Status.WAITING and event.current == 500_000:
            waiting.set()

    def cancelled() -> None:
        with pytest.raises(Cancelled):
            first.pull(name, cancel=token)

    with library.Client(store=store) as first, library.Client(store=store) as second:
        fetching = threading.Thread(target=cancelled)
        fetching.start()
        wait_for(lambda: any(layer.digest in request.path for request in fake.requests))
        other = threading.Thread(
            target=lambda: ids.append(str(second.pull(name, on_event=watch).id))
        )
        other.start()
        assert waiting.wait(PATIENCE)
        token.cancel()
        fetching.join(PATIENCE)
        other.join(PATIENCE)
    assert ids == [big.id]
    ranges = [r.headers.get("range") for r in fake.requests if layer.digest in r.path]
    assert ranges == [None, "bytes=500000-"]


def test_cancelling_a_waiting_pull_leaves_the_other(
    fake: FakeRegistry, store: library.Store
) -> None:
    big = build_image([tar_layer(pseudo_random_files(5, 1_500_000, 2))])
    fake.add_image("app", big, "t")
    layer, name = big.layers[0], f"{fake.host}/app:t"
    fake.inject(Fault(Trickle(layer.size / 1.0), path=layer.digest))
    token, ids = CancelToken(), list[str]()

    def stop(event: Event) -> None:
        if event.status is Status.WAITING:
            token.cancel()

    with library.Client(store=store) as first, library.Client(store=store) as second:
        fetching = threading.Thread(target=lambda: ids.append(str(first.pull(name).id)))
        fetching.start()
        wait_for(lambda: any(layer.digest in request.path for request in fake.requests))
        with pytest.raises(Cancelled):
            second.pull(name, on_event=stop, cancel=token)
        fetching.join(PATIENCE)
    assert ids == [big.id]
    assert sum(layer.digest in request.path for request in fake.requests) == 1
