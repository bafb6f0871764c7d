"""Routes and their dependencies."""
