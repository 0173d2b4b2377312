"""From templates to units: splits, merges, labels."""
