"""The local Studio: Edge Impulse Studio's HTTP face over the local backend. Training here is real training."""
