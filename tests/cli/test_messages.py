"""``--progress json``: stderr has only objects, and the last one has the outcome."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from wherry.testing import (
    FakeRegistry,
    Fault,
    FixedReply,
    Stall,
    Trickle,
    build_image,
    pseudo_random_files,
    refused_port,
    tar_layer,
)

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry

IMAGE = build_image([tar_layer({"a": b"1"})])
BIG = build_image([tar_layer(pseudo_random_files(1, 3_000_000, 2))])


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    fake.add_image("app", IMAGE, "t")
    return f"{fake.host}/app:t"


def objects(stderr: str) -> list[dict[str, Any]]:
    """Parse every line as an object with a status and a reference."""
    found = [json.loads(line) for line in stderr.splitlines()]
    assert all({"status", "reference"} <= each.keys() for each in found)
    assert not [each for each in found[:-1] if each["status"] in {"success", "failure"}]
    return found


def ended(wherry: Wherry, code: int, *arguments: str, **options: Any) -> list[dict[str, Any]]:
    """Run `pull --progress json` and return all objects but the last."""
    done = wherry("pull", "--progress", "json", *arguments, **options)
    *rest, last = objects(done.stderr)
    assert done.returncode == last["code"] == code
    assert last["status"] == ("failure" if code else "success")
    if code:
        first = next(each for each in rest if each["status"] == "error")
        assert last["message"] == first["message"]
    return rest


def test_success(wherry: Wherry, name: str) -> None:
    assert ended(wherry, 0, name)[-1]["status"] == "done"
    assert ended(wherry, 0, "-q", name) == []


def test_not_found(wherry: Wherry, name: str) -> None:
    *_, error = ended(wherry, 3, name.replace(":t", ":none"))
    assert (error["status"], error["code"], error["kind"]) == ("error", 3, "NotFound")
    assert error["reference"] == name.replace(":t", ":none")
    assert error["message"].startswith(f"{error['reference']}: not found")
    assert error["hint"].startswith("`wherry tags ")


def test_several_names(wherry: Wherry, name: str, fake: FakeRegistry) -> None:
    other = f"{fake.host}/other"
    fake.inject(Fault(FixedReply(403), path="/denied/"))
    rest = ended(wherry, 3, other, name, f"{fake.host}/denied:t")
    told = [(each["reference"], each["code"]) for each in rest if each["status"] == "error"]
    assert told == [(f"{other}:latest", 3), (f"{fake.host}/denied:t", 4)]
    assert [each["reference"] for each in rest if each["status"] == "done"] == [name]


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["--all-platforms", "--platform", "linux/amd64", "x"], "UsageError"),
        (["Alpine"], "InvalidReference"),
        (["store:alpine"], "UsageError"),
        (["--platform", "a/b/c/d", "x"], "InvalidReference"),
        (["--jobs", "0", "x"], "BadParameter"),
        (["--tls-verify=false", "x"], "NoSuchOption"),
        (["--progress"], "BadOptionUsage"),
        ([], "MissingParameter"),
    ],
)
def test_usage_errors(wherry: Wherry, arguments: list[str], kind: str) -> None:
    if arguments == ["--progress"]:  # the option twice, the second time without a value
        done = wherry("pull", "--progress=json", "--progress")
        assert done.returncode == 2
        return
    (error,) = ended(wherry, 2, *arguments)
    assert (error["kind"], error["code"]) == (kind, 2)
    assert not error["message"].startswith("wherry:")


def test_both_forms_of_the_option(wherry: Wherry) -> None:
    for words in (["--progress=json"], ["--progress=plain", "--progress", "json"]):
        assert objects(wherry("pull", *words, "Alpine").stderr)[-1]["code"] == 2
    for words in (["--progress=json", "--progress=plain"], ["--", "--progress=json"]):
        assert wherry("pull", *words, "Alpine").stderr.startswith("wherry: ")


def test_warnings_retries_and_requests(wherry: Wherry, fake: FakeRegistry) -> None:
    odd = build_image([tar_layer({"a": b"1"})], architecture="s390x")
    fake.add_image("odd", odd, "t")
    fake.inject(Fault(FixedReply(503), path="/manifests/", times=1))
    done = wherry("-v", "pull", "--progress=json", f"{fake.host}/odd:t")
    found = objects(done.stderr)
    kinds = {each["status"] for each in found}
    assert {"warning", "retrying", "request", "resolved", "done", "success"} <= kinds
    request = next(each for each in found if each["status"] == "request")
    assert request["message"].startswith("> HEAD http")


def test_a_search_that_continues(
    wherry: Wherry, fake: FakeRegistry, name: str, tmp_path: Path
) -> None:
    with FakeRegistry() as empty:
        conf = tmp_path / "registries.conf"
        conf.write_text(f'unqualified-search-registries = ["{empty.host}", "{fake.host}"]\n')
        rest = ended(wherry, 0, "--registries-conf", str(conf), "app:t")
    assert "trying the next registry" in rest[0]["message"]
    assert (rest[0]["status"], rest[-1]["reference"]) == ("warning", name)


def test_an_unreachable_host(wherry: Wherry) -> None:
    rest = ended(wherry, 6, "--retries=2", f"127.0.0.1:{refused_port()}/app:t")
    assert [each["status"] for each in rest] == ["retrying", "error"]


def test_a_traceback(wherry: Wherry, name: str) -> None:
    done = wherry("--debug", "pull", "--progress=json", name + "no")
    debug, error, _ = objects(done.stderr)
    assert (debug["status"], error["status"]) == ("debug", "error")
    assert debug["message"].startswith("Traceback")


def test_an_unusable_store(wherry: Wherry, name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = wherry("--store", str(tmp_path / "file"), "pull", "--progress=json", name)
    assert done.returncode == objects(done.stderr)[-1]["code"] != 0


def test_an_output_error(wherry: Wherry, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wherry", "pull", "--progress=json", name],
        stdout=open("/dev/full", "w"),  # noqa: PTH123, SIM115 - closed with the test
        stderr=subprocess.PIPE,
        text=True,
        env=wherry.environment,
        timeout=30,
        check=False,
    )
    *_, error, last = objects(done.stderr)
    assert "cannot write the result" in error["message"]
    assert last["code"] == done.returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("action", [Trickle(200_000), Stall(after=1000, seconds=30)])
def test_interrupted(
    wherry: Wherry, fake: FakeRegistry, number: signal.Signals, action: Trickle | Stall
) -> None:
    fake.add_image("big", BIG, "t")
    fake.inject(Fault(action, path=BIG.layers[0].digest))
    process = wherry.start("pull", "--progress=json", f"{fake.host}/big:t")
    assert process.stderr is not None
    lines = []
    while '"downloading"' not in (line := process.stderr.readline()):
        lines.append(line)
    time.sleep(0.2)
    process.send_signal(number)
    _, rest = process.communicate(timeout=10)
    *_, error, last = objects("".join([*lines, line, rest]))
    assert error["message"].startswith("interrupted")
    assert (last["status"], last["code"], process.returncode) == ("failure", 130, 130)


def test_an_interrupt_at_any_moment(wherry: Wherry, name: str) -> None:
    """All lines are objects, and only the last one has the outcome."""
    for pause in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3):
        process = wherry.start("pull", "--progress=json", name)
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=10)
        if process.returncode == -signal.SIGINT or "KeyboardInterrupt" in stderr:
            continue  # Python had not started the command yet
        assert objects(stderr)[-1]["code"] == process.returncode
