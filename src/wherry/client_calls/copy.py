"""Calls of a client that write to registries and other places, or delete there."""

from __future__ import annotations

from typing import Unpack

import wherry
from wherry._context import public_call
from wherry._values import (
    as_address,
    as_destination,
    as_pushed,
    as_reference,
    as_repository,
    locked_address,
)
from wherry.client_calls.base import ClientCalls, Listener
from wherry.content.cancel import CancelToken
from wherry.model.address import Address
from wherry.model.reference import Reference


class CopyCalls(ClientCalls):
    """Copy and push images, and delete them from registries.

    Every copy is planned first. What the destination has is not sent again.
    """

    @public_call
    def copy(
        self,
        origin: str | Address,
        destination: str | Reference | Address,
        *,
        store: wherry.types.StoreOrPath | None = None,
        locked: wherry.types.LockOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
        **options: Unpack[wherry.types.CopyArguments],
    ) -> wherry.types.CopyResult:
        """Copy an image from any place to any other. Idempotent.

        Digests stay as they are unless ``platform``, ``attestations``, ``convert_to`` or
        ``compression`` ask for a change, or a registry gets uncompressed layers, as with `push`.

        Args:
            origin: The image.
            destination: Where to copy it, and its name there. A name without a place is a
                repository in a registry.
            locked: A lock or its file. A name in a registry stands for the digest in it.
            options: What to copy. ``platform``: one platform, or several with commas between;
                several give a smaller index. ``all_platforms``: everything that an index
                lists. ``sparse``: keep an index although only some of its images are copied.
                ``referrers``: copy signatures, SBOMs and the like too. ``attestations``: False
                leaves out the attestations of an index. ``convert_to``: ``oci``, ``docker``
                or ``v2s1``. ``compression``: ``gzip[:LEVEL]``, ``zstd[:LEVEL]``, ``none`` or
                ``keep``. ``force``: send what the destination has already.
                ``additional_tags``: more tags to set in a registry.

        Raises:
            Denied: The registry does not allow writing.
            RegistryError: The registry refuses a blob or a document.
        """
        from wherry.ops.copy import copy

        access = self._context.access(store, on_event, cancel)
        found = locked_address(as_address(origin), locked)
        choice = self._context.copy_choice("copy", options)
        return copy(found, as_destination(destination), choice, access)

    @public_call
    def plan_copy(
        self,
        origin: str | Address,
        destination: str | Reference | Address,
        *,
        store: wherry.types.StoreOrPath | None = None,
        locked: wherry.types.LockOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
        **options: Unpack[wherry.types.CopyArguments],
    ) -> wherry.Plan:
        """Plan a copy, and write nothing; `Plan.execute` carries it out.

        Args:
            origin: As for `copy`.
            destination: As for `copy`.
            locked: As for `copy`.
            options: As for `copy`.
        """
        from wherry.ops.copy import plan_copy
        from wherry.plan import Plan

        access = self._context.access(store, on_event, cancel)
        found = locked_address(as_address(origin), locked)
        choice = self._context.copy_choice("plan_copy", options)
        made = plan_copy(found, as_destination(destination), choice, access)
        path = self._context.store_path(store)
        return Plan(made, choice, None if path is None else str(path))

    @public_call
    def execute(
        self,
        plan: wherry.Plan,
        *,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.types.CopyResult:
        """Carry out a plan that `plan_copy` has made. Idempotent.

        Args:
            plan: The plan; another process may have made it.
        """
        from wherry.ops.copy import copy

        steps, choice, store = plan._parts()  # noqa: SLF001 - no caller has a use for them
        access = self._context.access(store, on_event, cancel)
        origin, destination = as_address(steps.source), as_destination(steps.destination)
        return copy(origin, destination, choice, access, steps)

    @public_call
    def push(
        self,
        name: str | Reference | Address,
        destination: str | Reference | None = None,
        *,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
        **options: Unpack[wherry.types.CopyArguments],
    ) -> wherry.types.CopyResult:
        """Push an image to a registry. Idempotent.

        What was pulled has the same digest afterwards. Layers that no registry has in
        uncompressed form are compressed with gzip. Where `legacy` allows it, a registry without
        version 2 gets the image by version 1; the result then has a ``v1_id``.

        Args:
            name: A name or id in the store, or the address of an image elsewhere.
            destination: The name in the registry; by default the name of the image.
            options: As for `copy`.
        """
        from wherry.ops.push import push

        access = self._context.access(store, on_event, cancel)
        choice = self._context.copy_choice("push", options)
        target = None if destination is None else as_reference(destination)
        return push(as_pushed(name), target, choice, access)

    @public_call
    def push_all_tags(
        self,
        name: str | Reference,
        destination: str | Reference | None = None,
        *,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
        **options: Unpack[wherry.types.CopyArguments],
    ) -> list[wherry.types.CopyResult]:
        """Push every tag of a repository that the store has. Idempotent.

        Args:
            name: A repository, with neither tag nor digest.
            destination: The repository in the registry; by default ``name``.
            options: As for `copy`.
        """
        from wherry.ops.push import push_all_tags

        access = self._context.access(store, on_event, cancel)
        choice = self._context.copy_choice("push_all_tags", options)
        repository = as_repository(name)
        target = repository if destination is None else as_repository(destination)
        return push_all_tags(repository, target, choice, access)

    @public_call
    def delete(
        self,
        reference: str | Reference,
        *,
        force: bool = False,
        untag: bool = False,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.types.DeleteResult:
        """Delete a manifest or index from a registry, with all its tags; or a tag alone.

        The images of an index stay, and so do blobs, until the registry collects its garbage.

        Args:
            reference: What to delete; ``latest`` where it has neither tag nor digest. A digest
                decides, whatever tag is beside it.
            force: Delete a manifest that has other tags too. They are not looked for then.
            untag: Remove only the tag. The manifest and its other tags stay.

        Raises:
            StillTagged: The manifest has other tags.
            RegistryError: The registry does not delete.
        """
        from wherry.ops.delete import DeleteOptions, delete

        options = DeleteOptions(force, untag, self._context.settings.jobs)
        access = self._context.access(None, on_event, cancel)
        return delete(as_reference(reference), access, options)

    @public_call
    def plan_delete(
        self,
        reference: str | Reference,
        *,
        force: bool = False,
        untag: bool = False,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.types.DeletePlan:
        """Return what `delete` would remove, and change nothing.

        Args:
            reference: As for `delete`.
            force: Do not look for other tags.
            untag: As for `delete`.
        """
        from wherry.ops.delete import DeleteOptions, plan_delete

        options = DeleteOptions(force, untag, self._context.settings.jobs)
        access = self._context.access(None, on_event, cancel)
        return plan_delete(as_reference(reference), access, options)
