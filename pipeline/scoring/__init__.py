"""Bulk scoring: what a blessed model says of many slices, as a Beam job (`job`)."""
