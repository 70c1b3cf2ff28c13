"""Use cases, one module each: plain functions over a session, stores and options."""
