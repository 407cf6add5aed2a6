"""Event loops for the notification tests."""

from __future__ import annotations

from looping import run as run
