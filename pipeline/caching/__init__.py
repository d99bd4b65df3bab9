"""When a step may be taken from the cache: the version of the code that it comes from."""
