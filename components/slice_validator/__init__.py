"""SliceValidator: TFX's ExampleValidator, which stops the run over what would mislead training."""
