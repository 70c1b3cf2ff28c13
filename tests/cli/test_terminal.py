"""Progress on a terminal: the rows that are redrawn, and the lines that stay."""

from __future__ import annotations

import re
from random import Random
from typing import TYPE_CHECKING

from terminals import on_a_terminal
from wherry.testing import BuiltImage, FakeRegistry, Fault, Stall, Trickle, build_image, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Wherry

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
SLOW = 4_000_000  # bytes per second: slow enough to be drawn


def image(seed: int) -> BuiltImage:
    layers = [tar_layer({f"f{n}": Random(seed + n).randbytes(4_000_000)}) for n in range(2)]  # noqa: S311
    return build_image(layers, compression="none")


def test_results_are_not_overwritten(fake: FakeRegistry, environment: dict[str, str]) -> None:
    one, two = image(1), image(2)
    fake.add_image("one", one, "t")
    fake.add_image("two", two, "t")
    fake.inject(Fault(Trickle(SLOW), path="/blobs/"))
    names = [f"{fake.host}/one:t", f"{fake.host}/two:t"]
    written, code = on_a_terminal(environment, "pull", *names)
    assert code == 0
    assert "Downloading" in written
    assert " MB/s" in written
    assert "0 B/s" not in written
    lines = written.split("\r\n")
    for built in (one, two):
        assert built.id in lines  # on a line of its own
    behind = written[written.index(two.id) :]
    assert not ESCAPE.search(behind)


def test_a_layer_that_another_process_fetches_is_drawn(
    fake: FakeRegistry, environment: dict[str, str], wherry: Wherry
) -> None:
    built = image(3)
    fake.add_image("app", built, "t")
    fake.inject(Fault(Stall(after=1_500_000), path=built.layers[0].digest, times=1))
    first = wherry.start("pull", "-q", f"{fake.host}/app:t")
    while not any(built.layers[0].digest in request.path for request in fake.requests):
        assert first.poll() is None
    drawn = re.compile(rf"{built.layers[0].digest[7:19]}  Waiting  .*━.* 1.5/4.0 MB")

    def look(written: str) -> None:
        if drawn.search(ESCAPE.sub("", written)):
            first.kill()  # so that the waiting pull continues

    written, code = on_a_terminal(environment, "pull", f"{fake.host}/app:t", look=look)
    assert first.wait(20) < 0
    first.communicate()
    assert code == 0
    assert written.split("\r\n")[-2] == built.id


def test_a_short_pull_is_not_drawn(
    fake: FakeRegistry, environment: dict[str, str], tmp_path: Path
) -> None:
    built = build_image([tar_layer({"a": b""})])
    fake.add_image("app", built, "t")
    for attempt in range(5):  # a pull takes longer on a busy machine
        store = str(tmp_path / str(attempt))
        written, code = on_a_terminal(environment, "--store", store, "pull", f"{fake.host}/app:t")
        assert code == 0
        if not ESCAPE.search(written):
            break
    assert not ESCAPE.search(written)
    assert written.split("\r\n")[-2] == built.id
