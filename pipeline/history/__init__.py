"""What became of the runs of a folder: `ctnet history`."""
