"""Two models on the same test slices: `ctnet compare`."""
