"""fastvrrp: high availability for Linux routers and load balancers."""

__version__ = "0.1.0"
