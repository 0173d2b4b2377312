"""Readers of raw probe data: each returns a :class:`allen_ecephys.processing.recording.Recording`."""
