"""Other programs as clients of `wherry serve`, with and without passwords and TLS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import bcrypt
import pytest

from artifacts import SBOM, refer_to
from auth_files import entry, write_file
from index_images import ARM, IMAGE, INDEX
from peer_images import FLAT
from wherry import Store
from wherry.testing import (
    build_image,
    find_binary,
    flat_files,
    layout_files,
    make_certificate,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wherry import Client
    from wherry.testing import BuiltImage, BuiltIndex

    Peer = Callable[..., str]

USER, PASSWORD = "me", "correct horse"
DOCKER_IMAGE = FLAT["schema2-gzip"]
# Podman compresses its layer, and skopeo would take that for the layer of another image too.
PODMAN_IMAGE = build_image([tar_layer({"podman": b"1"})])


class Served(NamedTuple):
    """A running `wherry serve`: its address, its store, and the authority of its certificate."""

    host: str
    store: Path
    authority: Path | None
    has_password: bool

    @property
    def plain(self) -> list[str]:
        """The option of most commands."""
        return [] if self.authority else ["--tls-verify=false"]

    def side(self, name: str) -> list[str]:
        """Return the option of `skopeo copy` for one side."""
        return [] if self.authority else [f"--{name}-tls-verify=false"]


def serve(directory: Path, kind: str) -> Iterator[Served]:
    """Run the command with what `kind` names: `password`, `tls`, both, or neither."""
    directory.mkdir()
    options: list[str | Path] = []
    authority = None
    if "password" in kind:
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        options += ["--htpasswd", write_file(directory / "users", f"{USER}:{hashed}\n")]
    if "tls" in kind:
        authority, certificate, key = make_certificate(directory / "certificates")
        options += ["--tls", certificate, key]
    command: list[str | Path]
    command = [sys.executable, "-m", "wherry", "--store", directory / "store", "serve"]
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0", "--no-ui", *options],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert "://" in line, line
            host = line.partition("://")[2].partition(";")[0]
            yield Served(host, directory / "store", authority, "password" in kind)
        finally:
            process.terminate()
    assert process.returncode == 0


@pytest.fixture(scope="module", params=["open", "password and tls"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    yield from serve(tmp_path_factory.mktemp("served") / "it", request.param)


@pytest.fixture
def access(served: Served, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Give all programs of a test the password and the authority."""
    give_access(served, environment["XDG_RUNTIME_DIR"], monkeypatch)


def give_access(served: Served, directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if served.authority is not None:
        monkeypatch.setenv("SSL_CERT_FILE", str(served.authority))
    auths = {served.host: entry(USER, PASSWORD)} if served.has_password else {}
    file = write_file(Path(directory) / "auth.json", {"auths": auths})
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(file))


@pytest.fixture
def name(served: Served, access: None, repository: str) -> str:
    """A repository of this test in the registry."""
    del access
    return f"{served.host}/{repository}"


@pytest.fixture(scope="session")
def buildah() -> Iterator[Peer]:
    """Buildah with its own storage; a call returns its output."""
    with tempfile.TemporaryDirectory(prefix="buildah-") as root:
        command = [str(find_binary("buildah")), "--root", f"{root}/root", "--runroot"]
        command += [f"{root}/run", "--storage-driver", "vfs"]

        def run(*arguments: str | Path) -> str:
            done = subprocess.run(
                [*command, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout.strip()

        yield run
        if os.geteuid() != 0:
            run("unshare", "rm", "-rf", f"{root}/root")


def layout(directory: Path, image: BuiltImage | BuiltIndex) -> str:
    """Write a layout with one image; return its address."""
    return f"oci:{write_files(directory, layout_files({'t': image}))}:t"


def digest(skopeo: Peer, served: Served, name: str) -> str:
    """Return the digest that skopeo finds under a name."""
    return skopeo("inspect", *served.plain, "--format", "{{.Digest}}", f"docker://{name}").strip()


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("kind", ["password", "tls"])
def test_a_password_and_tls_work_without_the_other(
    skopeo: Peer,
    tmp_path: Path,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    for served in serve(tmp_path / "served", kind):
        give_access(served, environment["XDG_RUNTIME_DIR"], monkeypatch)
        target = f"docker://{served.host}/app:1"
        skopeo("copy", *served.side("dest"), layout(tmp_path / "a", IMAGE), target)
        skopeo("copy", *served.side("src"), target, f"oci:{tmp_path}/b:t")
        found = json.loads((tmp_path / "b" / "index.json").read_bytes())
        assert found["manifests"][0]["digest"] == IMAGE.digest


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("served", ["password and tls"], indirect=True)
def test_skopeo_logs_in_and_is_refused_without_a_login(
    served: Served, skopeo: Peer, name: str
) -> None:
    skopeo("logout", served.host)
    with pytest.raises(RuntimeError, match=r"authentication required|unauthorized"):
        skopeo("list-tags", f"docker://{name}")
    with pytest.raises(RuntimeError, match=r"invalid username/password|unauthorized"):
        skopeo("login", "-u", USER, "-p", "wrong", served.host)
    skopeo("login", "-u", USER, "-p", PASSWORD, served.host)
    with pytest.raises(RuntimeError, match=r"(?i)name.unknown|not found|not known"):
        skopeo("list-tags", f"docker://{name}")


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("image", [IMAGE, DOCKER_IMAGE], ids=["oci", "docker"])
def test_skopeo_copies_both_ways(
    served: Served, skopeo: Peer, name: str, tmp_path: Path, image: BuiltImage
) -> None:
    write_files(tmp_path / "dir", flat_files(image))
    to, from_ = served.side("dest"), served.side("src")
    skopeo("copy", *to, f"dir:{tmp_path}/dir", f"docker://{name}:1")
    skopeo("copy", *to, *from_, f"docker://{name}:1", f"docker://{name}-copy:2")  # by mounts
    skopeo("copy", *from_, f"docker://{name}-copy@{image.digest}", f"dir:{tmp_path}/back")
    assert (tmp_path / "back" / "manifest.json").read_bytes() == image.manifest.data
    for each in image.blobs():
        assert (tmp_path / "back" / each.digest.partition(":")[2]).read_bytes() == each.data
    assert digest(skopeo, served, f"{name}:1") == image.digest


@pytest.mark.peer("skopeo")
@pytest.mark.parametrize("form", ["oci", "v2s2"])
def test_skopeo_converts_while_it_pushes(
    served: Served, skopeo: Peer, name: str, tmp_path: Path, form: str
) -> None:
    source = layout(tmp_path / "a", IMAGE)
    skopeo("copy", *served.side("dest"), "--format", form, source, f"docker://{name}:1")
    raw = skopeo("inspect", *served.plain, "--raw", f"docker://{name}:1")
    assert ("docker" in json.loads(raw)["mediaType"]) == (form == "v2s2")


@pytest.mark.peer("skopeo")
def test_skopeo_copies_an_index_lists_and_deletes(
    served: Served, skopeo: Peer, name: str, tmp_path: Path
) -> None:
    source, target = layout(tmp_path / "a", INDEX), f"docker://{name}:all"
    skopeo("copy", *served.side("dest"), "--all", source, target)
    skopeo("copy", *served.side("dest"), source, f"docker://{name}:one")
    skopeo("copy", *served.side("src"), "--all", target, f"dir:{tmp_path}/back")
    assert (tmp_path / "back" / "manifest.json").read_bytes() == INDEX.index.data
    for image in (IMAGE, ARM):
        found = tmp_path / "back" / f"{image.digest.partition(':')[2]}.manifest.json"
        assert found.read_bytes() == image.manifest.data
    tags = skopeo("list-tags", *served.plain, f"docker://{name}")
    assert json.loads(tags)["Tags"] == ["all", "one"]
    skopeo("delete", *served.plain, target)
    tags = skopeo("list-tags", *served.plain, f"docker://{name}")
    assert json.loads(tags)["Tags"] == ["one"]
    assert digest(skopeo, served, f"{name}:one") == IMAGE.digest


@pytest.mark.peer("skopeo", "umoci")
def test_umoci_unpacks_what_was_pulled(
    served: Served, skopeo: Peer, umoci: Peer, name: str, tmp_path: Path
) -> None:
    skopeo("copy", *served.side("dest"), layout(tmp_path / "a", IMAGE), f"docker://{name}:1")
    skopeo("copy", *served.side("src"), f"docker://{name}:1", f"oci:{tmp_path}/b:t")
    umoci("unpack", "--rootless", "--image", f"{tmp_path}/b:t", tmp_path / "bundle")
    assert (tmp_path / "bundle" / "rootfs" / "a").read_bytes() == b"1"


@pytest.mark.peer("podman")
def test_podman_pushes_and_pulls(
    served: Served,
    podman: Peer,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # podman makes the name of the image from the path
    layout(tmp_path / "a", PODMAN_IMAGE)
    pulled = podman("pull", "-q", "oci:a").strip()
    podman("push", "-q", *served.plain, pulled, f"{name}:1")
    podman("push", "-q", *served.plain, "--format", "v2s2", pulled, f"{name}:docker")
    podman("rmi", "-f", pulled)
    for tag in ("1", "docker"):
        found = podman("pull", "-q", *served.plain, f"{name}:{tag}").strip()
        pinned = podman("image", "inspect", "--format", "{{.Digest}}", found).strip()
        assert podman("pull", "-q", *served.plain, f"{name}@{pinned}").strip() == found
        podman("rmi", "-f", found)


@pytest.mark.peer("podman", "skopeo")
def test_podman_pushes_a_manifest_list(
    served: Served, podman: Peer, skopeo: Peer, name: str, tmp_path: Path
) -> None:
    source = layout(tmp_path / "a", INDEX)
    skopeo("copy", *served.side("dest"), "--all", source, f"docker://{name}-source:1")
    listed = f"localhost/{name.rpartition('/')[2]}-list"
    podman("manifest", "create", listed)
    for image in (IMAGE, ARM):
        podman("manifest", "add", *served.plain, listed, f"docker://{name}-source@{image.digest}")
    podman("manifest", "push", "--all", *served.plain, listed, f"docker://{name}:list")
    podman("manifest", "rm", listed)
    raw = json.loads(skopeo("inspect", *served.plain, "--raw", f"docker://{name}:list"))
    assert {each["digest"] for each in raw["manifests"]} == {IMAGE.digest, ARM.digest}
    pulled = podman("pull", "-q", "--platform", "linux/arm64", *served.plain, f"{name}:list")
    inspected = podman("image", "inspect", "--format", "{{.Architecture}}", pulled.strip())
    assert inspected.strip() == "arm64"
    podman("rmi", "-f", pulled.strip())


@pytest.mark.peer("buildah", "skopeo")
def test_buildah_pushes_an_image_and_a_manifest_list(
    served: Served, buildah: Peer, skopeo: Peer, name: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("hello\n")
    container = buildah("from", "scratch")
    buildah("copy", "-q", container, tmp_path / "file", "/")
    image = buildah("commit", "-q", container)
    buildah("rm", container)
    buildah("push", "-q", *served.plain, image, f"docker://{name}:1")
    listed = name.rpartition("/")[2]
    buildah("manifest", "create", listed)
    buildah("manifest", "add", *served.plain, listed, f"docker://{name}:1")
    buildah("manifest", "push", "-q", "--all", *served.plain, listed, f"docker://{name}:list")
    buildah("manifest", "rm", listed)
    buildah("rmi", "-f", image)
    assert buildah("pull", "-q", *served.plain, f"{name}:1") == image
    buildah("rmi", "-f", image)
    raw = json.loads(skopeo("inspect", *served.plain, "--raw", f"docker://{name}:list"))
    assert raw["manifests"][0]["digest"] == digest(skopeo, served, f"{name}:1")


def test_wherry_pushes_pulls_copies_and_deletes(
    served: Served, name: str, client: Client, tmp_path: Path
) -> None:
    del served
    index, sbom = layout(tmp_path / "index", INDEX), refer_to(IMAGE)
    client.copy(index, f"{name}:all", all_platforms=True)
    client.copy(layout(tmp_path / "sbom", sbom), f"{name}@{sbom.digest}")
    assert client.pull(f"{name}:all", all_platforms=True).digest == INDEX.digest
    assert client.digest(f"{name}:all") == INDEX.digest
    client.push(f"{name}:all", f"{name}-again:1", all_platforms=True)
    client.copy(f"{name}@{IMAGE.digest}", f"{name}-again:2", additional_tags=["3", "4"])
    assert client.tags(f"{name}-again") == ["1", "2", "3", "4"]
    for each in (f"{name}:all", f"{name}@{IMAGE.digest}"):
        client.validate(each)
    found = client.referrers(f"{name}@{IMAGE.digest}", artifact_type=SBOM)
    assert [each.digest for each in found] == [sbom.digest]
    client.delete(f"{name}-again:4", untag=True)
    client.delete(f"{name}-again:1")
    assert client.tags(f"{name}-again") == ["2", "3"]
    assert f"{name.partition('/')[2]}-again" in list(client.catalog(name.partition("/")[0]))


def test_what_was_pushed_is_in_the_store(
    served: Served, name: str, client: Client, tmp_path: Path
) -> None:
    client.copy(layout(tmp_path / "image", IMAGE), f"{name}:1")
    with Store(served.store) as store:
        port = served.host.rpartition(":")[2]
        stored = f"localhost:{port}/{name.partition('/')[2]}:1"
        assert store.get(stored).digest == IMAGE.digest
        client.unpack(f"store:{stored}", tmp_path / "tree", store=store)
    assert (tmp_path / "tree" / "a").read_bytes() == b"1"
