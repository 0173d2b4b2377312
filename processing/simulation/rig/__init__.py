"""A simulated rig: everything that its computers leave behind of a session, and the truth behind it."""
