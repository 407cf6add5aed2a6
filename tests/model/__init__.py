"""An independent model of the protocol, the oracle of the property tests."""
