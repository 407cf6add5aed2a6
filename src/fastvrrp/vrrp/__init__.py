"""Control plane of the VRRP process."""
