"""Registries: configuration, authentication, protocol, repositories."""
