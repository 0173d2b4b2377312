"""Where files come from: the protocol of a remote, and each kind of it."""
