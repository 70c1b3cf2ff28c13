"""Bad images: `pull` and `load` refuse them, and `validate` reports them."""

from __future__ import annotations

import io
import json
import random
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import bad_schema1
from bad_images import (
    BAD_IMAGES,
    GOOD,
    GOOD_IMAGES,
    OCI_INDEX,
    bad,
    raw_root,
    with_config,
    with_manifest,
    with_schema1,
    with_v1,
)
from odd_values import odd
from wherry import Client
from wherry.errors import WherryError
from wherry.testing import FakeRegistry
from wherry.testing.images import Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from bad_images import BadImage
    from wherry import Store

pytestmark = pytest.mark.usefixtures("environment")

FORMS = ("bare", "in an index", "in an index of an index")
PULLED: tuple[dict[str, Any], ...] = ({"platform": "linux/amd64"}, {"all_platforms": True})
LOADED: tuple[dict[str, Any], ...] = ({"platform": "linux/amd64"}, {})


def formed(image: BadImage, form: str) -> BadImage:
    """Return an image, or an index that leads to it."""
    for _ in range(FORMS.index(form)):
        image = image.within()
    return image


def reports(client: Client, address: str) -> list[str]:
    """Return the errors that validate reports or raises."""
    try:
        report = client.validate(address)
    except WherryError as error:
        return [str(error)]
    return [f"{found.where}: {found.message}" for found in report.findings if found.error]


def refusals(
    call: Callable[..., object], address: str | Path, choices: Iterable[Mapping[str, Any]]
) -> list[WherryError]:
    """Return the errors with which a call refuses an image, for one platform and for all."""
    found = []
    for choice in choices:
        try:
            call(address, **choice)
        except WherryError as error:
            found.append(error)
    return found


@pytest.fixture
def once(store: Store) -> Iterator[Client]:
    """A client without retries."""
    with Client(store=store, retries=1) as client:
        yield client


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_registry_that_serves_it(name: str, form: str, once: Client, fake: FakeRegistry) -> None:
    reference = formed(BAD_IMAGES[name], form).serve(fake)
    assert refusals(once.pull, reference, PULLED)
    assert reports(once, reference)


@pytest.mark.parametrize("write", ["write_layout", "write_flat"])
@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_directory_that_holds_it(name: str, write: str, once: Client, tmp_path: Path) -> None:
    address = getattr(BAD_IMAGES[name], write)(tmp_path / "place")
    if refusals(once.load, tmp_path / "place", LOADED):
        assert reports(once, address)


@pytest.mark.parametrize("name", [n for n, image in BAD_IMAGES.items() if image.docker_files()])
def test_a_docker_archive_that_holds_it(name: str, once: Client, tmp_path: Path) -> None:
    path = write_archive(tmp_path, BAD_IMAGES[name])
    if refusals(once.load, path, LOADED):
        assert reports(once, f"docker-archive:{path}")


DOCUMENTS: dict[str, tuple[bytes, Callable[[bytes], BadImage]]] = {
    "manifest": (GOOD.manifest.data, raw_root),
    "manifest in an index": (GOOD.manifest.data, with_manifest),
    "config in an index": (GOOD.config.data, lambda data: with_config(data).within()),
    "index": (bad().within().root.data, lambda data: replace(bad().within(), root=index(data))),
    "schema1": (bad_schema1.GOOD.payload, with_schema1),
    "version 1 JSON in an index": (
        json.loads(bad_schema1.GOOD.payload)["history"][0]["v1Compatibility"].encode(),
        lambda data: with_v1(data).within(),
    ),
}


def index(data: bytes) -> Piece:
    return Piece(OCI_INDEX, data)


@pytest.mark.parametrize("share", [0.1, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("kind", DOCUMENTS)
def test_each_field_with_odd_values(
    kind: str, share: float, once: Client, record_property: Callable[[str, object], None]
) -> None:
    original, make = DOCUMENTS[kind]
    cases = list(odd(json.loads(original)))
    chosen = random.Random(kind).sample(cases, int(len(cases) * share))  # noqa: S311 - the same each time
    lenient = []
    for what, data in chosen:
        with FakeRegistry() as registry:
            reference = make(data).serve(registry)
            refused = refusals(once.pull, reference, PULLED)
            if refused and not reports(once, reference):
                lenient.append((what, str(refused[0])))
    record_property("tries", len(chosen))
    assert lenient == []


@pytest.mark.parametrize("name", GOOD_IMAGES)
def test_good_images_pass(name: str, once: Client, fake: FakeRegistry, tmp_path: Path) -> None:
    image = GOOD_IMAGES[name]
    reference = image.serve(fake)
    assert refusals(once.pull, reference, PULLED) == []
    places = [reference, image.write_layout(tmp_path / "oci"), image.write_flat(tmp_path / "dir")]
    if image.docker_files():
        places.append(f"docker-archive:{write_archive(tmp_path, image)}")
    assert [reports(once, place) for place in places] == [[]] * len(places)


def write_archive(directory: Path, image: BadImage) -> Path:
    """Write an image as `docker save` does."""
    path = directory / "archive.tar"
    with tarfile.open(path, "w") as archive:
        for name, data in (image.docker_files() or {}).items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
