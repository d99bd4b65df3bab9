"""One training on several machines: `ctnet train-worker`."""
