"""OpenMV cameras: their debug protocol, their drive, their boot loaders."""
