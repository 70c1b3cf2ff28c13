"""Web pages instead of registry responses, plain text refusals, and errors after retries."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from wherry import Client
from wherry.errors import NetworkError, NotFound, RegistryError, Unauthorized, WherryError
from wherry.testing import (
    Distribution,
    FakeRegistry,
    Fault,
    FixedReply,
    SetHeader,
    build_image,
    refused_port,
    tar_layer,
)

if TYPE_CHECKING:
    from conftest import Wherry
    from wherry import Store

IMAGE = build_image([tar_layer({"a": b"1"})])
LAYER = IMAGE.layers[0].digest
PAGE = b"<!DOCTYPE html>\n<html><head><title>Sign in &amp; go</title></head><body>...</body></html>"
BEGINNINGS = {
    "doctype": PAGE,
    "capitals": b"\r\n  <HTML>",
    "mark": b"\xef\xbb\xbf<html>",
    "comment": b"<!-- portal --><html>",
    "xml": b'<?xml version="1.0"?><html/>',
    "utf-16": "\ufeff<html></html>".encode("utf-16-le"),
    "script": b"<script>location='/login'</script>",
}


def answer(
    body: bytes, media_type: str = "text/html; charset=utf-8", status: int = 200
) -> FixedReply:
    return FixedReply(status, {"Content-Type": media_type}, body)


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("app", IMAGE, "t")
    return f"{fake.host}/app:t"


def refused(fake: FakeRegistry, client: Client, call: str, what: str) -> NetworkError:
    where = f"{fake.host}/app" if call == "tags" else f"{fake.host}/app:t"
    with pytest.raises(NetworkError, match=f"sent a web page, not {what}") as caught:
        getattr(client, call)(where)
    assert not caught.value.transient
    assert f"open http://{fake.host}/" in caught.value.hint
    return caught.value


@pytest.mark.parametrize("beginning", BEGINNINGS)
@pytest.mark.parametrize("media_type", ["text/html", "application/json", "text/plain", ""])
def test_a_page_instead_of_a_manifest(
    fake: FakeRegistry, client: Client, name: str, beginning: str, media_type: str
) -> None:
    fake.inject(Fault(answer(BEGINNINGS[beginning], media_type), path="/manifests/"))
    assert str(refused(fake, client, "pull", "a manifest")).startswith(f"{name}: {fake.host} sent")


def test_a_page_is_recognised_by_its_media_type(
    fake: FakeRegistry, client: Client, name: str
) -> None:
    assert name
    fake.inject(Fault(answer(b"Please log in."), path="/manifests/"))
    refused(fake, client, "inspect", "a manifest")


def test_the_title_of_a_page_is_quoted(fake: FakeRegistry, client: Client, name: str) -> None:
    assert name
    fake.inject(Fault(answer(PAGE), path="/manifests/"))
    assert str(refused(fake, client, "digest", "a manifest")).endswith("(Sign in & go)")


def test_json_with_the_media_type_of_a_page_is_a_document(
    fake: FakeRegistry, client: Client, name: str
) -> None:
    fake.inject(Fault(SetHeader("Content-Type", "text/html"), path="/manifests/"))
    assert str(client.pull(name).id) == IMAGE.id


def test_a_page_behind_a_redirect_names_the_host_that_sent_it(
    fake: FakeRegistry, client: Client, name: str
) -> None:
    with FakeRegistry() as portal:
        portal.inject(Fault(answer(PAGE), path="/login"))
        there = {"Location": f"{portal.url}/login?session=secret"}
        fake.inject(Fault(FixedReply(302, there), path="/manifests/"))
        with pytest.raises(NetworkError, match=f"{portal.host} sent a web page") as caught:
            client.pull(name)
    assert f"open {portal.url}/login in a browser" in caught.value.hint
    assert "secret" not in caught.value.hint


def test_a_page_instead_of_a_tag_list(fake: FakeRegistry, client: Client, name: str) -> None:
    assert name
    fake.inject(Fault(answer(PAGE), path="/tags/list"))
    refused(fake, client, "tags", "a tag list")


def test_a_page_instead_of_referrers(client: Client, store: Store, name: str) -> None:
    with FakeRegistry(referrers=True) as fake:
        fake.add_image("app", IMAGE, "t")
        fake.inject(Fault(answer(PAGE, "application/json"), path="/referrers/"))
        refused(fake, client, "referrers", "a list of referrers")
    assert (name, store.images()) == (name, [])


def test_a_page_instead_of_a_token(store: Store) -> None:
    with FakeRegistry(tokens=True) as fake, Client(store=store) as client:
        fake.add_image("app", IMAGE, "t")
        fake.inject(Fault(answer(PAGE), path="/token"))
        error = refused(fake, client, "pull", "a token")
    assert f"{fake.host}: its token server: " in str(error)


@pytest.mark.parametrize("piece", ["config", "layer"])
@pytest.mark.parametrize("media_type", ["text/html", "application/octet-stream"])
def test_a_page_instead_of_a_blob(
    fake: FakeRegistry, client: Client, store: Store, name: str, piece: str, media_type: str
) -> None:
    digest = LAYER if piece == "layer" else IMAGE.config.digest
    fake.inject(Fault(answer(PAGE, media_type), path=f"/blobs/{digest}"))
    refused(fake, client, "pull", "the blob")
    kept = [part.read_bytes() for part in (store.path / "ingest").glob("*.part")]
    assert [data for data in kept if b"html" in data] == [], name


def test_a_page_does_not_discard_a_partial_download(
    fake: FakeRegistry, client: Client, store: Store, name: str
) -> None:
    part = store.path / "ingest" / f"{LAYER.replace(':', '-')}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(IMAGE.layers[0].data[:50])
    fake.inject(Fault(answer(PAGE), path=f"/blobs/{LAYER}", times=1))
    refused(fake, client, "pull", "the blob")
    assert part.read_bytes() == IMAGE.layers[0].data[:50]
    assert str(client.pull(name).id) == IMAGE.id


@pytest.mark.parametrize("size", [0, 3 * 2**20])
def test_a_blob_may_be_a_web_page(fake: FakeRegistry, client: Client, size: int) -> None:
    page = PAGE + b"x" * size
    digest = f"sha256:{hashlib.sha256(page).hexdigest()}"
    fake.add_blob(page)
    fake.inject(Fault(SetHeader("Content-Type", "text/html"), path="/blobs/"))
    with client.blob(f"{fake.host}/app@{digest}") as blob:
        assert blob.read() == page


def test_the_command_exits_with_6(fake: FakeRegistry, wherry: Wherry, name: str) -> None:
    fake.inject(Fault(answer(PAGE), path="/manifests/"))
    done = wherry("manifest", name)
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.splitlines()[0] == (
        f"wherry: {name}: {fake.host} sent a web page, not a manifest (Sign in & go)"
    )


# Messages of refusals


@pytest.mark.parametrize(
    ("body", "media_type", "said"),
    [
        (b"ask the platform team\n", "text/plain", "ask the platform team"),
        (b"401 Unauthorized\r\n", "text/plain; charset=utf-8", "Unauthorized"),
        ("Zugriff für Fremde\tnicht\x1b[31m".encode(), "", "Zugriff für Fremde nicht [31m"),
        (b"word " * 1000, "text/plain", "word " * 59 + "word…"),
        (b'{"error":"invalid_grant"}', "application/json", "invalid_grant"),
        (b'{"error_description":"no such user"}', "application/json", "no such user"),
        (b'"just text"', "application/json", "just text"),
        (b"<Error><Code>X</Code><Message>Expired</Message></Error>", "application/xml", "Expired"),
        (b"<html><title>401 Sign in</title></html>", "text/html", "Sign in"),
        (bytes(range(256)), "application/octet-stream", ""),
        (b'{"broken', "application/json", ""),
    ],
    ids=range(11),
)
def test_the_body_of_a_401_is_shown(
    fake: FakeRegistry, client: Client, name: str, body: bytes, media_type: str, said: str
) -> None:
    fake.inject(Fault(answer(body, media_type, 401)))
    with pytest.raises(Unauthorized) as caught:
        client.pull(name)
    text = f"401 {said}" if said else "401"
    assert str(caught.value) == f"{name.removesuffix(':t')}: access denied ({text})"


def test_credentials_repeated_in_a_body_are_masked(store: Store, fake: FakeRegistry) -> None:
    fake.add_image("app", IMAGE, "t")
    pair = base64.b64encode(b"me:hunter22").decode()
    body = f"refused: Basic {pair}, that is me:hunter22, password hunter22".encode()
    headers = {"WWW-Authenticate": "Basic realm=x", "Content-Type": "text/plain"}
    fake.inject(Fault(FixedReply(401, headers, body)))
    client = Client(store=store, credentials=("me", "hunter22"))
    with client, pytest.raises(Unauthorized) as caught:
        client.pull(f"{fake.host}/app:t")
    assert caught.value.message.endswith("(401 refused: Basic ***, that is ***, password ***)")


def test_a_host_without_a_registry(fake: FakeRegistry, client: Client, name: str) -> None:
    fake.inject(Fault(answer(PAGE, status=404)))
    with pytest.raises(NotFound, match="not found") as caught:
        client.pull(name)
    first, second = caught.value.hint.splitlines()
    assert first == f"{fake.host} answered by a web page: is it a registry?"
    assert second == f"if {fake.host} is a legacy registry (protocol version 1): --legacy"


def test_a_network_that_requires_a_login(fake: FakeRegistry, client: Client, name: str) -> None:
    fake.inject(Fault(answer(PAGE, status=511), path="/manifests/"))
    with pytest.raises(RegistryError, match="511 Sign in") as caught:
        client.pull(name)
    assert "login" in caught.value.hint


# Attempts


@pytest.mark.parametrize("call", ["pull", "inspect", "tags"])
@pytest.mark.usefixtures("environment")
def test_an_error_after_retries_has_their_number(
    store: Store, fake: FakeRegistry, call: str
) -> None:
    fake.add_image("app", IMAGE, "t")
    fake.inject(Fault(answer(b"", status=503)))
    client = Client(store=store, retries=2)
    with client, pytest.raises(RegistryError, match=r"503; tried 2 times$"):
        getattr(client, call)(f"{fake.host}/app" + (":t" if call != "tags" else ""))


@pytest.mark.parametrize("retries", ["1", "2"])
def test_a_host_that_does_not_exist(wherry: Wherry, retries: str) -> None:
    host = f"127.0.0.1:{refused_port()}"
    done = wherry("pull", "-q", "--retries", retries, f"{host}/app:t")
    assert done.returncode == 6
    tried = "; tried 2 times" if retries == "2" else ""
    assert done.stderr.splitlines()[0] == f"wherry: {host}: connection refused{tried}"


def test_an_error_of_a_layer_has_the_number_of_attempts(store: Store, fake: FakeRegistry) -> None:
    fake.add_image("app", IMAGE, "t")
    fake.inject(Fault(answer(b"", status=500), path=f"/blobs/{LAYER}"))
    client = Client(store=store, retries=3)
    with client, pytest.raises(WherryError, match=r"500; tried 3 times$"):
        client.pull(f"{fake.host}/app:t")


# Tags


def test_inspect_reports_a_repository_without_tags(fake: FakeRegistry, wherry: Wherry) -> None:
    body = json.dumps({"name": "app", "tags": None}).encode()
    fake.inject(Fault(answer(body, "application/json"), path="/tags/list"))
    for options in ((), ("--no-tags",)):
        done = wherry("inspect", *options, f"{fake.host}/app")
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr == f"wherry: {fake.host}/app: the repository has no tags\n"


def test_inspect_reports_a_missing_repository(
    distribution: Distribution, wherry: Wherry, repository: str
) -> None:
    """A 404 for a manifest says little; the tag list says that there is no repository."""
    done = wherry("inspect", f"{distribution.host}/{repository}")
    assert (done.returncode, done.stdout) == (3, "")
    said = "not found (404 NAME_UNKNOWN: repository name not known to registry)"
    assert done.stderr.startswith(f"wherry: {distribution.host}/{repository}: {said}\n")


@pytest.mark.parametrize("call", ["pull", "inspect", "digest", "manifest", "config", "validate"])
def test_the_error_for_a_missing_tag_has_a_hint_for_listing_tags(
    fake: FakeRegistry, client: Client, name: str, call: str
) -> None:
    with pytest.raises(NotFound) as caught:
        getattr(client, call)(f"{name}ypo")
    assert (
        caught.value.hint.splitlines()[0]
        == f"`wherry tags {fake.host}/app` lists the existing tags"
    )
    with pytest.raises(NotFound) as caught:
        getattr(client, call)(f"{fake.host}/other:t")  # no such repository
    assert "wherry tags" not in caught.value.hint
    with pytest.raises(NotFound) as caught:
        getattr(client, call)(f"{fake.host}/app@sha256:{'0' * 64}")
    assert "wherry tags" not in caught.value.hint
