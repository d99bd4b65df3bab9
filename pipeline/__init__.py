"""What runs, in which order and where: configuration, the DAG, runners and the command line."""
