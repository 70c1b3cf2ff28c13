"""Registries: the protocol, authentication, and where to find them."""
