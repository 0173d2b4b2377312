"""Spikes of units: stored, counted, listed, aligned to presentations and summarised."""
