"""What the tests with real clients are built from."""
