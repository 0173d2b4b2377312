"""The project's tables: read, kept parsed, typed, filtered and edited."""
