"""Routers and a client in network namespaces, to watch and to test."""
