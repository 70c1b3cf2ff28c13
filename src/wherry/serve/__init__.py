"""The store as a registry: an ASGI application, and the server that runs it.

Only the extra ``serve`` installs what this package imports.
"""
