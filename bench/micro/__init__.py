"""Micro benches: one part of fastvrrp each, as workloads that tests can run small."""
