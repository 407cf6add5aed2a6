"""The parent process: children, scripts, clean-up."""
