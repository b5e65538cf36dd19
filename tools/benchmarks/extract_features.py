#!/usr/bin/env python3
"""Speed and memory of feature extraction: the released way, ours, ONNX Runtime, OpenVINO, int8."""

from reid_commands.benchmarks.extract_features import main

if __name__ == "__main__":
    raise SystemExit(main())
