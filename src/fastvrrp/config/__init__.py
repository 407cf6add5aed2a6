"""Configuration: model, front ends, checks."""

import fastvrrp.light  # noqa: F401 (before any module here imports msgspec)
