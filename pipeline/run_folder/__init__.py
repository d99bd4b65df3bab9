"""The folder of a run: what is where in it, its lock, its metadata and what its steps left."""
