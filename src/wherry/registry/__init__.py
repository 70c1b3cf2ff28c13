"""Registries: configuration, authentication, the protocol, and repositories to read."""
