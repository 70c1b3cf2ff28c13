"""Read the history of an image wherever it is."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from wherry.errors import WherryError
from wherry.ops.documents import choose, read_parsed_config
from wherry.ops.history import add_v1_ids, list_history
from wherry.ops.open_source import open_image, open_v1_image

if TYPE_CHECKING:
    from wherry.model.address import Address
    from wherry.ops.documents import PlatformChoice
    from wherry.ops.history import HistoryStep
    from wherry.ops.open_source import Access


def get_history(
    address: Address, access: Access, wanted: PlatformChoice, *, v1: bool
) -> list[HistoryStep]:
    """Return the history of an image, the last step first, with the layers.

    With ``v1`` the steps have their ids of version 1.

    Raises:
        PlatformMismatch: There is no image for the platform.
        WherryError: The image cannot be read; see `open_image`.
    """
    with contextlib.ExitStack() as opened:
        try:
            image = opened.enter_context(open_image(address, access, tries_v1=True))
        except WherryError as error:
            repository = open_v1_image(address, access, error)
            from wherry.ops.v1_read import history_v1

            return history_v1(repository, repository.reference, wanted)
        chosen = choose(image, wanted)
        config = read_parsed_config(image, chosen)
        steps = list_history(config, chosen.layers)
        return add_v1_ids(steps, chosen.manifest, config) if v1 else steps
