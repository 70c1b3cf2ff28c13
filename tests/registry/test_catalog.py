"""The list of a registry's repositories."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, get_args

import pytest

import wherry
from wherry.errors import (
    Denied,
    InvalidReference,
    NotFound,
    RegistryError,
    Unauthorized,
    WherryError,
)
from wherry.testing import (
    FakeRegistry,
    Fault,
    FixedReply,
    RegistryName,
    SetHeader,
    build_image,
    tar_layer,
)

if TYPE_CHECKING:
    from wherry import Client, Event

IMAGE = build_image([tar_layer({"a": b"1"})])
NAMES = ["a", "b/c", "b/d", "library/e", "z"]


def fill(registry: FakeRegistry, names: list[str]) -> None:
    for name in names:
        registry.add_image(name, IMAGE, "t")


@pytest.mark.parametrize("like", get_args(RegistryName))
def test_all_pages_of_each_registry(environment: dict[str, str], like: RegistryName) -> None:
    assert environment
    users = {"me": "secret"}
    with (
        FakeRegistry(like=like, page_size=2, users=users, tokens=True) as registry,
        wherry.Client(credentials=("me", "secret")) as client,
    ):
        fill(registry, NAMES)
        assert client.catalog(registry.host) == NAMES
        lists = [each for each in registry.requests if "_catalog" in each.path]
        assert len([each for each in lists if "authorization" in each.headers]) == 3


@pytest.mark.parametrize("form", ["{}", "http://{}", "https://{}/v2/", "{}/"])
def test_the_host_has_the_forms_of_login(fake: FakeRegistry, client: Client, form: str) -> None:
    fill(fake, NAMES)
    assert client.catalog(form.format(fake.host)) == NAMES


def test_an_empty_registry(fake: FakeRegistry, client: Client) -> None:
    assert client.catalog(fake.host) == []


def test_pages_without_links(client: Client) -> None:
    names = [f"n{number:03}" for number in range(120)]
    with FakeRegistry(page_size=50) as registry:
        registry.inject(Fault(SetHeader("Link", ""), path="_catalog"))
        fill(registry, names)
        assert client.catalog(registry.host) == names


def test_invalid_names_are_left_out(fake: FakeRegistry, client: Client) -> None:
    names = ["ok", "Upper/Case", "tag:1", f"a@sha256:{'0' * 64}", ""]
    body = json.dumps({"repositories": names}).encode()
    fake.inject(Fault(FixedReply(200, {}, body), path="_catalog"))
    events: list[Event] = []
    assert client.catalog(fake.host, on_event=events.append) == ["ok"]
    (warning,) = events
    assert warning.message == (
        f"{fake.host}: 4 of the repositories listed have invalid names and are left out "
        "(such as 'Upper/Case')"
    )


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("</v2/_catalog?n=1>; rel=next", "repeats a page"),
        ("<http://other.example/v2/_catalog?n=1>; rel=next", "repeats a page"),
        ("</v2/_catalog?n=1; rel=next", "cannot be read"),
    ],
)
def test_links_that_do_not_end(fake: FakeRegistry, client: Client, link: str, problem: str) -> None:
    fill(fake, NAMES)
    fake.inject(Fault(SetHeader("Link", link), path="n=1"))
    fake.inject(Fault(SetHeader("Link", "</v2/_catalog?n=1>; rel=next"), path="_catalog"))
    with pytest.raises(RegistryError, match=problem):
        client.catalog(fake.host)
    assert len(fake.requests) <= 3


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (404, NotFound, "the registry does not list its repositories (404)"),
        (405, NotFound, "the registry does not list its repositories (405)"),
        (403, Denied, "the catalog: access denied (403 DENIED: not for you)"),
    ],
)
def test_a_registry_without_a_catalog(
    fake: FakeRegistry, client: Client, status: int, kind: type[WherryError], message: str
) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "not for you"}]}'
    fake.inject(Fault(FixedReply(status, {}, body), path="_catalog"))
    with pytest.raises(kind) as caught:
        client.catalog(fake.host)
    assert str(caught.value) == f"{fake.host}: {message}"
    assert "many registries list" in caught.value.hint


def test_strangers_see_no_catalog(client: Client) -> None:
    with FakeRegistry(users={"me": "secret"}, tokens=True, public=True) as registry:
        with pytest.raises(Unauthorized) as caught:
            client.catalog(registry.host)
        assert caught.value.scope == "registry:catalog:*"
        first, second = caught.value.hint.splitlines()
        assert "no credentials" in first
        assert "only to administrators" in second


@pytest.mark.parametrize("text", ["localhost:5000/team", "app", "", "Host:port"])
def test_what_is_no_host(client: Client, text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        client.catalog(text)
    assert caught.value.text == text
