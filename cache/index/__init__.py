"""The index of a project: what is needed of each session file to answer without opening it."""
