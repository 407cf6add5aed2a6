"""Kernel state: monitor, netlink programs, reconciliation."""
