"""How the cookbook does what its notebooks tell: see docs/architecture.md for the rooms and who may import whom."""
