"""The model files that ship inside the package."""
