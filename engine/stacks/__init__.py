"""Stacks: ways of serving. One file each: profile -> plan."""
