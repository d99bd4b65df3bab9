"""What a run's report and its model card both tell, and how figures are worded for people."""
