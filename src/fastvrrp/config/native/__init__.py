"""The native format: YAML to the statements that all readers know, its schema, and back."""
