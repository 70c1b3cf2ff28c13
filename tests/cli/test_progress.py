"""Rates, totals and time left, also after a resume."""

from __future__ import annotations

import json
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from wherry.cli.tally import Tally
from wherry.content.events import Event, Status
from wherry.model.digest import Digest
from wherry.testing import Cut, FakeRegistry, Fault, Stall, Trickle, build_image, tar_layer

if TYPE_CHECKING:
    import wherry as library
    from conftest import Wherry

LAYER = Digest.of(b"layer")
IMAGE = build_image([tar_layer({"noise": Random(6).randbytes(3_000_000)})], compression="none")  # noqa: S311
PIECE = IMAGE.layers[0]


def tally(*steps: tuple[Status, int]) -> Tally:
    found = Tally()
    found.update(Event(Status.RESOLVED, "x"))
    for status, current in steps:
        found.update(Event(status, "x", LAYER, current, 1000))
    time.sleep(0.002)  # a rate needs some elapsed time
    return found


def test_bytes_of_an_earlier_pull_do_not_count_for_the_rate() -> None:
    found = tally((Status.PULLING, 0), (Status.DOWNLOADING, 600))
    assert (found.current, found.total, found.rate(), found.left()) == (600, 1000, 0.0, None)
    assert found.summary() == "0/1 layers, 0.6/1.0 kB"


def test_existing_layers_do_not_count_for_the_rate() -> None:
    found = tally((Status.PULLING, 0), (Status.EXISTS, 1000))
    assert (found.current, found.ended, found.left()) == (1000, 1, None)


@pytest.mark.parametrize("status", [Status.DOWNLOADING, Status.WAITING])
def test_bytes_that_arrive_count_for_the_rate(status: Status) -> None:
    found = tally((Status.PULLING, 0), (status, 600), (status, 800))
    assert found.current == 800
    rate, left = found.rate(), found.left()
    assert 0 < rate <= 200 / 0.002
    assert left is not None
    assert left > 0
    assert " left" in found.summary()


def test_a_retry_keeps_the_bytes_that_have_arrived() -> None:
    found = tally(
        (Status.DOWNLOADING, 0),
        (Status.DOWNLOADING, 500),
        (Status.RETRYING, 0),
    )
    assert found.current == 500
    found.update(Event(Status.DOWNLOADING, "x", LAYER, 500, 1000))
    assert found.current == 500


def test_a_restart_gives_no_negative_rate() -> None:
    found = tally(
        (Status.DOWNLOADING, 900),
        (Status.DOWNLOADING, 0),
        (Status.DOWNLOADING, 10),
    )
    assert found.current == 10
    assert 0 < found.rate() <= 10 / 0.002


def test_a_plan_begins_a_new_tally() -> None:
    found = tally((Status.DOWNLOADING, 900))
    found.update(Event(Status.PLANNED, "y"))
    found.update(Event(Status.PREPARING, "y", LAYER, 0, 500))
    assert (found.current, found.total, found.ended, len(found.layers)) == (0, 500, 0, 1)
    found.update(Event(Status.SKIPPED, "y", LAYER, 500, 500))
    assert (found.current, found.total, found.ended) == (500, 500, 1)


def test_compression_is_not_counted_as_sent() -> None:
    found = tally((Status.PREPARING, 0), (Status.PACKING, 300), (Status.PACKING, 800))
    assert (found.current, found.total, found.rate(), found.left()) == (0, 1000, 0.0, None)
    found.update(Event(Status.PUSHING, "x", LAYER, 0, 400))
    found.update(Event(Status.PUSHING, "x", LAYER, 100, 400))
    assert (found.current, found.total) == (100, 400)
    assert 0 < found.rate() <= 100 / 0.002
    found.update(Event(Status.PUSHED, "x", LAYER, 400, 400))
    assert found.summary().startswith("1/1 layers, 400/400 B")


def summaries(stderr: str) -> list[dict[str, float]]:
    events = [json.loads(line) for line in stderr.splitlines()]
    return [event for event in events if event["status"] == "summary"]


def test_summaries_in_json(wherry: Wherry, fake: FakeRegistry, store: library.Store) -> None:
    """The rate counts only bytes that arrive, with or without an earlier pull."""
    fake.add_image("app", IMAGE, "t")
    part = store.path / "ingest" / f"{PIECE.digest.replace(':', '-')}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(PIECE.data[:1_500_000])
    fake.inject(Fault(Trickle(600_000), path=PIECE.digest))
    done = wherry("pull", "--progress=json", f"{fake.host}/app:t")
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.id}\n")
    found = summaries(done.stderr)
    assert found
    # A slow machine may report once more between the last byte and the end.
    found = [each for each in found if each["current"] < PIECE.size]
    for each in found:
        assert set(each) == {
            "status", "reference", "current", "total", "rate", "seconds", "layers", "ended",
        }  # fmt: skip
        assert (each["total"], each["layers"], each["ended"]) == (PIECE.size, 1, 0)
        assert each["rate"] < 1_000_000
    last = found[-1]
    assert last["current"] > 1_500_000
    left = (last["total"] - last["current"]) / last["rate"]
    assert last["seconds"] == pytest.approx(left, abs=0.1)
    first = next(
        event
        for event in map(json.loads, done.stderr.splitlines())
        if event["status"] == "downloading"
    )
    assert first["current"] == 1_500_000


def test_a_log_reports_waiting_once(wherry: Wherry, fake: FakeRegistry) -> None:
    fake.add_image("app", IMAGE, "t")
    fake.inject(Fault(Stall(after=1_000_000), path=PIECE.digest, times=1))
    first = wherry.start("pull", "-q", f"{fake.host}/app:t")
    while not any(PIECE.digest in request.path for request in fake.requests):
        assert first.poll() is None
    second = wherry.start("pull", f"{fake.host}/app:t")
    assert second.stderr is not None
    assert "Pulling from" in second.stderr.readline()
    assert second.stderr.readline() == f"{PIECE.digest[7:19]}  Waiting\n"
    time.sleep(0.3)
    first.kill()
    assert first.wait(20) < 0
    first.communicate()
    output, errors = second.communicate(timeout=20)
    assert output == f"{IMAGE.id}\n"
    assert errors.startswith(f"{PIECE.digest[7:19]}  Pull complete")


def test_validate_reports_retries(wherry: Wherry, fake: FakeRegistry) -> None:
    fake.add_image("app", IMAGE, "t")
    fake.inject(Fault(Cut(after=1_000_000), path=PIECE.digest, times=2))
    done = wherry("validate", f"{fake.host}/app:t")
    assert done.returncode == 0, done.stdout
    retries = done.stderr.splitlines()
    assert len(retries) == 2
    assert all(line.startswith("Retrying in ") for line in retries)
    asked = [r.headers.get("range") for r in fake.requests if PIECE.digest in r.path]
    assert asked == [None, "bytes=1000000-", "bytes=2000000-"]


@pytest.mark.parametrize("form", ["plain", "tty", "json", "auto"])
def test_progress_does_not_go_to_stdout(wherry: Wherry, fake: FakeRegistry, form: str) -> None:
    fake.add_image("app", IMAGE, "t")
    fake.inject(Fault(Cut(after=1_000_000), path=PIECE.digest, times=1))
    done = wherry("pull", f"--progress={form}", f"{fake.host}/app:t")
    assert (done.returncode, done.stdout) == (0, f"{IMAGE.id}\n")
    assert "etrying" in done.stderr
