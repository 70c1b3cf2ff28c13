"""Lists of images and their filters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from wherry.errors import NotFound
from wherry.image_store import local_store
from wherry.model.digest import Digest
from wherry.ops.listing import Filters, list_lines, list_rows
from wherry.testing import FakeRegistry, build_image, build_index, tar_layer

if TYPE_CHECKING:
    import wherry as library
    from conftest import Wherry

OLD = build_image([tar_layer({"a": b"1"})], created="2020-01-02T03:04:05Z", labels={"team": "web"})
MIDDLE = build_image(
    [tar_layer({"a": b"2"})],
    created="2021-01-02T03:04:05.5+02:00",
    labels={"team": "data", "tier": ""},
)
NEW = build_image([tar_layer({"a": b"3"})], created="2022-01-02T03:04:05Z")


@pytest.fixture
def host(fake: FakeRegistry, client: library.Client) -> str:
    for repository, image in (("team/old", OLD), ("team/middle", MIDDLE), ("new", NEW)):
        fake.add_image(repository, image, "1.0")
        client.pull(f"{fake.host}/{repository}:1.0")
    return fake.host


def ids(store: library.Store, *patterns: str, **wanted: Any) -> list[str]:
    short = {OLD.id: "old", MIDDLE.id: "middle", NEW.id: "new"}
    return [short[str(image.id)] for image in store.images(*patterns, **wanted)]


def test_images_are_listed_in_order_of_name(store: library.Store, host: str) -> None:
    assert ids(store) == ["new", "middle", "old"]
    assert host


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("HOST/new", ["new"]),
        ("HOST/new:1.0", ["new"]),
        ("HOST/new:2*", []),
        ("HOST/*", ["new"]),
        ("HOST/*/*", ["middle", "old"]),
        ("HOST/team/[mn]*", ["middle"]),
        ("HOST/team/[!m]*", ["old"]),
        ("HOST/team/ol?", ["old"]),
        ("HOST/**", ["new", "middle", "old"]),
        ("**:1.0", ["new", "middle", "old"]),
        ("new", []),
        ("mine", ["old"]),
        ("docker.io/library/mine", ["old"]),
        ("mine:[", []),
        ("a(b", []),
    ],
)
def test_names(store: library.Store, host: str, pattern: str, expected: list[str]) -> None:
    store.tag(f"{host}/team/old:1.0", "mine:[".rstrip("[:"))
    assert ids(store, pattern.replace("HOST", host)) == expected


def test_one_of_several_patterns_is_enough(store: library.Store, host: str) -> None:
    assert ids(store, f"{host}/new", f"{host}/team/old") == ["new", "old"]


def test_labels(store: library.Store, host: str) -> None:
    assert ids(store, labels={"team": None}) == ["middle", "old"]
    assert ids(store, labels={"team": "web"}) == ["old"]
    assert ids(store, labels={"team": "data", "tier": ""}) == ["middle"]
    assert ids(store, labels={"team": "web", "tier": None}) == []
    assert host


def test_before_and_since(store: library.Store, host: str) -> None:
    middle = f"{host}/team/middle:1.0"
    assert ids(store, before=middle) == ["old"]
    assert ids(store, since=middle) == ["new"]
    assert ids(store, before=NEW.id[7:14], since=OLD.id) == ["middle"]
    with pytest.raises(NotFound):
        store.images(before="nothing/like/it")


def test_dangling_images(store: library.Store, host: str, client: library.Client) -> None:
    assert ids(store, dangling=True) == []
    store.untag(f"{host}/new:1.0")  # its name by digest is left
    assert ids(store, dangling=True) == ["new"]
    assert ids(store, dangling=False) == ["middle", "old"]
    with local_store(store).ingest() as ingest, ingest.db.write() as connection:
        connection.execute("DELETE FROM refs WHERE name LIKE '%/old%'")
    assert ids(store, dangling=True) == ["new", "old"]
    assert ids(store) == ["new", "middle", "old"]
    rows = [
        (row.name, row.id, row.created, row.size)
        for row in list_rows(local_store(store), Filters())
    ]
    assert list(list_lines(local_store(store), Filters())) == rows
    assert rows[-1][0] == ""
    assert ids(store, f"{host}/**", dangling=True) == ["new"]
    client.pull(f"{host}/new@{NEW.digest}")
    assert ids(store, dangling=True) == ["new", "old"]


def test_a_digest_is_listed_only_if_no_tag_is(
    store: library.Store, host: str, client: library.Client
) -> None:
    assert len(list(list_rows(local_store(store), Filters()))) == 3
    client.pull(f"{host}/new@{NEW.digest}")
    store.tag(f"{host}/new:1.0", f"{host}/other:1.0")
    assert [
        row.name
        for row in list_rows(
            local_store(store), Filters.build(local_store(store), ["**/new", "**/other"])
        )
    ] == [
        f"{host}/new:1.0",
        f"{host}/other:1.0",
    ]
    store.untag(f"{host}/new:1.0")
    assert [
        row.name
        for row in list_rows(
            local_store(store), Filters.build(local_store(store), ["**/new", "**/other"])
        )
    ] == [
        f"{host}/new@{NEW.digest}",
        f"{host}/other:1.0",
    ]


def test_other_platforms_of_a_name_are_not_dangling(
    store: library.Store, fake: FakeRegistry, client: library.Client
) -> None:
    arm = build_image([tar_layer({"a": b"1"})], architecture="arm64")
    index = build_index(
        [
            (OLD, {"os": "linux", "architecture": "amd64"}),
            (arm, {"os": "linux", "architecture": "arm64"}),
        ]
    )
    fake.add_image("multi", index, "t")
    client.pull(f"{fake.host}/multi:t", all_platforms=True)
    assert len(list(list_rows(local_store(store), Filters()))) == 1
    assert not list(list_rows(local_store(store), Filters.build(local_store(store), dangling=True)))


# The command


def test_filters_of_the_command(wherry: Wherry, host: str) -> None:
    def listed(*arguments: str) -> list[str]:
        done = wherry("images", "--json", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return [row["name"].rpartition("/")[2] for row in json.loads(done.stdout)]

    assert listed() == ["new", "middle", "old"]
    assert listed(f"{host}/*") == ["new"]
    assert listed("--filter", "reference=**/old") == ["old"]
    assert listed("-f", "label=team", "-f", f"before={host}/team/middle:1.0") == ["old"]
    assert listed("-f", "label=team=data") == ["middle"]
    assert listed("-f", f"since={host}/team/middle:1.0") == ["new"]
    assert listed("-f", "dangling=true") == []


@pytest.mark.parametrize("text", ["nonsense=1", "dangling=maybe", "label", "dangling"])
def test_invalid_filters_are_refused(wherry: Wherry, text: str) -> None:
    done = wherry("images", "--filter", text)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr


@pytest.mark.parametrize(
    ("first", "second", "called"),
    [
        ("before=a", "before=b", "before"),
        ("since=a", "since=a", "since"),
        ("dangling=true", "dangling=false", "dangling"),
        ("label=team=data", "label=team", "label=team"),
    ],
)
def test_filters_given_twice_are_refused(
    wherry: Wherry, first: str, second: str, called: str
) -> None:
    done = wherry("images", "-f", first, "-f", second)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"wherry: --filter {called} is given twice\n")


def test_several_patterns_and_labels(wherry: Wherry, host: str) -> None:
    def listed(*filters: str) -> list[str]:
        given = [argument for text in filters for argument in ("--filter", text)]
        return [row["id"] for row in json.loads(wherry("images", "--json", *given).stdout)]

    assert listed("reference=**/old", "reference=**/new") == [NEW.id, OLD.id]
    assert listed("label=team", "label=tier") == [MIDDLE.id]
    assert host


def test_images_without_a_name(wherry: Wherry, host: str, store: library.Store) -> None:
    with local_store(store).ingest() as ingest, ingest.db.write() as connection:
        connection.execute("DELETE FROM refs WHERE name LIKE '%/old%'")
    lines = wherry("images", "-f", "dangling=true").stdout.splitlines()
    assert lines[1].split()[:3] == ["<none>", "<none>", OLD.id[7:19]]
    (row,) = json.loads(wherry("images", "--json", "-f", "dangling=true").stdout)
    assert (row["name"], row["tag"], row["id"]) == (None, None, OLD.id)
    assert wherry("images", "-q", "-f", "dangling=true").stdout == f"{OLD.id}\n"
    assert wherry("rm", OLD.id[7:15]).returncode == 0
    assert host


@pytest.mark.parametrize("inside", [False, True], ids=["a tag", "an index"])
def test_removing_images_without_a_tag_keeps_all_names(
    wherry: Wherry, fake: FakeRegistry, client: library.Client, *, inside: bool
) -> None:
    """Two manifests have one id, and the tag has moved from one to the other."""
    layers = [tar_layer({"a": b"1"})]
    docker = build_image(layers, style="docker", architecture="arm64")
    oci = build_image(layers, style="oci", architecture="arm64")
    assert (docker.id, docker.digest != oci.digest) == (oci.id, True)
    name = f"{fake.host}/app:t"
    fake.add_image("app", docker, "t")
    client.pull(name)
    if inside:
        platforms = [{"os": "linux", "architecture": name} for name in ("amd64", "arm64")]
        fake.add_image("app", build_index(list(zip((NEW, oci), platforms, strict=True))), "t")
        client.pull(name, all_platforms=True)
    else:
        fake.add_image("app", oci, "t")
        client.pull(name)
    alone = wherry("images", "-q", "-f", "dangling=true").stdout.split()
    assert alone == [docker.digest]
    before = local_store(client.store).names_of(Digest.parse(oci.digest))
    done = wherry("rm", *alone)
    assert (done.returncode, done.stderr) == (0, "")
    untagged = [line for line in done.stdout.splitlines() if line.startswith("Untagged")]
    assert untagged == [f"Untagged: {fake.host}/app@{docker.digest}"]  # added together with the tag
    assert wherry("images", "-q", "-f", "dangling=true").stdout == ""
    assert local_store(client.store).names_of(Digest.parse(oci.digest)) == before
    assert wherry("validate", f"store:{name}").returncode == 0
    assert local_store(client.store).image(Digest.parse(docker.digest)) is None


def test_a_manifest_digest_finds_its_names(host: str, store: library.Store) -> None:
    image = store.get(f"{host}/new:1.0")
    manifest = str(image.record.manifest)
    assert store.get(manifest) == store.get(f"store:{manifest}") == image
    removed = store.remove(manifest)
    assert {name.tag for name in removed.names} == {None, "1.0"}
    with pytest.raises(NotFound):
        store.get(manifest)


def test_no_example_pipes_a_list_into_rm(wherry: Wherry) -> None:
    for command in ("images", "rm", "gc"):
        assert "xargs" not in wherry(command, "--help").stdout
