"""Asking a served model: the gRPC client and the embedded server."""
