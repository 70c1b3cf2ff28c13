"""What the calls of one client share: settings, stores, a session with registries."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import wherry
from wherry._calls import RunningCalls
from wherry.config import Config, cloud_settings, default_platform, host_platform
from wherry.content import fork
from wherry.content.events import ignore
from wherry.model.arguments import checked
from wherry.parameters import RULES, check_options

if TYPE_CHECKING:
    from wherry.model.address import Address
    from wherry.model.cloud_settings import CloudSettings
    from wherry.model.transfer_settings import TransferSettings
    from wherry.ops.copy_choice import CopyChoice
    from wherry.ops.documents import PlatformChoice
    from wherry.ops.login import AuthFiles
    from wherry.ops.open_source import Access
    from wherry.registry.auth.credentials import Credentials
    from wherry.registry.hosts import Hosts
    from wherry.registry.session import Session
    from wherry.store import LocalStore

F = TypeVar("F", bound=Callable[..., Any])

_SPLIT = 4  # connections that one large blob may take where no number is set
_SPARE = 2  # connections for documents and tokens
_CONNECT_SECONDS = 15.0  # for connecting, at most


class Context:
    """Hold what the calls of one client share.

    The session with registries and the stores are made when a call needs them.
    """

    def __init__(
        self,
        settings: TransferSettings,
        *,
        store: wherry.types.StoreOrPath | None,
        credentials: tuple[str, str] | Mapping[str, tuple[str, str]] | None,
        authfile: str | os.PathLike[str] | None,
        registries_conf: str | os.PathLike[str] | None,
        on_request: Callable[[wherry.types.Exchange], None] | None,
    ) -> None:
        self.settings = settings
        self.calls = RunningCalls()
        self._default_platform = default_platform()
        self._own_store = store is None or isinstance(store, str | os.PathLike)
        self._store_path: Path | None = None
        self._store: wherry.Store | None = None
        if isinstance(store, str | os.PathLike):
            self._store_path = Path(store).absolute()
        else:
            self._store = store
        self._stores: dict[Path, wherry.Store] = {}
        self._credentials = credentials
        self._authfile = None if authfile is None else Path(authfile)
        self._registries_conf = None if registries_conf is None else Path(registries_conf)
        self._on_request = on_request
        self._lock = threading.RLock()
        self._session: Session | None = None
        fork.watch(self, Context._after_fork)

    def _after_fork(self) -> None:
        """Drop the parent's connections and tokens in a forked child."""
        self._lock = threading.RLock()
        self._session = None

    def close(self) -> None:
        """End the running calls, and close the connections and the stores opened here."""
        ended = self.calls.end()
        with self._lock:
            if self._session is not None:
                self._session.close()
            if not ended:
                return  # a call that goes on may be using the stores
            own = [self._store] if self._own_store and self._store is not None else []
            for store in (*own, *self._stores.values()):
                store.close()  # it opens again if its images are read later

    # Stores

    @property
    def store(self) -> wherry.Store:
        """The store of calls that name none."""
        from wherry.image_store import Store

        with self._lock:
            if self._store is None:
                self._store = Store(self._store_path)
            return self._store

    def store_for(self, store: wherry.types.StoreOrPath | None) -> wherry.Store:
        """Return a store: the argument, the store at its path, or the client's if it is None."""
        if store is None:
            return self.store
        if not isinstance(store, str | os.PathLike):
            return store
        from wherry.image_store import Store

        path = Path(store).absolute()
        with self._lock:
            if path not in self._stores:
                self._stores[path] = Store(path)
            return self._stores[path]

    def store_path(self, store: wherry.types.StoreOrPath | None) -> Path | None:
        """Return the path of a store; None means the client's own."""
        if store is None:
            return self._store_path
        return Path(store) if isinstance(store, str | os.PathLike) else store.path

    # What operations take

    def token(self, cancel: wherry.CancelToken | None) -> wherry.CancelToken:
        """Return a token that is cancelled with the caller's token or with the client."""
        return self.calls.token(cancel)

    def platform(self, given: str | wherry.Platform | None) -> str | wherry.Platform | None:
        """Return the platform that a call asks for, else the one of the environment."""
        return self._default_platform if given is None else given

    def access(
        self,
        store: wherry.types.StoreOrPath | None,
        on_event: Callable[[wherry.Event], None] | None,
        cancel: wherry.CancelToken | None,
        images: Sequence[wherry.Image] = (),
    ) -> Access:
        """Return what an operation needs to open any address.

        An address of one of ``images`` has the digest of its manifest as its name.
        """
        from wherry.ops.open_source import Access

        by_name = {str(image.record.manifest): image for image in images}

        def stored(address: Address) -> tuple[LocalStore, wherry.Digest, wherry.Digest]:
            from wherry.image_store import local_store  # loads SQLite
            from wherry.ops.find_image import find_root

            if (image := by_name.get(address.name)) is not None:
                return local_store(image.store), image.digest, image.record.manifest
            local = local_store(self.store_for(store))
            return local, *find_root(local, address)

        def target() -> LocalStore:
            from wherry.image_store import local_store  # loads SQLite

            return local_store(self.store_for(store))

        listener, token = on_event or ignore, self.token(cancel)
        return Access(self.session, stored, target, listener, token, self.cloud)

    def cloud(self) -> CloudSettings:
        """Return how to connect to object storage."""
        return cloud_settings(self.settings)

    def prepare_read(
        self,
        store: wherry.types.StoreOrPath | None,
        platform: str | wherry.Platform | None,
        on_event: Callable[[wherry.Event], None] | None,
        cancel: wherry.CancelToken | None,
    ) -> tuple[Access, PlatformChoice]:
        """Return what an operation needs to read the documents of an image."""
        from wherry.ops.documents import PlatformChoice

        wanted = PlatformChoice.build(host_platform(), self.platform(platform))
        return self.access(store, on_event, cancel), wanted

    def copy_choice(self, call: str, options: wherry.types.CopyArguments) -> CopyChoice:
        """Return what a copy is to do, from the named arguments of a call."""
        from wherry.ops.copy_choice import CopyArguments, CopyChoice

        check_options(call, options, CopyArguments.__annotations__)
        platform = options.get("platform")
        if not options.get("all_platforms"):
            platform = self.platform(platform)
        return CopyChoice.build(self.settings, host_platform(), platform, options)

    # Registries

    def session(self) -> Session:
        """Return the session with registries, made at the first call."""
        with self._lock:
            if self._session is None:
                self._session = self._make_session()
            return self._session

    @contextlib.contextmanager
    def session_as(self, credentials: Credentials) -> Iterator[Session]:
        """Yield a session that knows no other credentials."""
        session = self._make_session(credentials)
        try:
            yield session
        finally:
            session.close()

    @contextlib.contextmanager
    def changing_credentials(self) -> Iterator[AuthFiles]:
        """Yield the files of credentials, and clear the caches of the session afterwards."""
        from wherry.ops.login import AuthFiles

        config = self._config()
        try:
            yield AuthFiles(config.auth_files, config.login_file)
        finally:
            with self._lock:
                if self._session is not None:
                    self._session.forget()

    def _make_session(self, only: Credentials | None = None) -> Session:
        """Make a session; with ``only`` it knows no other credentials."""
        from wherry.content.retry import RetryPolicy
        from wherry.registry.auth.credential_store import CredentialStore
        from wherry.registry.certs_d import CaBundle
        from wherry.registry.http.deadlines import Timeouts
        from wherry.registry.http.proxies import ProxySettings
        from wherry.registry.session import Session

        config, settings = self._config(), self.settings
        fixed = _fixed_credentials(self._credentials)
        hosts = _hosts(config, settings)
        helpers = None if config.auth_file_alone else lambda: hosts.settings().helpers
        return Session(
            connections=settings.jobs + (settings.split or _SPLIT) + _SPARE,
            jobs=settings.jobs,
            credentials=CredentialStore((), only)
            if only is not None
            else CredentialStore(config.auth_files, fixed, helpers),
            hosts=hosts,
            proxies=ProxySettings(*config.proxies, names=config.proxy_names),
            ca_bundle=CaBundle(*config.authorities) if config.authorities else None,
            timeouts=Timeouts(
                connect=min(settings.timeout, _CONNECT_SECONDS), read=settings.timeout
            ),
            policy=RetryPolicy(attempts=settings.retries),
            limit_rate=settings.limit_rate,
            on_response=self._on_request,
        )

    def _config(self) -> Config:
        """Return the environment's configuration, overridden by the client's arguments."""
        config = Config.from_environment()
        if self._authfile is not None:
            file = self._authfile
            config = config.replace(auth_files=(file,), login_file=file, auth_file_alone=True)
        if self._registries_conf is not None:
            config = config.with_registries_conf(self._registries_conf)
        return config


def _fixed_credentials(
    given: tuple[str, str] | Mapping[str, tuple[str, str]] | None,
) -> Credentials | dict[str, Credentials] | None:
    from wherry.registry.auth.credentials import Credentials

    if given is None:
        return None
    if isinstance(given, Mapping):
        return {key: Credentials(*pair) for key, pair in given.items()}
    return Credentials(*given)


def _hosts(config: Config, settings: TransferSettings) -> Hosts:
    from wherry.registry.hosts import Hosts
    from wherry.registry.registries_conf import RegistriesFiles

    files = RegistriesFiles(
        config.registries,
        config.registries_drop_ins,
        config.registries_named,
        config.registries_last,
    )
    return Hosts(
        files,
        config.certificates,
        config.hosts,
        insecure=settings.insecure,
        legacy=settings.legacy,
    )


def public_call(call: F) -> F:
    """Check the arguments of a client's call, and count it while it runs.

    The call raises `RuntimeError` if the client is closed.
    """

    @functools.wraps(call)
    def run(client: Any, *arguments: Any, **named: Any) -> Any:
        with client._context.calls.running():  # noqa: SLF001 - the decorator of its methods
            return call(client, *arguments, **named)

    return checked(RULES)(cast("F", run))
