"""The client: one method a use case."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, NoReturn, Self, TypeAlias, Unpack

import wherry
from wherry._context import Context, public_call
from wherry._values import (
    as_address,
    as_destination,
    as_new_name,
    as_pushed,
    as_reference,
    as_repository,
    as_source,
    as_stored_address,
)
from wherry.config import creation_time, host_platform, transfer_settings
from wherry.content.cancel import CancelToken
from wherry.content.events import Event, ignore
from wherry.model.address import Address, Where
from wherry.model.arguments import checked
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.parameters import RULES

Listener: TypeAlias = Callable[[Event], None] | None


class Client:
    """Talk to registries, and move images between them, archives and stores.

    Calls and threads share the connections and tokens of a client. Close it, or use it in a
    ``with`` statement. Running calls of other threads raise `Cancelled` when it is closed.
    Later calls raise `RuntimeError`. A forked child may use its parent's client, with new
    connections. A blob that the parent has opened raises `Cancelled` in the child.

    These parameters have the same meaning in every call:

    * ``address``: a name in a registry, or the name of an image elsewhere after ``store:``,
      ``oci:``, ``oci-archive:``, ``docker-archive:`` or ``dir:``. docker.io is the default
      registry and ``latest`` the default tag.
    * ``store``: a `Store` or the path of one; the client's own by default.
    * ``platform``: ``os[/arch[/variant]]``. Without it ``WHERRY_PLATFORM`` decides, then
      ``DOCKER_DEFAULT_PLATFORM``, then this machine.
    * ``on_event``: called with one event at a time from a separate thread. The call returns
      after its last event. A slow callback delays only the return of the call. Its first
      exception is logged to the logger ``wherry``, and changes nothing else.
    * ``cancel``: a token with which another thread ends the call; it raises `Cancelled`.

    All calls raise `TypeError` or `ValueError` for a wrong argument before they do anything.
    Calls that read images raise `InvalidReference`, `NotFound`, `PlatformMismatch`,
    `Unauthorized`, `Denied`, `RateLimited`, `RegistryError`, `NetworkError`,
    `IntegrityError`, `InvalidDocument`, `Unsupported`, `UnsafeArchive`, `StoreError` and
    `Cancelled`.

    Args:
        store: The store of calls that name none; by default the one that the command uses.
        credentials: User and password for each registry that a reference names, or a mapping of
            ``HOST[/PATH]`` to them; else ``authfile`` or the files of other tools are read.
        authfile: A file of credentials to read instead.
        registries_conf: A file to read instead of the registries.conf of user and system.
        insecure: Accept certificates that cannot be verified, and plain http.
        foreign: Fetch foreign layers from the addresses that manifests name.
        jobs: Blobs that are transferred at a time; 6 by default.
        timeout: Seconds without a byte before a request fails; 30 by default.
        retries: Attempts without progress, the first included; 5 by default.
        limit_rate: Bytes a second over all connections.
        split: Connections for one large blob; 1 forbids splitting, None chooses by size.
        schema1: Whether to accept docker's deprecated format. Without it the host's setting
            in hosts.toml decides, and then the format is accepted with a warning.
        on_request: Called with each request that a registry has answered.

    Raises:
        ValueError: An argument or its variable is out of range. ``WHERRY_JOBS``,
            ``WHERRY_TIMEOUT`` and so on set the arguments that are None.
    """

    @checked(RULES)
    def __init__(
        self,
        *,
        store: wherry.types.StoreOrPath | None = None,
        credentials: tuple[str, str] | Mapping[str, tuple[str, str]] | None = None,
        authfile: str | os.PathLike[str] | None = None,
        registries_conf: str | os.PathLike[str] | None = None,
        insecure: bool | None = None,
        foreign: bool = False,
        jobs: int | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        limit_rate: float | None = None,
        split: int | None = None,
        schema1: Literal["allow", "deny"] | None = None,
        on_request: Callable[[wherry.types.Exchange], None] | None = None,
    ) -> None:
        settings = transfer_settings().override(
            insecure=insecure,
            foreign=foreign,
            jobs=jobs,
            timeout=timeout,
            retries=retries,
            limit_rate=limit_rate,
            split=split,
            schema1=schema1,
        )
        self._context = Context(
            settings,
            store=store,
            credentials=credentials,
            authfile=authfile,
            registries_conf=registries_conf,
            on_request=on_request,
        )

    def __enter__(self) -> Self:
        self._context.calls.check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        """Refuse pickling and copying: connections and credentials belong to one process."""
        raise TypeError("a wherry.Client cannot be pickled or copied: make one in each process")

    def close(self) -> None:
        """End all running calls and close all connections. Idempotent.

        Running calls and open blobs raise `Cancelled`. Images and stores that the client has
        returned stay usable.
        """
        self._context.close()

    @property
    def store(self) -> wherry.Store:
        """The store of calls that name none."""
        return self._context.store

    # Pulling

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

    # Reading. These calls store nothing, and only `blob` fetches layers.

    @public_call
    def inspect(
        self,
        address: str | Address,
        *,
        platform: str | Platform | None = None,
        tags: bool = False,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.Inspection:
        """Return what the manifest and the config of an image say.

        Args:
            address: An image. If a repository has no ``latest``, its name means its first tag.
            tags: List the tags of the repository too, at the same time.
        """
        from wherry.ops.inspect import inspect

        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return inspect(as_address(address), access, wanted, tags=tags)

    @public_call
    def platforms(
        self,
        address: str | Address,
        *,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> tuple[wherry.Digest, list[wherry.types.PlatformImage]]:
        """Return the digest of an index, and the images that it lists with their sizes."""
        from wherry.ops.platforms import list_platforms

        access = self._context.access(store, on_event, cancel)
        return list_platforms(as_address(address), access, self._context.settings.jobs)

    @public_call
    def tags(
        self,
        name: str | Reference,
        *,
        matching: str | None = None,
        order: wherry.types.Order = "registry",
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> list[str]:
        """List the tags of a repository.

        Args:
            name: A repository, with neither tag nor digest.
            matching: A regular expression, or a range of versions such as ``>=1.2 <2`` and
                ``semver:^1.2``.
            order: The registry's own, by ``name``, or by ``version`` with the newest last.
        """
        from wherry.ops.tags import list_tags

        access = self._context.access(None, on_event, cancel)
        repository = as_repository(name)
        return list_tags(repository, access, matching or "", order)

    @public_call
    def catalog(
        self, registry: str, *, on_event: Listener = None, cancel: CancelToken | None = None
    ) -> list[str]:
        """List the repositories of a registry, without its host.

        Many registries do not have such a list, or show it only to administrators.

        Args:
            registry: ``HOST[:PORT]``.
        """
        from wherry.ops.catalog import list_catalog

        return list_catalog(registry, self._context.access(None, on_event, cancel))

    @public_call
    def digest(
        self,
        address: str | Address,
        *,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.Digest:
        """Return the digest of an index or manifest, or of the image for ``platform``."""
        from wherry.ops.documents import get_digest

        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return get_digest(as_address(address), access, wanted)

    @public_call
    def manifest(
        self,
        address: str | Address,
        *,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.types.Document:
        """Return a manifest or index; ``raw`` has its bytes.

        With ``platform`` it is the manifest of the image for that platform.
        """
        from wherry.ops.documents import get_document

        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return get_document(as_address(address), access, wanted)[1]

    @public_call
    def config(
        self,
        address: str | Address,
        *,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.types.ImageConfig:
        """Return the config of an image; ``raw`` has its bytes.

        A schema1 image has no config. wherry makes one without DiffIDs, which would take the
        layers.
        """
        from wherry.ops.documents import get_config

        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return get_config(as_address(address), access, wanted)

    @public_call
    def raw_config(
        self,
        address: str | Address,
        *,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> bytes:
        """Return the bytes of the config of an image or an artifact, as served.

        For a schema1 image, wherry makes a config as `config` does.
        """
        from wherry.ops.documents import get_raw_config

        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return get_raw_config(as_address(address), access, wanted)

    @public_call
    def history(
        self,
        address: str | Address,
        *,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> list[wherry.types.HistoryStep]:
        """Return the steps that made an image, the last one first, with their layers.

        The store is searched for a name without a place, then the registry.
        """
        from wherry.ops.documents import get_history

        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return get_history(as_address(address, Where.ANY), access, wanted)

    @public_call
    def referrers(
        self,
        address: str | Address,
        *,
        artifact_type: str | None = None,
        platform: str | Platform | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> list[wherry.types.Descriptor]:
        """Return the referrers of an image: signatures, SBOMs and others.

        Args:
            address: The image.
            artifact_type: The media type of the referrers; all of them by default.
        """
        from wherry.ops.referrers import list_referrers

        access, wanted = self._context.prepare_read(store, platform, on_event, cancel)
        return list_referrers(as_address(address), access, wanted, artifact_type or "")

    @public_call
    def blob(
        self,
        address: str | Address,
        digest: str | wherry.Digest | None = None,
        *,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> io.BufferedReader:
        """Open a blob; close it after use.

        The blob is verified while it is read. The read that reaches the end raises
        `IntegrityError` if the content does not match the digest.

        Args:
            address: Where the blob is. It may hold the digest: ``name@sha256:…``.
            digest: The digest of the blob.
        """
        from wherry.image_store import local_store
        from wherry.ops.blob import open_blob

        context = self._context
        access = context.access(store, on_event, cancel)
        raw = open_blob(
            as_address(address),
            "" if digest is None else str(digest),
            access,
            lambda: local_store(context.store_for(store)),
        )
        return io.BufferedReader(raw, 256 * 1024)

    # Writing. Every copy is planned first; what the destination has is not sent again.

    @public_call
    def copy(
        self,
        origin: str | Address,
        destination: str | Reference | Address,
        *,
        store: wherry.types.StoreOrPath | None = None,
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
        choice = self._context.copy_choice("copy", options)
        return copy(as_address(origin), as_destination(destination), choice, access)

    @public_call
    def plan_copy(
        self,
        origin: str | Address,
        destination: str | Reference | Address,
        *,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
        **options: Unpack[wherry.types.CopyArguments],
    ) -> wherry.Plan:
        """Plan a copy, and write nothing; `Plan.execute` carries it out.

        Args:
            origin: As for `copy`.
            destination: As for `copy`.
            options: As for `copy`.
        """
        from wherry.ops.copy import plan_copy
        from wherry.plan import Plan

        access = self._context.access(store, on_event, cancel)
        choice = self._context.copy_choice("plan_copy", options)
        made = plan_copy(as_address(origin), as_destination(destination), choice, access)
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
        uncompressed form are compressed with gzip.

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

    # Archives

    @public_call
    def save(
        self,
        names: str | Address | wherry.Image | Sequence[str | Address | wherry.Image],
        output: str | os.PathLike[str] | BinaryIO,
        *,
        format: wherry.types.Format = "docker",  # noqa: A002 - what it is called everywhere
        store: wherry.types.StoreOrPath | None = None,
        platform: str | Platform | None = None,
        name: str | Reference | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> list[wherry.types.SaveResult]:
        """Write images to an archive or to a new directory.

        The same images always give the same bytes. The file or directory gets its name when it
        is complete.

        Args:
            names: Addresses; a name without a place means the store. An `Image` is read from
                its own store and has no name in the archive.
            output: A path, or a binary file that is open for writing, such as a pipe.
            format: ``docker`` is what ``docker load`` reads, with layers unpacked.
                ``oci-archive``, and the directories ``oci`` and ``dir``, keep every byte.
            platform: Save one image of each index. Without it, the docker format saves the
                image that was pulled last, and other formats save the index if the store has
                all of it. A layout can hold several platforms, with commas between. Their tags
                end in the platform: ``1.4-linux-arm64``.
            name: Another name for the image. A layout accepts a tag such as ``1.4`` too.
        """
        from wherry.image import Image
        from wherry.ops.save import save
        from wherry.ops.save_options import SaveOptions

        options = SaveOptions.build(
            host_platform(),
            self._context.platform(platform),
            format,
            None if name is None else str(name),
        )
        given = [names] if isinstance(names, str | Address | Image) else names
        images = [each for each in given if isinstance(each, Image)]
        target = Path(output) if isinstance(output, str | os.PathLike) else output
        access = self._context.access(store, on_event, cancel, images)
        return save([as_stored_address(each) for each in given], target, options, access)

    @public_call
    def load(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        *,
        store: wherry.types.StoreOrPath | None = None,
        platform: str | Platform | None = None,
        name: str | Reference | None = None,
        on_failure: Callable[[wherry.WherryError], None] | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> list[wherry.Image]:
        """Load the images of an archive or layout into a store. Idempotent.

        The archive may be compressed, and written by docker, podman, skopeo or `save`. Archives
        of engines before 1.10 are read too. An image that fails does not stop the others.

        Args:
            source: A path, or a binary file that is open for reading, such as a pipe. A file
                is read once, to its end.
            platform: Load one image of each index; by default all that the archive has.
            name: The name to give to the image of an archive that holds one image.
            on_failure: Called with the error of each image that cannot be loaded. Without it
                the first error is raised after the others are loaded.
        """
        from wherry.image import Image
        from wherry.image_store import local_store
        from wherry.ops.load import load
        from wherry.ops.load_options import LoadOptions

        context, target = self._context, self._context.store_for(store)
        asked = context.platform(platform)
        given = None if name is None else as_new_name(name)
        options = LoadOptions.build(context.settings, host_platform(), asked, given)
        token, listener = context.token(cancel), on_event or ignore
        loaded, failures = load(local_store(target), as_source(source), options, token, listener)
        for error in failures:
            if on_failure is None:
                raise error
            on_failure(error)
        return [Image(target, each.root, each.image) for each in loaded]

    @public_call
    def import_(
        self,
        source: str | os.PathLike[str] | BinaryIO,
        reference: str | Reference | None = None,
        *,
        config: bytes | None = None,
        parent: str | Address | None = None,
        platform: str | Platform | None = None,
        changes: Sequence[str] = (),
        message: str | None = None,
        created: int | None = None,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.Image:
        """Make an image of one layer: a tar, compressed or not, or the files of a directory.

        Args:
            source: A path, or a binary file that is open for reading. An empty file adds no
                layer.
            reference: The name of the image, without a digest; ``latest`` is the default tag.
            config: JSON that is stored byte for byte. With a ``rootfs`` it is the config of the
                image, and its DiffIDs must match. Without ``rootfs`` it is a version 1 JSON,
                and wherry makes the config from it as for schema1.
            parent: The address of an image to add the layer to; a name without a place means
                the store.
            platform: The platform of the image. With ``parent`` it selects an image of an
                index.
            changes: Dockerfile instructions that change the parent's settings, as
                ``docker import --change`` takes them.
            message: The comment in the history.
            created: The time of creation in seconds since 1970. Files of a directory that are
                newer get this time. Without it ``SOURCE_DATE_EPOCH`` decides, then the clock.

        Raises:
            ValueError: ``config`` goes with neither ``changes`` nor ``message``, and only with
                ``parent`` does it go with ``platform``.
        """
        from wherry.image import Image
        from wherry.image_store import local_store
        from wherry.ops.import_ import import_layer
        from wherry.ops.import_options import ImportOptions

        context, target = self._context, self._context.store_for(store)
        if config is None or parent is not None:
            platform = context.platform(platform)
        options = ImportOptions.build(
            context.settings,
            host_platform(),
            platform,
            config=config,
            parent=parent,
            changes=changes,
            message=message or "",
            epoch=creation_time(created),
        )
        name = None if reference is None else as_new_name(reference)
        access = context.access(store, on_event, cancel)
        local = local_store(target)
        record = import_layer(local, as_source(source), name, options, access)
        return Image(target, record.manifest, record)

    # Deleting from registries

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

    # Checking and repairing

    @public_call
    def validate(
        self,
        address: str | Address,
        *,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Listener = None,
        cancel: CancelToken | None = None,
    ) -> wherry.types.ValidationReport:
        """Check a whole image where it is; nothing is stored.

        Checks documents, digests, sizes, DiffIDs, the history against the layers, and all
        platforms of an index.

        Returns:
            All findings. An image that cannot be found or read raises an error instead.
        """
        from wherry.ops.validate import validate_image

        access = self._context.access(store, on_event, cancel)
        return validate_image(as_address(address), access, self._context.settings.retries)

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

    # Configuration

    @public_call
    def login(
        self,
        registry: str,
        username: str,
        password: str,
        *,
        on_warning: Callable[[str], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> str:
        """Try credentials on a registry and save them. Idempotent.

        A credential helper saves them if a file names one for the host. Without a helper they
        are saved to ``authfile``, or to the first of the files that podman and skopeo read.

        Args:
            registry: ``HOST[/PATH]``.
            username: The user.
            password: The user's password or token.
            on_warning: Called with a line of text if the registry does not verify them.

        Returns:
            Where the credentials were saved.

        Raises:
            Unauthorized: The registry refuses them; nothing is saved.
        """
        from wherry.ops.login import login
        from wherry.registry.auth.credentials import Credentials

        context, credentials = self._context, Credentials(username, password)
        warn = on_warning or _ignore
        with context.changing_credentials() as files, context.session_as(credentials) as session:
            return login(session, registry, credentials, files, context.token(cancel), warn)

    @public_call
    def logout(
        self, registry: str, *, cancel: CancelToken | None = None
    ) -> wherry.types.LogoutResult:
        """Remove the credentials for a registry from where `login` saves them.

        Args:
            registry: ``HOST[/PATH]``.

        Returns:
            The places that they were removed from, and a place that still has some.

        Raises:
            NotFound: There are none.
            WherryError: A helper or a file fails; the others are still tried.
        """
        from wherry.ops.login import logout

        with self._context.changing_credentials() as files:
            return logout(registry, files, self._context.token(cancel))

    @public_call
    def logout_everywhere(self) -> list[str]:
        """Remove all credentials from the file that `login` writes; return their hosts."""
        from wherry.ops.login import logout_everywhere

        with self._context.changing_credentials() as files:
            return logout_everywhere(files)

    @public_call
    def name_candidates(self, address: str | Address) -> tuple[wherry.types.NameCandidate, ...]:
        """Return the addresses that a name on the command line may mean, in the order to try.

        Only this call and `why` apply the aliases and search lists of registries.conf. All
        other calls use docker.io for a name without a registry, as ``docker://`` does here.
        """
        from wherry.ops.name_candidates import name_candidates

        return name_candidates(as_address(address), self._context.session)

    @public_call
    def why(
        self, address: str | Address, *, offline: bool = False, cancel: CancelToken | None = None
    ) -> list[wherry.types.NameReport]:
        """Explain how each of `name_candidates` is resolved; the report has no secrets.

        Args:
            address: A name in a registry.
            offline: Do not ask the registry. Otherwise it gets one HEAD for the manifest.
        """
        from wherry.ops.name_candidates import name_candidates
        from wherry.ops.why import why

        session, token = self._context.session(), self._context.token(cancel)
        return [
            why(session, reference, candidate.source, token, offline=offline)
            for candidate in name_candidates(as_address(address), self._context.session)
            if (reference := candidate.address.reference) is not None
        ]


@checked(RULES)
def pull(
    reference: str | Reference,
    *,
    store: wherry.types.StoreOrPath | None = None,
    platform: str | Platform | None = None,
    all_platforms: bool = False,
    verify_layers: bool = True,
    verify_signatures: bool = True,
    on_event: Listener = None,
    cancel: CancelToken | None = None,
    credentials: tuple[str, str] | None = None,
    insecure: bool | None = None,
    schema1: Literal["allow", "deny"] | None = None,
) -> wherry.Image:
    """Pull one image with a client of its own; see `Client` and `Client.pull`."""
    with Client(credentials=credentials, insecure=insecure, schema1=schema1) as client:
        return client.pull(
            reference,
            store=store,
            platform=platform,
            all_platforms=all_platforms,
            verify_layers=verify_layers,
            verify_signatures=verify_signatures,
            on_event=on_event,
            cancel=cancel,
        )


def _ignore(_warning: str) -> None:
    """Listen to no warning."""
