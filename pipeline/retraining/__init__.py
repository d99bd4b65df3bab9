"""Keep a served model fresh: `ctnet retrain`, `ctnet rollback`, `ctnet prune`."""
