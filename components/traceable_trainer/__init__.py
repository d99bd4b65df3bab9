"""TraceableTrainer: TFX's Trainer, whose model says what it was made from."""
