#!/usr/bin/env python3
"""Speed and memory of feature extraction: float32, bfloat16, ONNX Runtime."""

from reid_commands.benchmarks.extract_features import main

if __name__ == "__main__":
    raise SystemExit(main())
