"""An index of two images, with control characters in a label."""

from wherry.testing import build_image, build_index, tar_layer

IMAGE = build_image([tar_layer({"a": b"1"})], labels={"a.b": "<1>\x1b[31m"}, env=["A=b"])
ARM = build_image([tar_layer({"a": b"2"})], architecture="arm64")
INDEX = build_index(
    [
        (IMAGE, {"os": "linux", "architecture": "amd64"}),
        (ARM, {"os": "linux", "architecture": "arm64"}),
    ]
)
