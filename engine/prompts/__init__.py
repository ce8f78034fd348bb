"""Prompts that stay: runs that were kept, prompts in files, and what differs between two runs."""
