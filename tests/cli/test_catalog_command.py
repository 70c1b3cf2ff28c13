"""``wherry catalog``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from index_images import IMAGE
from wherry.testing import FakeRegistry, Fault, FixedReply

if TYPE_CHECKING:
    from conftest import Wherry


def test_one_repository_per_line(wherry: Wherry) -> None:
    with FakeRegistry(page_size=1) as fake:
        for name in ("team/app", "base"):
            fake.add_image(name, IMAGE, "t")
        done = wherry("catalog", fake.host)
        assert (done.returncode, done.stdout, done.stderr) == (0, "base\nteam/app\n", "")
        assert json.loads(wherry("catalog", "--json", fake.host).stdout) == ["base", "team/app"]


def test_a_registry_without_a_catalog(wherry: Wherry, fake: FakeRegistry) -> None:
    fake.inject(Fault(FixedReply(404), path="_catalog"))
    done = wherry("catalog", fake.host)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"wherry: {fake.host}: the registry does not list its repositories (404)\n"
        "  many registries list their repositories only to administrators, or not at all\n"
    )


def test_credentials_of_the_command_line(wherry: Wherry) -> None:
    with FakeRegistry(users={"me": "secret"}) as fake:
        fake.add_image("app", IMAGE, "t")
        assert wherry("catalog", fake.host).returncode == 4
        assert wherry("catalog", "--creds", "me:secret", fake.host).stdout == "app\n"


def test_a_repository_is_no_registry(wherry: Wherry) -> None:
    done = wherry("catalog", "localhost:5000/team/app")
    assert done.returncode == 2
    assert done.stderr == (
        "wherry: a catalog is that of a whole registry: HOST or HOST:PORT\n"
        "  localhost:5000/team/app\n"
        "                ^\n"
    )
