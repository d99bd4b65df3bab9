"""Object storage: artifacts are fetched to local folders, and published when they are whole."""
