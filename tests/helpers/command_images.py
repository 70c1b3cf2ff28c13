"""Images that the tests of the command pull."""

from wherry.testing import BuiltImage, build_image, pseudo_random_files, tar_layer

TARS = [tar_layer(pseudo_random_files(seed, 60_000, 2)) for seed in range(3)]
IMAGE = build_image(
    TARS[:2],
    env=["PATH=/bin", "A=b=c"],
    entrypoint=["/entry", "with space"],
    cmd=["serve"],
    labels={"org.example.title": "An <app>"},
)
OTHER = build_image(TARS[2:], architecture="arm64")


def size_of(image: BuiltImage) -> int:
    """Return the size of an image in bytes: manifest, config and each layer once."""
    return sum(piece.size for piece in {piece.digest: piece for piece in image.blobs()}.values())
