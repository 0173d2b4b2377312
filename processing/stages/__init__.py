"""Every stage of the chain, one file each: reading the folder is reading the pipeline."""
