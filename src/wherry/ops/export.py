"""Write the merged file system of an image as one tar."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wherry.archive.write_errors import NOTHING_LEFT, check_parent, translate_write_errors
from wherry.content.output import whole_file
from wherry.content.read_ahead import read_ahead
from wherry.content.verify import RawLimit, layer_name
from wherry.errors import IntegrityError, Unsupported
from wherry.ops.open_layers import open_layers
from wherry.transfer.progress import Emitter
from wherry.unpack.apply import too_much_content
from wherry.unpack.entry_filter import Selection
from wherry.unpack.layer_feed import LayerFeed
from wherry.unpack.layer_reader import LayerReader
from wherry.unpack.merged import Merger
from wherry.unpack.tar_entries import read_entries
from wherry.unpack.tar_output import BLOCK, END, header

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from wherry.content.cancel import CancelToken
    from wherry.model.address import Address
    from wherry.ops.documents import PlatformChoice
    from wherry.ops.open_source import Access
    from wherry.ops.unpack_options import UnpackOptions
    from wherry.unpack.merged import MergedFile
    from wherry.unpack.unpack_layers import PackedLayer

_CUT_OFF = "what was written is not complete"
_CHUNK = 2**20


def export(
    address: Address,
    target: Path | BinaryIO,
    wanted: PlatformChoice,
    options: UnpackOptions,
    access: Access,
) -> None:
    """Write the files of an image as one tar, sorted by path.

    Args:
        address: The image.
        target: A stream or a path. A file is complete when it gets its name; a pipe or a device
            is written to.
        wanted: The platform.
        options: How layers are fetched, and the limits.
        access: What opening the image takes.

    Raises:
        StoreError: The target cannot be written.
        WherryError: As `export_pieces`.
    """
    if not isinstance(target, Path):
        pieces = export_pieces(address, wanted, options, access)
        with contextlib.closing(pieces), translate_write_errors("the output", left=_CUT_OFF):
            _write(pieces, target)
        return
    target = Path(os.path.realpath(target)) if target.is_file() else target
    is_file = target.is_file() or not target.exists()
    if is_file:
        check_parent(target)
    pieces = export_pieces(address, wanted, options, access, target.parent if is_file else None)
    with (
        contextlib.closing(pieces),
        translate_write_errors(target, left=NOTHING_LEFT if is_file else _CUT_OFF),
        _open_file(target) if is_file else target.open("wb", 0) as file,
    ):
        _write(pieces, file)


@contextlib.contextmanager
def _open_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file, which gets its name after the block."""
    with whole_file(path) as descriptor, os.fdopen(descriptor, "wb", 0, closefd=False) as file:
        yield file


def _write(pieces: Iterator[bytes], file: BinaryIO) -> None:
    """Write all pieces; a stream without a buffer may take less than a whole one."""
    for piece in pieces:
        left = memoryview(piece)
        while left:
            left = left[file.write(left) or 0 :]
    file.flush()


def export_pieces(
    address: Address,
    wanted: PlatformChoice,
    options: UnpackOptions,
    access: Access,
    directory: Path | None = None,
) -> Generator[bytes]:
    """Yield the files of an image as one tar, sorted by path.

    The same image always gives the same bytes. All layers are read and verified first. Their
    decompressed content waits in temporary files in ``directory``, since an upper layer may
    remove or replace it.

    Raises:
        NotFound: A pattern of ``options`` matches nothing; nothing was yielded.
        IntegrityError: A layer is damaged; nothing was yielded.
        UnsafeArchive: A layer has an entry that leads outside of the root.
        WherryError: The image cannot be read.
    """
    directory = directory or Path(tempfile.gettempdir())
    emitter = Emitter(access.listener, str(address))
    with (
        open_layers(address, wanted, directory, options, emitter, access) as image,
        contextlib.ExitStack() as opened,
    ):
        merger = Merger(options.limits.files, keeps_dirlinks=options.keeps_dirlinks)
        selection, contents = Selection(options.wanted), []
        with translate_write_errors(directory):
            for layer in image.layers:
                file = opened.enter_context(tempfile.TemporaryFile(dir=directory))
                contents.append(file.fileno())
                read_layer(layer, merger, selection, access.cancel, file.fileno())
        selection.check()
        yield from read_ahead(_tar(limited(merger.files(), options), contents, access.cancel))


def _tar(
    files: Iterator[MergedFile], contents: Sequence[int], cancel: CancelToken
) -> Iterator[bytes]:
    """Yield the tar in pieces."""
    for file in files:
        cancel.check()
        yield header(file.entry if file.path else file.entry._replace(name=b"."))
        if file.entry.size and file.origin is not None:
            yield from _content(file, contents[file.origin.layer - 1])
            yield bytes(-file.entry.size % BLOCK)
    yield END


def read_layer(
    layer: PackedLayer,
    merger: Merger,
    selection: Selection,
    cancel: CancelToken,
    content: int | None = None,
) -> None:
    """Verify and merge a layer; write what it decompresses to, to a file if there is one."""
    merger.begin_layer()
    limit = RawLimit().of(layer.size)
    try:
        with (
            layer.open() as source,
            LayerFeed(source, layer.diff_id, cancel, limit, layer.abandon) as feed,
        ):
            next_piece = feed.next_piece if content is None else _kept(feed.next_piece, content)
            reader = LayerReader(next_piece)
            for entry in selection.select(read_entries(reader)):
                merger.add(entry, reader)
    except (IntegrityError, Unsupported) as error:
        raise error.within(layer_name(layer.digest)) from error.__cause__


def _kept(next_piece: Callable[[], memoryview], file: int) -> Callable[[], memoryview]:
    """Return a function that writes each piece to a file before it returns the piece."""

    def read() -> memoryview:
        piece = next_piece()
        left = piece
        while left:
            left = left[os.write(file, left) :]
        return piece

    return read


def limited(files: Iterator[MergedFile], options: UnpackOptions) -> Iterator[MergedFile]:
    """Yield files; raise `UnsafeArchive` for more content than is allowed."""
    size = options.limits.size
    for file in files:
        size -= file.entry.size
        if size < 0:
            raise too_much_content(file.entry)
        yield file


def _content(file: MergedFile, source: int) -> Iterator[bytes]:
    """Yield the content of a file, with zeros for its holes."""
    entry, at = file.entry, file.offset
    if entry.extents is None:
        yield from _range(source, at, entry.size)
        return
    written = 0
    for extent in entry.extents:
        yield from _zeros(extent.offset - written)
        yield from _range(source, at, extent.size)
        at += extent.size
        written = extent.offset + extent.size
    yield from _zeros(entry.size - written)


def _range(source: int, at: int, size: int) -> Iterator[bytes]:
    while size > 0:
        data = os.pread(source, min(size, _CHUNK), at)
        yield data
        at += len(data)
        size -= len(data)


def _zeros(size: int) -> Iterator[bytes]:
    chunk = bytes(min(size, _CHUNK))
    while size > 0:
        yield chunk[:size]
        size -= len(chunk)
