"""The file layout of the release, and reading it."""
