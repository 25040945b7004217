"""What a static recipe may do to weights, so that they lose less by being rounded."""
