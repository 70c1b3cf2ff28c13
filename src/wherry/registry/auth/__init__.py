"""Authentication: challenges, tokens, credentials and credential helpers."""
