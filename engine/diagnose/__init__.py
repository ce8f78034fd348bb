"""Why something failed, what to change, and what this machine lacks."""
