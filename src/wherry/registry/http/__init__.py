"""HTTP: connections, TLS, proxies, and one request at a time."""
