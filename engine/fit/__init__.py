"""Will it fit in GPU memory, and what to change if not. Computed from a model's shape; nothing is loaded."""
