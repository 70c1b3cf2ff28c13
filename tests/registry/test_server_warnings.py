"""Warnings of registries for their users, by ``Warning`` headers."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from index_images import IMAGE, INDEX
from wherry import Status
from wherry.content.cancel import CancelToken
from wherry.content.retry import RetryPolicy
from wherry.content.streams import blob_of
from wherry.errors import NotFound
from wherry.model.descriptor import Descriptor
from wherry.model.reference import Reference
from wherry.registry.repository_sink import RepositorySink
from wherry.registry.server_warnings import MAX_HEADERS, MAX_WARNINGS, warning_texts
from wherry.registry.session import Session
from wherry.registry.upload_options import UploadOptions
from wherry.testing import FakeRegistry, Fault, SetHeader

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Wherry
    from wherry import Client, Event

pytestmark = pytest.mark.usefixtures("environment")


@pytest.mark.parametrize(
    ("header", "texts"),
    [
        ('299 - "soon gone"', ["soon gone"]),
        ('299 registry.test:5000 "soon gone"', ["soon gone"]),
        ('299 - "soon gone" "Tue, 01 Jan 2030 00:00:00 GMT"', ["soon gone"]),
        ('299 - "a, b", 299 - "c"', ["a, b", "c"]),
        ('299 - "a",299 - "b"', ["a", "b"]),
        (r'299 - "say \"no\" \\ twice"', [r'say "no" \ twice']),
        ('110 - "stale", 299 - "a"', ["a"]),
        (r'110 - "299 - \"hidden\"", 299 - "a"', ["a"]),
        ('299 - "a\x1b[31m\tb\x9b\u202e"', ["a [31m b"]),
        ('299 - "gr\u00c3\u00bcn"', ["gr\u00fcn"]),  # UTF-8 that was read as Latin-1
        ('299 - "gr\u00fcn"', ["gr\u00fcn"]),
        ('299 - ""', []),
        ('299 - "not closed', []),
        ("299 - bare", []),
        ("", []),
        ("x" * MAX_HEADERS + '299 - "late"', []),
    ],
)
def test_the_form_of_the_header(header: str, texts: list[str]) -> None:
    assert list(warning_texts(header)) == texts


@pytest.mark.parametrize("unit", ["299 - ", '299 - "', '299 - "\\', "2", '"'])
def test_odd_headers_are_read_as_far_as_possible(unit: str) -> None:
    assert len(list(warning_texts(unit * 100_000))) < MAX_HEADERS / 10


def test_a_long_text_is_cut() -> None:
    (text,) = warning_texts(f'299 - "{"x" * 3000}"')
    assert len(text) == 300


Told = tuple[list[str], "Callable[[Event], None]"]


@pytest.fixture
def told() -> Told:
    """The warnings that a listener is told."""
    found: list[str] = []

    def listen(event: Event) -> None:
        if event.status is Status.WARNING:
            found.append(event.message)

    return found, listen


def test_each_call_shows_a_warning_once(fake: FakeRegistry, client: Client, told: Told) -> None:
    warnings, listen = told
    fake.add_image("app", INDEX, "t")
    fake.warning = "this registry ends in May"
    client.pull(f"{fake.host}/app:t", all_platforms=True, on_event=listen)
    assert warnings == [f"{fake.host} says: this registry ends in May"]
    client.tags(f"{fake.host}/app", on_event=listen)
    assert len(warnings) == 2
    client.catalog(fake.host, on_event=listen)
    assert len(warnings) == 3
    assert len(set(warnings)) == 1


def test_a_refusal_may_have_a_warning(fake: FakeRegistry, client: Client, told: Told) -> None:
    warnings, listen = told
    fake.warning = "moved to example.com"
    with pytest.raises(NotFound):
        client.inspect(f"{fake.host}/app:t", on_event=listen)
    assert warnings == [f"{fake.host} says: moved to example.com"]


def test_other_hosts_do_not_speak_for_the_registry(client: Client, told: Told) -> None:
    warnings, listen = told
    with FakeRegistry(redirect_blobs_to=True) as registry:
        assert registry.storage is not None
        registry.add_image("app", IMAGE, "t")
        registry.storage.inject(Fault(SetHeader("Warning", '299 - "pay me"')))
        client.pull(f"{registry.host}/app:t", on_event=listen)
        assert registry.storage.requests
    assert warnings == []


def test_pushes_show_a_warning_once(fake: FakeRegistry) -> None:
    warnings: list[str] = []
    policy = RetryPolicy(attempts=1)
    fake.inject(Fault(SetHeader("Warning", '299 - "full soon"'), method="PATCH"))
    fake.inject(Fault(SetHeader("Warning", '299 - "full soon", 299 - "b"'), method="PUT"))
    with contextlib.closing(Session(connections=2, policy=policy)) as session:
        options = UploadOptions(policy, session.upload_pauses, warn=warnings.append)
        reference = Reference.parse(f"{fake.host}/app")
        token = CancelToken()
        sink = RepositorySink(session, reference, options, token)
        for data in (b"small", bytes(3_000_000)):
            blob = blob_of(Descriptor.of(data, ""), data)
            sink.put(blob, cancel=token, on_bytes=lambda _: None)
        assert warnings == [f"{fake.host} says: full soon", f"{fake.host} says: b"]
        other = RepositorySink(session, reference, options, token)
        other.put(blob_of(Descriptor.of(b"x", ""), b"x"), cancel=token, on_bytes=lambda _: None)
        assert len(warnings) == 2  # the same call
        third = RepositorySink(session, reference, options, CancelToken())
        third.put(blob_of(Descriptor.of(b"y", ""), b"y"), cancel=token, on_bytes=lambda _: None)
        assert len(warnings) == 4


def test_warnings_are_bounded(fake: FakeRegistry, client: Client, told: Told) -> None:
    warnings, listen = told
    fake.add_image("app", IMAGE, "t")
    many = ", ".join(f'299 - "{number}"' for number in range(50))
    fake.inject(Fault(SetHeader("Warning", many)))
    client.pull(f"{fake.host}/app:t", on_event=listen)
    assert len(warnings) == MAX_WARNINGS + 1
    assert warnings[-1].endswith("(further warnings are not shown)")


def test_the_command_shows_warnings(fake: FakeRegistry, wherry: Wherry) -> None:
    fake.add_image("app", IMAGE, "t")
    fake.warning = "ends in \x1b[31mMay"
    done = wherry("inspect", f"{fake.host}/app:t")
    assert done.stderr.splitlines() == [
        f"Warning: {fake.host}/app:t: {fake.host} says: ends in [31mMay"
    ]
    assert done.stdout


def test_a_command_of_two_calls_shows_a_warning_once(fake: FakeRegistry, wherry: Wherry) -> None:
    """With ``-v`` a copy is planned, printed and carried out."""
    fake.add_image("app", IMAGE, "t")
    fake.warning = "ends in May"
    name = f"docker://{fake.host}/app"
    done = wherry("-v", "copy", f"{name}:t", f"{name}:u")
    assert done.returncode == 0
    assert len([line for line in done.stderr.splitlines() if "ends in May" in line]) == 1
