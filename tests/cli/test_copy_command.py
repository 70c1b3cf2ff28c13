"""The command `wherry copy`: places, platforms, contradictions, and what other tools read."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from command_images import IMAGE
from stored_images import FIRST, INDEX, SECOND
from wherry.model import quantity
from wherry.testing import FakeRegistry, Fault, FixedReply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Wherry
    from wherry.testing import Distribution

SIZE = quantity.size(sum(layer.size for layer in IMAGE.layers))


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    """Another registry than `fake`."""
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def index(fake: FakeRegistry) -> str:
    """The name of an index of two images."""
    fake.add_image("index", INDEX, "t")
    return f"{fake.host}/index:t"


def test_from_registry_to_registry(wherry: Wherry, name: str, other: FakeRegistry) -> None:
    target = f"{other.host}/mirror/app:t"
    done = wherry("copy", name, target)
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.digest}\n")
    assert done.stderr.startswith(f"{target}: 2 layers: 2 to send ({SIZE})\n")
    assert other.tags["mirror/app"] == {"t": IMAGE.digest}
    again = wherry("copy", name, target)
    assert again.stdout == f"{IMAGE.digest}\n"
    assert again.stderr.startswith(f"{target}: the image is there\n")


def test_the_store_is_not_used(wherry: Wherry, name: str, other: FakeRegistry) -> None:
    assert wherry("copy", "-q", name, f"{other.host}/app:t").returncode == 0
    assert wherry("images", "-q").stdout == ""


def test_into_the_store_and_out_of_it(wherry: Wherry, name: str, other: FakeRegistry) -> None:
    assert wherry("copy", name, "store:mine:1").stdout == f"{IMAGE.digest}\n"
    assert IMAGE.id in wherry("images", "--json").stdout
    done = wherry("copy", "store:mine:1", f"{other.host}/app:t")
    assert done.stdout == f"{IMAGE.digest}\n"
    assert other.tags["app"] == {"t": IMAGE.digest}


@pytest.mark.parametrize("place", ["oci:{}/x:1", "oci-archive:{}/x:1", "dir:{}/x"])
def test_into_a_file_or_directory(wherry: Wherry, name: str, tmp_path: Path, place: str) -> None:
    address = place.format(tmp_path)
    done = wherry("copy", name, address)
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.digest}\n"), done.stderr
    first, *lines = done.stderr.splitlines()
    assert first == f"{address}: 2 layers: 2 to write ({SIZE})"
    assert f"{IMAGE.layers[0].digest[7:19]}  Copied  {quantity.size(IMAGE.layers[0].size)}" in lines
    assert wherry("digest", address).stdout == f"{IMAGE.digest}\n"


def test_a_directory_that_exists_is_not_overwritten(
    wherry: Wherry, name: str, tmp_path: Path
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "precious").write_text("content")
    done = wherry("copy", name, f"dir:{tmp_path}/x")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "exists" in done.stderr
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["precious"]


def test_a_stream_is_not_a_destination(
    wherry: Wherry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("oci-archive:-", "docker-archive:-:app:1", "oci:-", "dir:-"):
        done = wherry("copy", "localhost:1/app", place)
        assert (done.returncode, done.stdout) == (2, "")
        assert "/dev/stdout" in done.stderr
    assert not (tmp_path / "-").exists()


def test_an_archive_on_standard_output_has_nothing_behind_it(
    wherry: Wherry, name: str, environment: dict[str, str], tmp_path: Path
) -> None:
    assert wherry("copy", "-q", name, f"oci-archive:{tmp_path}/file:1").returncode == 0
    command = [sys.executable, "-m", "wherry", "copy", name, "oci-archive:/dev/stdout:1"]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert done.stdout == (tmp_path / "file").read_bytes()
    assert f"Digest: {IMAGE.digest}" in done.stderr.decode()


def test_a_short_name_is_searched_for_before_the_copy(
    wherry: Wherry, name: str, fake: FakeRegistry, other: FakeRegistry, tmp_path: Path
) -> None:
    """An error of the destination does not lead to the next registry of the list."""
    assert name
    with FakeRegistry() as empty:
        conf = tmp_path / "registries.conf"
        conf.write_text(f'unqualified-search-registries = ["{empty.host}", "{fake.host}"]\n')
        options = ("--registries-conf", str(conf))
        target = f"{other.host}/app:t"
        fault = other.inject(Fault(FixedReply(403), path="/v2/app"))
        done = wherry("copy", *options, "team/app:t", target)
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr.count("trying the next registry") == 1
        fault.times = 0
        done = wherry("copy", *options, "team/app:t", target)
        assert done.stdout == f"{IMAGE.digest}\n"


# Platforms


def test_one_image_of_an_index(wherry: Wherry, index: str, other: FakeRegistry) -> None:
    target = f"{other.host}/one:t"
    done = wherry("copy", "--platform", "linux/arm64", index, target)
    assert done.stdout == f"{SECOND.digest}\n"


def test_a_whole_index(wherry: Wherry, index: str, other: FakeRegistry) -> None:
    target = f"{other.host}/all:t"
    done = wherry("copy", "--all-platforms", index, target)
    assert done.stdout == f"{INDEX.digest}\n"
    assert done.stderr.startswith(f"{target}: 2 images, 3 layers: 3 to send (")
    assert set(other.manifests["all"]) == {FIRST.digest, SECOND.digest, INDEX.digest}


def test_a_sparse_index_keeps_its_digest(wherry: Wherry, index: str) -> None:
    with FakeRegistry(takes_sparse=True) as lenient:
        target = f"{lenient.host}/sparse:t"
        done = wherry("copy", "--sparse", "--platform", "linux/arm64", index, target)
        assert done.stdout == f"{INDEX.digest}\n"
        assert set(lenient.manifests["sparse"]) == {SECOND.digest, INDEX.digest}


def test_a_sparse_index_with_the_image_for_this_machine(
    wherry: Wherry, index: str, environment: dict[str, str]
) -> None:
    environment["WHERRY_PLATFORM"] = "linux/amd64"
    with FakeRegistry(takes_sparse=True) as lenient:
        target = f"{lenient.host}/sparse:t"
        assert wherry("copy", "--sparse", index, target).stdout == f"{INDEX.digest}\n"
        assert set(lenient.manifests["sparse"]) == {FIRST.digest, INDEX.digest}


# Credentials


def test_credentials_of_each_side(wherry: Wherry) -> None:
    with (
        FakeRegistry(users={"reader": "one"}) as source,
        FakeRegistry(users={"writer": "two"}, tokens=True) as target,
    ):
        source.add_image("app", IMAGE, "t")
        names = (f"{source.host}/app:t", f"{target.host}/mirror:t")
        sides = ("--src-creds", "reader:one", "--dest-creds", "writer:two")
        assert wherry("copy", *sides, *names).stdout == f"{IMAGE.digest}\n"
        assert wherry("copy", "--src-creds", "reader:one", *names).returncode == 4
        assert wherry("copy", "--creds", "reader:one", *names).returncode == 4


def test_credentials_of_one_registry(wherry: Wherry) -> None:
    """Each repository has its own."""
    with FakeRegistry(users={"reader": "one", "writer": "two"}, tokens=True) as registry:
        registry.add_image("app", IMAGE, "t")
        names = (f"{registry.host}/app:t", f"{registry.host}/mirror:t")
        sides = ("--src-creds", "reader:one", "--dest-creds", "writer:two")
        assert wherry("copy", *sides, *names).stdout == f"{IMAGE.digest}\n"


# Errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--all-platforms", "--platform", "linux"],
         "--all-platforms cannot be combined with --platform"),
        (["--sparse", "--all-platforms"], "--sparse cannot be combined with --all-platforms"),
        (["--sparse", "--platform", "linux", "--format", "docker"],
         "--sparse keeps the index, so nothing can be converted"),
        (["--sparse", "--platform", "linux", "--compression", "zstd"],
         "--sparse keeps the index, so nothing can be converted"),
        (["--creds", "a:b", "--src-creds", "a:b"],
         "--src-creds cannot be combined with --creds"),
    ],
)  # fmt: skip
def test_contradictions(wherry: Wherry, options: list[str], message: str) -> None:
    done = wherry("copy", *options, "a", "b")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == f"wherry: {message}"


def test_a_compression_that_does_not_exist(wherry: Wherry) -> None:
    done = wherry("copy", "--compression", "lzma", "localhost:1/a", "localhost:1/b")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0].startswith("wherry: invalid compression: ")


def test_a_destination_of_another_digest(wherry: Wherry, name: str, other: FakeRegistry) -> None:
    target = f"{other.host}/app@{SECOND.digest}"
    done = wherry("copy", name, target)
    assert (done.returncode, done.stdout) == (2, "")
    assert IMAGE.digest in done.stderr
    assert "app" not in other.tags


def test_a_refused_manifest_leaves_no_name(wherry: Wherry, name: str, other: FakeRegistry) -> None:
    reason = b'{"errors":[{"code":"MANIFEST_INVALID","message":"no such luck"}]}'
    reply = FixedReply(400, {"Content-Type": "application/json"}, reason)
    other.inject(Fault(reply, path="/manifests/", method="PUT"))
    done = wherry("copy", name, f"{other.host}/app:t")
    assert done.returncode == 1
    assert "no such luck" in done.stderr
    assert other.tags.get("app", {}) == {}


# Other tools


@pytest.mark.peer("skopeo", "podman")
def test_other_tools_read_a_copy(
    wherry: Wherry,
    index: str,
    distribution: Distribution,
    repository: str,
    skopeo: Callable[..., str],
    podman: Callable[..., str],
) -> None:
    target = f"{distribution.host}/{repository}:1"
    assert wherry("copy", "--all-platforms", index, target).stdout == f"{INDEX.digest}\n"
    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{target}")
    assert raw.encode() == INDEX.index.data
    found = podman("pull", "-q", "--tls-verify=false", "--arch", "arm64", target)
    assert found.strip() == SECOND.id[7:]


@pytest.mark.peer("skopeo")
def test_skopeo_reads_what_was_copied_to_archives(
    wherry: Wherry, name: str, tmp_path: Path, skopeo: Callable[..., str]
) -> None:
    for place in (f"oci:{tmp_path}/a:1", f"oci-archive:{tmp_path}/b:1", f"dir:{tmp_path}/c"):
        assert wherry("copy", "-q", name, place).returncode == 0
        assert json.loads(skopeo("inspect", place))["Digest"] == IMAGE.digest
    place = f"docker-archive:{tmp_path}/d:acme/app:1"
    assert wherry("copy", "-q", name, place).returncode == 0
    assert json.loads(skopeo("inspect", "--config", place)) == json.loads(IMAGE.config.data)
