"""DINO as a meta-architecture, and its projection head."""
