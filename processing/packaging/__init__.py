"""Session and LFP files in the released layout, written with current pynwb."""
