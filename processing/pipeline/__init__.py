"""Stages on files: atomic outputs, manifests, resuming."""
