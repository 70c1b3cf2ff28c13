"""``wherry referrers``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from index_images import IMAGE, INDEX
from wherry.testing import (
    FakeRegistry,
    build_image,
)

if TYPE_CHECKING:
    from conftest import Wherry


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    """An index with two tags."""
    fake.add_image("team/app", INDEX, "1.9.0", "1.10.0", "latest")
    return f"{fake.host}/team/app"


class TestReferrers:
    def test_a_table_and_json(self, wherry: Wherry) -> None:
        with FakeRegistry(referrers=True) as fake:
            fake.add_image("app", IMAGE, "t")
            extra = {
                "artifactType": "application/vnd.example.sbom",
                "subject": IMAGE.manifest.descriptor(),
                "annotations": {"a": "b"},
            }
            artifact = build_image([], manifest_extra=extra)
            fake.add_image("app", artifact)
            done = wherry("referrers", f"{fake.host}/app:t")
            header, row = done.stdout.splitlines()
            assert header.split() == ["ARTIFACT", "TYPE", "DIGEST", "SIZE"]
            assert row.split()[:2] == ["application/vnd.example.sbom", artifact.digest]
            (entry,) = json.loads(wherry("referrers", "--json", f"{fake.host}/app:t").stdout)
            assert entry == artifact.manifest.descriptor() | {
                "artifactType": "application/vnd.example.sbom",
                "annotations": {"a": "b"},
            }
            none = wherry("referrers", "--artifact-type", "x/y", "--json", f"{fake.host}/app:t")
            assert json.loads(none.stdout) == []
