"""Addresses as the command line takes them."""

from __future__ import annotations

import click

_PLACES = ("store:", "oci:", "oci-archive:", "docker-archive:", "dir:")


def registry_name(text: str) -> str:
    """Return the name of a repository in a registry, ``docker://`` taken off."""
    place = _place(text)
    if place is not None:
        raise click.UsageError(f"{text}: cannot be pulled, only repositories in registries can")
    return text.removeprefix("docker://")


def image_address(text: str) -> str:
    """Return the address of an image in a registry or in the store."""
    place = _place(text)
    if place not in {None, "store:"}:
        raise click.UsageError(f"{text}: only images of registries and of the store can be read")
    return text


def store_name(text: str) -> str:
    """Return the name of an image in the store, ``store:`` taken off."""
    place = _place(text)
    if place is not None and place != "store:":
        raise click.UsageError(f"{text}: only images of the store can be shown")
    return text.removeprefix("store:")


def _place(text: str) -> str | None:
    return next((place for place in _PLACES if text.startswith(place)), None)
