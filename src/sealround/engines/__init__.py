"""What drives a study: `simulation` runs every party of it on this machine."""
