"""Notification: ordered queues, scripts, FIFOs, mail."""
