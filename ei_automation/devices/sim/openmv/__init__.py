"""A simulated OpenMV camera."""
