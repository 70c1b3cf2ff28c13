"""Authentication: challenges, tokens, credentials and the helpers that keep them."""
