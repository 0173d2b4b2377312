"""Spike sorting: Kilosort 2's algorithm on the processor, and one door to every other sorter."""
