"""The battery's checks of a registry find each kind of damage."""

from __future__ import annotations

import http.client
import re
from typing import TYPE_CHECKING

import pytest

import subjects
from target import REPOSITORY, TAG, TargetRegistry, served_problems, target_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGE = subjects.small()
LAYER = IMAGE.layers[0].digest
OTHER = subjects.overlapping(1)[0]


@pytest.fixture
def target() -> Iterator[TargetRegistry]:
    with TargetRegistry() as registry:
        registry.add_image(REPOSITORY, IMAGE, TAG)
        yield registry


def ask(registry: TargetRegistry) -> None:
    """Send any request, after which the registry checks itself."""
    connection = http.client.HTTPConnection(registry.host, timeout=30)
    connection.request("GET", "/v2/")
    assert connection.getresponse().status == http.client.OK
    connection.close()


DAMAGES: dict[str, tuple[Callable[[TargetRegistry], object], str]] = {
    "a byte": (lambda it: it.blobs.update({LAYER: b"x"}), "has the content of"),
    "a layer is gone": (lambda it: it.delete_blob(REPOSITORY, LAYER), f"lacks {LAYER[:19]}"),
    "the manifest is gone": (lambda it: it.manifests[REPOSITORY].clear(), "has no manifest"),
    "no tag": (lambda it: it.tags[REPOSITORY].clear(), "the tags are {}"),
    "another tag": (lambda it: it.add_image(REPOSITORY, OTHER, "u"), "the tags are"),
    "another image": (lambda it: it.add_image(REPOSITORY, OTHER, TAG), "the tags are"),
    "another media type": (
        lambda it: it.add_manifest(REPOSITORY, IMAGE.manifest.data, "text/plain"),
        "another manifest",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_each_damage_is_found(target: TargetRegistry, damage: str) -> None:
    ask(target)
    assert target_problems(target, IMAGE) == []
    act, found = DAMAGES[damage]
    act(target)
    ask(target)
    assert any(re.search(found, each) for each in target_problems(target, IMAGE))


def test_a_name_that_must_not_be_there_is_found(target: TargetRegistry) -> None:
    assert target_problems(target, None) != []


def test_a_served_image_is_compared(target: TargetRegistry) -> None:
    host = target.host
    assert served_problems(host, REPOSITORY, IMAGE) == []
    (problem,) = served_problems(host, REPOSITORY, OTHER)[:1]
    assert problem.startswith(f"manifests/{TAG}: 200")
    assert served_problems(host, "nothing", IMAGE, may_lack=True) == []
    assert served_problems(host, "nothing", IMAGE) != []
    target.blobs[LAYER] = b"x"
    assert served_problems(host, REPOSITORY, IMAGE, may_lack=True) == [
        f"blobs/{LAYER}: 200, 1 bytes"
    ]
