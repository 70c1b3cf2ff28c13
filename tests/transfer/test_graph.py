import pytest

from wherry.errors import InvalidDocument, NotFound, PlatformMismatch, Unsupported
from wherry.model import mediatype
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.model.manifest import Document, Index, Manifest, parse
from wherry.model.platform import Platform
from wherry.testing import BuiltImage, BuiltIndex, build_image, build_index, tar_layer
from wherry.transfer.graph import candidates, platforms, problems, select

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")


def image(name: str, **options: str) -> BuiltImage:
    return build_image([tar_layer({name: name.encode()})], **options)  # type: ignore[arg-type]


def on(architecture: str, variant: str = "", os: str = "linux") -> dict[str, object]:
    return {"os": os, "architecture": architecture, "variant": variant or None}


class Documents:
    """Documents by digest, as in a registry; counts the fetched ones."""

    def __init__(self, *roots: BuiltIndex | BuiltImage) -> None:
        self._known: dict[str, Document] = {}
        self.fetched: list[str] = []
        for root in roots:
            self._add(root)

    def _add(self, root: BuiltIndex | BuiltImage) -> None:
        piece = root.manifest if isinstance(root, BuiltImage) else root.index
        if piece.digest in self._known:
            return
        self._known[piece.digest] = parse(piece.data, piece.media_type)
        if isinstance(root, BuiltIndex):
            for image in root.images:
                self._add(image)
            for index in root.indexes:
                self._add(index)

    def fetch(self, digest: Digest) -> Document:
        self.fetched.append(str(digest))
        if len(self.fetched) > 500:
            pytest.fail("documents are fetched without end")
        try:
            return self._known[str(digest)]
        except KeyError:
            raise NotFound(f"{digest} is not there") from None

    def select(self, root: BuiltIndex | BuiltImage, wanted: Platform) -> str:
        """Return the digest of the selected manifest."""
        digest = Digest.parse(root.digest)
        return str(select(digest, self._known[root.digest], wanted, self.fetch).digest)


def chosen(root: BuiltIndex, wanted: Platform) -> str:
    return Documents(root).select(root, wanted)


def test_a_manifest_matches_any_platform() -> None:
    only = image("a", architecture="arm64")
    document = parse(only.manifest.data, only.manifest.media_type)
    selection = select(Digest.parse(only.digest), document, AMD64, Documents(only).fetch)
    assert selection.indexes == ()
    assert str(selection.root) == str(selection.digest) == only.digest
    assert isinstance(selection.manifest, Manifest)


@pytest.mark.parametrize("style", ["oci", "docker"])
def test_the_platforms_image_is_chosen(style: str) -> None:
    amd64, arm64 = image("amd64", style=style), image("arm64", style=style)
    root = build_index([(amd64, on("amd64")), (arm64, on("arm64", "v8"))], style=style)  # type: ignore[arg-type]
    assert chosen(root, AMD64) == amd64.digest
    assert chosen(root, ARM64) == arm64.digest
    digest = Digest.parse(root.digest)
    document = parse(root.index.data, root.index.media_type)
    selection = select(digest, document, ARM64, Documents(root).fetch)
    assert selection.root == digest
    assert [(str(found), index.raw) for found, index in selection.indexes] == [
        (root.digest, root.index.data)
    ]


def test_the_best_place_in_the_vector_wins_and_then_the_order() -> None:
    """amd64/v3 runs v3, v2, v1 and then 386 (containerd, platforms, ``Only``)."""
    v1, v2, v4, x86, again = (image(name) for name in ("v1", "v2", "v4", "386", "again"))
    root = build_index(
        [
            (x86, on("386")),
            (v1, on("amd64")),
            (v4, on("amd64", "v4")),
            (v2, on("amd64", "v2")),
            (again, on("amd64", "v2")),
        ]
    )
    assert chosen(root, Platform("linux", "amd64", "v3")) == v2.digest
    assert chosen(root, Platform("linux", "amd64", "v4")) == v4.digest
    assert chosen(root, AMD64) == v1.digest
    assert chosen(root, Platform("linux", "386")) == x86.digest


def index_of(*entries: Descriptor) -> Index:
    return Index(b"", mediatype.OCI_INDEX, entries)


def entry(
    name: str, platform: Platform | None, media_type: str = mediatype.OCI_MANIFEST
) -> Descriptor:
    return Descriptor(media_type, Digest.of(name.encode()), 1, platform=platform)


def test_entries_without_a_platform_come_last_in_their_order() -> None:
    """Entries without a platform come last."""
    none, empty = entry("none", None), entry("empty", Platform("", ""))
    fits, poor = entry("fits", AMD64), entry("poor", Platform("linux", "386"))
    found = candidates(index_of(none, poor, empty, fits), AMD64)
    assert found == [fits, poor, none, empty]
    worst = entry("worst", Platform("linux", "arm", "v5"))
    assert candidates(index_of(none, worst), Platform("linux", "arm64", "v9.9")) == [worst, none]


def test_attestations_never_come() -> None:
    """``unknown/unknown`` marks attestations (BuildKit, attestation-storage.md)."""
    attestation = entry("att", Platform("unknown", "unknown"))
    assert candidates(index_of(attestation), AMD64) == []
    assert candidates(index_of(attestation), Platform("unknown", "unknown")) == []
    assert list(platforms(index_of(attestation, entry("a", AMD64)))) == ["linux/amd64"]


def test_unknown_manifest_types_are_skipped() -> None:
    """Entries of unknown types are skipped (OCI image spec, image-index.md)."""
    other = entry("other", AMD64, "application/vnd.acme.manifest.v1+json")
    upper = entry("upper", AMD64, mediatype.OCI_MANIFEST.upper())
    assert candidates(index_of(other, upper), AMD64) == [upper]
    assert list(platforms(index_of(other))) == []


@pytest.mark.parametrize(
    ("types", "hint"),
    [
        ([], "it has: no image at all"),
        (["text/plain"], "it has: no image, but text/plain"),
        (["b/b", "a/a", "d/d", "c/c", "a/a"], "it has: no image, but a/a, b/b, c/c"),
    ],
)
def test_no_match_names_the_types_of_artifacts(types: list[str], hint: str) -> None:
    entries = [image(str(number)).manifest.descriptor() for number in range(len(types))]
    named = [each | {"mediaType": kind} for each, kind in zip(entries, types, strict=True)]
    with pytest.raises(PlatformMismatch) as caught:
        chosen(build_index([], extra={"manifests": named}), AMD64)
    assert caught.value.hint == hint


def test_an_entry_without_a_type_may_be_an_image() -> None:
    """As in skopeo, the document itself decides its type."""
    untyped = entry("untyped", AMD64, "")
    assert candidates(index_of(untyped), AMD64) == [untyped]
    assert list(platforms(index_of(untyped))) == ["linux/amd64"]


def test_platforms_are_listed_with_the_version_and_features_of_the_os() -> None:
    windows = Platform("windows", "amd64", os_version="10.0.17763")
    erofs = Platform("linux", "amd64", os_features=("erofs",))
    found = list(platforms(index_of(entry("a", windows), entry("b", erofs))))
    assert found == ["windows(10.0.17763)/amd64", "linux(+erofs)/amd64"]


def test_platforms_are_listed_once_in_order() -> None:
    entries = [entry("a", ARM64), entry("b", AMD64), entry("c", ARM64), entry("d", None)]
    assert list(platforms(index_of(*entries))) == ["linux/arm64", "linux/amd64"]


def test_no_match_lists_what_there_is() -> None:
    """The error has the platforms in the index."""
    root = build_index([(image("a"), on("arm64", "v8")), (image("b"), on("s390x"))])
    with pytest.raises(PlatformMismatch) as caught:
        chosen(root, AMD64)
    assert caught.value.available == ("linux/arm64/v8", "linux/s390x")
    assert caught.value.wanted == "linux/amd64"
    assert "linux/s390x" in caught.value.hint
    with pytest.raises(PlatformMismatch, match="no image"):
        chosen(build_index([]), AMD64)


def test_an_index_within_an_index_is_searched() -> None:
    """A nested index without a match is left, and the next entry is tried."""
    arm, amd = image("arm"), image("amd")
    inner_arm = build_index([(arm, on("arm64"))])
    inner_amd = build_index([(amd, on("amd64"))])
    root = build_index([(inner_arm, None), (inner_amd, None)])
    documents = Documents(root)
    assert documents.select(root, AMD64) == amd.digest
    assert documents.fetched == [inner_arm.digest, inner_amd.digest, amd.digest]
    digest = Digest.parse(root.digest)
    selection = select(digest, documents.fetch(digest), AMD64, documents.fetch)
    assert [str(found) for found, _ in selection.indexes] == [root.digest, inner_amd.digest]
    with pytest.raises(PlatformMismatch):
        documents.select(root, Platform("linux", "s390x"))


def test_a_failure_inside_ends_the_search() -> None:
    """Only a missing match leads to the next entry; other errors are raised."""
    missing, there = image("missing"), image("there")
    inner = build_index([(missing, on("amd64"))])
    root = build_index([(inner, None), (there, None)])
    lacking = Documents(
        BuiltIndex(root.index, (there,), (BuiltIndex(inner.index, ()),)),
    )
    with pytest.raises(NotFound, match="not there"):
        lacking.select(root, AMD64)


def deep(levels: int) -> tuple[BuiltIndex, BuiltImage]:
    """Return ``levels`` indexes around one image."""
    inside = image("deep")
    found = build_index([(inside, on("amd64"))])
    for _ in range(levels - 1):
        found = build_index([(found, None)])
    return found, inside


def test_nesting_is_bounded() -> None:
    root, inside = deep(8)
    assert chosen(root, AMD64) == inside.digest
    root, _ = deep(9)
    with pytest.raises(InvalidDocument, match="deep"):
        chosen(root, AMD64)


def test_an_index_that_is_named_many_times_is_searched_once() -> None:
    """Each document is visited once. Otherwise eight small indexes would cost 9**7 visits."""
    root = build_index([(image("arm"), on("arm64"))])
    for _ in range(6):
        root = build_index([(root, None)] * 9)
    documents = Documents(root)
    with pytest.raises(PlatformMismatch):
        documents.select(root, AMD64)
    assert len(documents.fetched) == len(set(documents.fetched))


def test_a_document_of_another_kind_than_its_index_says_is_refused() -> None:
    """OCI image spec, image-index.md: mediaType of the entry is that of the document."""
    inside = image("a", style="docker")
    root = build_index([(inside, on("amd64"))], entry_extra={"mediaType": mediatype.OCI_INDEX})
    with pytest.raises(InvalidDocument, match="is a manifest, its index says index"):
        chosen(root, AMD64)


def test_a_document_of_another_type_than_its_index_says_is_a_problem() -> None:
    inside = image("a", style="docker")
    root = build_index([(inside, on("amd64"))], entry_extra={"mediaType": mediatype.OCI_MANIFEST})
    digest = Digest.parse(root.digest)
    document = parse(root.index.data, root.index.media_type)
    selection = select(digest, document, AMD64, Documents(root).fetch)
    assert str(selection.digest) == inside.digest
    (problem,) = problems(selection)
    assert mediatype.OCI_MANIFEST in problem
    assert mediatype.DOCKER_MANIFEST in problem


def test_a_wrong_size_of_a_manifest_in_an_index_is_a_problem() -> None:
    inside = image("a")
    wrong = {"size": inside.manifest.size + 1}
    root = build_index([(inside, on("amd64"))], entry_extra=wrong)
    document = parse(root.index.data, root.index.media_type)
    (problem,) = problems(select(Digest.parse(root.digest), document, AMD64, Documents(root).fetch))
    assert f"the document has {inside.manifest.size:,} bytes" in problem


def test_an_artifact_is_refused_by_its_name() -> None:
    """The error says what the artifact is."""
    chart = image("chart", config_media_type="application/vnd.cncf.helm.config.v1+json")
    documents = Documents(chart)
    with pytest.raises(Unsupported, match="helm chart"):
        documents.select(chart, AMD64)
    root = build_index([(chart, None)])
    with pytest.raises(Unsupported, match="helm chart"):
        chosen(root, AMD64)


def test_config_and_layers_are_those_of_the_manifest() -> None:
    built = build_image([tar_layer({"a": b"a"}), tar_layer({"b": b"b"})])
    document = parse(built.manifest.data, built.manifest.media_type)
    selection = select(Digest.parse(built.digest), document, AMD64, Documents(built).fetch)
    assert selection.config is not None
    assert str(selection.config.digest) == built.id
    assert [str(layer.digest) for layer in selection.layers] == [
        layer.digest for layer in built.layers
    ]
