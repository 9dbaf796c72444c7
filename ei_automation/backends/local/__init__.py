"""The local backend: state in the project's folder, the trainer in this process, no account."""
