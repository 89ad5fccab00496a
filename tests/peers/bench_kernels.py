"""torch.compile's memory-bound operations at the sizes of `--example bench -- kernels`, on one GPU.

Needs PyTorch and Triton alone. Prints one JSON object per operation, as the bench does with --json, with
the bandwidth of a copy in the same run; run it beside the bench and compare `ms`.
"""

import argparse
import json

import torch
import torch.nn.functional as F
from triton.testing import do_bench

HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM, VOCAB = 2048, 5632, 32, 4, 64, 32000
PARAMETERS = 44_044_288


def seconds(run):
    """Median of a second of repeats, with the cache emptied between them as Triton does."""
    return do_bench(run, warmup=100, rep=500, return_mode="median") / 1e3


@torch.compile
def rms_norm(x, weight):
    return F.rms_norm(x, (HIDDEN,), weight, 1e-5)


@torch.compile
def add_rms_norm(x, residual, weight):
    total = x + residual
    return F.rms_norm(total, (HIDDEN,), weight, 1e-5), total


@torch.compile
def rope(x, cos, sin):
    first, second = x.float().chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(x.dtype)


@torch.compile
def swiglu(gate_up):
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate) * up


@torch.compile
def cross_entropy(logits, targets):
    return F.cross_entropy(logits.float(), targets, reduction="none")


def backward(run, inputs, gradient_of):
    """A backward pass alone: the graph is kept, gradients are not accumulated."""
    outputs = run(*inputs)
    tracked = [x for x in inputs if x.requires_grad]
    return lambda: torch.autograd.grad(outputs, tracked, gradient_of, retain_graph=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=16384)
    rows = parser.parse_args().rows
    torch.manual_seed(0)

    for dtype in (torch.bfloat16, torch.float32):
        element = torch.finfo(dtype).bits // 8

        def random(*shape, grad=False):
            return torch.randn(*shape, device="cuda", dtype=dtype, requires_grad=grad)

        source = random(rows, 2 * INTERMEDIATE)
        target = torch.empty_like(source)
        copied = 2 * source.numel() * element
        copy = copied / seconds(lambda: target.copy_(source)) / 1e9
        del source, target

        def report(op, direction, shape, moved, run):
            elapsed = seconds(run)
            rate = moved / elapsed / 1e9
            print(json.dumps({
                "peer": "torch.compile", "op": op, "direction": direction, "shape": shape,
                "dtype": str(dtype).removeprefix("torch."), "ms": elapsed * 1e3, "gb_per_s": rate,
                "share_of_limit": rate / copy, "copy_gb_per_s": copy,
            }), flush=True)

        hidden = rows * HIDDEN * element
        x, residual, dy = random(rows, HIDDEN, grad=True), random(rows, HIDDEN), random(rows, HIDDEN)
        weight = random(HIDDEN, grad=True)
        shape = [rows, HIDDEN]
        with torch.no_grad():
            report("rms_norm", "forward", shape, 2 * hidden, lambda: rms_norm(x, weight))
            report("add_rms_norm", "forward", shape, 4 * hidden, lambda: add_rms_norm(x, residual, weight))
        report("rms_norm", "backward", shape, 3 * hidden, backward(rms_norm, (x, weight), dy))
        del x, residual, dy, weight

        heads = random(rows, HEADS + KV_HEADS, HEAD_DIM)
        angles = torch.randn(rows, 1, HEAD_DIM // 2, device="cuda")
        cos, sin = angles.cos(), angles.sin()
        moved = 2 * heads.numel() * element
        report("rope", "forward", list(heads.shape), moved, lambda: rope(heads, cos, sin))
        del heads, angles, cos, sin

        inner = rows * INTERMEDIATE * element
        gate_up, dy = random(rows, 2 * INTERMEDIATE, grad=True), random(rows, INTERMEDIATE)
        shape = [rows, INTERMEDIATE]
        with torch.no_grad():
            report("swiglu", "forward", shape, 3 * inner, lambda: swiglu(gate_up))
        report("swiglu", "backward", shape, 5 * inner, backward(swiglu, (gate_up,), dy))
        del gate_up, dy

        logits = random(rows, VOCAB, grad=True)
        targets = torch.randint(VOCAB, (rows,), device="cuda")
        dloss = torch.randn(rows, device="cuda")
        shape, moved = [rows, VOCAB], rows * VOCAB * element
        with torch.no_grad():
            report("cross_entropy", "forward", shape, moved, lambda: cross_entropy(logits, targets))
        both = backward(cross_entropy, (logits, targets), dloss)
        report("cross_entropy", "backward", shape, 2 * moved, both)
        del logits, targets, dloss, both

        if dtype == torch.float32:
            parameter = torch.nn.Parameter(random(PARAMETERS))
            parameter.grad = random(PARAMETERS)
            optimizer = torch.optim.AdamW([parameter], lr=1e-4, fused=True)
            optimizer.step()
            report("adamw", "in place", [PARAMETERS], 28 * PARAMETERS, optimizer.step)


if __name__ == "__main__":
    main()
