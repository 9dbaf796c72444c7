"""The image block: decode, resize modes, colour, as Edge Impulse's own clients do it; each image decoded once."""
