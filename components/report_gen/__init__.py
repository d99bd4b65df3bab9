"""ReportGen: one HTML file a person reads, with the model card beside it."""
