"""Unpacking the layers of an image into a directory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

from wherry.content.verify import layer_name
from wherry.errors import IntegrityError, Unsupported
from wherry.model.record import Record
from wherry.unpack.apply import Applier
from wherry.unpack.entry_filter import Selection
from wherry.unpack.layer_feed import LayerFeed
from wherry.unpack.layer_reader import LayerReader
from wherry.unpack.plan import Planner
from wherry.unpack.tar_entries import read_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from wherry.content.cancel import CancelToken
    from wherry.content.protocols import RawStream
    from wherry.content.verify import RawLimit
    from wherry.model.digest import Digest
    from wherry.unpack.apply import LayerContent, UnpackLimits
    from wherry.unpack.entry import Entry
    from wherry.unpack.entry_filter import EntryFilter
    from wherry.unpack.owners import Owners


def _nothing() -> None:
    """Do nothing: no read of a local layer waits."""


class PackedLayer(Record):
    """A layer to unpack.

    Attributes:
        digest: The digest of the layer as it is stored, for errors.
        diff_id: The DiffID that the config states; None if it is not known.
        open: Opens the layer as it is stored.
        size: Its size in bytes as it is stored.
        abandon: Ends reads that wait until more of the layer arrives.
    """

    digest: Digest
    diff_id: Digest | None
    open: Callable[[], AbstractContextManager[RawStream]]
    size: int
    abandon: Callable[[], None] = _nothing

    @contextlib.contextmanager
    def read(
        self, limit: RawLimit, cancel: CancelToken
    ) -> Iterator[tuple[Iterator[Entry], LayerReader]]:
        """Yield the entries, and the reader that is at the content of the last entry.

        After the last entry the layer is verified.
        """
        raw_limit = limit.of(self.size)
        with (
            self.open() as source,
            LayerFeed(source, self.diff_id, cancel, raw_limit, self.abandon) as feed,
        ):
            reader = LayerReader(feed.next_piece)
            yield read_entries(reader), reader


class Layer(Protocol):
    """A layer, packed or in a cache."""

    @property
    def digest(self) -> Digest:
        """The digest of the layer as registries have it."""

    def read(
        self, limit: RawLimit, cancel: CancelToken, /
    ) -> AbstractContextManager[tuple[Iterator[Entry], LayerContent]]:
        """Yield the entries, and what is at the content of the last entry."""


def unpack_layers(
    layers: Iterable[Layer],
    root: int,
    owners: Owners,
    wanted: EntryFilter,
    limits: UnpackLimits,
    raw_limit: RawLimit,
    cancel: CancelToken,
    warn: Callable[[str], None],
    *,
    keeps_dirlinks: bool = False,
) -> None:
    """Unpack layers, bottom first, into an empty directory.

    Args:
        layers: The layers.
        root: A descriptor of the directory; no other process may write there.
        owners: Whose the files are.
        wanted: Which entries are unpacked.
        limits: The limits of the image.
        raw_limit: The limit of each decompressed layer.
        cancel: Stops the call.
        warn: Called with what cannot be done here, once for each kind.
        keeps_dirlinks: Whether an entry for a directory leaves a link to a directory in place.

    Raises:
        NotFound: A pattern of the filter matches nothing.
        IntegrityError: A layer is damaged, or its DiffID is not the stated one.
        UnsafeArchive: An entry leads outside of the root, or the limits are exceeded.
        OSError: The directory cannot be written.
    """
    planner = Planner(keeps_dirlinks=keeps_dirlinks)
    selection = Selection(wanted)
    with Applier(root, owners, limits, warn) as applier:
        for layer in layers:
            planner.begin_layer()
            try:
                _unpack_layer(layer, planner, applier, selection, raw_limit, cancel)
            except (IntegrityError, Unsupported) as error:
                raise error.within(layer_name(layer.digest)) from error.__cause__
        selection.check()
        applier.finish(planner.root)


def _unpack_layer(
    layer: Layer,
    planner: Planner,
    applier: Applier,
    selection: Selection,
    raw_limit: RawLimit,
    cancel: CancelToken,
) -> None:
    with layer.read(raw_limit, cancel) as (entries, content):
        for entry in selection.select(entries):
            for operation in planner.plan(entry):
                applier.apply(operation, content)
