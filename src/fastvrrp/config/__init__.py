"""Configuration: model, front ends, checks."""
