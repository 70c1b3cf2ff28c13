"""Image builders: layers, documents and platforms."""

import io
import json
import tarfile

import pytest

from wherry.testing import (
    build_image,
    build_index,
    compress,
    pseudo_random_files,
    sha256,
    tar_layer,
)
from wherry.testing.images import BuiltImage, Style
from wherry.testing.layers import COMPRESSIONS


def test_the_same_arguments_give_the_same_bytes() -> None:
    def made() -> BuiltImage:
        files = pseudo_random_files(7, 100_000, 3)
        return build_image([tar_layer(files)], env=["A=b"], cmd=["sh"], labels={"k": "v"})

    assert made() == made()
    assert made().digest == made().digest


def test_files_have_the_total_size_and_compress_to_about_half() -> None:
    files = pseudo_random_files(1, 1_000_003, 7)
    assert sum(map(len, files.values())) == 1_000_003
    assert len(files) == 7
    tar = tar_layer(files)
    assert 0.4 < len(compress(tar, "gzip")) / len(tar) < 0.6


def test_a_layer_has_files_directories_and_given_members() -> None:
    link = tarfile.TarInfo()
    link.type, link.linkname = tarfile.SYMTYPE, "b"
    long_name = "d/" + "n" * 200
    raw = tar_layer({"d": None, "d/b": b"text", "d/link": link, long_name: b""})
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        assert archive.getnames() == ["d", "d/b", "d/link", long_name]
        assert archive.getmember("d").isdir()
        assert archive.getmember("d/link").linkname == "b"


@pytest.mark.parametrize("style", ["oci", "docker"])
@pytest.mark.parametrize("how", COMPRESSIONS)
def test_documents_describe_the_layers(style: Style, how: str) -> None:
    tar = tar_layer({"a": b"a"})
    image = build_image([tar], style=style, compression=how)
    manifest, config = json.loads(image.manifest.data), json.loads(image.config.data)
    assert manifest["layers"][0] == image.layers[0].descriptor()
    assert manifest["config"]["digest"] == image.id == sha256(image.config.data)
    assert config["rootfs"]["diff_ids"] == [sha256(tar)] == list(image.diff_ids)
    assert len(config["history"]) == 1


def test_layer_types_are_those_of_the_specifications() -> None:
    tar = tar_layer({"a": b"a"})
    oci = build_image([tar, tar], compression=["zstd", "none"])
    docker = build_image([tar, tar], style="docker", compression=["gzip", "none"])
    assert [layer.media_type for layer in (*oci.layers, *docker.layers)] == [
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar",
    ]


def test_images_can_be_invalid() -> None:
    image = build_image(
        [tar_layer({})],
        diff_ids=["sha256:" + "0" * 64],
        config_extra={"rootfs": None, "author": "me"},
        manifest_extra={"mediaType": None},
        config_media_type="",
    )
    assert "mediaType" not in json.loads(image.manifest.data)
    assert "rootfs" not in json.loads(image.config.data)
    assert json.loads(image.config.data)["author"] == "me"
    assert image.config.media_type == ""


def test_an_index_lists_images_and_indexes() -> None:
    image = build_image([])
    inner = build_index([(image, {"os": "linux", "architecture": "amd64"})], style="docker")
    outer = build_index([(inner, None)], extra={"annotations": {"a": "b"}})
    entry = json.loads(outer.index.data)["manifests"][0]
    assert entry == inner.index.descriptor()
    assert list(outer.every_image()) == [image]


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(ValueError, match="lz4"):
        compress(b"", "lz4")
