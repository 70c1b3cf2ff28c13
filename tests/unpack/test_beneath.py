"""Directories below a root, on kernels with and without openat2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from hostile_layers import HOSTILE, REFUSED
from wherry.unpack.beneath import OpenDirectories, walk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A filter of seccomp(2) that knows no openat2, as of old kernels and of some sandboxes.
NO_FILTERS = 77  # exit code where a sandbox forbids filters
WITHOUT_OPENAT2 = """
import ctypes, errno, json, struct, sys
from pathlib import Path

OPENAT2, ALLOW, ERROR = 437, 0x7FFF0000, 0x00050000
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, OPENAT2), (0x06, 0, 0, ERROR | errno.ENOSYS),
         (0x06, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in steps))
program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
if libc.prctl(22, 2, program, 0, 0):  # PR_SET_SECCOMP
    sys.exit(int(sys.argv[2]))
assert libc.syscall(OPENAT2, -1, 0, 0, 0) == -1 and ctypes.get_errno() == errno.ENOSYS

from hostile_layers import HOSTILE, fill_in
from trees import describe
from wherry import Client, IntegrityError
from wherry.testing import build_image, layout_files, write_files

place, refused = Path(sys.argv[1]), []
outside = place / "outside"
outside.mkdir()
(outside / "secret").write_bytes(b"secret")
before = describe(outside)
with Client(store=place / "store") as client:
    for number, (name, layers) in enumerate(HOSTILE.items()):
        image = build_image([fill_in(each, outside) for each in layers], compression="none")
        write_files(place / str(number), layout_files({"x": image}))
        try:
            client.unpack(f"oci:{place / str(number)}:x", place / "root", replace=True)
        except IntegrityError:
            refused.append(name)
        assert describe(outside) == before, name
print(json.dumps(refused))
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "link").symlink_to("b")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "a" / "file").touch()
    found = os.open(tmp_path, os.O_RDONLY)
    yield found
    os.close(found)


def test_a_directory(root: int, tmp_path: Path) -> None:
    directories = OpenDirectories(root)
    for found in (directories.get((b"a", b"b")), walk(root, (b"a", b"b"))):
        assert os.path.samestat(os.fstat(found), (tmp_path / "a" / "b").stat())
    os.close(found)
    directories.close()


@pytest.mark.parametrize("path", [(b"link",), (b"link", b"b"), (b"a", b"link"), (b"a", b"file")])
def test_links_and_files_are_no_directories(root: int, path: tuple[bytes, ...]) -> None:
    for opens in (OpenDirectories(root).get, lambda path: walk(root, path)):
        with pytest.raises(OSError, match=r"symbolic links|Not a directory"):
            opens(path)


def test_nothing_outside_is_touched_without_openat2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_OPENAT2, tmp_path, str(NO_FILTERS)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode == NO_FILTERS:
        pytest.skip("seccomp is forbidden here")
    assert done.returncode == 0
    assert json.loads(done.stdout) == [name for name in HOSTILE if name in REFUSED]
