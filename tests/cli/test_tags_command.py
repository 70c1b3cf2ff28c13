"""``wherry tags``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from index_images import INDEX
from wherry.errors import InvalidReference

if TYPE_CHECKING:
    from conftest import Wherry
    from wherry import Client
    from wherry.testing import (
        FakeRegistry,
    )


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    """An index with two tags."""
    fake.add_image("team/app", INDEX, "1.9.0", "1.10.0", "latest")
    return f"{fake.host}/team/app"


class TestTags:
    @pytest.mark.parametrize("more", [":latest", f"@{INDEX.digest}", f":1@{INDEX.digest}"])
    def test_a_tag_or_digest_is_refused(
        self, wherry: Wherry, name: str, fake: FakeRegistry, client: Client, more: str
    ) -> None:
        done = wherry("tags", name + more)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"wherry: {name}{more}: expected a name without a tag or digest\n"
            "  see `wherry tags --help`\n"
        )
        for call in (client.tags, client.pull_all_tags):
            with pytest.raises(InvalidReference, match="neither tag nor digest") as caught:
                call(name + more)
            assert caught.value.position == len(name)
        assert fake.requests == []

    def test_one_tag_per_line(self, wherry: Wherry, name: str) -> None:
        assert wherry("tags", name).stdout == "1.10.0\n1.9.0\nlatest\n"
        assert wherry("tags", "--sort", "version", name).stdout == "latest\n1.9.0\n1.10.0\n"
        assert wherry("tags", "--filter", ">=1.10", name).stdout == "1.10.0\n"
        assert json.loads(wherry("tags", "--json", "--filter", r"^1\.9", name).stdout) == ["1.9.0"]
        assert wherry("tags", "--filter", "none", name).stdout == ""

    def test_an_invalid_filter_is_shown_with_a_caret(self, wherry: Wherry, name: str) -> None:
        done = wherry("tags", "--filter", "semver:>=x", name)
        assert done.returncode == 0  # ``x`` is any version
        done = wherry("tags", "--filter", "semver:>=y", name)
        assert done.returncode == 2
        assert done.stderr.splitlines()[1:] == ["  semver:>=y", "           ^"]

    @pytest.mark.parametrize("address", ["store:app", "oci:layout"])
    def test_other_addresses_have_no_tags(self, wherry: Wherry, address: str) -> None:
        assert wherry("tags", address).returncode == 2
