"""LastAccepted: what earlier runs on a cluster left that later ones are compared with."""
