#!/usr/bin/env python3
"""The vectors of tests/fixtures/ggml_blocks.safetensors are what gguf.quants and ggml's C compute today.

This is `tests/make_ggml_fixtures.py --check`; the unit tests of kernels-cubecl compare with the file.
"""

import subprocess
import sys

import support

support.require("gguf", "numpy", "safetensors.numpy", "libggml")
script = support.ROOT / "tests" / "make_ggml_fixtures.py"
sys.exit(subprocess.run([sys.executable, script, "--check"], check=False).returncode)
