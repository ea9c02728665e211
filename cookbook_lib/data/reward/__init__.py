"""Preference pairs and scored responses: what they are, where they come from, and how they become files."""
