"""Load archives of several images, with unreadable images, and of two formats at once."""

from __future__ import annotations

import io
import json
import shutil
from typing import TYPE_CHECKING

import pytest

import wherry
from wherry.errors import (
    IntegrityError,
    InvalidDocument,
    NotFound,
    PlatformMismatch,
    Unsupported,
    WherryError,
)
from wherry.testing import (
    build_image,
    build_index,
    docker_files,
    layout_files,
    tar_layer,
    write_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client

TARS = [tar_layer({f"f{number}": b"x" * 99 * number}) for number in range(3)]
IMAGE = build_image(TARS[:2], cmd=["sh"])
OTHER = build_image(TARS[:1], env=["A=b"])
ARM = build_image(TARS[2:], architecture="arm64")
CHART = build_image(TARS[:1], config_media_type="application/vnd.cncf.helm.config.v1+json")
SIGNATURE = build_image(
    TARS[:1], layer_media_types=["application/vnd.dev.cosign.simplesigning.v1+json"]
)
NO_ROOTFS = build_image(TARS[:1], config_extra={"rootfs": None})
AMD64 = {"os": "linux", "architecture": "amd64"}
ARM64 = {"os": "linux", "architecture": "arm64"}
UNKNOWN = {"os": "unknown", "architecture": "unknown"}


def path_of(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def without(files: dict[str, bytes], *digests: str) -> dict[str, bytes]:
    gone = {path_of(digest) for digest in digests}
    return {name: data for name, data in files.items() if name not in gone}


def loader(client: Client, tmp_path: Path, how: str) -> Callable[..., list[wherry.Image]]:
    """Return a function that loads files as a directory, a tar in a file, or a stream."""

    def load(files: dict[str, bytes], **options: object) -> list[wherry.Image]:
        shutil.rmtree(tmp_path / "directory", ignore_errors=True)
        data = tar_layer(dict(files))
        (tmp_path / "a.tar").write_bytes(data)
        sources: dict[str, Callable[[], Path | io.BytesIO]] = {
            "directory": lambda: write_files(tmp_path / "directory", files),
            "file": lambda: tmp_path / "a.tar",
            "stream": lambda: io.BytesIO(data),
        }
        return client.load(sources[how](), **options)  # type: ignore[arg-type]

    return load


@pytest.fixture(params=["directory", "file", "stream"])
def load(
    request: pytest.FixtureRequest, client: Client, tmp_path: Path
) -> Callable[..., list[wherry.Image]]:
    return loader(client, tmp_path, request.param)


# Layouts that are docker archives too


def both() -> dict[str, bytes]:
    """Return a layout that is a docker archive too, as docker writes it since 25."""
    files = layout_files({"app:1": IMAGE})
    entry = {
        "Config": path_of(IMAGE.config.digest),
        "RepoTags": ["app:1"],
        "Layers": [path_of(layer.digest) for layer in IMAGE.layers],
    }
    return files | {"manifest.json": json.dumps([entry]).encode()}


def index_json(**changes: object) -> bytes:
    document = json.loads(both()["index.json"]) | changes
    return json.dumps({key: value for key, value in document.items() if value != "gone"}).encode()


@pytest.mark.parametrize(
    ("change", "warns"),
    [
        ({"index.json": index_json(manifests=None)}, False),
        ({"index.json": index_json(manifests=[])}, False),
        ({"index.json": index_json(manifests="gone")}, False),
        ({"index.json": b""}, True),
        ({"index.json": b"{"}, True),
        ({"index.json": b"null"}, True),
        ({"index.json": index_json(manifests=[None])}, True),
        ({"index.json": index_json(manifests=[{"digest": "sha256:x"}])}, True),
        ({"index.json": index_json(manifests="x")}, True),
        ({path_of(IMAGE.manifest.digest): b"{}"}, True),
        ({"oci-layout": b""}, True),
        ({"oci-layout": b"{}"}, True),
        ({"oci-layout": b'{"imageLayoutVersion":"2.0.0"}'}, True),
        ({"oci-layout": None}, False),
        ({"index.json": None}, False),
    ],
)
def test_a_damaged_layout_beside_a_good_manifest_json(
    load: Callable[..., list[wherry.Image]], change: dict[str, bytes | None], *, warns: bool
) -> None:
    changed = {**both(), **change}
    events: list[wherry.Event] = []
    (image,) = load(
        {name: data for name, data in changed.items() if data is not None}, on_event=events.append
    )
    assert (str(image.id), image.names) == (IMAGE.id, ("docker.io/library/app:1",))
    warnings = [event.message for event in events if event.status is wherry.Status.WARNING]
    assert [w.endswith("manifest.json is read instead of index.json") for w in warnings] == (
        [True] if warns else []
    )
    named = [event.reference for event in events if event.status is wherry.Status.WARNING]
    assert not any(f"{name}:" in warning for name, warning in zip(named, warnings, strict=True))


def test_a_good_layout_comes_before_manifest_json(load: Callable[..., list[wherry.Image]]) -> None:
    (image,) = load(both())
    assert str(image.digest) == IMAGE.digest


@pytest.mark.parametrize("manifests", [None, [], "gone"])
def test_a_layout_that_lists_nothing(
    load: Callable[..., list[wherry.Image]], manifests: object, client: Client
) -> None:
    files = layout_files({"app:1": IMAGE}) | {"index.json": index_json(manifests=manifests)}
    with pytest.raises(NotFound, match="there is no image in it"):
        load(files)
    assert client.store.images() == []


EMPTY = build_image([])


@pytest.mark.parametrize("layers", [None, [], "gone"])
@pytest.mark.parametrize("names", [None, [], "gone", ["e:1"]])
def test_nulls_in_manifest_json(
    load: Callable[..., list[wherry.Image]], layers: object, names: object
) -> None:
    entry = {"Config": "config.json", "RepoTags": names, "Layers": layers}
    entry = {key: value for key, value in entry.items() if value != "gone"}
    files = {
        "config.json": EMPTY.config.data,
        "manifest.json": json.dumps([entry]).encode(),
    }
    (image,) = load(files)
    assert str(image.id) == EMPTY.id
    assert image.names == (("docker.io/library/e:1",) if isinstance(names, list) and names else ())


def test_a_manifest_json_that_is_null(load: Callable[..., list[wherry.Image]]) -> None:
    with pytest.raises(NotFound, match="there is no image in it"):
        load({"manifest.json": b"null"})


# Layouts of several images


def broken_in(case: str) -> tuple[dict[str, bytes], type[WherryError], str]:
    """Return a layout of two good images with a broken image between, and its error."""
    child, error, says = {
        "chart": (CHART, Unsupported, "bad:1: this is a helm chart, not an image"),
        "signature": (SIGNATURE, Unsupported, "bad:1: this is a cosign signature, not an image"),
        "no rootfs": (NO_ROOTFS, InvalidDocument, "configuration: rootfs: is missing"),
        "no manifest": (ARM, NotFound, path_of(ARM.digest)),
        "no config": (ARM, NotFound, path_of(ARM.id)),
        "no layer": (ARM, NotFound, path_of(ARM.layers[0].digest)),
        "damaged": (ARM, IntegrityError, "bad:1: layer sha256:"),
        "no JSON": (ARM, IntegrityError, "bad:1: "),
        "entry": (ARM, InvalidDocument, "bad:1: index.json: manifests[1].size: is missing"),
        "null": (ARM, InvalidDocument, "manifests[1]: index.json: is null, expected an object"),
    }[case]
    files = layout_files({"app:1": IMAGE, "bad:1": child, "other:1": OTHER})
    gone = {
        "no manifest": [child.digest],
        "no config": [child.id],
        "no layer": [child.layers[0].digest],
    }
    files = without(files, *gone.get(case, []))
    if case == "damaged":
        files[path_of(child.layers[0].digest)] = child.layers[0].data[:-1] + b"!"
    if case == "no JSON":
        files[path_of(child.digest)] = b"{"
    index = json.loads(files["index.json"])
    if case == "entry":
        del index["manifests"][1]["size"]
    if case == "null":
        index["manifests"][1] = None
    return files | {"index.json": json.dumps(index).encode()}, error, says


CASES = [
    *("chart", "signature", "no rootfs", "no manifest", "no config", "no layer", "damaged"),
    *("no JSON", "entry", "null"),
]


@pytest.mark.parametrize("case", CASES)
def test_a_broken_entry_does_not_prevent_loading_the_others(
    load: Callable[..., list[wherry.Image]], client: Client, case: str
) -> None:
    files, error, says = broken_in(case)
    failures: list[WherryError] = []
    loaded = load(files, on_failure=failures.append)
    assert [str(image.id) for image in loaded] == [IMAGE.id, OTHER.id]
    (failure,) = failures
    assert type(failure) is error
    assert says in str(failure)
    assert "bad:1: " in str(failure) or case == "null"
    with pytest.raises(error):
        load(files)
    assert {name for image in client.store.images() for name in image.names} == {
        "docker.io/library/app:1",
        "docker.io/library/other:1",
    }


def test_the_command_names_what_was_not_loaded(wherry: Wherry, tmp_path: Path) -> None:
    files = layout_files({"chart:1": CHART, "app:1": IMAGE, "bad:1": ARM, "other:1": OTHER})
    layout = write_files(tmp_path / "layout", without(files, ARM.layers[0].digest))
    done = wherry("load", "-q", "-i", str(layout))
    assert done.stdout.split() == [IMAGE.id, OTHER.id]
    first, second = done.stderr.splitlines()
    assert first == f"wherry: {layout}: chart:1: this is a helm chart, not an image"
    assert second.startswith(f"wherry: {layout}: bad:1: blobs/sha256/")
    assert second.endswith(": no such file or directory")
    assert done.returncode == 1
    (layout / path_of(CHART.digest)).unlink()
    assert wherry("load", "-q", "-i", str(layout)).returncode == 3


def test_where_nothing_can_be_loaded(wherry: Wherry, tmp_path: Path) -> None:
    layout = write_files(tmp_path / "layout", layout_files({"chart:1": CHART}))
    done = wherry("load", "-i", str(layout))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"wherry: {layout}: this is a helm chart, not an image\n"


def test_an_entry_of_an_unknown_type_is_not_an_error(
    load: Callable[..., list[wherry.Image]],
) -> None:
    """Such an entry must not generate an error (OCI image spec, image-layout.md)."""
    files = layout_files({"app:1": IMAGE})
    index = json.loads(files["index.json"])
    index["manifests"].append(OTHER.config.descriptor() | {"mediaType": "application/xml"})
    events: list[wherry.Event] = []
    (image,) = load(files | {"index.json": json.dumps(index).encode()}, on_event=events.append)
    assert str(image.id) == IMAGE.id
    (warning,) = [event.message for event in events if event.status is wherry.Status.WARNING]
    assert warning == f"{OTHER.id} is application/xml, not an image; skipped"


def test_attestations_are_not_failures(load: Callable[..., list[wherry.Image]]) -> None:
    index = build_index([(IMAGE, AMD64), (SIGNATURE, UNKNOWN)])
    (image,) = load(layout_files({"app:1": index}))
    assert str(image.digest) == index.digest
    files = layout_files({"app:1": IMAGE, "": SIGNATURE})
    document = json.loads(files["index.json"])
    document["manifests"][1]["platform"] = UNKNOWN
    (image,) = load(files | {"index.json": json.dumps(document).encode()})
    assert str(image.digest) == IMAGE.digest


# Platforms


def test_a_platform_of_an_index_that_is_not_whole(
    load: Callable[..., list[wherry.Image]],
) -> None:
    index = build_index([(IMAGE, AMD64), (ARM, ARM64)])
    files = without(layout_files({"app:1": index}), ARM.layers[0].digest)
    failures: list[WherryError] = []
    (image,) = load(files, on_failure=failures.append)
    assert str(image.id) == IMAGE.id
    assert str(image.digest) == index.digest
    (failure,) = failures
    assert isinstance(failure, NotFound)
    assert ": linux/arm64: " in str(failure)
    (image,) = load(files, platform="linux/amd64")
    assert str(image.id) == IMAGE.id
    with pytest.raises(NotFound, match=path_of(ARM.layers[0].digest)):
        load(files, platform="linux/arm64")


def test_a_platform_whose_manifest_is_missing(load: Callable[..., list[wherry.Image]]) -> None:
    """`skopeo copy` writes such a layout for one platform of an index."""
    index = build_index([(IMAGE, AMD64), (ARM, ARM64)])
    files = without(layout_files({"app:1": index}), ARM.digest)
    with pytest.raises(NotFound, match=path_of(ARM.digest)) as caught:
        load(files, platform="linux/arm64")
    assert not isinstance(caught.value, PlatformMismatch)  # the index has it


def test_a_platform_is_chosen_among_what_is_whole(load: Callable[..., list[wherry.Image]]) -> None:
    variants = [build_image(TARS[1:], architecture="arm", variant=v) for v in ("v7", "v6", "v5")]
    index = build_index(
        [
            (image, {"os": "linux", "architecture": "arm", "variant": variant})
            for image, variant in zip(variants, ("v7", "v6", "v5"), strict=True)
        ]
    )
    files = layout_files({"app:1": index})
    part = without(files, variants[0].id, variants[1].digest)
    (image,) = load(part, platform="linux/arm/v7")
    assert str(image.id) == variants[2].id
    (image,) = load(without(files, variants[0].digest), platform="linux/arm/v7")
    assert str(image.id) == variants[1].id
    (image,) = load(files, platform="linux/arm/v7")
    assert str(image.id) == variants[0].id
    with pytest.raises(PlatformMismatch) as caught:
        load(files, platform="linux/s390x")
    assert caught.value.hint == "it has: linux/arm/v7 linux/arm/v6 linux/arm/v5"


@pytest.mark.parametrize("name", ["app:1", ""])
def test_a_name_that_stands_for_several_platforms(
    load: Callable[..., list[wherry.Image]], name: str
) -> None:
    files = layout_files({"a": IMAGE, "b": ARM})
    document = json.loads(files["index.json"])
    for entry, platform in zip(document["manifests"], (AMD64, ARM64), strict=True):
        entry["platform"] = platform
        entry["annotations"] = {"org.opencontainers.image.ref.name": name} if name else {}
    files["index.json"] = json.dumps(document).encode()
    (image,) = load(files, platform="linux/arm64")
    assert str(image.id) == ARM.id
    with pytest.raises(PlatformMismatch):
        load(files, platform="linux/s390x")


def test_an_image_for_another_platform_does_not_prevent_the_others(
    load: Callable[..., list[wherry.Image]],
) -> None:
    failures: list[WherryError] = []
    (image,) = load(
        layout_files({"app:1": IMAGE, "arm:1": ARM}),
        platform="linux/arm64",
        on_failure=failures.append,
    )
    assert str(image.id) == ARM.id
    (failure,) = failures
    assert isinstance(failure, PlatformMismatch)
    assert "app:1: the image is for linux/amd64, not for linux/arm64" in str(failure)


# Docker archives of several images


def several(*items: object, config: bytes = NO_ROOTFS.config.data) -> dict[str, bytes]:
    files = docker_files(IMAGE, TARS[:2], ["app:1"])
    (entry,) = json.loads(files["manifest.json"])
    document = json.dumps([*items, entry]).encode()
    return files | {"bad.json": config, "manifest.json": document}


@pytest.mark.parametrize(
    ("item", "config", "error", "says"),
    [
        ({"Config": "bad.json"}, NO_ROOTFS.config.data, InvalidDocument, "rootfs: is missing"),
        ({"Config": "bad.json"}, b"{", InvalidDocument, "is not JSON"),
        ({"Config": "gone.json"}, b"", NotFound, "gone.json"),
        ({"Config": "bad.json"}, IMAGE.config.data, IntegrityError, "2 DiffIDs for 0 layers"),
        (
            {"Config": "bad.json", "Layers": ["gone"]},
            OTHER.config.data,
            NotFound,
            "bad.json: ",
        ),
        (
            {"Config": "bad.json", "Layers": ["1/layer.tar"]},
            ARM.config.data,
            IntegrityError,
            "layer sha256:",
        ),
        ({}, b"", InvalidDocument, "manifest.json[0].Config: is missing, expected a file's name"),
        (None, b"", InvalidDocument, "manifest.json[0]: is null, expected an object"),
        ("x", b"", InvalidDocument, "manifest.json[0]: is a string, expected an object"),
        (
            {"Config": "bad.json", "Layers": ["", "0/layer.tar"]},
            IMAGE.config.data,
            InvalidDocument,
            "manifest.json[0].Layers[0]: is empty, expected a file's name",
        ),
        (
            {"Config": "bad.json", "RepoTags": "app:2"},
            OTHER.config.data,
            InvalidDocument,
            "manifest.json[0].RepoTags: is a string, expected an array",
        ),
    ],
)
def test_a_broken_item_of_a_docker_archive_does_not_prevent_the_others(
    load: Callable[..., list[wherry.Image]],
    item: object,
    config: bytes,
    error: type[WherryError],
    says: str,
) -> None:
    failures: list[WherryError] = []
    (image,) = load(several(item, config=config), on_failure=failures.append)
    assert (str(image.id), image.names) == (IMAGE.id, ("docker.io/library/app:1",))
    (failure,) = failures
    assert type(failure) is error
    assert says in str(failure)


def test_an_image_beside_a_broken_one_can_be_read(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(tar_layer(dict(several({"Config": "bad.json", "RepoTags": ["bad:1"]}))))
    for name in ("app:1", "@1"):
        assert client.inspect(f"docker-archive:{path}:{name}").digest
        assert client.validate(f"docker-archive:{path}:{name}").findings == []
    with pytest.raises(InvalidDocument, match="rootfs: is missing"):
        client.inspect(f"docker-archive:{path}:bad:1")
    with pytest.raises(NotFound, match="there are 2 images in it") as caught:
        client.inspect(f"docker-archive:{path}")
    assert caught.value.hint == "it has: bad:1 app:1"
    layout = write_files(tmp_path / "layout", broken_in("null")[0])
    assert str(client.inspect(f"oci:{layout}:other:1").digest) == OTHER.digest
    with pytest.raises(NotFound, match="there are 3 images in it"):
        client.inspect(f"oci:{layout}")


@pytest.mark.parametrize("cut", [1, 2])
def test_a_tree_of_an_old_engine_that_lacks_a_layer(
    load: Callable[..., list[wherry.Image]], cut: int
) -> None:
    ids = ["a" * 64, "b" * 64]
    files = {"repositories": json.dumps({"a": {"1": ids[0]}, "b": {"1": ids[1]}}).encode()}
    for v1_id, tar in zip(ids, TARS[:2], strict=True):
        files[f"{v1_id}/VERSION"] = b"1.0"
        files[f"{v1_id}/json"] = json.dumps({"id": v1_id, "os": "linux"}).encode()
        files[f"{v1_id}/layer.tar"] = tar
    del files[f"{ids[cut - 1]}/layer.tar"]
    failures: list[WherryError] = []
    (image,) = load(files, on_failure=failures.append)
    assert image.names == (f"docker.io/library/{'ba'[cut - 1]}:1",)
    (failure,) = failures
    assert ids[cut - 1] in str(failure)
    assert "layer.tar" in str(failure)


@pytest.mark.parametrize("first", [True, False])
def test_a_wrong_layer_of_one_image_is_not_given_to_another(
    load: Callable[..., list[wherry.Image]], *, first: bool
) -> None:
    files = {"good/layer.tar": TARS[0], "wrong/layer.tar": TARS[2] + bytes(512)}
    files["config"] = OTHER.config.data
    items = [
        {"Config": "config", "RepoTags": [name], "Layers": [f"{layer}/layer.tar"]}
        for name, layer in (("bad:1", "wrong"), ("app:1", "good"))
    ]
    files["manifest.json"] = json.dumps(items if first else items[::-1]).encode()
    failures: list[WherryError] = []
    loaded = load(files, on_failure=failures.append)
    assert "docker.io/library/app:1" in {name for image in loaded for name in image.names}
    assert {str(image.id) for image in loaded} == {OTHER.id}


# Names


def test_the_image_gets_the_name_that_is_given(load: Callable[..., list[wherry.Image]]) -> None:
    for files in (
        layout_files({"latest": IMAGE}),
        layout_files({"": IMAGE}),
        docker_files(IMAGE, TARS[:2], ["app:1", "app:2"]),
        docker_files(IMAGE, TARS[:2]),
    ):
        (image,) = load(files, name="acme/app:1.4")
        assert image.names == ("docker.io/acme/app:1.4",)
        image.store.remove("acme/app:1.4")
    (image,) = load(files, name="plain")
    assert image.names == ("docker.io/library/plain:latest",)


def test_one_name_is_not_for_several_images(
    load: Callable[..., list[wherry.Image]], client: Client
) -> None:
    with pytest.raises(Unsupported, match="there are 2 images in it, a name needs exactly one"):
        load(layout_files({"app:1": IMAGE, "other:1": OTHER}), name="x")
    assert client.store.images() == []


@pytest.mark.parametrize("name", ["Upper", f"a@{IMAGE.digest}", ""])
def test_an_invalid_name_is_a_usage_error(wherry: Wherry, tmp_path: Path, name: str) -> None:
    layout = write_files(tmp_path / "layout", layout_files({"latest": IMAGE}))
    done = wherry("load", "-i", str(layout), "--name", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert wherry("images", "-q").stdout == ""


def test_the_command_gives_a_name(wherry: Wherry, tmp_path: Path) -> None:
    layout = write_files(tmp_path / "layout", layout_files({"latest": IMAGE}))
    done = wherry("load", "-i", str(layout), "--name", "acme/app:1.4")
    assert (done.returncode, done.stdout) == (0, IMAGE.id + "\n")
    assert "acme/app  1.4" in wherry("images").stdout
    write_files(layout, layout_files({"1": IMAGE, "2": OTHER}))
    done = wherry("load", "-i", str(layout), "--name", "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == (
        f"wherry: {layout}: there are 2 images in it, a name needs exactly one"
    )
