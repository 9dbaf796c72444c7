"""C text: the generated header and source, and the kernel headers that they include."""
