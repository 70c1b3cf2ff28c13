"""The client: one method a use case, connections and tokens shared between calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Literal

import wherry
from wherry.archiving import Archiving
from wherry.calls import operation
from wherry.config import host_platform
from wherry.configured import Configured
from wherry.content.cancel import CancelToken
from wherry.content.events import Event, ignore
from wherry.model.arguments import checked
from wherry.model.platform import Platform
from wherry.model.reference import Reference
from wherry.parameters import RULES
from wherry.reading import Reading

if TYPE_CHECKING:
    from wherry.ops.pull import Pulled, PullOptions


class Client(Reading, Archiving, Configured):
    """Talks to registries. Thread-safe; close it, or use it in a ``with`` statement.

    Closing it ends calls of other threads with `Cancelled`; a closed client takes no more.
    A forked child may go on using it, with connections of its own. What the parent has begun,
    such as an open blob, ends with `Cancelled` in the child.

    ``store`` is a `Store` or the path of one, here and in every call; without it the store is
    the one that the command uses.
    ``credentials`` is a user's name and password, for every registry that a reference names;
    without it, ``authfile`` or the files that podman, skopeo and docker keep are looked at.
    ``registries_conf`` replaces the registries.conf of user and system. ``insecure`` allows
    certificates that cannot be verified and plain http; ``foreign`` allows layers that
    registries need not hold, from the addresses that manifests name. ``jobs`` (6) is how many
    blobs are transferred at a time; ``timeout`` (30) is in seconds without a byte; ``retries``
    (5) counts attempts without progress, the first included; ``limit_rate`` is in bytes a
    second, over all connections. ``split`` is over how many connections one large blob may
    come; without it wherry decides, and 1 forbids it. ``schema1`` is whether docker's deprecated
    format is accepted: ``allow`` or ``deny``; without it the host's setting in hosts.toml
    decides, and then it is accepted with a warning. Where one of these and ``insecure`` is
    None, the variable ``WHERRY_JOBS`` (and so on) decides. Calls without a ``platform`` take the
    one that ``WHERRY_PLATFORM`` or else ``DOCKER_DEFAULT_PLATFORM`` names, as if it were given.
    ``on_request`` is told of each request that was answered. This and all calls
    raise `TypeError` or `ValueError` for a wrong argument, naming it and what is allowed,
    before they do anything; a wrong variable is a `ValueError` too.
    """

    @operation
    def pull(
        self,
        reference: str,
        *,
        store: wherry.types.StoreOrPath | None = None,
        platform: str | Platform | None = None,
        all_platforms: bool = False,
        verify_layers: bool = True,
        verify_signatures: bool = True,
        on_event: Callable[[Event], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> wherry.Image:
        """Pull an image into a store and return it; idempotent.

        ``reference`` is completed to docker.io, ``latest`` where it has neither tag nor
        digest. ``platform`` is ``os[/arch[/variant]]``, or several with commas between, this
        machine's by default; ``all_platforms`` takes every image that an index lists. The
        image returned is then the one for this machine, else the first.
        ``verify_layers=False`` leaves out the comparison of DiffIDs; digests are always
        verified. ``verify_signatures=False`` takes schema1 manifests whose signatures do not
        match, as engines do. ``on_event`` is called from a thread of its own, one event at a
        time, and has heard all when the call returns; a slow one holds up nothing but that
        return. The first exception that it raises goes to the logger ``wherry``, and so to stderr
        where no logging is set up; it stops nothing.
        Interrupted or cancelled, it keeps what has arrived for the next attempt.

        Raises `InvalidReference`, `NotFound`, `PlatformMismatch`, `Unauthorized`, `Denied`,
        `RateLimited`, `RegistryError`, `NetworkError`, `IntegrityError`, `InvalidDocument`,
        `Unsupported`, `StoreError` and `Cancelled`.
        """
        from wherry.ops.pull import pull

        into = self._meant(store)
        pulled = pull(
            self._connected(),
            into,
            Reference.parse(reference.removeprefix("docker://")),
            self._pull_options(
                self._asked_for(platform), all_platforms, verify_layers, verify_signatures
            ),
            self._calls.token(cancel),
            on_event or ignore,
        )
        return _image(into, pulled)

    @operation
    def pull_all_tags(
        self,
        name: str,
        *,
        store: wherry.types.StoreOrPath | None = None,
        platform: str | Platform | None = None,
        all_platforms: bool = False,
        verify_layers: bool = True,
        verify_signatures: bool = True,
        on_event: Callable[[Event], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> list[wherry.Image]:
        """Pull every tag of a repository; ``name`` has neither tag nor digest.

        Parameters and errors are those of `pull`.
        """
        from wherry.ops.pull import pull_all_tags

        into = self._meant(store)
        pulled = pull_all_tags(
            self._connected(),
            into,
            Reference.parse_name(name.removeprefix("docker://")),
            self._pull_options(
                self._asked_for(platform), all_platforms, verify_layers, verify_signatures
            ),
            self._calls.token(cancel),
            on_event or ignore,
        )
        return [_image(into, each) for each in pulled]

    @operation
    def validate(
        self,
        address: str,
        *,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Callable[[Event], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> wherry.types.Report:
        """Check a whole image where it is: in a registry, a store or an archive.

        A bare name means a registry (SPEC: "Addresses"). Documents, digests, sizes, DiffIDs,
        history against layers, all platforms of an index; nothing is stored. All findings are
        in the report. Raises the errors of `pull`, and `UnsafeArchive`, where the image itself
        cannot be found or read.
        """
        from wherry.content.retry import RetryPolicy
        from wherry.model.address import Address
        from wherry.ops.open_source import open_place
        from wherry.ops.validate import validate
        from wherry.transfer.progress import Emitter

        access = self._access(store, on_event, cancel)
        policy = RetryPolicy(attempts=self._transfers.retries)
        retrying = Emitter(access.listener, address).retrying
        with open_place(Address.parse(address), access) as source:
            return validate(source, policy, access.cancel, retrying)

    @operation
    def repair(
        self,
        problems: Iterable[wherry.types.StoreProblem],
        *,
        store: wherry.types.StoreOrPath | None = None,
        on_event: Callable[[Event], None] | None = None,
        cancel: CancelToken | None = None,
    ) -> wherry.types.Repaired:
        """Fetch again what `Store.check` found damaged or missing, from where it came.

        Files that are damaged are removed first. What cannot be fetched is in the answer, with
        the reason. Raises `StoreError` and `Cancelled`.
        """
        from wherry.ops.repair import repair

        return repair(
            self._connected(),
            self._meant(store),
            problems,
            self._pull_options(None, False, True, False),  # noqa: FBT003 - private, in order
            self._calls.token(cancel),
            on_event or ignore,
        )

    def _pull_options(
        self,
        platform: str | Platform | None,
        all_platforms: bool,  # noqa: FBT001 - handed on
        verify_layers: bool,  # noqa: FBT001 - handed on
        verify_signatures: bool,  # noqa: FBT001 - handed on
    ) -> PullOptions:
        from wherry.content.retry import RetryPolicy
        from wherry.ops.pull import PullOptions
        from wherry.transfer.copy import CopyOptions

        chosen, host = self._transfers, host_platform()
        wanted: tuple[Platform, ...] = (host,)
        if all_platforms:
            wanted = ()
        elif isinstance(platform, Platform):
            wanted = (platform,)
        elif platform is not None:
            wanted = Platform.parse_list(platform, host)
        return PullOptions(
            host=host,
            platforms=wanted,
            strict=platform is not None and not all_platforms,
            verify_signatures=verify_signatures,
            schema1=chosen.schema1,
            copy=CopyOptions(
                jobs=chosen.jobs,
                policy=RetryPolicy(attempts=chosen.retries),
                verify_layers=verify_layers,
                foreign=self._foreign,
                # More connections do not help where all of them share one limit.
                split=chosen.split or (1 if chosen.limit_rate else None),
            ),
        )


def _image(store: wherry.Store, pulled: Pulled) -> wherry.Image:
    from wherry.image import Image

    return Image(store, pulled.root, pulled.image)


@checked(RULES)
def pull(
    reference: str,
    *,
    store: wherry.types.StoreOrPath | None = None,
    platform: str | Platform | None = None,
    all_platforms: bool = False,
    verify_layers: bool = True,
    verify_signatures: bool = True,
    on_event: Callable[[Event], None] | None = None,
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
