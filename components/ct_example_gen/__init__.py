"""CTExampleGen: from a manifest and image files to CT examples, split by patient."""
