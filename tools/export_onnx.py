#!/usr/bin/env python3
"""A trained model as one ONNX file, checked against PyTorch with ONNX Runtime."""

from reid_commands.export import main

if __name__ == "__main__":
    raise SystemExit(main())
