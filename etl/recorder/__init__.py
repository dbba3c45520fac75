"""The edge to the recorders: sockets, TLS, the subscription session, and queries over a second connection."""
