"""`lock --pin` and `lock --from`: YAML with digests, and locks of what it names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from index_images import IMAGE, INDEX
from wherry.errors import NotFound, WherryError
from wherry.sync.lock_file import Lock
from wherry.testing import build_image, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry
    from wherry import Client
    from wherry.testing import Distribution, FakeRegistry

MOVED = build_image([tar_layer({"a": b"3"})])
# Comments, quotes, odd spaces, an anchor with a tag, a tab in a comment, CRLF at one line.
COMPOSE = (
    "# a comment\t\n"
    "services:\n"
    "    web:   {image:   HOST/app:1 , init: true}   # in flow\r\n"
    "    db:\n"
    "        image: &db !!str 'HOST/tool'   # the newest\n"
    '        command: ["echo", "HOST/app:1"]\n'
    "    old: {image: *db}\n"
    '    pinned: {image: "HOST/app:2@sha256:ZEROS"}\n'
    "    fixed: {image: HOST/app@sha256:ZEROS}"
)


@pytest.fixture
def compose(fake: FakeRegistry, tmp_path: Path) -> Path:
    fake.add_image("app", INDEX, "1", "2")
    fake.add_image("tool", IMAGE, "latest")
    file = tmp_path / "compose.yaml"
    file.write_bytes(written(fake, COMPOSE))
    return file


def written(fake: FakeRegistry, text: str) -> bytes:
    return text.replace("HOST", fake.host).replace("ZEROS", "0" * 64).encode()


def pinned(fake: FakeRegistry, app: str) -> bytes:
    text = COMPOSE.replace("HOST/app:1 ,", f"HOST/app:1@{app} ,")
    return written(fake, text.replace("HOST/tool'", f"HOST/tool:latest@{IMAGE.digest}'"))


def test_only_the_names_change(fake: FakeRegistry, client: Client, compose: Path) -> None:
    compose.chmod(0o640)
    found = client.pin(compose)
    assert compose.read_bytes() == pinned(fake, INDEX.digest)
    assert compose.stat().st_mode & 0o777 == 0o640
    assert [(each.place, each.line) for each in found] == [
        ("services.web.image", 3),
        ("services.old.image", 5),
    ]
    asked = [(each.method, each.path.rpartition("/")[2]) for each in fake.requests]
    assert sorted(each for each in asked if each[1]) == [("HEAD", "1"), ("HEAD", "latest")]


def test_pinning_again_changes_nothing(fake: FakeRegistry, client: Client, compose: Path) -> None:
    client.pin(compose)
    before = compose.stat()
    fake.add_image("app", MOVED, "1")
    fake.clear()
    assert client.pin(compose) == []
    assert fake.requests == []
    assert compose.stat() == before


def test_an_upgrade_pins_again_what_has_a_tag(
    fake: FakeRegistry, client: Client, compose: Path
) -> None:
    client.pin(compose)
    fake.add_image("app", MOVED, "1")
    (changed,) = client.pin(compose, upgrade=[f"{fake.host}/app:1"])
    assert changed.new == f"{fake.host}/app:1@{MOVED.digest}"
    assert compose.read_bytes() == pinned(fake, MOVED.digest)
    (changed,) = client.pin(compose, upgrade=True)
    assert (changed.place, changed.new) == (
        "services.pinned.image",
        f"{fake.host}/app:2@{INDEX.digest}",
    )
    assert compose.read_bytes().endswith(written(fake, "HOST/app@sha256:ZEROS}"))
    with pytest.raises(NotFound, match="is not among the images to lock"):
        client.pin(compose, upgrade=["alpine"])


def test_a_link_to_the_file_stays_one(client: Client, compose: Path) -> None:
    link = compose.with_name("link.yml")
    link.symlink_to(compose.name)
    assert len(client.pin(link)) == 2
    assert link.is_symlink()
    assert client.pin(compose) == []


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ("    gone: {image: HOST/gone:1}", NotFound, "/gone:1: "),
        ("    a: {image: >-\n", WherryError, "not valid YAML"),
    ],
)
def test_a_failure_leaves_the_file_alone(
    fake: FakeRegistry,
    client: Client,
    compose: Path,
    more: str,
    error: type[WherryError],
    words: str,
) -> None:
    compose.write_bytes(before := written(fake, f"{COMPOSE}\n{more}"))
    with pytest.raises(error, match=words):
        client.pin(compose)
    assert compose.read_bytes() == before


def test_names_that_cannot_be_replaced_are_left_out(
    fake: FakeRegistry, client: Client, compose: Path
) -> None:
    events: list[tuple[str, str]] = []
    compose.write_bytes(
        written(fake, 'services:\n  a: {image: "HOST\\x2fapp:1"}\n  b: {image: HOST/app:1}')
    )
    (changed,) = client.pin(
        compose, on_event=lambda event: events.append((event.reference, event.message))
    )
    assert changed.line == 3
    assert events == [
        (f"{compose}:2", "services.a.image has escapes, line breaks or variables; left out")
    ]


DOCKERFILE = """\
# escape=`
ARG VERSION=1
FROM HOST/app:1 AS base  # not a comment
FROM --platform=$BUILDPLATFORM `
  # a comment
  HOST/tool
COPY --from=HOST/app:2 --chown=1 /a /b
RUN --mount=type=bind,from=HOST/app:1,target=/c ls
FROM base
FROM HOST/app:$VERSION
"""


def test_dockerfiles_are_pinned_and_locked(
    fake: FakeRegistry, client: Client, compose: Path
) -> None:
    file = compose.with_name("Dockerfile.test")
    file.write_bytes(written(fake, DOCKERFILE))
    names = {f"{fake.host}/{name}" for name in ("app:1", "app:2", "tool:latest")}
    assert set(client.lock(file).lock.by_name) == names
    assert [each.line for each in client.pin(file)] == [3, 4, 7, 8]
    app, tool = f"@{INDEX.digest}", f":latest@{IMAGE.digest}"
    text = DOCKERFILE.replace("app:1", f"app:1{app}").replace("app:2", f"app:2{app}")
    assert file.read_bytes() == written(fake, text.replace("/tool", f"/tool{tool}"))
    assert client.pin(file) == []


def test_kubernetes_files_are_pinned_on_docker_registry(
    client: Client, distribution: Distribution, repository: str, tmp_path: Path
) -> None:
    distribution.push(repository, INDEX, "1")
    name = f"{distribution.host}/{repository}:1"
    pods = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - image: NAME # one\n---\n"
    file = tmp_path / "pods.yaml"
    file.write_text(pods.replace("NAME", name) * 3)
    assert len(client.pin(file)) == 3
    assert file.read_text() == pods.replace("NAME", f"{name}@{INDEX.digest}") * 3
    (image,) = client.lock(file).lock.images
    assert str(image.digest) == INDEX.digest


class TestCommand:
    def test_pin_prints_what_changed(
        self, wherry: Wherry, fake: FakeRegistry, compose: Path
    ) -> None:
        done = wherry("lock", "--pin", str(compose))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            f"3: {fake.host}/app:1@{INDEX.digest}\n5: {fake.host}/tool:latest@{IMAGE.digest}\n"
        )
        done = wherry("lock", "--json", "--pin", str(compose), "--upgrade", f"{fake.host}/app:2")
        assert json.loads(done.stdout) == [
            {
                "place": "services.pinned.image",
                "line": 8,
                "old": f"{fake.host}/app:2@sha256:{'0' * 64}",
                "new": f"{fake.host}/app:2@{INDEX.digest}",
            }
        ]

    def test_from_prints_a_lock_or_writes_it(
        self, wherry: Wherry, fake: FakeRegistry, compose: Path
    ) -> None:
        text = "services: {a: {image: HOST/app:1}, b: {image: 'HOST/app:$X'}}"
        compose.write_bytes(written(fake, text))
        other = compose.with_name("other.yml")
        other.write_bytes(written(fake, "services: {a: {image: HOST/tool}, b: {image: HOST/tool}}"))
        sources = ["--from", str(compose), "--from", str(other)]
        done = wherry("lock", *sources)
        assert (done.returncode, done.stderr.splitlines()) == (
            0,
            [
                (
                    f"Warning: {compose}:1: services.b.image has variables, "
                    "which are not resolved; left out"
                ),
                "locked 2 images",
            ],
        )
        lock = Lock.parse(done.stdout.encode(), compose)
        assert list(lock.by_name) == [f"{fake.host}/app:1", f"{fake.host}/tool:latest"]
        target = compose.with_name("images.lock")
        done = wherry("lock", *sources, "-o", str(target))
        assert done.stdout.count("added ") == 2
        assert [image.digest for image in Lock.read_existing(target).images] == [
            image.digest for image in lock.images
        ]
        fake.add_image("app", MOVED, "1")
        assert wherry("lock", *sources, "-o", str(target)).stdout == ""
        done = wherry("lock", *sources, "-o", str(target), "--check")
        assert (done.returncode, done.stdout.startswith("moved ")) == (1, True)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["--pin", "a.yaml", "--from", "b.yaml"], "--pin cannot be combined with"),
            (["--pin", "a.yaml", "--check"], "--pin cannot be combined with"),
            (["--from", "b.yaml", "--check"], "--from with --check needs -o LOCK"),
            (["--from", "b.yaml", "images.toml"], "names can only be given with --upgrade"),
        ],
    )
    def test_contradictions_are_refused(
        self, wherry: Wherry, arguments: list[str], words: str
    ) -> None:
        done = wherry("lock", *arguments)
        assert (done.returncode, words in done.stderr) == (2, True)


def test_a_check_needs_a_lock(client: Client, compose: Path) -> None:
    with pytest.raises(ValueError, match="check needs lock_file"):
        client.lock([compose], check=True)
