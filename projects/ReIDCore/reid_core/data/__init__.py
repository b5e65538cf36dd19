"""Data sets: names, opening, images of one's own."""
