"""``wherry delete``."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from index_images import IMAGE, INDEX
from waiting import wait_for
from wherry.testing import Delay, FakeRegistry, Fault, FixedReply

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    """An image with two tags, and an index that lists it."""
    fake.add_image("team/app", INDEX, "all")
    fake.add_image("team/app", IMAGE, "1", "1.0")
    return f"{fake.host}/team/app"


def test_the_tags_and_the_digest_are_printed(wherry: Wherry, fake: FakeRegistry, name: str) -> None:
    done = wherry("delete", f"{name}:1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"wherry: {name}:1: the manifest has other tags, which would be deleted too: 1.0\n"
        "  delete it with all its tags by --force, or only this tag by --untag\n"
    )
    done = wherry("delete", "--untag", f"{name}:1.0")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Untagged: {name}:1.0\n", "")
    done = wherry("delete", "--jobs", "2", f"{name}:1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Untagged: {name}:1\nDeleted: {name}@{IMAGE.digest}\n"
    assert fake.tags["team/app"] == {"all": INDEX.digest}


def test_an_index(wherry: Wherry, fake: FakeRegistry, name: str) -> None:
    done = wherry("delete", f"docker://{name}@{INDEX.digest}")
    assert (done.returncode, done.stdout) == (0, f"Deleted: {name}@{INDEX.digest}\n")
    assert done.stderr == f"{name}@{INDEX.digest} is an index; the images that it lists stay\n"
    assert IMAGE.digest in fake.manifests["team/app"]


def test_a_dry_run(wherry: Wherry, fake: FakeRegistry, name: str) -> None:
    done = wherry("delete", "--dry-run", f"{name}:1")
    assert done.returncode == 0
    assert done.stdout == (
        f"Would untag: {name}:1\nWould untag: {name}:1.0\nWould delete: {name}@{IMAGE.digest}\n"
    )
    assert "needs --force" in done.stderr
    done = wherry("delete", "-n", "--untag", f"{name}:1")
    assert (done.stdout, done.stderr) == (f"Would untag: {name}:1\n", "")
    assert {each.method for each in fake.requests} == {"GET", "HEAD"}


def test_json(wherry: Wherry, fake: FakeRegistry, name: str) -> None:
    entry = {
        "dry_run": True,
        "name": f"{name}:1",
        "digest": IMAGE.digest,
        "media_type": IMAGE.manifest.media_type,
        "tags": ["1", "1.0"],
        "untag_only": False,
    }
    done = wherry("delete", "--dry-run", "--json", f"{name}:1")
    assert json.loads(done.stdout) == [entry]
    done = wherry("delete", "--json", "--force", f"{name}:1", f"{name}:none")
    assert json.loads(done.stdout) == [entry | {"dry_run": False, "tags": ["1"]}]
    assert done.returncode == 3
    assert fake.tags["team/app"] == {"all": INDEX.digest}


def test_the_others_are_deleted_after_a_failure(
    wherry: Wherry, fake: FakeRegistry, name: str
) -> None:
    done = wherry("delete", f"{name}:none", f"{name}:all")
    assert done.returncode == 3
    assert done.stderr.startswith(f"wherry: {name}:none: not found\n  `wherry tags {name}`")
    assert done.stdout.endswith(f"Deleted: {name}@{INDEX.digest}\n")
    assert "all" not in fake.tags["team/app"]


def test_a_registry_that_does_not_delete(wherry: Wherry, fake: FakeRegistry, name: str) -> None:
    body = b'{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}'
    fake.inject(Fault(FixedReply(405, {}, body), method="DELETE"))
    hint = "  Distribution deletes only with REGISTRY_STORAGE_DELETE_ENABLED=true\n"
    said = "the registry does not delete it (405 UNSUPPORTED: The operation is unsupported.)\n"
    done = wherry("delete", f"{name}:all")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"wherry: {name}@{INDEX.digest}: {said}{hint}"
    done = wherry("delete", "--untag", f"{name}:all")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"wherry: {name}:all: {said}{hint}"


def test_other_addresses_are_refused(wherry: Wherry) -> None:
    for address in ("store:app", "oci:layout"):
        assert wherry("delete", address).returncode == 2


def test_a_name_with_several_meanings_deletes_nothing(
    wherry: Wherry, fake: FakeRegistry, name: str, tmp_path: Path
) -> None:
    assert name
    file = tmp_path / "registries.conf"
    file.write_text(f'unqualified-search-registries = ["{fake.host}", "localhost:1"]\n')
    arguments = ("--registries-conf", str(file), f"{name}:1", "team/app:1")
    done = wherry("delete", "--force", *arguments)
    assert done.returncode == 2
    assert f"write the name in full: {fake.host}/team/app:1, localhost:1/team/app:1" in done.stderr
    assert fake.requests == []


def test_an_interrupted_removal_of_a_tag_says_what_is_left(wherry: Wherry) -> None:
    with FakeRegistry(like="distribution-2.8") as registry:
        registry.add_image("app", IMAGE, "1", "1.0")
        # The first such request only asks whether the registry deletes.
        registry.inject(Fault(FixedReply(503), method="DELETE", path="sha256:", skip=1, times=1))
        waiting = registry.inject(Fault(Delay(60), method="DELETE", path="sha256:", skip=1))
        process = wherry.start("delete", "--untag", f"{registry.host}/app:1.0")
        wait_for(lambda: waiting.count == 1)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
        assert (process.returncode, stdout) == (130, "")
        warning, last = stderr.splitlines()
        assert f"empty image now ({registry.tags['app']['1.0']})" in warning
        assert f"it stood for {IMAGE.digest}" in warning
        assert last == "wherry: interrupted"
        registry.clear()
        assert wherry("delete", "--untag", f"{registry.host}/app:1.0").returncode == 0
        assert registry.tags["app"] == {"1": IMAGE.digest}
