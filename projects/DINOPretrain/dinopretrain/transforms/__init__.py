"""Multi-crop views, from an image file to tensors."""
