"""The Studio backend: the contract over Edge Impulse's HTTP API, JSON over one session of ours."""
