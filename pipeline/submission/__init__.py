"""Bring a compiled definition to Kubeflow Pipelines: `ctnet submit`."""
