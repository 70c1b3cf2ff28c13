"""A planned copy, as `Client.plan_copy` returns it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import wherry
from wherry.model.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from wherry.ops.copy_choice import CopyChoice
    from wherry.transfer.plan_values import Convert, CopyPlan, Mount, Move, PlannedDocument, Skip


class Plan(Record):
    """What a copy will do: blobs to move, documents to write, names to set.

    A plan is a value: it can be printed, compared and pickled. ``str()`` is one line for people,
    `to_json` has everything. The root of the image is fixed: a tag that moves changes nothing.

    Attributes:
        steps: The plan itself.
        choice: What was asked for.
        store: The path of the store that a source or destination ``store:`` means.
    """

    steps: CopyPlan
    choice: CopyChoice
    store: str | None = None

    def __str__(self) -> str:
        return self.steps.summary

    @property
    def source(self) -> str:
        """The address to copy from."""
        return self.steps.source

    @property
    def destination(self) -> str:
        """The address to copy to."""
        return self.steps.destination

    @property
    def bytes_to_move(self) -> int:
        """Bytes of the blobs to send, as they are at the source."""
        return self.steps.bytes_to_move

    @property
    def moves(self) -> tuple[Move | Convert, ...]:
        """The blobs to send, as they are or converted."""
        return self.steps.moves

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """The blobs to mount from another repository of the destination's registry."""
        return self.steps.mounts

    @property
    def skips(self) -> tuple[Skip, ...]:
        """The blobs that the destination has."""
        return self.steps.skips

    @property
    def documents(self) -> tuple[PlannedDocument, ...]:
        """The manifests and indexes to write."""
        return self.steps.writes

    @property
    def names(self) -> tuple[str, ...]:
        """The names to set."""
        return tuple(each.name for each in self.steps.names)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, such as digests that change."""
        return self.steps.notes

    def to_json(self) -> dict[str, Any]:
        """Return the whole plan for `json.dumps`."""
        return self.steps.to_json()

    def execute(
        self,
        client: wherry.Client | None = None,
        *,
        on_event: Callable[[wherry.Event], None] | None = None,
        cancel: wherry.CancelToken | None = None,
    ) -> wherry.types.CopyResult:
        """Carry out the plan. Idempotent: what is there by then is not sent again.

        Args:
            client: The client to use; by default one with the settings of the environment.
            on_event: Called with each event.
            cancel: Ends the call.

        Raises:
            WherryError: As `Client.copy`.
        """
        if client is not None:
            return client.execute(self, on_event=on_event, cancel=cancel)
        with wherry.Client() as own:
            return own.execute(self, on_event=on_event, cancel=cancel)
