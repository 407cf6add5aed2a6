"""Event loops for the tests of the load balancer."""

from __future__ import annotations

from looping import run as run
