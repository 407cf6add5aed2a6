"""LAN simulator: the production core under virtual time."""
