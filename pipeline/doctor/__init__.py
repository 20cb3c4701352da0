"""Whether this machine can run lipwire, and what to do where it cannot."""
