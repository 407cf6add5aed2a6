"""The checkers: one attempt each, callbacks instead of coroutines. When to try is not theirs."""
