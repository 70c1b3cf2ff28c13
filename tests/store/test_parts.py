"""Part files on a disk that becomes full."""

import contextlib
import errno
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.store.parts import open_part
from wherry.store.root_directory import open_store

DATA = bytes(range(256)) * 2000


@contextlib.contextmanager
def no_file_over(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("before", [0, 100_000])
def test_the_size_includes_what_fits_on_a_full_disk(tmp_path: Path, before: int) -> None:
    path = tmp_path / "part"
    part = open_part(open_store(str(tmp_path)), path.name)
    assert part is not None
    with contextlib.closing(part):
        part.append(DATA[:before])
        with no_file_over(300_000), pytest.raises(OSError) as caught:  # noqa: PT011 - see below
            part.append(DATA[before:])
        assert caught.value.errno == errno.EFBIG
        assert caught.value.filename == str(part.path)
        assert part.size == path.stat().st_size == 300_000
        part.append(DATA[part.size :])
    assert path.read_bytes() == DATA
