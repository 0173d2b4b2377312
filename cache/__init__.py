"""The project cache: the release's tables and NWB files, fetched on demand."""
