"""Which parts of the training recipe help, on real data, and by how much more than luck."""
