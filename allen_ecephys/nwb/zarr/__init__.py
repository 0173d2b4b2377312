"""NWB files kept as a Zarr store: a folder, or the same under an address, of formats 2 and 3."""
