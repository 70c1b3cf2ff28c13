"""What all calls of one client share: its settings, one session with registries, one store."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, NoReturn, Self

import wherry
from wherry.calls import Calls
from wherry.config import SPLIT, Config, Transfers, default_platform
from wherry.content import fork
from wherry.model.arguments import checked
from wherry.parameters import RULES

if TYPE_CHECKING:
    from wherry.ops.open_source import Access
    from wherry.registry.auth.credentials import Credentials
    from wherry.registry.session import Session
    from wherry.store import LocalStore


class Connected:
    """Connects when something needs it; the parameters are described at `wherry.Client`."""

    @checked(RULES)
    def __init__(
        self,
        *,
        store: wherry.types.StoreOrPath | None = None,
        credentials: tuple[str, str] | None = None,
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
        self._transfers = Transfers.from_environment().but(
            insecure=insecure,
            jobs=jobs,
            timeout=timeout,
            retries=retries,
            limit_rate=limit_rate,
            split=split,
            schema1=schema1,
        )
        self._default_platform = default_platform()
        self._store: wherry.Store | None = None
        self._store_path: Path | None = None
        if isinstance(store, str | os.PathLike):
            self._store_path = Path(store).absolute()
        else:
            self._store = store
        self._own_store = self._store is None
        self._stores: dict[Path, wherry.Store] = {}
        self._credentials = credentials
        self._authfile = None if authfile is None else Path(authfile)
        self._registries_conf = None if registries_conf is None else Path(registries_conf)
        self._foreign = foreign
        self._on_request = on_request
        self._lock = threading.RLock()
        self._calls = Calls()
        self._session: Session | None = None
        fork.watch(self, Connected._after_fork)

    def _after_fork(self) -> None:
        """Begin anew in a child: connections, tokens and what they were fetched for."""
        self._lock = threading.RLock()
        self._session = None

    def __enter__(self) -> Self:
        self._calls.check()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled or copied: connections and credentials stay where they are."""
        raise TypeError("a wherry.Client cannot be pickled or copied: make one in each process")

    def close(self) -> None:
        """End all calls that are running and close all connections. Idempotent.

        The calls end with `Cancelled`, and so does reading from a blob. A further call raises
        `RuntimeError`. Images and stores that the client has returned stay usable.
        """
        ended = self._calls.end()
        with self._lock:
            if self._session is not None:
                self._session.close()
            if not ended:
                return  # a call that was left behind may be using the stores
            own = [self._store] if self._own_store and self._store is not None else []
            for store in (*own, *self._stores.values()):
                store.close()  # which opens again if its images are asked for more

    @property
    def store(self) -> wherry.Store:
        """The store that is used where a call names none."""
        from wherry.image import Store

        with self._lock:
            if self._store is None:
                self._store = Store(self._store_path)
            return self._store

    def _meant(self, store: wherry.types.StoreOrPath | None) -> wherry.Store:
        """Return the store that a call names by itself or its path; the client's without any."""
        if store is None:
            return self.store
        if not isinstance(store, str | os.PathLike):
            return store
        from wherry.image import Store

        path = Path(store).absolute()
        with self._lock:
            if path not in self._stores:
                self._stores[path] = Store(path)
            return self._stores[path]

    def _asked_for(self, platform: str | wherry.Platform | None) -> str | wherry.Platform | None:
        """Return the platform that a call asks for, else the one that a variable asks for."""
        return self._default_platform if platform is None else platform

    def _access(
        self,
        store: wherry.types.StoreOrPath | None,
        on_event: Callable[[wherry.Event], None] | None,
        cancel: wherry.CancelToken | None,
    ) -> Access:
        """Return what it takes to open any address."""
        from wherry.content.events import ignore
        from wherry.ops.open_source import Access

        def stored(name: str) -> tuple[LocalStore, wherry.Digest, wherry.Digest]:
            image = self._meant(store).get(name)
            return image.store, image.root, image.record.manifest

        return Access(self._connected, stored, on_event or ignore, self._calls.token(cancel))

    def _connected(self) -> Session:
        with self._lock:
            if self._session is None:
                self._session = self._make_session()
            return self._session

    def _make_session(self, only: Credentials | None = None) -> Session:
        """Make a session; with ``only`` it knows no other credentials than those."""
        from wherry.content.retry import RetryPolicy
        from wherry.registry.auth.credentials import Credentials, CredentialStore
        from wherry.registry.certs_d import CaBundle
        from wherry.registry.hosts import Hosts
        from wherry.registry.http.deadlines import Timeouts
        from wherry.registry.http.proxies import ProxySettings
        from wherry.registry.registries_conf import RegistriesFiles
        from wherry.registry.session import Session

        config = self._config()
        fixed = Credentials(*self._credentials) if self._credentials is not None else None
        hosts = Hosts(
            RegistriesFiles(
                config.registries,
                config.registries_drop_ins,
                config.registries_named,
                config.registries_last,
            ),
            config.certificates,
            config.hosts,
            insecure=self._transfers.insecure,
        )
        helpers = None if config.auth_file_alone else lambda: hosts.settings().helpers
        chosen = self._transfers
        return Session(
            connections=chosen.jobs + (chosen.split or SPLIT) + 2,
            credentials=CredentialStore((), only)
            if only is not None
            else CredentialStore(config.auth_files, fixed, helpers),
            hosts=hosts,
            proxies=ProxySettings(*config.proxies, names=config.proxy_names),
            trust=CaBundle(*config.authorities) if config.authorities else None,
            timeouts=Timeouts(connect=min(chosen.timeout, 15.0), read=chosen.timeout),
            policy=RetryPolicy(attempts=chosen.retries),
            limit_rate=chosen.limit_rate,
            on_answer=self._on_request,
        )

    def _config(self) -> Config:
        """Return what the environment says, under what the parameters say."""
        config = Config.from_environment()
        if self._authfile is not None:
            file = self._authfile
            config = config.replace(auth_files=(file,), login_file=file, auth_file_alone=True)
        if self._registries_conf is not None:
            config = config.with_registries_conf(self._registries_conf)
        return config
