"""One session: its file, its tables, stimuli, spikes and signals, and the face that puts them together."""
