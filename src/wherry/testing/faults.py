"""Faults for the servers of this package: an action, and the requests that it applies to.

A `Fault` joins an action with a condition::

    registry.inject(Fault(Cut(after=1000), path="/blobs/", times=1))

All faults that match a request fire, but only one of each kind of action (for header actions:
one for each header name). If several of one kind match, the earliest fires. So replies can be
queued: ``times=2`` with 503, then ``times=1`` with 429.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.testing._messages import IncomingRequest
    from wherry.testing.fault_actions import Action

__all__ = ["Fault", "fire"]


@dataclass(eq=False)
class Fault:
    """An action and the requests that it applies to.

    Attributes:
        action: What goes wrong.
        method: The method of the requests; None for all.
        path: A regular expression that is searched in the path with its query.
        times: How many matching requests the fault changes; None for all.
        skip: How many matching requests pass unchanged before that.
        count: How often the fault has fired.
        passed: How many matching requests have passed because of ``skip``.
    """

    action: Action
    method: str | None = field(default=None, kw_only=True)
    path: str = field(default="", kw_only=True)
    times: int | None = field(default=None, kw_only=True)
    skip: int = field(default=0, kw_only=True)
    count: int = field(default=0, init=False)
    passed: int = field(default=0, init=False)

    def matches(self, request: IncomingRequest) -> bool:
        """Tell whether the fault applies to a request and is not used up."""
        return (
            self.method in {None, request.method}
            and (self.times is None or self.count < self.times)
            and re.search(self.path, request.target) is not None
        )


def fire(faults: Iterable[Fault], request: IncomingRequest) -> list[Action]:
    """Return the actions for a request in the order to apply them, and count them.

    Not thread-safe: the server calls it while it holds its lock.
    """
    actions: dict[object, Action] = {}
    for fault in faults:
        if fault.action.kind() in actions or not fault.matches(request):
            continue
        if fault.passed < fault.skip:
            fault.passed += 1
            continue
        fault.count += 1
        actions[fault.action.kind()] = fault.action
    return sorted(actions.values(), key=lambda action: action.rank)
