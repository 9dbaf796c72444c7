"""Edge Impulse's firmware on a serial line: AT commands, and the results it prints."""
