"""Images in version 1 registries are inspected and copied."""

from __future__ import annotations

import json
import tempfile
from typing import TYPE_CHECKING, NoReturn

import pytest

from v1_pulls import HOST, NO_PAUSES, connected, fetched
from wherry.cli.history import as_objects, as_text
from wherry.content.cancel import CancelToken
from wherry.content.events import Event, Status
from wherry.errors import IntegrityError, InvalidDocument, NotFound, PlatformMismatch, Unsupported
from wherry.model.manifest import Manifest
from wherry.model.mediatype import DOCKER_MANIFEST
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.ops.copy_choice import CopyChoice
from wherry.ops.documents import PlatformChoice
from wherry.ops.open_source import Access
from wherry.ops.v1_copy_source import open_v1_copy_source, unplannable_v1_copy
from wherry.ops.v1_read import history_v1, inspect_v1
from wherry.store import LocalStore
from wherry.testing import FakeV1Registry, Fault, FixedReply, Replace, build_v1_image, tar_layer
from wherry.transfer.copy_options import CopyOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import wherry
    from wherry.registry.v1_repository import V1Repository

TARS = [tar_layer({f"file{number}": b"content %d" % number * 50}) for number in range(3)]
TOP = {"config": {"Env": ["A=1", "B=2"], "Labels": {"z": "1", "a": "<2>"}}, "author": "Ann"}
IMAGE = build_v1_image(TARS, top=TOP)
ANY = PlatformChoice(None, HOST)
ARM = Platform("linux", "arm64")
CHOICE = CopyChoice(host=HOST, copy=CopyOptions(policy=NO_PAUSES))


@pytest.fixture
def registry() -> Iterator[FakeV1Registry]:
    with FakeV1Registry() as running:
        running.add_image("team/app", IMAGE, "t", "latest")
        yield running


@pytest.fixture
def repository(registry: FakeV1Registry) -> Iterator[V1Repository]:
    with connected(registry) as found:
        registry.clear()
        yield found


def name(repository: V1Repository, rest: str = ":t") -> Reference:
    return Reference.parse(repository.label + rest)


# Inspect


def inspect(
    repository: V1Repository, rest: str = ":t", *, tags: bool = False, choice: PlatformChoice = ANY
) -> tuple[wherry.Inspection, list[str]]:
    warnings: list[str] = []
    reference = name(repository, rest)
    found = inspect_v1(repository, reference, choice, tags=tags, warn=warnings.append)
    return found, warnings


def test_inspect(registry: FakeV1Registry, repository: V1Repository) -> None:
    found, warnings = inspect(repository, tags=True)
    assert found.fields() == {
        "Name": repository.label,
        "Tag": "t",
        "Digest": "",
        "RepoTags": ("t", "latest"),
        "Created": "2015-06-10T20:00:02.123456789Z",
        "DockerVersion": "1.9.1",
        "Labels": {"a": "<2>", "z": "1"},
        "Architecture": "amd64",
        "Os": "linux",
        "Layers": [each.id for each in IMAGE.layers],
        "LayersData": [
            {"MIMEType": "", "Digest": each.id, "Size": len(each.layer), "Annotations": None}
            for each in IMAGE.layers
        ],
        "Env": ("A=1", "B=2"),
    }
    assert (found.digest, found.manifest, found.layers, found.size) == (None, None, (), None)
    assert (found.labels, found.env) == (TOP["config"]["Labels"], {"A": "1", "B": "2"})  # type: ignore[index]
    assert repr(found) == f"<Inspection {repository.label}:t linux/amd64>"
    assert (fetched(registry, "layer"), warnings) == ([], [])


def test_the_config_has_no_diff_ids(repository: V1Repository) -> None:
    found, _ = inspect(repository)
    assert found.config.diff_ids == ()
    assert [each.created_by for each in found.config.history] == [
        f"/bin/sh -c step {number}" for number in range(3)
    ]
    shown = found.oci_config()
    assert shown["author"] == "Ann"
    assert shown["rootfs"] == {"type": "layers", "diff_ids": ["", "", ""]}
    assert len(shown["history"]) == 3


def test_sizes_that_are_not_known(registry: FakeV1Registry, repository: V1Repository) -> None:
    raw = IMAGE.layers[0].json
    reply = FixedReply(200, {"Content-Type": "application/json"}, raw)
    registry.inject(Fault(reply, path=f"{IMAGE.layers[0].id}/json"))
    found, _ = inspect(repository)
    sizes = [each["Size"] for each in found.fields()["LayersData"]]
    assert sizes == [-1, len(IMAGE.layers[1].layer), len(IMAGE.layers[2].layer)]


def test_a_name_without_a_tag(registry: FakeV1Registry, repository: V1Repository) -> None:
    assert inspect(repository, "")[0].tag == "latest"
    del registry.tags["team/app"]["latest"]
    found, warnings = inspect(repository, "")
    assert found.tag == "t"
    assert warnings == ["there is no latest; this is the first tag, t"]
    with pytest.raises(NotFound, match=":latest"):
        inspect(repository, ":latest")
    registry.tags["team/app"].clear()
    with pytest.raises(NotFound, match="the repository has no tags"):
        inspect(repository, "")


def test_tags_that_cannot_be_listed(registry: FakeV1Registry, repository: V1Repository) -> None:
    registry.inject(Fault(FixedReply(403), path="/tags$"))
    found, (warning,) = inspect(repository, tags=True)
    assert found.repo_tags is None
    assert "the tags cannot be listed" in warning


def test_a_platform_is_checked_if_it_is_named(repository: V1Repository) -> None:
    assert inspect(repository, choice=PlatformChoice(None, ARM))[0].architecture == "amd64"
    with pytest.raises(PlatformMismatch, match="for linux/amd64, not for linux/arm64") as caught:
        inspect(repository, choice=PlatformChoice(ARM, HOST))
    assert str(caught.value).startswith(f"{repository.label}:t: ")


def test_a_digest(registry: FakeV1Registry, repository: V1Repository) -> None:
    for rest in (f"@{IMAGE.diff_ids[0]}", f":t@{IMAGE.diff_ids[0]}"):
        with pytest.raises(Unsupported, match="v1 protocol, which knows no digests"):
            inspect(repository, rest)
    assert registry.requests == []


@pytest.mark.parametrize("place", [0, 2], ids=["lowest", "top"])
def test_a_json_of_the_wrong_shape(
    registry: FakeV1Registry, repository: V1Repository, place: int
) -> None:
    layer = IMAGE.layers[place]
    fields = json.loads(layer.json) | {"created": "yesterday"}
    registry.images[layer.id].json = json.dumps(fields).encode()
    expected = f"{repository.label}:t: image {layer.id}: created: expected time.Time"
    with pytest.raises(InvalidDocument, match=expected):
        inspect(repository)
    with pytest.raises(InvalidDocument, match=expected):
        history_v1(repository, name(repository), ANY)


# History


def test_history(registry: FakeV1Registry, repository: V1Repository) -> None:
    steps = history_v1(repository, name(repository), ANY)
    assert [(each.created_by, each.size, each.v1_id) for each in steps] == [
        (f"/bin/sh -c step {number}", len(IMAGE.layers[number].layer), IMAGE.layers[number].id)
        for number in (2, 1, 0)
    ]
    assert (steps[0].author, steps[0].created) == ("Ann", "2015-06-10T20:00:02.123456789Z")
    assert '"empty_layer": false' in as_objects(steps)
    assert f'"v1_id": "{IMAGE.id}"' in as_objects(steps)
    assert IMAGE.id in as_text(steps, full=True)
    assert as_text(steps, full=False).splitlines()[1].startswith(IMAGE.id[:12] + " ")
    assert fetched(registry, "layer") == []
    assert history_v1(repository, name(repository, ""), ANY) == steps


# Copy


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of temporary files, which has to be empty after a copy."""
    found = tmp_path / "temporary"
    found.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(found))
    return found


def access(tmp_path: Path, events: list[Event] | None = None) -> Access:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError

    return Access(
        session=refuse,
        stored=refuse,
        target=lambda: LocalStore(tmp_path / "store"),
        listener=(events if events is not None else []).append,
        cancel=CancelToken(),
    )


def test_the_source_of_a_copy(
    registry: FakeV1Registry, repository: V1Repository, tmp_path: Path, place: Path
) -> None:
    events: list[Event] = []
    given = access(tmp_path, events)
    with open_v1_copy_source(repository, name(repository), CHOICE, given) as found:
        manifest = found.load()
        assert isinstance(manifest, Manifest)
        assert manifest.media_type == DOCKER_MANIFEST
        assert manifest == found.source.document(found.digest)
        config = found.source.read(manifest.config)
        assert all(diff_id.encode() in config for diff_id in IMAGE.diff_ids)
        for layer in manifest.layers:
            found.source.verify(layer, CancelToken())
        assert list(place.iterdir())
    assert list(place.iterdir()) == []
    assert not (tmp_path / "store").exists()
    assert sorted(fetched(registry, "layer")) == sorted(IMAGE.ancestry)
    statuses = [event.status for event in events]
    assert statuses.count(Status.LOADED) == len(IMAGE.layers)
    # Nothing is kept, and the operation goes on.
    assert not {Status.DOWNLOADING, Status.COMPLETE, Status.DONE} & set(statuses)


def test_a_source_that_cannot_be_read_leaves_nothing(
    registry: FakeV1Registry, repository: V1Repository, tmp_path: Path, place: Path
) -> None:
    registry.inject(Fault(Replace(b"<html>"), path=f"{IMAGE.id}/layer"))
    with (
        pytest.raises(IntegrityError),
        open_v1_copy_source(repository, name(repository), CHOICE, access(tmp_path)),
    ):
        pass
    assert list(place.iterdir()) == []
    other = CHOICE.replace(platforms=(ARM,))
    with (
        pytest.raises(PlatformMismatch),
        open_v1_copy_source(repository, name(repository), other, access(tmp_path)),
    ):
        pass
    assert list(place.iterdir()) == []


def test_a_copy_cannot_be_planned(registry: FakeV1Registry, repository: V1Repository) -> None:
    error = unplannable_v1_copy(repository, name(repository))
    assert isinstance(error, Unsupported)
    size = sum(len(each.layer) for each in IMAGE.layers)
    assert f"digests of 3 layers ({size} B) are known only when" in str(error)
    assert f"wherry pull --legacy {repository.label}:t" in error.hint
    assert fetched(registry, "layer") == []
    with pytest.raises(NotFound):
        unplannable_v1_copy(repository, name(repository, ":other"))
