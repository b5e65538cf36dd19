"""Features of any images: extracting, keeping, searching, and thresholds for comparing them."""
