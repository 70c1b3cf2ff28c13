"""Calls of a client that fetch from registries into a store."""

from __future__ import annotations

from collections.abc import Iterable

import wherry
from wherry._context import public_call
from wherry._values import as_lock, as_reference, as_repository
from wherry.client_calls.base import ClientCalls, Listener
from wherry.config import host_platform
from wherry.content.cancel import CancelToken
from wherry.content.events import ignore
from wherry.model.platform import Platform
from wherry.model.reference import Reference


class PullCalls(ClientCalls):
    """Fetch images and missing blobs from registries into a store."""

    @public_call
    def pull(
        self,
        reference: str | Reference,
        *,
        store: wherry.types.StoreOrPath | None = None,
        platform: str | Platform | None = None,
        all_platforms: bool = False,
        verify_layers: bool = True,
        verify_signatures: bool = True,
        locked: wherry.types.LockOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.Image:
        """Pull an image into a store. Idempotent.

        An interrupted pull keeps what has arrived, and the next pull resumes there.

        Args:
            reference: What to pull; ``latest`` where it has neither tag nor digest.
            platform: One platform, or several with commas between.
            all_platforms: Pull every image that an index lists.
            verify_layers: Compare the layers' DiffIDs with the config. Digests are always
                verified.
            verify_signatures: Refuse a schema1 manifest whose signatures do not match.
            locked: A lock or its file. The name stands for the digest in it, whatever the
                registry says. A name that it does not have raises `NotFound`.

        Returns:
            The image. If several were pulled, it is the one for this machine, or the first.
        """
        from wherry.image import Image
        from wherry.image_store import local_store
        from wherry.ops.pull import pull
        from wherry.ops.pull_options import PullOptions

        context, target = self._context, self._context.store_for(store)
        options = PullOptions.build(
            context.settings,
            host_platform(),
            context.platform(platform),
            all_platforms=all_platforms,
            verify_layers=verify_layers,
            verify_signatures=verify_signatures,
        )
        name = as_reference(reference)
        if locked is not None:
            options = options.replace(root=as_lock(locked).digest_of(name))
        token, listener = context.token(cancel), on_event or ignore
        pulled = pull(context.session(), local_store(target), name, options, token, listener)
        return Image(target, pulled.root, pulled.image)

    @public_call
    def pull_all_tags(
        self,
        name: str | Reference,
        *,
        store: wherry.types.StoreOrPath | None = None,
        platform: str | Platform | None = None,
        all_platforms: bool = False,
        verify_layers: bool = True,
        verify_signatures: bool = True,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> list[wherry.Image]:
        """Pull every tag of a repository. Idempotent.

        Args:
            name: A repository, with neither tag nor digest.
            platform: As for `pull`.
            all_platforms: As for `pull`.
            verify_layers: As for `pull`.
            verify_signatures: As for `pull`.

        Returns:
            The images, in the order in which the registry lists their tags.
        """
        from wherry.image import Image
        from wherry.image_store import local_store
        from wherry.ops.pull import pull_all_tags
        from wherry.ops.pull_options import PullOptions

        context, target = self._context, self._context.store_for(store)
        options = PullOptions.build(
            context.settings,
            host_platform(),
            context.platform(platform),
            all_platforms=all_platforms,
            verify_layers=verify_layers,
            verify_signatures=verify_signatures,
        )
        repository = as_repository(name)
        token, listener = context.token(cancel), on_event or ignore
        local = local_store(target)
        found = pull_all_tags(context.session(), local, repository, options, token, listener)
        return [Image(target, pulled.root, pulled.image) for pulled in found]

    @public_call
    def repair(
        self,
        problems: Iterable[wherry.types.StoreProblem],
        *,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.types.RepairReport:
        """Fetch again what `Store.check` found damaged or missing.

        Damaged files are removed first. Blobs are fetched from the registries of the pulls.

        Args:
            problems: What `Store.check` returned.

        Returns:
            The problems that are solved, and the others with the reasons.
        """
        from wherry.image_store import local_store
        from wherry.ops.pull_options import PullOptions
        from wherry.ops.repair import repair

        context, target = self._context, self._context.store_for(store)
        options = PullOptions.build(context.settings, host_platform(), verify_signatures=False)
        token, listener = context.token(cancel), on_event or ignore
        return repair(context.session(), local_store(target), problems, options, token, listener)
