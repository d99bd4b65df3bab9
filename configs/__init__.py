"""The configurations that ship with ctnet; a run is one file."""
