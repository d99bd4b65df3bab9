"""Ask a server about slices: `ctnet predict`."""
