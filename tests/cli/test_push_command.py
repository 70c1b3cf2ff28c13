"""The command `wherry push`: destinations, output, errors, and what other tools pull."""

from __future__ import annotations

import json
import re
import signal
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from command_images import IMAGE, TARS
from terminals import on_a_terminal
from wherry.testing import (
    FakeRegistry,
    Fault,
    FixedReply,
    build_image,
    docker_files,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import wherry as library
    from conftest import Wherry
    from wherry.testing import Distribution

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
BIG = build_image(
    [tar_layer({f"f{n}": Random(n).randbytes(2_000_000)}) for n in range(2)]  # noqa: S311
)


@pytest.fixture
def other() -> Iterator[FakeRegistry]:
    """Another registry than `fake`, from which nothing can be mounted."""
    with FakeRegistry() as registry:
        yield registry


def pushed(fake: FakeRegistry, repository: str, tag: str) -> str:
    return fake.tags[repository][tag]


def usage_error(wherry: Wherry, *arguments: str) -> str:
    """Return the message of a usage error, which is one line."""
    done = wherry(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    message, *rest = done.stderr.splitlines()
    assert all(line.startswith("  ") for line in rest)
    return message.removeprefix("wherry: ")


# Destinations


def test_an_image_is_pushed_to_another_name(
    wherry: Wherry, pulled: str, fake: FakeRegistry
) -> None:
    done = wherry("push", pulled, f"{fake.host}/other/app:2")
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.digest}\n")
    assert pushed(fake, "other/app", "2") == IMAGE.digest


def test_without_a_destination_an_image_keeps_its_name(
    wherry: Wherry, pulled: str, fake: FakeRegistry, store: library.Store
) -> None:
    name = f"{fake.host}/new/app:1"
    store.tag(pulled, name)
    done = wherry("push", name)
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.digest}\n")
    assert pushed(fake, "new/app", "1") == IMAGE.digest


@pytest.mark.parametrize("length", [12, 64])
def test_an_id_needs_a_destination(
    wherry: Wherry, pulled: str, fake: FakeRegistry, length: int
) -> None:
    assert pulled
    name = IMAGE.id.removeprefix("sha256:")[:length]
    done = wherry("push", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs a destination" in done.stderr.splitlines()[0]
    assert wherry("push", name, f"{fake.host}/by/id:1").stdout == f"{IMAGE.digest}\n"
    assert pushed(fake, "by/id", "1") == IMAGE.digest


def test_all_tags(wherry: Wherry, pulled: str, fake: FakeRegistry, store: library.Store) -> None:
    repository = pulled.rpartition(":")[0]
    store.tag(pulled, f"{repository}:u")
    store.tag(pulled, f"{repository}x:v")  # another repository
    target = f"{fake.host}/all/app"
    done = wherry("push", "--all-tags", repository, target)
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.digest}\n" * 2)
    assert fake.tags["all/app"] == {"t": IMAGE.digest, "u": IMAGE.digest}


def test_an_archive_is_pushed(wherry: Wherry, fake: FakeRegistry, tmp_path: Path) -> None:
    archive = tmp_path / "saved.tar"
    archive.write_bytes(tar_layer(docker_files(IMAGE, TARS[:2])))
    address = f"docker-archive:{archive}"
    done = wherry("push", "--progress=json", address, f"{fake.host}/from/archive:1")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert "2 layers: 2 to convert and send (" in events[0]["message"]
    own = [event for event in events if event.get("digest") == IMAGE.diff_ids[0]]
    assert [event["total"] for event in own if event["status"] == "packing"][:1] == [len(TARS[0])]
    assert own[-1]["status"] == "pushed"
    digest = pushed(fake, "from/archive", "1")
    assert done.stdout == f"{digest}\n"
    manifest = json.loads(fake.manifests["from/archive"][digest][0])
    assert manifest["config"]["digest"] == IMAGE.id
    assert all(layer["mediaType"].endswith("gzip") for layer in manifest["layers"])


# Output


def test_a_log(wherry: Wherry, pulled: str, other: FakeRegistry) -> None:
    target = f"{other.host}/fresh/app:1"
    done = wherry("push", pulled, target)
    first, *lines = done.stderr.splitlines()
    size = sum(layer.size for layer in IMAGE.layers) / 1000
    assert first == f"{target}: 2 layers: 2 to send ({size:.1f} kB)"
    assert sorted(lines[:-2]) == sorted(
        f"{layer.digest[7:19]}  Pushed  {layer.size / 1000:.1f} kB" for layer in IMAGE.layers
    )
    assert lines[-2] == f"1: digest: {IMAGE.digest} size: {IMAGE.manifest.size}"
    assert lines[-1].startswith("Status: ")
    assert target in lines[-1]
    again = wherry("push", pulled, target)
    assert again.stdout == f"{IMAGE.digest}\n"
    assert again.stderr.splitlines()[0] == f"{target}: the image is there"
    assert "Pushed" not in again.stderr


def test_quiet_prints_only_the_digest(wherry: Wherry, pulled: str, other: FakeRegistry) -> None:
    done = wherry("push", "-q", pulled, f"{other.host}/fresh/app:1")
    assert (done.stdout, done.stderr) == (f"{IMAGE.digest}\n", "")


def test_json_describes_the_result(wherry: Wherry, pulled: str, other: FakeRegistry) -> None:
    target = f"{other.host}/fresh/app:1"
    done = wherry("push", "-q", "--json", pulled, target)
    found = json.loads(done.stdout)
    assert found == {
        "destination": target,
        "digest": IMAGE.digest,
        "mediaType": IMAGE.manifest.media_type,
        "size": IMAGE.manifest.size,
        "names": ["1"],
        "sent": sum(piece.size for piece in IMAGE.blobs()),
        "mounted": 0,
        "notes": [],
    }


def test_progress_in_json(wherry: Wherry, pulled: str, other: FakeRegistry) -> None:
    done = wherry("push", "--progress=json", pulled, f"{other.host}/fresh/app:1")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    layer = IMAGE.layers[0]
    own = [event for event in events if event.get("digest") == layer.digest]
    assert own[0] == {
        "status": "preparing",
        "reference": f"{other.host}/fresh/app:1",
        "digest": layer.digest,
        "current": 0,
        "total": layer.size,
    }
    assert own[-1]["status"] == "pushed"
    assert {event["status"] for event in own[1:-1]} <= {"pushing"}
    assert next(event["status"] for event in events) == "planned"
    assert [event["status"] for event in events][-3:] == ["digest", "done", "success"]


def test_a_layer_of_another_repository_is_mounted(
    wherry: Wherry, pulled: str, fake: FakeRegistry
) -> None:
    """The store knows the repository that a layer was pulled from."""
    sent = len(fake.requests)
    done = wherry("push", pulled, f"{fake.host}/mounted/app:1")
    assert "2 to mount from team/app" in done.stderr.splitlines()[0]
    assert f"{IMAGE.layers[0].digest[7:19]}  Mounted from team/app" in done.stderr
    assert not [each for each in fake.requests[sent:] if each.method == "PATCH"]


def test_a_layer_that_the_registry_finds_is_mounted(wherry: Wherry, pulled: str) -> None:
    with FakeRegistry(mounts_from_any=True) as other:
        other.add_image("elsewhere", IMAGE, "1")
        done = wherry("push", pulled, f"{other.host}/mounted/app:1")
    assert f"{IMAGE.layers[0].digest[7:19]}  Mounted" in done.stderr.splitlines()


def test_a_push_is_drawn_on_a_terminal(
    fake: FakeRegistry, other: FakeRegistry, environment: dict[str, str], client: library.Client
) -> None:
    fake.add_image("big", BIG, "t")
    client.pull(f"{fake.host}/big:t")
    written, code = on_a_terminal(
        environment,
        *("push", "--limit-rate", "2M", f"{fake.host}/big:t", f"{other.host}/big:t"),
    )
    assert pushed(other, "big", "t") == BIG.digest
    assert code == 0
    plain = ESCAPE.sub("", written)
    short = BIG.layers[0].digest[7:19]
    assert re.search(rf"{short}  Pushing  .*━.* \d\.\d/2\.0 MB", plain)
    assert " MB/s" in plain
    assert " left" in plain
    assert written.split("\r\n")[-2] == BIG.digest


# Errors


def test_contradictions(wherry: Wherry) -> None:
    assert "--all-platforms cannot be combined" in usage_error(
        wherry, "push", "--all-platforms", "--platform", "linux/arm64", "app:1"
    )
    assert "without a tag or digest" in usage_error(wherry, "push", "--all-tags", "app:1")
    assert "without a tag or digest" in usage_error(
        wherry, "push", "--all-tags", "app", "localhost:1/app:2"
    )
    assert "only from the store" in usage_error(
        wherry, "push", "--all-tags", "docker://localhost:1/app"
    )
    assert "expected the name of a repository in a registry" in usage_error(
        wherry, "push", "app:1", "oci:layout"
    )


def test_an_unknown_name(wherry: Wherry, fake: FakeRegistry) -> None:
    done = wherry("push", "nothing/here:1", f"{fake.host}/a:1")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("wherry: nothing/here:1: no such image in the store\n")
    assert wherry("push", "nothing/here:1").returncode == 3


def test_missing_credentials(wherry: Wherry, pulled: str) -> None:
    with FakeRegistry(users={"me": "secret"}, tokens=True) as closed:
        target = f"{closed.host}/acme/app:1"
        done = wherry("push", pulled, target)
        assert (done.returncode, done.stdout) == (4, "")
        assert "wherry login" in done.stderr
        done = wherry("push", "--creds", "me:secret", pulled, target)
        assert (done.returncode, done.stdout) == (0, f"{IMAGE.digest}\n")


def test_a_registry_that_is_only_read(wherry: Wherry, pulled: str) -> None:
    with FakeRegistry() as closed:
        closed.inject(Fault(FixedReply(405), path="/blobs/uploads/"))
        done = wherry("push", pulled, f"{closed.host}/acme/app:1")
        assert done.returncode != 0
        assert done.stdout == ""
        assert done.stderr.splitlines()[-1].count("405") == 1 or "405" in done.stderr
        assert closed.tags.get("acme/app", {}) == {}


def test_an_interrupt_says_what_has_been_sent(
    wherry: Wherry, fake: FakeRegistry, other: FakeRegistry, client: library.Client
) -> None:
    """Only whole layers count: not every registry keeps a part."""
    noise = Random(7)  # noqa: S311
    layers = [tar_layer({str(size): noise.randbytes(size)}) for size in (1_000_000, 9_000_000)]
    image = build_image(layers)
    fake.add_image("app", image, "t")
    client.pull(f"{fake.host}/app:t")
    target = f"{other.host}/app:t"
    running = wherry.start("push", "--limit-rate", "2M", f"{fake.host}/app:t", target)
    assert running.stderr is not None
    while "Pushed" not in running.stderr.readline():
        assert running.poll() is None
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=20)
    assert running.returncode == 130
    assert errors.splitlines()[-1] == (
        "wherry: interrupted; 1.0 of 10.0 MB are sent, the next push goes on from there"
    )
    again = wherry("push", f"{fake.host}/app:t", target)
    assert again.stdout == f"{image.digest}\n"
    assert "1 is there, 1 to send" in again.stderr


# Other tools


@pytest.mark.peer("skopeo", "podman")
def test_other_tools_pull_what_was_pushed(
    wherry: Wherry,
    pulled: str,
    distribution: Distribution,
    repository: str,
    skopeo: Callable[..., str],
    podman: Callable[..., str],
) -> None:
    target = f"{distribution.host}/{repository}:1"
    done = wherry("push", pulled, target)
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.digest}\n")
    found = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{target}"))
    assert found["Digest"] == IMAGE.digest
    assert podman("pull", "-q", "--tls-verify=false", target).strip() == IMAGE.id[7:]


@pytest.mark.parametrize("option", [["--limit-rate=40K"], []])
def test_a_rate_limit_applies_to_what_is_sent(
    wherry: Wherry, pulled: str, other: FakeRegistry, option: list[str]
) -> None:
    started = time.monotonic()
    environment = {} if option else {"WHERRY_LIMIT_RATE": "40K"}
    done = wherry("push", "-q", *option, pulled, f"{other.host}/app:1", env=environment)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started >= 1.2  # the layers have 61 kB
