"""Names of images that are pulled into the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import tagged_images
from stored_images import FIRST, INDEX, OLD

if TYPE_CHECKING:
    import wherry as library
    from wherry.testing import (
        FakeRegistry,
    )


@pytest.fixture
def name(fake: FakeRegistry, client: library.Client) -> str:
    fake.add_image("team/app", FIRST, "t")
    found = f"{fake.host}/team/app:t"
    client.pull(found)
    return found


@pytest.fixture
def multi(fake: FakeRegistry, client: library.Client) -> str:
    fake.add_image("team/multi", INDEX, "t")
    found = f"{fake.host}/team/multi:t"
    client.pull(found, platform="linux/amd64,linux/arm64")
    return found


@pytest.fixture
def old(fake: FakeRegistry, client: library.Client) -> str:
    for layer in OLD.layers:
        fake.add_blob(layer)
    manifest = OLD.manifest
    fake.add_manifest("team/old", manifest.data, manifest.media_type, "t", digest=OLD.digest)
    found = f"{fake.host}/team/old:t"
    client.pull(found)
    return found


@pytest.fixture
def host(fake: FakeRegistry) -> str:
    fake.add_image("team/app", tagged_images.FIRST, "1", "latest")
    fake.add_image("team/app", tagged_images.SECOND, "2")
    return f"{fake.host}/team/app"
