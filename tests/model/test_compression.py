import pytest

from wherry.errors import InvalidReference, Unsupported
from wherry.model import mediatype
from wherry.model.compression import GZIP, KEEP, Compression


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gzip", Compression("gzip", 2)),
        ("gzip:6", Compression("gzip", 6)),
        ("zstd", Compression("zstd", 3)),
        ("zstd:19", Compression("zstd", 19)),
        ("none", Compression("none")),
        ("keep", Compression("keep")),
    ],
)
def test_a_compression_is_parsed(text: str, expected: Compression) -> None:
    found = Compression.parse(text)
    assert found == expected
    assert Compression.parse(str(found)) == found


def test_the_same_compression_has_one_spelling() -> None:
    """The store remembers packed layers by it."""
    assert str(Compression.parse("gzip")) == str(Compression.parse("gzip:02")) == "gzip:2"
    assert f"{KEEP:>6}" == "  keep"
    assert Compression.parse("gzip") == GZIP


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "gzip[:LEVEL], zstd[:LEVEL], none, keep"),
        ("GZIP", 0, "gzip[:LEVEL], zstd[:LEVEL], none, keep"),
        ("lzma:3", 0, "gzip[:LEVEL], zstd[:LEVEL], none, keep"),
        ("none:1", 4, "none has no level"),
        ("keep:", 4, "keep has no level"),
        ("gzip:", 5, "levels of gzip are 1 to 9"),
        ("gzip:0", 5, "levels of gzip are 1 to 9"),
        ("gzip:10", 5, "levels of gzip are 1 to 9"),
        ("gzip:-1", 5, "levels of gzip are 1 to 9"),
        ("gzip:٣", 5, "levels of gzip are 1 to 9"),
        ("zstd:20", 5, "levels of zstd are 1 to 19"),
        ("zstd:3\n", 5, "levels of zstd are 1 to 19"),
        ("zstd:" + "9" * 5000, 5, "levels of zstd are 1 to 19"),
    ],
)
def test_other_texts_are_refused_in_one_line(text: str, position: int, message: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        Compression.parse(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("invalid compression: ")
    assert (caught.value.text, caught.value.position) == (text, position)


@pytest.mark.parametrize(
    ("text", "oci", "docker"),
    [
        ("gzip", "application/vnd.oci.image.layer.v1.tar+gzip", mediatype.DOCKER_LAYER),
        ("none", mediatype.OCI_PLAIN_LAYER, mediatype.DOCKER_PLAIN_LAYER),
    ],
)
def test_packed_layers_have_a_type(text: str, oci: str, docker: str) -> None:
    compression = Compression.parse(text)
    assert compression.layer_type(docker=False) == oci
    assert compression.layer_type(docker=True) == docker


def test_zstd_is_for_oci_only() -> None:
    zstd = Compression.parse("zstd")
    assert zstd.layer_type(docker=False) == "application/vnd.oci.image.layer.v1.tar+zstd"
    with pytest.raises(Unsupported, match="zstd") as caught:
        zstd.layer_type(docker=True)
    assert "--format oci" in caught.value.hint


def test_a_kept_layer_keeps_its_type() -> None:
    with pytest.raises(ValueError, match="own type"):
        KEEP.layer_type(docker=False)
