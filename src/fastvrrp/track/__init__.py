"""Trackers: scripts, processes, files, and their weights."""
