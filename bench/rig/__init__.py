"""The rig: whole VRRP daemons measured from outside, side by side, in network namespaces."""
