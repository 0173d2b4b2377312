"""When to ask again: rules, waiting, and which bytes are still missing."""
