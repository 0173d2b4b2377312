"""From raw probe data, or a simulation of it, to NWB files and metric tables."""
