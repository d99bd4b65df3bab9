"""Asking a served model: the gRPC client, the embedded server and warm-up requests."""
