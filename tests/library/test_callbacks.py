"""A callback that raises does not stop the call, and its error is logged."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from wherry.testing import FakeRegistry, build_image, tar_layer

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import sys
import wherry

def broken(*_):
    {raising}

name, directory = sys.argv[1:]
kept = wherry.Store(directory + "/kept")
with wherry.Client(store=kept, on_request={on_request}) as client:
    client.pull(name)
    client.save(name, directory + "/a.tar")
    store = directory + "/other"
    listener = {on_event}
    {call}
print("done")
"""
CALLS = {
    "pull": "client.pull(name, store=store, on_event=listener)",
    "pull_all_tags": "client.pull_all_tags(name[:-2], store=store, on_event=listener)",
    "save": "client.save(name, directory + '/b.tar', on_event=listener)",
    "load": "client.load(directory + '/a.tar', store=store, on_event=listener)",
    "import_": "client.import_(directory + '/a.tar', on_event=listener)",
}


def run(tmp_path: Path, fake: FakeRegistry, **words: str) -> tuple[str, str]:
    fake.add_image("app", build_image([tar_layer({"a": b"1" * 100_000})]), "t")
    program = PROGRAM.format(**{"raising": "1 / 0", "on_request": None, "on_event": None} | words)
    done = subprocess.run(
        [sys.executable, "-c", program, f"{fake.host}/app:t", tmp_path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout, done.stderr


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("call", "raising"),
    # A pull calls the listener in a thread of its own, the others in that of the caller.
    [*((call, "1 / 0") for call in CALLS), ("pull", "raise SystemExit(3)")],
)
def test_a_listener_that_raises_is_heard_of(
    tmp_path: Path, fake: FakeRegistry, call: str, raising: str
) -> None:
    words = {"call": CALLS[call], "raising": raising, "on_event": "broken"}
    printed, complaint = run(tmp_path, fake, **words)
    assert printed == "done\n"
    assert "on_event raised an exception; later ones are not reported" in complaint
    assert ("ZeroDivisionError" if "/" in raising else "SystemExit: 3") in complaint
    assert "in broken" in complaint


@pytest.mark.usefixtures("environment")
def test_an_observer_of_requests_that_raises_is_heard_of(
    tmp_path: Path, fake: FakeRegistry
) -> None:
    printed, complaint = run(tmp_path, fake, call="pass", on_request="broken")
    assert printed == "done\n"
    assert complaint.count("on_request raised an exception") == 1


@pytest.mark.usefixtures("environment")
def test_what_the_caller_is_asked_in_its_own_thread_raises_there(
    tmp_path: Path, fake: FakeRegistry
) -> None:
    call = "kept.check(on_progress=broken)"
    printed, complaint = run(tmp_path, fake, call=call)
    assert printed == ""
    assert complaint.rstrip().endswith("ZeroDivisionError: division by zero")
