"""Describe how podman mounts images, and how wherry unpacks them.

Without root, podman has files of other users only in its user namespace. So this is a program,
which `podman unshare` can run there.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from trees import describe
from wherry import Client

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trees import Tree


class Trees(NamedTuple):
    """Descriptions of an image: mounted by podman, and unpacked by wherry."""

    theirs: Tree
    ours: Tree


def compare(podman: list[str], images: Mapping[str, str], place: Path) -> dict[str, Trees]:
    """Return the trees of images.

    Args:
        podman: The command.
        images: For each name of a layout in ``place`` the id that podman has for its image.
        place: Has the layouts.
    """
    command = [*podman, "image", "mount", "--format", "json", *images.values()]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    mounts = {each["id"]: Path(each["mountpoint"]) for each in json.loads(done.stdout)}
    found = {}
    with Client(store=place / "store") as client:
        for name, image in images.items():
            tree = place / f"tree-{name}"
            client.unpack(f"oci:{place / name}:x", tree)
            found[name] = Trees(describe(mounts[image]), describe(tree))
    return found


if __name__ == "__main__":
    given = json.load(sys.stdin)
    trees = compare(given["podman"], given["images"], Path(given["place"]))
    sys.stdout.buffer.write(pickle.dumps({name: tuple(each) for name, each in trees.items()}))
