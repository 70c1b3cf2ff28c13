"""A planned copy, as `Client.plan_copy` returns it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import wherry

if TYPE_CHECKING:
    from wherry.ops.copy_choice import CopyChoice
    from wherry.transfer.plan_values import CopyPlan


class Plan:
    """What a copy will do: blobs to move, documents to write, names to set.

    A plan is a value: it can be printed, compared and pickled. ``str()`` is one line for people,
    `to_json` has everything. The root of the image is fixed: a tag that moves changes nothing.
    `Client.plan_copy` makes plans.
    """

    def __init__(self, steps: Any, choice: Any, store: str | None) -> None:
        # Only `Client.plan_copy` makes plans, so the types of the parts are not public.
        self._steps: CopyPlan = steps
        self._choice: CopyChoice = choice
        self._store = store

    def _parts(self) -> tuple[CopyPlan, CopyChoice, str | None]:
        """Return what `Client.execute` takes of a plan."""
        return self._steps, self._choice, self._store

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, Plan) else NotImplemented

    def __hash__(self) -> int:
        return hash((self._steps.root, self._steps.source, self._steps.destination))

    def __str__(self) -> str:
        from wherry.transfer.plan_text import summarize

        return summarize(self._steps)

    def __repr__(self) -> str:
        return f"<Plan {self.source} to {self.destination}: {self}>"

    @property
    def source(self) -> str:
        """The address to copy from."""
        return self._steps.source

    @property
    def destination(self) -> str:
        """The address to copy to."""
        return self._steps.destination

    @property
    def bytes_to_move(self) -> int:
        """Bytes of the blobs to send, as they are at the source."""
        return self._steps.bytes_to_move

    @property
    def moves(self) -> tuple[wherry.types.Move | wherry.types.Convert, ...]:
        """The blobs to send, as they are or converted."""
        return self._steps.moves

    @property
    def mounts(self) -> tuple[wherry.types.Mount, ...]:
        """The blobs to mount from another repository of the destination's registry."""
        return self._steps.mounts

    @property
    def skips(self) -> tuple[wherry.types.Skip, ...]:
        """The blobs that the destination has."""
        return self._steps.skips

    @property
    def documents(self) -> tuple[wherry.types.PlannedDocument, ...]:
        """The manifests and indexes to write."""
        return self._steps.writes

    @property
    def names(self) -> tuple[str, ...]:
        """The names to set."""
        return tuple(each.name for each in self._steps.names)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, such as digests that change."""
        return self._steps.notes

    def to_json(self) -> dict[str, Any]:
        """Return the whole plan for `json.dumps`."""
        return self._steps.to_json()

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
