"""Plans as lines for people."""

from __future__ import annotations

from wherry.model import mediatype
from wherry.model.compression import Compression
from wherry.model.descriptor import Descriptor
from wherry.model.digest import Digest
from wherry.transfer.plan_text import summarize, summarize_layers
from wherry.transfer.plan_values import (
    Convert,
    CopyPlan,
    Mount,
    Move,
    PlannedDocument,
    PlannedName,
    Skip,
    Step,
)


def blob(name: str, size: int | None = 1000) -> Descriptor:
    return Descriptor(mediatype.DOCKER_LAYER, Digest.of(name.encode()), size)


CONFIG = blob("config")


def image(number: int, *, exists: bool = False) -> PlannedDocument:
    raw = b"image %d" % number
    source = Descriptor.of(raw, mediatype.OCI_MANIFEST)
    return PlannedDocument(source, raw, source, raw, exists=exists, config=CONFIG.digest)


INDEX = PlannedDocument(
    Descriptor.of(b"index", mediatype.OCI_INDEX), b"index", None, b"index", config=None
)


def plan(
    *steps: Step,
    destination: str = "ghcr.io/acme/app:1",
    documents: tuple[PlannedDocument, ...] = (image(1),),
    is_current: bool = False,
) -> CopyPlan:
    root = documents[-1].source
    names = (PlannedName("1", root.digest),)
    return CopyPlan(
        "store:app:1", destination, root, documents, steps, names, is_current=is_current
    )


def test_each_fate_of_a_blob() -> None:
    made = plan(
        Move(CONFIG),
        Skip(blob("a", 2000), blob("a", 2000)),
        Skip(blob("f"), blob("f"), foreign=True),
        Mount(blob("m"), repositories=("acme/base", "acme/other")),
        Move(blob("b")),
        Convert(blob("c", 3000), Compression.parse("gzip")),
    )
    assert summarize(made) == (
        "1 image, 6 blobs: 1 there (2.00 kB), 1 left at other addresses (1.00 kB), "
        "1 to mount (1.00 kB), 2 to move (2.00 kB), 1 to convert (3.00 kB); 1 document; 1 tag"
    )
    assert summarize_layers(made) == (
        "5 layers: 1 is there, 1 left at other addresses, 1 to mount from acme/base, "
        "1 to send (1.00 kB), 1 to convert and send (3.00 kB)"
    )


def test_several_images() -> None:
    made = plan(
        *(Skip(blob(name), blob(name)) for name in "ab"),
        *(Mount(blob(name), repositories=(f"acme/{name}",)) for name in "cd"),
        documents=(image(1, exists=True), image(2), INDEX),
    )
    assert summarize(made) == (
        "2 images, 4 blobs: 2 there (2.00 kB), 2 to mount (2.00 kB); 3 documents (1 there); 1 tag"
    )
    assert summarize_layers(made) == "2 images, 4 layers: 2 are there, 2 to mount"


def test_sizes_that_are_not_known() -> None:
    assert summarize_layers(plan(Move(blob("a", None)))) == "1 layer: 1 to send"
    both = plan(Move(blob("a", None)), Move(blob("b")))
    assert summarize_layers(both) == "2 layers: 2 to send (at least 1.00 kB)"


def test_files_are_written_and_have_names() -> None:
    made = plan(Move(blob("a")), destination="oci:layout:1")
    assert summarize_layers(made) == "1 layer: 1 to write (1.00 kB)"
    assert summarize(made).endswith("; 1 document; 1 name")


def test_a_registry_with_the_name_of_a_kind_of_file() -> None:
    made = plan(Move(blob("a")), destination="oci.example/app:1")
    assert summarize(made).endswith("; 1 tag")


def test_an_image_that_is_there() -> None:
    made = plan(is_current=True)
    assert summarize(made) == "the image is there; 1 tag to set"
    assert summarize(made.replace(names=())) == "the image is there"
    assert summarize_layers(made) == "the image is there"


def test_an_image_without_layers() -> None:
    assert summarize_layers(plan(Move(CONFIG))) == "0 layers"
