"""An image and a blob that a fake registry serves."""

from wherry.testing import build_image, tar_layer

DATA = bytes(range(256)) * 4096
IMAGE = build_image([tar_layer({"a": b"a"})])
