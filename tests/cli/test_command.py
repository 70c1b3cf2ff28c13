"""The command as people and scripts meet it: output, exit codes, and what it never prints."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest

import wherry as library
from wherry.testing import (
    BuiltImage,
    Corrupt,
    Cut,
    FakeRegistry,
    Fault,
    FixedReply,
    Replace,
    build_image,
    build_index,
    pseudo_random_files,
    refused_port,
    tar_layer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Wherry

TARS = [tar_layer(pseudo_random_files(seed, 60_000, 2)) for seed in range(3)]
IMAGE = build_image(
    TARS[:2],
    env=["PATH=/bin", "A=b=c"],
    entrypoint=["/entry", "with space"],
    cmd=["serve"],
    labels={"org.example.title": "An <app>"},
)
OTHER = build_image(TARS[2:], architecture="arm64")
PASSWORD = "p@ss: wörd/1"
COMMANDS = (
    *("df", "fsck", "gc", "history", "images", "import", "load", "pull", "rm", "save", "show"),
    *("tag", "untag"),
)
STATUSES = {
    "resolved",
    "pulling",
    "waiting",
    "downloading",
    "verifying",
    "downloaded",
    "exists",
    "complete",
    "retrying",
    "digest",
    "warning",
    "done",
}


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("team/app", IMAGE, "t")
    return f"{fake.host}/team/app:t"


@pytest.fixture
def pulled(name: str, client: library.Client) -> str:
    """The name of an image that is in the store already."""
    client.pull(name)
    return name


# Help


def test_version(wherry: Wherry) -> None:
    done = wherry("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wherry {library.__version__}\n", "")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_fits_a_screen(wherry: Wherry, option: str) -> None:
    done = wherry(option, env={"COLUMNS": "80"})
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) <= 24
    assert all(len(line) <= 80 for line in lines)
    assert set(COMMANDS) <= set(done.stdout.partition("Commands:")[2].split())
    assert "130" in done.stdout


def test_help_on_a_high_screen_says_what_each_command_does(wherry: Wherry) -> None:
    lines = wherry("--help", env={"COLUMNS": "80", "LINES": "60"}).stdout.splitlines()
    listed = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("  ")}
    assert all(listed[command] for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples(wherry: Wherry, command: str) -> None:
    done = wherry(command, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    _, found, examples = done.stdout.partition("Examples:\n")
    assert found
    shown = [line.strip() for line in examples.splitlines() if line.strip()]
    assert shown
    assert all(f"wherry {command}" in line for line in shown)


def test_a_name_that_fails_keeps_no_other_from_being_pulled(
    wherry: Wherry, fake: FakeRegistry
) -> None:
    images = [build_image([tar_layer({"a": text})]) for text in (b"1", b"2")]
    for tag, image in zip(("one", "two"), images, strict=True):
        fake.add_image("app", image, tag)
    host = fake.host
    names = (f"{host}/app:one", f"{host}/app:no", f"{host}/none:x", f"{host}/app:two")
    for progress in ("plain", "tty", "json"):
        done = wherry("pull", "--progress", progress, *names)
        assert done.returncode == 3
        assert done.stdout.split() == [image.id for image in images]
        errors = [line for line in done.stderr.splitlines() if line.startswith("wherry: ")]
        if progress == "json":
            events = [json.loads(line) for line in done.stderr.splitlines()]
            errors = [f"wherry: {e['message']}" for e in events if e["status"] == "error"]
        assert [error.partition(": not found")[0] for error in errors] == [
            f"wherry: {name}" for name in names[1:3]
        ]
    # Names that no image can have are seen before anything is asked for.
    asked = len(fake.requests)
    assert wherry("pull", names[0], "app:").returncode == 2
    assert len(fake.requests) == asked


def test_pull_help_names_every_option(wherry: Wherry) -> None:
    text = wherry("pull", "--help").stdout
    options = "all-tags platform quiet progress creds authfile insecure jobs timeout retries"
    for option in [*options.split(), "no-verify-layers"]:
        assert f"--{option}" in text


def test_nothing_is_asked_for(wherry: Wherry) -> None:
    done = wherry()
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Usage: wherry ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["pul", "x"], "did you mean 'pull'?"),
        (["nonsense"], "no command 'nonsense'"),
        (["pull"], "Missing argument"),
        (["pull", "--none", "x"], "--none"),
        (["pull", "--jobs=0", "x"], "--jobs"),
        (["pull", "--retries=0", "x"], "--retries"),
        (["pull", "--timeout=0", "x"], "--timeout"),
        (["pull", "--timeout=-1", "x"], "--timeout"),
        (["pull", "--progress=loud", "x"], "--progress"),
        (["pull", "--authfile=/no/such/file", "x"], "/no/such/file"),
        (["pull", "--platform=a/b/c/d", "127.0.0.1:1/x"], "invalid platform"),
        (["pull", "--platform=linux/", "127.0.0.1:1/x"], "invalid platform"),
        (["pull", "--platform=", "127.0.0.1:1/x"], "invalid platform: it is empty"),
        (["pull", "https://127.0.0.1:1/x"], "names are written without https://"),
        (["inspect", "https://127.0.0.1:1/x"], "names are written without https://"),
        (["tags", "http://127.0.0.1:1/x"], "names are written without http://"),
        (["history", "http://127.0.0.1:1/x"], "names are written without http://"),
        (["save", "https://127.0.0.1:1/x"], "names are written without https://"),
        (["show", "https://127.0.0.1:1/x"], "names are written without https://"),
        (["images", "pattern", "extra"], "extra"),
        (["show"], "Missing argument"),
        (["show", "a", "--digests"], "--digests"),
        (["show", "Upper"], "lower-case"),
        (["--nothing"], "--nothing"),
        (["load", "out/x.tar"], "name the archive with an option: -i out/x.tar"),
        (["images", "--store", "x"], "--store"),
    ],
)
def test_wrong_usage_exits_with_2(wherry: Wherry, arguments: list[str], says: str) -> None:
    done = wherry(*arguments)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    first, *below = done.stderr.splitlines()
    assert first.startswith("wherry: ")
    assert says in first
    assert all(line.startswith("  ") for line in below)


@pytest.mark.parametrize(
    "arguments",
    [
        *(["pull", ""], ["inspect", ""], ["show", ""], ["pull", "--platform=", "x"]),
        *(["inspect", "--platform=", "x"], ["load", "--platform=", "-i", "x"]),
    ],
)
def test_what_is_empty_has_no_place_to_point_at(wherry: Wherry, arguments: list[str]) -> None:
    done = wherry(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("wherry: invalid ")


def test_a_list_of_platforms_is_shown_whole(wherry: Wherry) -> None:
    done = wherry("pull", "--platform", "linux/amd64,", "127.0.0.1:1/x")
    assert done.returncode == 2
    assert done.stderr.splitlines()[1:] == ["  linux/amd64,", f"  {' ' * 12}^"]


@pytest.mark.parametrize("option", ["--store", "-v", "--debug"])
def test_options_that_stand_before_the_command(wherry: Wherry, option: str) -> None:
    done = wherry("images", option, "x")
    assert f"  {option} goes before the command: wherry {option} …\n" in done.stderr
    assert "goes before" not in wherry("images", "--none").stderr


@pytest.mark.parametrize("address", ["oci:/x", "dir:/x", "docker-archive:/x", "oci-archive:/x"])
def test_addresses_that_cannot_be_pulled_from(wherry: Wherry, address: str) -> None:
    done = wherry("pull", address)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"wherry: {address}: ")


def test_a_completion_script(wherry: Wherry) -> None:
    done = wherry(env={"_WHERRY_COMPLETE": "bash_source"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "complete " in done.stdout


# pull


def test_stdout_carries_ids_alone(wherry: Wherry, name: str) -> None:
    done = wherry("pull", name)
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.id}\n")
    lines = done.stderr.splitlines()
    assert lines[0] == "t: Pulling from team/app"
    assert lines[-2:] == [
        f"Digest: {IMAGE.digest}",
        f"Status: Downloaded newer image for {name}",
    ]
    layers = lines[1:-2]
    assert len(layers) == 2
    for piece in IMAGE.layers:
        short = piece.digest.removeprefix("sha256:")[:12]
        assert any(line.startswith(f"{short}  Pull complete") for line in layers)


def test_layers_that_are_there_already_are_told(
    wherry: Wherry, name: str, fake: FakeRegistry
) -> None:
    wherry("pull", "-q", name)
    fake.add_image("team/app", build_image([TARS[0], TARS[2]]), "u")
    done = wherry("pull", name.replace(":t", ":u"))
    short = IMAGE.layers[0].digest.removeprefix("sha256:")[:12]
    assert f"{short}  Already exists" in done.stderr.splitlines()


def test_docker_scheme(wherry: Wherry, name: str) -> None:
    assert wherry("pull", f"docker://{name}").stdout == f"{IMAGE.id}\n"


@pytest.mark.parametrize("option", ["-q", "--quiet"])
def test_quiet(wherry: Wherry, name: str, option: str) -> None:
    for _ in range(2):
        done = wherry("pull", option, name)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{IMAGE.id}\n", "")


def test_progress_for_programs(wherry: Wherry, name: str, fake: FakeRegistry) -> None:
    largest = max(IMAGE.layers, key=lambda piece: piece.size)
    fake.inject(Fault(Cut(after=5000), path=largest.digest, times=1))
    done = wherry("pull", "--progress=json", name)
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.id}\n")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert events.pop() == {"status": "success", "reference": "", "code": 0}
    events = [event for event in events if event["status"] != "summary"]
    for event in events:
        assert set(event) <= {
            "status", "reference", "digest", "current", "total", "seconds", "message",
        }  # fmt: skip
        assert event["status"] in STATUSES
        assert event["reference"] == name
        assert ("current" in event) == ("total" in event)
    kinds = [event["status"] for event in events]
    assert kinds[0] == "resolved"
    assert kinds[-2:] == ["digest", "done"]
    assert events[-2]["digest"] == IMAGE.digest
    assert events[-1]["message"] == f"Downloaded newer image for {name}"
    (retry,) = [event for event in events if event["status"] == "retrying"]
    assert retry["digest"] == largest.digest
    assert retry["seconds"] > 0
    assert retry["message"]
    for piece in IMAGE.layers:
        of_layer = [event for event in events if event.get("digest") == piece.digest]
        assert of_layer[0]["status"] == "pulling"
        assert of_layer[-1] == {
            "status": "complete",
            "reference": name,
            "digest": piece.digest,
            "current": piece.size,
            "total": piece.size,
        }


@pytest.mark.parametrize("form", ["auto", "plain", "tty", "json"])
def test_quiet_leaves_warnings_in_every_form(wherry: Wherry, fake: FakeRegistry, form: str) -> None:
    fake.add_image("odd", build_image(TARS[:1], architecture="s390x"), "t")
    done = wherry("pull", "-q", "--progress", form, f"{fake.host}/odd:t")
    assert done.returncode == 0
    warning, *last = done.stderr.splitlines()
    assert [json.loads(line)["status"] for line in last] == ["success"] * (form == "json")
    said = json.loads(warning)["message"] if form == "json" else warning
    assert "the image is for linux/s390x" in said
    assert warning.startswith("{" if form == "json" else "Warning: ")


def test_progress_for_programs_counts_up(wherry: Wherry, fake: FakeRegistry) -> None:
    big = build_image([tar_layer(pseudo_random_files(7, 2_000_000, 2))])
    fake.add_image("big", big, "t")
    done = wherry("pull", "--progress=json", f"{fake.host}/big:t")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    counts = [
        event["current"] for event in events if event["status"] in {"downloading", "verifying"}
    ]
    assert counts == sorted(counts)
    assert counts[-1] == big.layers[0].size


def test_progress_as_on_a_terminal(wherry: Wherry, name: str) -> None:
    done = wherry("pull", "--progress=tty", name)
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.id}\n")
    assert done.stderr.splitlines()[-1] == f"Status: Downloaded newer image for {name}"


def test_verbose_shows_requests(wherry: Wherry, name: str, fake: FakeRegistry) -> None:
    done = wherry("-v", "pull", name)
    assert done.stdout == f"{IMAGE.id}\n"
    shown = [line.split() for line in done.stderr.splitlines() if line.startswith("> ")]
    assert sorted((method, url, status) for _, method, url, status, *_ in shown) == sorted(
        (request.method, fake.url + request.path, str(request.status)) for request in fake.requests
    )
    assert all(line[-1] == "ms" for line in shown)


def test_debug_shows_where_it_failed(wherry: Wherry, name: str) -> None:
    missing = name.replace(":t", ":none")
    plain, debug = wherry("pull", missing), wherry("--debug", "pull", missing)
    assert plain.returncode == debug.returncode == 3
    assert "Traceback" not in plain.stderr
    assert "Traceback" in debug.stderr
    assert debug.stderr.endswith(plain.stderr)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["pull", "{host}/team/app:t"], 0),
        (["pull", "oci:x"], 2),
        (["pull", "Bad"], 2),
        (["pull", "{host}/team/app:none"], 3),
        (["pull", "--platform=linux/s390x", "{host}/index:t"], 3),
        (["pull", "{host}/denied:t"], 4),
        (["pull", "{host}/corrupt:t"], 5),
        (["pull", "--retries=1", "127.0.0.1:{port}/app"], 6),
        (["pull", "--retries=1", "{host}/limited:t"], 6),
        (["show", "nothing/like/it"], 3),
    ],
)
def test_exit_codes(
    wherry: Wherry, name: str, fake: FakeRegistry, arguments: list[str], code: int
) -> None:
    assert name
    platform = {"os": "linux", "architecture": "amd64"}
    fake.add_image("index", build_index([(IMAGE, platform)]), "t")
    fake.add_image("corrupt", OTHER, "t")
    fake.inject(Fault(Corrupt(at=9), path=OTHER.layers[0].digest))
    fake.inject(Fault(FixedReply(403), path="/v2/denied/"))
    fake.inject(Fault(FixedReply(429), path="/v2/limited/"))
    port = refused_port()
    done = wherry(*[part.format(host=fake.host, port=port) for part in arguments])
    assert done.returncode == code, done.stderr
    assert (done.stdout == "") == (code != 0)


# images, show


def test_an_empty_store(wherry: Wherry, store: library.Store) -> None:
    done = wherry("images")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["NAME", "TAG", "ID", "CREATED", "SIZE"]
    assert json.loads(wherry("images", "--json").stdout) == []
    assert wherry("images", "-q").stdout == ""
    assert not store.path.exists()  # looking makes nothing


def size_of(image: BuiltImage) -> int:
    return sum(piece.size for piece in {piece.digest: piece for piece in image.blobs()}.values())


def test_images(wherry: Wherry, pulled: str) -> None:
    done = wherry("images")
    assert (done.returncode, done.stderr) == (0, "")
    header, row = done.stdout.splitlines()
    assert header.split() == ["NAME", "TAG", "ID", "CREATED", "SIZE"]
    columns = [header.index(title) for title in header.split()] + [None]
    cells = [row[a:b].strip() for a, b in itertools.pairwise(columns)]
    assert cells[:3] == [
        pulled.removesuffix(":t"),
        "t",
        IMAGE.id.removeprefix("sha256:")[:12],
    ]
    assert cells[3].endswith(" ago")
    amount, unit = cells[4].split()
    assert unit == "kB"
    assert abs(float(amount) - size_of(IMAGE) / 1000) < 0.1


def test_images_with_digests(wherry: Wherry, pulled: str) -> None:
    assert pulled
    header, row = wherry("images", "--digests").stdout.splitlines()
    assert header.split() == ["NAME", "TAG", "DIGEST", "ID", "CREATED", "SIZE"]
    assert row.split()[2] == IMAGE.digest


def test_images_as_json(wherry: Wherry, pulled: str) -> None:
    done = wherry("images", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == [
        {
            "name": pulled.removesuffix(":t"),
            "tag": "t",
            "digest": IMAGE.digest,
            "id": IMAGE.id,
            "manifest": IMAGE.digest,
            "platform": "linux/amd64",
            "created": "2024-01-02T03:04:05Z",
            "size": size_of(IMAGE),
        }
    ]


def test_images_quiet(
    wherry: Wherry, pulled: str, fake: FakeRegistry, client: library.Client
) -> None:
    fake.add_image("team/app", IMAGE, "second")
    client.pull(pulled.replace(":t", ":second"))
    assert wherry("images", "-q").stdout == f"{IMAGE.id}\n"
    assert len(wherry("images").stdout.splitlines()) == 3


def test_images_pulled_by_digest_alone_have_no_tag(
    wherry: Wherry, fake: FakeRegistry, client: library.Client
) -> None:
    fake.add_image("team/app", IMAGE)
    client.pull(f"{fake.host}/team/app@{IMAGE.digest}")
    (found,) = json.loads(wherry("images", "--json").stdout)
    assert (found["tag"], found["digest"]) == (None, IMAGE.digest)
    assert wherry("images").stdout.splitlines()[1].split()[1] == "<none>"


def keys_of(pulled: str) -> dict[str, str]:
    value = IMAGE.id.removeprefix("sha256:")
    return {
        "name": pulled,
        "address": f"store:{pulled}",
        "name-and-digest": f"{pulled.removesuffix(':t')}@{IMAGE.digest}",
        "id": IMAGE.id,
        "hex": value,
        "prefix": value[:12],
        "shortest-prefix": value[:4],
    }


@pytest.mark.parametrize("key", keys_of("x:t"))
def test_show_by(wherry: Wherry, pulled: str, key: str) -> None:
    done = wherry("show", keys_of(pulled)[key])
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    rows = dict(line.split(None, 1) for line in done.stdout.splitlines() if line[0] != " ")
    assert rows["id"] == IMAGE.id
    assert rows["digest"] == IMAGE.digest
    assert rows["names"] == pulled
    assert rows["platform"] == "linux/amd64"
    assert rows["entrypoint"] == "/entry 'with space'"
    assert rows["cmd"] == "serve"
    assert "A=b=c" in done.stdout
    for piece in IMAGE.layers:
        assert piece.digest.removeprefix("sha256:")[:12] in done.stdout


def test_show_several(wherry: Wherry, pulled: str) -> None:
    one = wherry("show", pulled).stdout
    assert wherry("show", pulled, IMAGE.id).stdout == f"{one}\n{one}"
    done = wherry("show", "no", pulled, "neither")
    assert (done.returncode, done.stdout) == (3, one)
    assert [line.split()[1] for line in done.stderr.splitlines() if line[0] != " "] == [
        "no:",
        "neither:",
    ]
    decoder, text = json.JSONDecoder(), wherry("show", "--json", pulled, pulled).stdout
    first, end = decoder.raw_decode(text)
    assert decoder.raw_decode(text[end:].lstrip())[0] == first


def test_show_as_json(wherry: Wherry, pulled: str) -> None:
    done = wherry("show", "--json", pulled)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["config"] == json.loads(IMAGE.config.data)
    assert found["id"] == IMAGE.id
    assert found["digest"] == IMAGE.digest
    assert set(found["names"]) == {pulled, f"{pulled.removesuffix(':t')}@{IMAGE.digest}"}
    assert found["platform"] == "linux/amd64"
    assert found["platforms"] == ["linux/amd64"]
    assert found["created"] == "2024-01-02T03:04:05Z"
    assert found["size"] == size_of(IMAGE)
    assert found["manifest"] == {
        "mediaType": IMAGE.manifest.media_type,
        "digest": IMAGE.digest,
        "annotations": {},
    }
    assert found["layers"] == [
        {
            "digest": piece.digest,
            "diff_id": diff_id,
            "mediaType": piece.media_type,
            "size": piece.size,
            "created_by": f"/bin/sh -c make layer {number}",
        }
        for number, (piece, diff_id) in enumerate(zip(IMAGE.layers, IMAGE.diff_ids, strict=True))
    ]


@pytest.mark.parametrize("key", ["none/such:t", "abcd", "abc", "f" * 64, "sha256:" + "0" * 64])
def test_show_what_is_not_there(wherry: Wherry, pulled: str, key: str) -> None:
    assert pulled
    done = wherry("show", key)
    assert (done.returncode, done.stdout) == (3, "")
    first, *hints = done.stderr.splitlines()
    assert first.startswith(f"wherry: {key}: ")
    assert all(hint.startswith("  ") for hint in hints)


def test_a_prefix_of_several_ids(
    wherry: Wherry, fake: FakeRegistry, client: library.Client
) -> None:
    made: dict[str, BuiltImage] = {}
    for number in range(5000):
        image = build_image([TARS[0]], labels={"n": str(number)})
        other = made.setdefault(image.id[: len("sha256:") + 4], image)
        if other.id != image.id:
            break
    for tag, found in (("a", image), ("b", other)):
        fake.add_image("twins", found, tag)
        client.pull(f"{fake.host}/twins:{tag}")
    prefix = image.id.removeprefix("sha256:")[:4]
    done = wherry("show", prefix)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith(f"wherry: {prefix}: several images")
    assert wherry("show", image.id).returncode == 0


def test_what_an_image_says_does_not_steer_the_terminal(wherry: Wherry, fake: FakeRegistry) -> None:
    evil = build_image(
        [TARS[0]],
        labels={"x": "\x1b[31mred\x07\r\nnext"},
        env=["E=\x1b]0;title\x07"],
        history=[{"created_by": "\x1b[2J"}],
        config_extra={"author": "\x1b[1m\u202e"},
    )
    fake.add_image("evil", evil, "t")
    wherry("pull", "-q", f"{fake.host}/evil:t")
    for arguments in (["show", f"{fake.host}/evil:t"], ["images"]):
        done = wherry(*arguments)
        assert done.returncode == 0, done.stderr
        assert all(c.isprintable() or c == "\n" for c in done.stdout)


def test_a_registrys_words_do_not_steer_the_terminal(
    wherry: Wherry, name: str, fake: FakeRegistry
) -> None:
    said = {"errors": [{"code": "DENIED\x1b[31m", "message": "no\x1b]0;x\x07\nsecond line"}]}
    fake.inject(Fault(FixedReply(403, body=json.dumps(said).encode())))
    done = wherry("pull", "-q", name)
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert all(c.isprintable() or c == "\n" for c in done.stderr)


def test_a_reader_that_goes_away_is_no_error(wherry: Wherry, pulled: str) -> None:
    process = wherry.start("show", "--json", pulled)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        errors = process.stderr.read()
    assert process.wait(10) == 0
    assert errors == ""


def with_closed_stdout(wherry: Wherry, *arguments: str) -> tuple[int, str]:
    """Run the command as `wherry … >&-` does; return its exit code and what it says."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "wherry", *arguments],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=wherry.environment,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["save", "-q", "NAME"],
        ["pull", "-q", "NAME"],
        ["images"],
        ["images", "-q"],
        ["show", "NAME"],
        ["config", "NAME"],
        ["blob", "NAME", IMAGE.layers[0].digest],
        ["--version"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_result_for_a_closed_stdout_is_an_error(
    wherry: Wherry, pulled: str, arguments: list[str]
) -> None:
    given = [argument.replace("NAME", pulled) for argument in arguments]
    says = "wherry: cannot write the result: standard output is closed\n"
    assert with_closed_stdout(wherry, *given) == (1, says)


def test_what_prints_no_result_needs_no_stdout(wherry: Wherry, pulled: str, tmp_path: Path) -> None:
    assert with_closed_stdout(wherry, "tag", pulled, "mine:1") == (0, "")
    saved = tmp_path / "a.tar"
    assert with_closed_stdout(wherry, "save", "-q", "-o", str(saved), pulled) == (0, "")
    assert wherry("--store", str(tmp_path / "new"), "load", "-q", "-i", str(saved)).returncode == 0


# Where the store is


def test_the_store_is_where_it_is_said_to_be(wherry: Wherry, name: str, tmp_path: Path) -> None:
    places = {
        "option": (["--store", str(tmp_path / "option")], {}),
        "variable": ([], {"WHERRY_STORE": str(tmp_path / "variable")}),
        "data/wherry": ([], {"WHERRY_STORE": "", "XDG_DATA_HOME": str(tmp_path / "data")}),
        "alone/.local/share/wherry": (
            [],
            {"WHERRY_STORE": "", "XDG_DATA_HOME": "", "HOME": str(tmp_path / "alone")},
        ),
    }
    for place, (options, env) in places.items():
        assert not (tmp_path / place).exists()
        assert wherry(*options, "pull", name, env=env).returncode == 0
        assert wherry(*options, "images", "-q", env=env).stdout == f"{IMAGE.id}\n"
        with_blobs = library.Store(tmp_path / place)
        assert str(with_blobs.get(name).id) == IMAGE.id
        with_blobs.close()


def test_a_store_that_cannot_be(
    wherry: Wherry, name: str, tmp_path: Path, fake: FakeRegistry
) -> None:
    file = tmp_path / "file"
    file.write_text("a file")
    done = wherry("--store", str(file / "store"), "pull", "-q", name)
    assert (done.returncode, done.stdout) == (1, "")
    first, *hints = done.stderr.splitlines()
    assert first.startswith("wherry: ")
    assert str(file) in first
    assert all(hint.startswith("  ") for hint in hints)
    assert file.read_text() == "a file"
    assert fake.requests == []  # it is known before anything is fetched
    assert wherry("--store", str(file), "pull", name).returncode == 2


@pytest.mark.parametrize("arguments", [("import", "-", "x:1"), ("load",), ("load", "-i", "-")])
def test_a_closed_stdin_is_no_archive(wherry: Wherry, arguments: tuple[str, ...]) -> None:
    command = f"{shlex.join([sys.executable, '-m', 'wherry', *arguments])} <&-"
    done = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, env=wherry.environment, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("wherry: standard input is closed")
    assert wherry("images", "-q").stdout == ""


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A directory that cannot be written, not even below."""
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    directory = tmp_path / "closed"
    directory.mkdir(mode=0o555)
    yield directory
    directory.chmod(0o755)


def test_a_store_that_cannot_be_written(wherry: Wherry, name: str, closed: Path) -> None:
    for place in (closed, closed / "store"):
        done = wherry("--store", str(place), "pull", "-q", name)
        assert (done.returncode, done.stdout) == (1, "")
        first, *hints = done.stderr.splitlines()
        assert str(closed) in first
        assert any("--store" in hint for hint in hints)


def test_a_database_that_is_none(wherry: Wherry, name: str, tmp_path: Path) -> None:
    directory = tmp_path / "other"
    directory.mkdir()
    (directory / "wherry.db").write_text("this is no database" * 100)
    for arguments in (["images"], ["show", "x"], ["pull", "-q", name]):
        done = wherry("--store", str(directory), *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("wherry: ")
        assert "wherry.db" in done.stderr.splitlines()[0]


def test_a_disk_that_is_full_keeps_what_fits(
    wherry: Wherry, fake: FakeRegistry, store: library.Store
) -> None:
    big = build_image([tar_layer(pseudo_random_files(8, 1_500_000, 2))])
    fake.add_image("big", big, "t")
    name = f"{fake.host}/big:t"
    # No file may grow over 300 KiB: the next byte is refused, as on a disk that is full.
    limited = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -f 600; exec "$@"', "sh", sys.executable, "-m", "wherry", "pull",
         "-q", name],
        capture_output=True,
        text=True,
        env=wherry.environment,
        timeout=30,
        check=False,
    )  # fmt: skip
    assert (limited.returncode, limited.stdout) == (1, "")
    first, *hints = limited.stderr.splitlines()
    assert first.startswith("wherry: ")
    assert "too large" in first
    assert all(hint.startswith("  ") for hint in hints)
    assert store.images() == []
    kept = 600 * 512
    done = wherry("pull", "-q", name)
    assert (done.returncode, done.stdout) == (0, f"{big.id}\n")
    ranges = [r.headers.get("range") for r in fake.requests if big.layers[0].digest in r.path]
    assert ranges == [None, f"bytes={kept}-"]


# Secrets


def forms_of(user: str, password: str) -> list[str]:
    """Return a password as it could turn up in output."""
    raw = password.encode()
    pair = f"{user}:{password}".encode()
    encoded = [base64.b64encode(data).decode().rstrip("=") for data in (raw, pair)]
    return [password, quote(password), quote(password, safe=""), quote_plus(password),
            json.dumps(password)[1:-1], repr(password)[1:-1], raw.hex(), *encoded]  # fmt: skip


def no_secret(done: subprocess.CompletedProcess[str], *secrets: str) -> None:
    for secret in secrets:
        assert secret
        assert secret not in done.stdout
        assert secret not in done.stderr


def scenarios() -> dict[str, Callable[[FakeRegistry], None]]:
    def nothing(_: FakeRegistry) -> None:
        return

    def answer(action: FixedReply | Replace | Corrupt, path: str) -> Callable[[FakeRegistry], None]:
        def inject(registry: FakeRegistry) -> None:
            registry.inject(Fault(action, path=path))
            if registry.storage is not None:
                registry.storage.inject(Fault(action, path=path))

        return inject

    return {
        "good": nothing,
        "server-error": answer(FixedReply(500), "/manifests/sha256:"),
        "denied": answer(FixedReply(403), "/blobs/"),
        "no-token": answer(Replace(b"not json"), "/token"),
        "token-server-fails": answer(FixedReply(500), "/token"),
        "corrupt": answer(Corrupt(at=3), IMAGE.layers[0].digest),
    }


@pytest.mark.parametrize("tokens", [False, True], ids=["basic", "tokens"])
@pytest.mark.parametrize("scenario", [*scenarios(), "wrong"])
def test_the_password_is_never_shown(wherry: Wherry, scenario: str, *, tokens: bool) -> None:
    given = PASSWORD if scenario != "wrong" else PASSWORD + "-wrong"
    with FakeRegistry(users={"me": PASSWORD}, tokens=tokens, redirect_blobs_to=True) as registry:
        registry.add_image("app", IMAGE, "t")
        if scenario in scenarios():
            scenarios()[scenario](registry)
        done = wherry(
            "--debug", "-v", "pull", "--retries=1", "--creds", f"me:{given}",
            f"{registry.host}/app:t",
        )  # fmt: skip
        sent = {r.headers.get("authorization", "") for r in registry.requests} - {""}
    # It was really sent, and a token too where there is one.
    assert any(header.startswith("Basic ") for header in sent)
    no_secret(done, *forms_of("me", given))
    no_secret(done, *(header.split()[1] for header in sent))
    no_secret(done, "X-Signature")
    codes = {"good": 0, "server-error": 1, "denied": 4, "corrupt": 5, "wrong": 4}
    if scenario in codes:
        assert done.returncode == codes[scenario]
    assert done.stderr  # there was something to search


def test_a_password_in_a_file_is_never_shown(wherry: Wherry, tmp_path: Path) -> None:
    with FakeRegistry(users={"me": "another"}) as registry:
        pair = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
        file = tmp_path / "auth.json"
        file.write_text(json.dumps({"auths": {registry.host: {"auth": pair}}}))
        done = wherry("--debug", "-v", "pull", f"--authfile={file}", f"{registry.host}/app:t")
        assert done.returncode == 4
        no_secret(done, *forms_of("me", PASSWORD), pair)
        file.write_text(json.dumps({"auths": {registry.host: {"auth": PASSWORD}}}))
        done = wherry("--debug", "-v", "pull", f"--authfile={file}", f"{registry.host}/app:t")
        assert done.returncode == 1
        no_secret(done, *forms_of("me", PASSWORD))
        file.write_text('{"auths": "' + PASSWORD)
        done = wherry("--debug", "-v", "pull", f"--authfile={file}", f"{registry.host}/app:t")
        assert done.returncode == 1
        no_secret(done, *forms_of("me", PASSWORD))


def test_an_identity_token_is_never_shown(wherry: Wherry, tmp_path: Path) -> None:
    secret = "identity-token-of-somebody"
    for known in (True, False):
        refresh = {secret: "me"} if known else {}
        with FakeRegistry(users={}, tokens=True, refresh_tokens=refresh) as registry:
            registry.add_image("app", IMAGE, "t")
            file = tmp_path / "auth.json"
            file.write_text(json.dumps({"auths": {registry.host: {"identitytoken": secret}}}))
            done = wherry("--debug", "-v", "pull", f"--authfile={file}", f"{registry.host}/app:t")
            assert any(secret.encode() in request.body for request in registry.requests)
        assert done.returncode == (0 if known else 4), done.stderr
        no_secret(done, secret)


def test_a_password_that_is_asked_for(wherry: Wherry, name: str) -> None:
    # Nobody is there to answer: no traceback, no hanging.
    done = wherry("pull", "--creds", "me", name, timeout=10)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
