"""The same DAG on Kubeflow Pipelines: its definition, and how a container runs one of its steps."""
