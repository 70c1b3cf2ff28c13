"""Failover between the endpoints of a repository: mirrors, then registry."""

from __future__ import annotations

import threading
from types import MappingProxyType
from typing import TYPE_CHECKING

from wherry.content.retry import run
from wherry.errors import Cancelled, NetworkError, WherryError
from wherry.registry.distribution_api import DistributionApi

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeVar

    from wherry.content.cancel import CancelToken
    from wherry.content.retry import RetryPolicy
    from wherry.registry.hosts import Endpoint
    from wherry.registry.session import Session

    T = TypeVar("T")


class EndpointGroup:
    """The endpoints of one repository: mirrors first, the registry last. Thread-safe.

    An endpoint that does not respond is asked again only after every other one has failed.

    ``policy`` replaces that of the session, and ``headers`` are sent with each call.
    ``has_served`` tells whether a call has succeeded. The first call of each operation fetches a
    manifest or a tag list.
    """

    def __init__(
        self,
        session: Session,
        endpoints: Sequence[Endpoint],
        cancel: CancelToken,
        *,
        warn: Callable[[str], None],
        on_retry: Callable[[float, WherryError], None],
        policy: RetryPolicy | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        warnings = session.server_warnings(cancel, warn)
        self.apis = [
            DistributionApi(session, endpoint, warnings, headers) for endpoint in endpoints
        ]
        self.warn = warn
        self.has_served = False
        self._policy = policy or session.policy
        self._cancel = cancel
        self._on_retry = on_retry
        self._unresponsive: set[int] = set()
        self._reported: set[int] = set()
        self._lock = threading.Lock()

    def ask(self, api: DistributionApi, call: Callable[[DistributionApi], T]) -> T:
        """Call one endpoint, and retry as the policy says."""
        return run(self._policy, self._cancel, lambda: call(api), self._on_retry)

    def ask_each(self, call: Callable[[DistributionApi], T], *, registry_first: bool = False) -> T:
        """Call the endpoints in order until one succeeds; retry as configured.

        With ``registry_first`` a mirror is asked only if the registry does not respond.
        """
        found = run(
            self._policy,
            self._cancel,
            lambda: self._ask_round(call, registry_first=registry_first),
            self._on_retry,
        )
        self.has_served = True
        return found

    def _ask_round(self, call: Callable[[DistributionApi], T], *, registry_first: bool) -> T:
        """Call each endpoint once; the registry's own error outranks those of mirrors."""
        registry = len(self.apis) - 1
        responsive = sorted(
            self.responsive(), key=lambda number: (registry_first and number < registry, number)
        )
        others = [number for number in range(len(self.apis)) if number not in responsive]
        failure: WherryError | None = None
        for number in (*responsive, *others):
            try:
                return call(self.apis[number])
            except Cancelled:
                raise
            except WherryError as error:
                self.note_failure(number, error)
                if number == registry:
                    failure = error
                    if not error.transient and not isinstance(error, NetworkError):
                        raise  # no mirror overrides the registry's own answer
        assert failure is not None  # noqa: S101 - the registry is in every round
        raise failure

    def responsive(self) -> list[int]:
        """Return the numbers of the endpoints that respond, or of all if none does."""
        with self._lock:
            every = range(len(self.apis))
            return [number for number in every if number not in self._unresponsive] or list(every)

    def note_failure(self, number: int, error: WherryError) -> None:
        """Remember that an endpoint failed; warn at a mirror's first failure."""
        with self._lock:
            if isinstance(error, NetworkError):
                self._unresponsive.add(number)
            is_silent = number in self._reported or number == len(self.apis) - 1
            self._reported.add(number)
        if not is_silent:
            self.warn(f"{self.apis[number].endpoint.name}: {error}; trying the next endpoint")

    def warn_about_mirror(self, api: DistributionApi) -> None:
        """Warn if a list came from a mirror."""
        if api is not self.apis[-1]:
            self.warn(
                f"{self.apis[-1].endpoint.name} does not answer; this is the list of its "
                f"mirror {api.endpoint.name}, which may lack entries"
            )


class ListEndpoint:
    """The endpoint that a list comes from: the one that served the first page."""

    def __init__(self, endpoints: EndpointGroup) -> None:
        self._endpoints = endpoints
        self._api: DistributionApi | None = None

    def ask(self, call: Callable[[DistributionApi], T]) -> T:
        """Fetch a page, the first one from the registry or else from a mirror."""
        if self._api is not None:
            return self._endpoints.ask(self._api, call)
        self._api, page = self._endpoints.ask_each(
            lambda api: (api, call(api)), registry_first=True
        )
        self._endpoints.warn_about_mirror(self._api)
        return page
