"""The project as one population: units by their ids, whichever session they were recorded in."""
