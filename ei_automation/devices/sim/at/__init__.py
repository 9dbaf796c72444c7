"""Edge Impulse's firmware on a simulated board."""
