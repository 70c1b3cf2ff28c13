"""Addresses as the command line takes them."""

from __future__ import annotations

import click

from wherry.model.address import Address, Where


def registry_name(text: str) -> str:
    """Return the name of a repository in a registry, ``docker://`` taken off."""
    if Address.parse(text).where is not Where.REGISTRY:
        raise click.UsageError(f"{text}: only names of repositories in registries are meant here")
    return text.removeprefix("docker://")


def store_name(text: str, done: str) -> str:
    """Return the name of an image in the store, ``store:`` taken off; ``done`` is what to it."""
    address = Address.parse(text, bare=Where.STORE)
    if address.where is not Where.STORE:
        raise click.UsageError(f"{text}: only images of the store can be {done}")
    return address.name
