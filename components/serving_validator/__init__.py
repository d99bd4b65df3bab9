"""ServingValidator: loads the export in a real server process and asks it questions over gRPC."""
