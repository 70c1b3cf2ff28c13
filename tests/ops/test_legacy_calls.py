"""Calls that go on to v1, beside those in test_legacy_order.py, and calls that never do."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import wherry
from wherry.testing import (
    Delay,
    FakeRegistry,
    FakeV1Registry,
    Fault,
    HangUp,
    build_v1_image,
    sha256,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wherry import Event

IMAGE = build_v1_image([tar_layer({"a": b"1"}), tar_layer({"b": b"2"})])
LEGACY = "the registry is a legacy one: version 1 of the protocol"


@pytest.fixture
def registry() -> Iterator[FakeV1Registry]:
    """A registry whose v2 does not know the image."""
    v2 = FakeRegistry()
    with FakeV1Registry(v2=v2) as found:
        found.add_image("acme/app", IMAGE, "t", "latest")
        yield found
    v2.close()


@pytest.fixture
def client(environment: dict[str, str], tmp_path: Path) -> Iterator[wherry.Client]:
    """A client that may use v1."""
    assert environment
    with wherry.Client(store=tmp_path / "store", retries=1, legacy=True) as made:
        yield made


def asked_v1(registry: FakeV1Registry) -> bool:
    return any(each.path.startswith("/v1/") for each in registry.requests)


CALLS: dict[str, Callable[..., Any]] = {
    "pull": lambda client, name, _, **options: client.pull(f"{name}:t", **options),
    "pull-all": lambda client, name, _, **options: client.pull_all_tags(name, **options),
    "tags": lambda client, name, _, **options: client.tags(name, **options),
    "inspect": lambda client, name, _, **options: client.inspect(name, tags=True, **options),
    "history": lambda client, name, _, **options: client.history(f"{name}:t", **options),
    "copy": lambda client, name, path, **options: client.copy(
        f"{name}:t", f"oci:{path}/layout:t", **options
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_one_warning_says_that_the_registry_is_a_legacy_one(
    registry: FakeV1Registry, client: wherry.Client, tmp_path: Path, call: str
) -> None:
    events: list[Event] = []
    CALLS[call](client, f"{registry.host}/acme/app", tmp_path, on_event=events.append)
    warnings = [each.message for each in events if each.status is wherry.Status.WARNING]
    assert [text for text in warnings if text.startswith(LEGACY)] == warnings
    assert len(warnings) == 1


@pytest.mark.parametrize("call", CALLS)
def test_without_the_switch_no_request_of_v1_is_sent(
    registry: FakeV1Registry, store: wherry.Store, tmp_path: Path, call: str
) -> None:
    with wherry.Client(store=store, retries=1) as plain, pytest.raises(wherry.NotFound) as caught:
        CALLS[call](plain, f"{registry.host}/acme/app", tmp_path)
    assert f"if {registry.host} is a legacy registry" in caught.value.hint
    assert not asked_v1(registry)


def test_history(registry: FakeV1Registry, client: wherry.Client) -> None:
    steps = client.history(f"{registry.host}/acme/app:t")
    assert [step.v1_id for step in steps] == IMAGE.ancestry


def test_history_of_an_image_of_the_store(registry: FakeV1Registry, client: wherry.Client) -> None:
    """The store is searched first; an id is not looked for by v1."""
    client.pull(f"{registry.host}/acme/app:t")
    registry.clear()
    client.history(f"{registry.host}/acme/app:t")
    with pytest.raises(wherry.NotFound):
        client.history("0" * 64)
    assert registry.requests == []


def test_a_copy_has_the_layers_of_v1(
    registry: FakeV1Registry, client: wherry.Client, tmp_path: Path
) -> None:
    copied = client.copy(f"{registry.host}/acme/app:t", f"oci:{tmp_path}/layout:t")
    config = client.config(f"oci:{tmp_path}/layout:t")
    assert tuple(map(str, config.diff_ids)) == IMAGE.diff_ids
    assert copied.root.digest == client.pull(f"{registry.host}/acme/app:t").digest


def test_a_copy_cannot_be_planned(
    registry: FakeV1Registry, client: wherry.Client, tmp_path: Path
) -> None:
    with pytest.raises(wherry.Unsupported, match="known only when they have arrived"):
        client.plan_copy(f"{registry.host}/acme/app:t", f"oci:{tmp_path}/layout:t")
    assert not any(each.path.endswith("/layer") for each in registry.requests)


@pytest.mark.parametrize("call", ["pull", "inspect", "history", "copy"])
def test_a_digest_is_never_looked_for_by_v1(
    registry: FakeV1Registry, client: wherry.Client, tmp_path: Path, call: str
) -> None:
    more = (f"oci:{tmp_path}/layout:t",) if call == "copy" else ()
    with pytest.raises(wherry.NotFound) as caught:
        getattr(client, call)(f"{registry.host}/acme/app:t@{sha256(b'other')}", *more)
    assert not asked_v1(registry)
    assert "--legacy" not in caught.value.hint
    advises = call != "copy"  # which asks for a digest only when it is planned
    assert ("name a tag: version 1 has no digests" in caught.value.hint) == advises


def test_a_cancelled_call_does_not_go_on_to_v1(
    registry: FakeV1Registry, client: wherry.Client
) -> None:
    cancel = wherry.CancelToken()
    registry.inject(Fault(Delay(20), path="^/v2/"))
    timer = threading.Timer(0.1, cancel.cancel)
    timer.start()
    with pytest.raises(wherry.Cancelled):
        client.tags(f"{registry.host}/acme/app", cancel=cancel)
    timer.join()
    assert not asked_v1(registry)


def test_a_silent_host_gets_one_attempt_by_v1(
    registry: FakeV1Registry, store: wherry.Store
) -> None:
    registry.inject(Fault(HangUp()))
    with (
        wherry.Client(store=store, retries=2, legacy=True) as client,
        pytest.raises(wherry.NetworkError),
    ):
        client.tags(f"{registry.host}/acme/app")
    assert [each.path for each in registry.requests].count("/v1/_ping") == 1


@pytest.mark.parametrize("call", ["digest", "manifest", "raw_config", "platforms", "referrers"])
def test_v1_has_no_manifests(registry: FakeV1Registry, client: wherry.Client, call: str) -> None:
    with pytest.raises(wherry.Unsupported, match="v1 protocol, which has no manifests") as caught:
        getattr(client, call)(f"{registry.host}/acme/app:t")
    assert "wherry pull --legacy" in caught.value.hint
    with pytest.raises(wherry.NotFound, match="NAME_UNKNOWN") as missing:
        getattr(client, call)(f"{registry.host}/acme/other:t")
    assert "--legacy" not in missing.value.hint


@pytest.mark.parametrize("call", ["digest", "manifest", "config"])
def test_calls_that_v1_cannot_answer_do_not_advise_it(
    registry: FakeV1Registry, store: wherry.Store, call: str
) -> None:
    with wherry.Client(store=store, retries=1) as plain, pytest.raises(wherry.NotFound) as caught:
        getattr(plain, call)(f"{registry.host}/acme/app:t")
    assert "--legacy" not in caught.value.hint
    assert not asked_v1(registry)
