"""Images for comparisons with peers, built here, by umoci and by podman."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.testing import (
    BuiltImage,
    BuiltIndex,
    build_image,
    build_index,
    pseudo_random_files,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pytest

    Peer = Callable[..., str]


def layer(seed: int, size: int = 40_000) -> bytes:
    return tar_layer(pseudo_random_files(seed, size, 3))


TARS = [layer(1), layer(2)]
EMPTY_STEPS: list[dict[str, object]] = [
    {"created": "2024-01-01T00:00:00Z", "created_by": "ADD rootfs.tar /"},
    {"created": "2024-01-01T00:00:01Z", "created_by": "ENV A=b", "empty_layer": True},
    {"created": "2024-01-01T00:00:02Z", "created_by": "RUN make"},
    {"created": "2024-01-01T00:00:03Z", "created_by": 'CMD ["sh"]', "empty_layer": True},
]
FLAT = {
    "oci-gzip": build_image(TARS, env=["A=b"], cmd=["sh"], labels={"k": "<&>"}),
    "oci-zstd": build_image(TARS, compression="zstd"),
    "oci-uncompressed": build_image(TARS, compression="none"),
    "oci-mixed": build_image([*TARS, layer(3)], compression=["none", "zstd", "gzip"]),
    "schema2-gzip": build_image(TARS, style="docker", entrypoint=["/bin/sh"]),
    "many-layers": build_image([layer(100 + seed, 2000) for seed in range(24)]),
    "repeated-layer": build_image([TARS[0], TARS[1], TARS[0]]),
    "empty-history": build_image(TARS, style="docker", history=EMPTY_STEPS),
}


def platforms(style: str) -> BuiltIndex:
    """Return an index of different images; an OCI index has an attestation too."""
    entries: list[tuple[BuiltImage | BuiltIndex, Mapping[str, object] | None]] = []
    wanted = [("arm", "v6"), ("arm64", "v8"), ("amd64", ""), ("arm", "v7"), ("386", "")]
    for seed, (architecture, variant) in enumerate(wanted):
        image = build_image(
            [layer(200 + seed)],
            style="docker" if style == "docker" else "oci",
            architecture=architecture,
            variant=variant,
        )
        platform = {"os": "linux", "architecture": architecture}
        entries.append((image, platform | ({"variant": variant} if variant else {})))
    if style == "oci":
        attestation = build_image([layer(300)], os="unknown", architecture="unknown")
        entries.append((attestation, {"os": "unknown", "architecture": "unknown"}))
    return build_index(entries, style="docker" if style == "docker" else "oci")


INDEXES = {"oci-index": platforms("oci"), "manifest-list": platforms("docker")}


def make_by_umoci(request: pytest.FixtureRequest, name: str, directory: Path) -> None:
    """Push an image of two layers: one inserted, one from a comparison of file systems."""
    umoci: Peer = request.getfixturevalue("umoci")
    skopeo: Peer = request.getfixturevalue("skopeo")
    layout, tree, bundle = directory / "layout", directory / "tree", directory / "bundle"
    (tree / "sub").mkdir(parents=True)
    for path, data in pseudo_random_files(5, 30_000, 2).items():
        (tree / "sub" / path.replace("/", "-")).write_bytes(data)
    image = f"{layout}:t"
    umoci("init", "--layout", layout)
    umoci("new", "--image", image)
    umoci("config", "--image", image, "--architecture", "amd64", "--os", "linux")
    umoci("insert", "--rootless", "--image", image, tree, "/opt")
    umoci("unpack", "--rootless", "--image", image, bundle)
    (bundle / "rootfs" / "opt" / "sub" / "new").write_text("new")
    umoci("repack", "--image", image, bundle)
    umoci("config", "--image", image, "--config.env", "A=b", "--config.cmd", "sh")
    skopeo("copy", "--preserve-digests", "--dest-tls-verify=false", f"oci:{image}", remote(name))


def make_by_podman(request: pytest.FixtureRequest, name: str, directory: Path) -> None:
    podman: Peer = request.getfixturevalue("podman")
    (directory / "hello").write_text("hello\n")
    (directory / "data").write_bytes(pseudo_random_files(6, 30_000, 1)["data/00000.bin"])
    steps = ["FROM scratch", "COPY hello /", "COPY data /srv/", "ENV A=b", 'CMD ["/hello"]']
    (directory / "Containerfile").write_text("\n".join(steps) + "\n")
    local = "localhost/made:t"
    podman("build", "--isolation=chroot", "--platform=linux/amd64", "--layers", "-t", local,
           directory)  # fmt: skip
    podman("push", "--tls-verify=false", local, remote(name))


def remote(name: str) -> str:
    return f"docker://{name}"
