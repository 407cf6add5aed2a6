"""Control socket: protocol and server."""
