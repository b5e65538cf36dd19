"""What computes features: PyTorch, ONNX Runtime, OpenVINO, and the choice between them."""
