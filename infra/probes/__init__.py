"""Makes the list of shapes on which new phones are probed."""
