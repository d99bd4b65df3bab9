"""What is fast, against what, and how to run it."""
