"""The client: connections, settings and life cycle. Its calls are in `wherry.client_calls`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Literal, NoReturn, Self

import wherry
from wherry._context import Context
from wherry.client_calls.account import AccountCalls
from wherry.client_calls.archive import ArchiveCalls
from wherry.client_calls.base import Listener
from wherry.client_calls.copy import CopyCalls
from wherry.client_calls.lock import LockCalls
from wherry.client_calls.pull import PullCalls
from wherry.client_calls.read import ReadCalls
from wherry.client_calls.serve import ServeCalls
from wherry.client_calls.unpack import UnpackCalls
from wherry.config import transfer_settings
from wherry.content.cancel import CancelToken
from wherry.model.arguments import checked
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.parameters import RULES


class Client(
    PullCalls,
    ReadCalls,
    CopyCalls,
    LockCalls,
    ArchiveCalls,
    UnpackCalls,
    ServeCalls,
    AccountCalls,
):
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
        legacy: Use the legacy version 1 protocol where a registry has no other. The setting
            of a host in hosts.toml allows it too.
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
        legacy: bool | None = None,
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
            legacy=legacy,
        )
        super().__init__(
            Context(
                settings,
                store=store,
                credentials=credentials,
                authfile=authfile,
                registries_conf=registries_conf,
                on_request=on_request,
            )
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
    legacy: bool | None = None,
) -> wherry.Image:
    """Pull one image with a client of its own; see `Client` and `Client.pull`."""
    with Client(
        credentials=credentials, insecure=insecure, schema1=schema1, legacy=legacy
    ) as client:
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
