"""SliceEvaluator: TFX's Evaluator, which also keeps what it was told of every slice."""
