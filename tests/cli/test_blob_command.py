"""``wherry blob``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from index_images import IMAGE, INDEX
from wherry.testing import (
    Corrupt,
    Cut,
    FakeRegistry,
    Fault,
    sha256,
)

if TYPE_CHECKING:
    from conftest import Wherry


@pytest.fixture
def name(fake: FakeRegistry) -> str:
    """An index with two tags."""
    fake.add_image("team/app", INDEX, "1.9.0", "1.10.0", "latest")
    return f"{fake.host}/team/app"


class TestBlob:
    def test_to_a_pipe_and_to_a_file(
        self, wherry: Wherry, name: str, fake: FakeRegistry, tmp_path: Path
    ) -> None:
        data = bytes(range(256)) * 2000
        digest = fake.add_blob(data)
        fake.inject(Fault(Cut(after=100_000), path="/blobs/", times=1))
        done = subprocess.run(
            [sys.executable, "-m", "wherry", "blob", f"{name}@{digest}"],
            capture_output=True, env=wherry.environment, timeout=30, check=True,
        )  # fmt: skip
        assert done.stdout == data
        target = tmp_path / "layer"
        target.write_bytes(b"before")
        assert wherry("blob", "-o", str(target), name, digest).returncode == 0
        assert target.read_bytes() == data
        (tmp_path / "plain").touch()  # with the mode that the umask leaves
        assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode

    def test_a_damaged_blob_leaves_no_file(
        self, wherry: Wherry, name: str, fake: FakeRegistry, tmp_path: Path
    ) -> None:
        digest = fake.add_blob(b"x" * 500_000)
        fake.inject(Fault(Corrupt(400_000), path="/blobs/"))
        (tmp_path / "out").mkdir()
        target = tmp_path / "out" / "layer"
        done = wherry("blob", "-o", str(target), name, digest)
        assert done.returncode == 5
        assert digest in done.stderr
        assert list((tmp_path / "out").iterdir()) == []
        piped = [sys.executable, "-m", "wherry", "blob", name, digest]
        streamed = subprocess.run(piped, capture_output=True, env=wherry.environment, check=False)
        assert (streamed.returncode, len(streamed.stdout)) == (5, 500_000)

    def test_a_device_is_written_to_and_stays(self, wherry: Wherry, name: str) -> None:
        assert wherry("blob", "-o", os.devnull, name, IMAGE.layers[0].digest).returncode == 0
        assert Path(os.devnull).is_char_device()

    def test_a_digest_that_is_not_a_blob(self, wherry: Wherry, name: str, tmp_path: Path) -> None:
        assert wherry("blob", name).returncode == 2
        assert wherry("blob", name, "sha256:1").returncode == 2
        assert wherry("blob", name, sha256(b"nothing")).returncode == 3
        nowhere = str(tmp_path / "no" / "layer")
        done = wherry("blob", "-o", nowhere, name, IMAGE.layers[0].digest)
        assert done.returncode == 1
        assert nowhere in done.stderr
