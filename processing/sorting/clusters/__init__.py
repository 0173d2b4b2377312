"""Spikes put into clusters."""
