"""The screen of tritontui: knows the engine's snapshots and operations; talks to no container, GPU or network."""
