"""HTTP for one request at a time: connections, TLS, proxies, deadlines."""
