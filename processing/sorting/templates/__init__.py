"""Templates: found, learned, and matched with the recording."""
