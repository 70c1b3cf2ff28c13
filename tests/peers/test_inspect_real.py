"""Compare ``wherry inspect`` with ``skopeo inspect`` in registries, archives and the store."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

import wherry
from peer_images import FLAT, INDEXES, layer, make_by_podman, make_by_umoci
from wherry.cli.main import cli
from wherry.testing import (
    BuiltImage,
    BuiltIndex,
    Distribution,
    FakeRegistry,
    build_image,
    build_schema1,
    compress,
    make_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Peer = Callable[..., str]

pytestmark = pytest.mark.peer("docker-registry", "skopeo")

ODD = {
    "odd-nothing": {"created": None, "config": None, "history": None},
    "odd-empty": {"config": {"Env": [], "Labels": {}}, "history": []},
    "odd-null": {"config": {"Env": None, "Labels": None}, "docker_version": "19.03.1"},
    "odd-time": {"created": "2024-01-02T03:04:05.1200+02:00"},
    "odd-text": {
        "author": 'a "b" \\ \t \x01 é 漢 \u2028 <&>',
        "config": {"Labels": {"é": "1", "<z>": "&", "a": "\u2029\b\f"}, "Env": ["A=\x7f"]},
    },
    "odd-keys": {"DOCKER_VERSION": "1", "Config": {"env": ["lower=case"]}, "config": None},
    "odd-all": {
        "variant": "v2",
        "os.version": "10.0",
        "os.features": ["win32k"],
        "container_config": {"Cmd": ["x"]},
        "config": {
            "User": "u", "ExposedPorts": {"80/tcp": {}, "1/udp": {}}, "Entrypoint": ["e"],
            "Cmd": ["c"], "Volumes": {"/v": {}}, "WorkingDir": "/w", "StopSignal": "9",
            "ArgsEscaped": True, "Healthcheck": {"Test": ["NONE"]}, "OnBuild": ["x"],
        },
        "history": [{"created": "2024-01-02T03:04:05.10Z", "comment": "c", "author": "a"}, {}],
    },
}  # fmt: skip
IMAGES: dict[str, BuiltImage | BuiltIndex] = {
    **FLAT,
    **INDEXES,
    **{
        f"{style}-{kind}": build_image([layer(7, 3000)], style=style, config_extra=extra)  # type: ignore[arg-type]
        for kind, extra in ODD.items()
        for style in ("oci", "docker")
    },
}
MADE = [
    pytest.param("umoci", marks=pytest.mark.peer("umoci")),
    pytest.param("podman", marks=pytest.mark.peer("podman")),
]
KINDS = [(), ("--no-tags",), ("--config",), ("--raw",), ("--config", "--raw")]
_LAYERS_DATA = re.compile(r'    "LayersData": (?:\[\]|\[\n.*?\n    \]),\n', re.DOTALL)


def ours(*arguments: str) -> str:
    """Run the command in this process."""
    done = CliRunner().invoke(cli, ["inspect", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout_bytes.decode()


def same(skopeo: Peer, address: str, *options: str) -> None:
    theirs = skopeo("inspect", "--tls-verify=false", *options, address)
    found = ours(*options, address)
    if "LayersData" not in theirs:  # skopeo has it since 1.10
        found = _LAYERS_DATA.sub("", found)
    assert found == theirs


@pytest.fixture(autouse=True)
def _environment(environment: dict[str, str]) -> None:
    """Hide the settings of the user of this machine."""


@pytest.fixture(scope="module", params=[*IMAGES, *MADE])
def name(
    request: pytest.FixtureRequest,
    distribution: Distribution,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """The address of an image in a real registry."""
    kind: str = request.param
    reference = f"{distribution.host}/inspected/{kind}:t"
    if kind in IMAGES:
        distribution.push(f"inspected/{kind}", IMAGES[kind], "t", "u")
    else:
        make = make_by_umoci if kind == "umoci" else make_by_podman
        make(request, reference, tmp_path_factory.mktemp(kind))
    return f"docker://{reference}"


@pytest.mark.parametrize("options", KINDS, ids=" ".join)
def test_from_a_registry(name: str, skopeo: Peer, options: tuple[str, ...]) -> None:
    same(skopeo, name, *options)


def in_archive(kind: str) -> bool:
    """Return whether skopeo can write the image to a docker archive, which has no zstd."""
    return kind not in {"oci-zstd", "oci-mixed"}


@pytest.fixture(scope="module")
def copies(name: str, skopeo: Peer, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Copies of an image that skopeo makes in archives and directories."""
    directory = tmp_path_factory.mktemp("copies")
    kind = name.rpartition("/")[2].removesuffix(":t")
    places = [f"oci-archive:{directory}/oci.tar:t", f"dir:{directory}/d"]
    if "odd" not in kind:
        places.append(f"oci:{directory}/oci:t")
    every = ["--all"] if kind in INDEXES else []
    for place in places:
        skopeo("copy", "-q", *every, "--src-tls-verify=false", name, place)
    archive = f"docker-archive:{directory}/a.tar"
    if not in_archive(kind):
        return places
    skopeo("copy", "-q", "--src-tls-verify=false", name, f"{archive}:acme/app:t")
    return [*places, archive, f"{archive}:acme/app:t"] if "odd" not in kind else [*places, archive]


def test_from_files(copies: list[str], skopeo: Peer) -> None:
    odd = "odd" in copies[0]
    for address in copies:
        for options in KINDS:
            if "--no-tags" not in options and not (odd and "--raw" in options):
                same(skopeo, address, *options)


def test_what_the_store_shows_is_what_the_registry_does(
    name: str, store: wherry.Store, environment: dict[str, str]
) -> None:
    assert environment["WHERRY_STORE"] == str(store.path)
    plain = name.removeprefix("docker://")
    with wherry.Client(store=store) as client:
        # One of the images requires an OS feature.
        client.pull(plain, platform="linux(+win32k)/amd64/v3")
    for options in KINDS[1:]:
        there = ours(*options, name)
        if options == ("--no-tags",):
            there = re.sub(r'    "Name": .*\n', "", there)
        assert ours(*options, f"store:{plain}") == there


FORMATS = [
    "{{.Digest}}",
    "{{.Name}}: {{.Architecture}}/{{.Os}}\\n{{.Created}}",
    '{{.Labels}} {{.Labels.k}} {{.Labels.none}}|{{index .Labels "none"}}|',
    "{{range .Layers}}{{println .}}{{end}}",
    "{{range $at, $layer := .Layers}}{{if $at}}, {{end}}{{$at}}={{$layer}}{{end}}",
    "{{range $key, $value := .Labels}}{{$key}}={{$value}};{{else}}none{{end}}",
    "{{len .Layers}} {{len .RepoTags}} {{.RepoTags}} {{.Env}}",
    '{{index .Layers 0}}{{/* gone */}} {{- printf " %s %d %q %v" .Os 3 .Os .Env}}',
    "{{with .Env}}{{.}}{{else}}no env{{end}} {{.DockerVersion}}.",
    '{{if and .Layers (not .Tag)}}yes{{end}} {{eq .Os "linux"}}',
    "json",
    "plain",
]
CONFIG_FORMATS = [
    "{{.Created}} {{.Author}} {{.Architecture}} {{.OS}} {{.Variant}}",
    "{{.Config.Env}} {{.Config.Cmd}} {{.Config.Labels}} {{.Config.User}} {{.Config.ExposedPorts}}",
    "{{.RootFS.Type}} {{range .RootFS.DiffIDs}}{{.}} {{end}}",
    "{{range .History}}{{.Created}}|{{.CreatedBy}}|{{.EmptyLayer}}{{println}}{{end}}",
]


@pytest.mark.parametrize("kind", ["oci-gzip", "schema2-gzip", "oci-odd-null", "docker-odd-time"])
def test_templates(distribution: Distribution, skopeo: Peer, kind: str) -> None:
    distribution.push("inspected/templates", IMAGES[kind], kind)
    address = f"docker://{distribution.host}/inspected/templates:{kind}"
    for form in FORMATS:
        if form == "json":
            same(skopeo, address, "--format", form)
            continue
        theirs = skopeo("inspect", "--tls-verify=false", "--format", form, address)
        assert ours("--format", form, address) == theirs
    for form in CONFIG_FORMATS:
        theirs = skopeo("inspect", "--tls-verify=false", "--config", "--format", form, address)
        assert ours("--config", "--format", form, address) == theirs


@pytest.mark.parametrize(
    ("platform", "options"),
    [
        ("linux/arm64", ["--override-arch=arm64"]),
        ("linux/arm/v6", ["--override-arch=arm", "--override-variant=v6"]),
        ("linux/386", ["--override-arch=386"]),
    ],
)
@pytest.mark.parametrize("kind", INDEXES)
def test_platforms(
    distribution: Distribution, skopeo: Peer, kind: str, platform: str, options: list[str]
) -> None:
    distribution.push("inspected/platforms", INDEXES[kind], kind)
    address = f"docker://{distribution.host}/inspected/platforms:{kind}"
    for more in ([], ["--config"], ["--config", "--raw"]):
        theirs = skopeo(*options, "inspect", "--tls-verify=false", *more, address)
        found = ours("--platform", platform, *more, address)
        assert _LAYERS_DATA.sub("", found) == _LAYERS_DATA.sub("", theirs)


def test_names_without_a_tag_and_with_a_digest(distribution: Distribution, skopeo: Peer) -> None:
    image = FLAT["oci-gzip"]
    distribution.push("inspected/latest", image, "latest", "a")
    for ending in ("", f"@{image.digest}"):
        same(skopeo, f"docker://{distribution.host}/inspected/latest{ending}")


@pytest.fixture(scope="module")
def schema1() -> Iterator[FakeRegistry]:
    """Signed and unsigned schema1 images, of engines before and since 1.8.3."""
    layers = [compress(layer(seed, 2000), "gzip") for seed in (1, 2, 3)]
    with FakeRegistry() as fake:
        for version in ("1.7.0", "19.03.1"):
            for keys in ([], [("ES256", make_key("ES256"))]):
                top = {
                    "docker_version": version,
                    "config": {"Env": ["A=<b>"], "Labels": {"a": "b"}},
                }
                built = build_schema1(layers, name="x/y", tag=version, keys=keys, top=top)
                for data in layers:
                    fake.add_blob(data)
                fake.add_manifest(
                    "app", built.manifest.data, built.manifest.media_type,
                    f"{version}-{len(keys)}", digest=built.digest,
                )  # fmt: skip
        yield fake


@pytest.mark.parametrize("tag", ["1.7.0-0", "1.7.0-1", "19.03.1-0", "19.03.1-1"])
@pytest.mark.parametrize("options", KINDS[:-1], ids=" ".join)
def test_schema1(schema1: FakeRegistry, skopeo: Peer, tag: str, options: tuple[str, ...]) -> None:
    """With --config --raw skopeo prints nothing, and wherry the converted config."""
    same(skopeo, f"docker://{schema1.host}/app:{tag}", *options)


def test_schema1_that_skopeo_wrote(
    skopeo: Peer, distribution: Distribution, tmp_path: Path
) -> None:
    distribution.push("inspected/v2s1", FLAT["empty-history"], "t")
    source = f"docker://{distribution.host}/inspected/v2s1:t"
    target = f"dir:{tmp_path}/v2s1"
    skopeo("copy", "-q", "--src-tls-verify=false", "--format", "v2s1", source, target)
    for options in KINDS[:-1]:
        same(skopeo, target, *options)
