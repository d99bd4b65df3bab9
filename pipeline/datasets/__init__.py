"""Public data sets, each turned into the manifest that ctnet reads."""
