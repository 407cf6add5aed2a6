"""Measurements: `bench.micro` of single parts, `bench.rig` of whole daemons."""
