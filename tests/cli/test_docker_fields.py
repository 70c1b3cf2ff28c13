"""``images --format`` and ``show --format``, with docker's fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from wherry.testing import FakeRegistry, build_image, tar_layer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import wherry as library
    from conftest import Wherry

IMAGE = build_image(
    [tar_layer({"a": b"x" * 5000})],
    env=["A=1", "B=two words"],
    cmd=["/bin/sh", "-c", "true"],
    labels={"org.example.team": "web", "plain": "<&>"},
    created="2024-01-02T03:04:05.678901234+02:00",
)
BARE = build_image([tar_layer({"b": b"y"})], created="1970-01-01T00:00:00Z")


@pytest.fixture
def name(client: library.Client, fake: FakeRegistry) -> str:
    fake.add_image("team/app", IMAGE, "1.4")
    fake.add_image("bare", BARE, "t")
    client.pull(f"{fake.host}/team/app:1.4")
    client.pull(f"{fake.host}/bare:t")
    return f"{fake.host}/team/app:1.4"


def test_each_field_of_images(wherry: Wherry, name: str) -> None:
    form = "{{.Repository}}|{{.Tag}}|{{.ID}}|{{.Digest}}|{{.CreatedAt}}|{{.Size}}"
    done = wherry("images", "--format", form, name)
    size = wherry("images", name).stdout.splitlines()[1].split("ago")[1].replace(" ", "")
    assert done.stdout.rstrip("\n").split("|") == [
        name.removesuffix(":1.4"),
        "1.4",
        IMAGE.id[7:19],
        IMAGE.digest,
        "2024-01-02 01:04:05 +0000 UTC",
        size,
    ]
    assert wherry("images", "--format", "{{.CreatedSince}}", name).stdout.endswith(" ago\n")


def test_meaningless_times(wherry: Wherry, name: str) -> None:
    assert name
    done = wherry("images", "--format", "{{.CreatedSince}} {{.CreatedAt}}", "**/bare")
    assert done.stdout == "N/A N/A\n"


def test_short_names_and_missing_names(wherry: Wherry, name: str) -> None:
    assert wherry("tag", name, "alpine:3.20").returncode == 0
    lines = wherry("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.splitlines()
    assert "alpine:3.20" in lines
    assert wherry("untag", name, "alpine:3.20").returncode == 0
    done = wherry("images", "--filter", "dangling=true", "--format", "{{.Repository}}:{{.Tag}}")
    assert done.stdout.splitlines()[0].endswith(":<none>")


def test_rows_as_json(wherry: Wherry, name: str) -> None:
    first = wherry("images", "--format", "json").stdout
    assert first == wherry("images", "--format", "{{json .}}").stdout
    found = [json.loads(line) for line in first.splitlines()]
    assert list(found[0]) == sorted(found[0])
    shown = next(each for each in found if each["Tag"] == "1.4")
    assert (shown["Repository"], shown["ID"]) == (name.removesuffix(":1.4"), IMAGE.id[7:19])


def test_a_table(wherry: Wherry, name: str) -> None:
    done = wherry("images", "--format", r"table {{.Tag}}\t{{.ID}}\t{{.Repository}}", name)
    assert done.stdout == (
        "TAG       IMAGE ID       REPOSITORY\n"
        f"1.4       {IMAGE.id[7:19]}   {name.removesuffix(':1.4')}\n"
    )
    assert wherry("images", "--format", "table").stdout == wherry("images").stdout
    empty = wherry("images", "--format", "table {{.Size}}", "nothing")
    assert empty.stdout == "SIZE\n"


def test_templates_with_actions(wherry: Wherry, name: str) -> None:
    form = '{{if eq .Tag "1.4"}}{{upper .Tag}}-{{len .ID}}{{"\\n"}}{{end}}'
    assert wherry("images", "--format", form, name).stdout.strip() == "1.4-12"
    assert (
        wherry("images", "--digests", "--format", "{{.Digest}}", name).stdout == f"{IMAGE.digest}\n"
    )


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("{{.Nmae}}", "there is no field Nmae; the fields are Repository, Tag, ID, "),
        ("{{.Tag", "the action has no end"),
        ("table {{.Foo}}", "there is no field Foo"),
    ],
)
def test_invalid_templates(wherry: Wherry, name: str, form: str, said: str) -> None:
    done = wherry("images", "--format", form)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("wherry: invalid template: ")
    assert said in done.stderr
    done = wherry("show", "--format", form.removeprefix("table "), name)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("other", [["-q"], ["--json"]])
def test_format_excludes_other_forms(wherry: Wherry, name: str, other: list[str]) -> None:
    assert wherry("images", "--format", "{{.ID}}", *other).returncode == 2
    if other == ["--json"]:
        assert wherry("show", "--format", "{{.Id}}", *other, name).returncode == 2


# show


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("{{.Id}}", IMAGE.id),
        ("{{.Digest}}", IMAGE.digest),
        ("{{.Os}}/{{.Architecture}}", "linux/amd64"),
        ("{{.Created}}", "2024-01-02T03:04:05.678901234+02:00"),
        ("{{.RootFS.Type}} {{json .RootFS.Layers}}", f'layers ["{IMAGE.diff_ids[0]}"]'),
        ("{{.Config.Env}}", "[A=1 B=two words]"),
        ("{{range .Config.Env}}{{.}};{{end}}", "A=1;B=two words;"),
        ("{{json .Config.Cmd}}", '["/bin/sh","-c","true"]'),
        ("{{.Config.Entrypoint}}", "[]"),
        ('{{index .Config.Labels "org.example.team"}}', "web"),
        ("{{.Config.Labels.plain}}", "<&>"),
        ("{{if .Config.Healthcheck}}yes{{else}}no{{end}}", "no"),
        ("{{with .Config.WorkingDir}}{{.}}{{else}}/{{end}}", "/"),
    ],
)
def test_fields_of_an_image(wherry: Wherry, name: str, form: str, text: str) -> None:
    done = wherry("show", "--format", form, name)
    assert (done.returncode, done.stdout) == (0, f"{text}\n")


def test_names_of_an_image(wherry: Wherry, name: str) -> None:
    repository = name.removesuffix(":1.4")
    done = wherry("show", "-f", "{{index .RepoTags 0}} {{index .RepoDigests 0}}", name)
    assert done.stdout == f"{name} {repository}@{IMAGE.digest}\n"


def test_an_image_as_json(wherry: Wherry, name: str) -> None:
    first = wherry("show", "--format", "json", name).stdout
    assert first == wherry("show", "--format", "{{json .}}", name).stdout
    found = json.loads(first)
    assert found["Id"] == IMAGE.id
    assert found["Config"]["Env"] == ["A=1", "B=two words"]
    assert found["Size"] == json.loads(wherry("show", "--json", name).stdout)["size"]
    assert "Variant" not in found


def test_several_images_and_a_missing_one(wherry: Wherry, name: str, fake: FakeRegistry) -> None:
    done = wherry("show", "-f", "{{.Id}}", name, "nosuch", f"{fake.host}/bare:t")
    assert (done.returncode, done.stdout) == (3, f"{IMAGE.id}\n{BARE.id}\n")


@pytest.mark.peer("podman")
def test_podman_prints_the_same(
    wherry: Wherry, name: str, podman: Callable[..., str], tmp_path: Path
) -> None:
    archive = tmp_path / "image.tar"
    assert wherry("save", "-q", "-o", str(archive), name).returncode == 0
    podman("load", "-q", "-i", archive)
    form = (
        "{{.Os}} {{.Architecture}} {{.Config.Env}} {{json .Config.Cmd}} {{json .Config.Labels}}"
        ' {{join .Config.Env ","}} {{.RootFS.Type}} {{json .RootFS.Layers}} {{.Author}}'
    )
    assert wherry("show", "-f", form, name).stdout == podman("image", "inspect", "-f", form, name)
    row = "{{.Repository}}:{{.Tag}} {{.ID}}"
    assert wherry("images", "--format", row, name).stdout == podman("images", "--format", row, name)
