#!/usr/bin/env python3
"""Trains the reasoner, rounds it to int8, and compares the ways to use it on card sets that it has never seen.

    python3 model/train.py --out model/reasoner.weights --minutes 5   # on a GPU; also writes model/reasoner.csv
    python3 model/train.py --eval model/reasoner.weights              # the table, from the file alone
    python3 model/train.py --tiny                                     # every line of it once, on a CPU in a minute

Needs PyTorch. An interrupted run leaves no file: the weights are written when they are complete."""
import argparse
import gc
import os
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as F

import game
import search
from transformer import Shape, Transformer, load, save

TO_TOKEN = bytes(game.VOCABULARY.find(chr(code)) % 256 for code in range(256))
NEWLINE, WALK, SEARCH = (game.VOCABULARY.index(character) for character in "\nWS")


class Batches(torch.utils.data.IterableDataset):
    """An endless stream of uint8 tokens [rows][CONTEXT + 1]; each worker writes other texts."""

    def __init__(self, seed: int, rows: int, wide: bool):
        self.seed, self.rows = seed, rows
        self.options = {} if wide else {"wide_share": 0.0}
        game.Rows(seed, wide_share=0.0)      # makes the game's nodes, which the workers then share
        gc.freeze()

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        part = {"part": worker.id, "parts": worker.num_workers} if worker else {"parts": 50}
        rows, waiting = game.Rows(self.seed, **part, **self.options), []
        while True:
            text = "".join(rows.row(waiting) for _ in range(self.rows))
            yield torch.frombuffer(bytearray(text.encode().translate(TO_TOKEN)), dtype=torch.uint8).view(self.rows, -1)


def batches(seed: int, rows: int, wide: bool, workers: int):
    ahead = 8 if workers else None         # batches per worker
    return iter(torch.utils.data.DataLoader(Batches(seed, rows, wide), batch_size=None, num_workers=workers,
                                            prefetch_factor=ahead, pin_memory=torch.cuda.is_available()))


def loss_of(model, tokens):
    """tokens [rows][CONTEXT + 1] -> mean loss of the characters behind a prompt: cards are drawn, not thought."""
    inputs, targets = tokens[:, :-1].long(), tokens[:, 1:].long()
    place = torch.arange(targets.shape[1], device=tokens.device)
    begun = torch.where((inputs == WALK) | (inputs == SEARCH), place, -1).cummax(1).values
    ended = torch.where(inputs == NEWLINE, place, -1).cummax(1).values
    counted = (ended > begun).float()
    loss = F.cross_entropy(model(inputs).flatten(0, 1).float(), targets.flatten(), reduction="none").view_as(counted)
    return (loss * counted).sum() / counted.sum()


def optimizer_of(model: Transformer, rate: float):
    matrices = [parameter for parameter in model.parameters() if parameter.dim() == 2]
    norms = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": norms, "weight_decay": 0.0}],
                             lr=rate, betas=(0.9, 0.98), fused=torch.cuda.is_available())


def train(model: Transformer, options, device: str) -> int:
    """Until options.steps, or for options.minutes; returns the number of steps. The rate rises for 2 % of the run and
    falls linearly to 0."""
    data = batches(options.seed, options.rows, not options.tiny, options.workers)
    optimizer = optimizer_of(model, options.rate)
    measured_loss = torch.compile(loss_of) if device == "cuda" and not options.eager else loss_of
    begin, step = time.monotonic(), 0
    while True:
        if step == 3:
            begin = time.monotonic()      # the first steps compile
        progress = step / options.steps if options.steps else (time.monotonic() - begin) / (60 * options.minutes)
        if progress >= 1 and step > 3:
            break
        for group in optimizer.param_groups:
            group["lr"] = options.rate * (0.001 if step < 3 else min(1, progress / 0.02) * max(0, 1 - progress))
        tokens = next(data).to(device, non_blocking=True)
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = measured_loss(model, tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % (5 if options.tiny else 50) == 0:
            value, seconds = loss.item(), time.monotonic() - begin
            if step % (5 if options.tiny else 500) == 0:
                rate = step * options.rows * game.CONTEXT / max(seconds, 1e-9)
                print(f"step {step} loss {value:.4f} {seconds:.0f} s {rate / 1e6:.2f}e6 characters/s", flush=True)
    return step


@torch.no_grad()
def loss_on_new_texts(model: Transformer, device: str, wide: bool, rows: int = 16, count: int = 8) -> float:
    data = batches(-1, rows, wide, 0)
    return sum(loss_of(model, next(data).to(device)).item() for _ in range(count)) / count


def commit_of_tree() -> str:
    found = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=os.path.dirname(os.path.abspath(__file__)),
                           capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def evaluate(path: str, options, device: str) -> None:
    """The table of a file, and the same as csv beside it."""
    model, header = load(path)
    starts = game.held_out_solvable()[:8 if options.tiny else None]
    print(f"{path}: {sum(p.numel() for p in model.parameters())} parameters, command {header['command']}, "
          f"commit {header['commit']}; {len(starts)} held-out card sets")
    lines = search.print_table(model.to(device), options.seed, starts)
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    head = [f"# {key}: {value}" for key, value in (
        ("weights", f"commit {header['commit']}, seed {header['seed']}, crc32 {header['crc32']}"),
        ("trained by", header["command"]), ("evaluated by", f"python3 model/train.py --eval {os.path.basename(path)}"),
        ("evaluation", f"seed {options.seed}, {name}, PyTorch {torch.__version__}"),
        ("card sets", f"held out ({header['split']}) and solvable"))]
    if not options.tiny:
        csv = os.path.splitext(path)[0] + ".csv"
        with open(csv + ".part", "w") as file:
            file.write("\n".join(head + lines) + "\n")
        os.replace(csv + ".part", csv)


def options_of(arguments: list[str]):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="file of the trained weights")
    parser.add_argument("--eval", help="do not train: print the table of this file")
    parser.add_argument("--tiny", action="store_true", help="a small model, a few steps, into a temporary file")
    parser.add_argument("--minutes", type=float, default=5, help="length of the training")
    parser.add_argument("--steps", type=int, help="the same in steps, for the same weights again on the same machine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=128, help=f"of {game.CONTEXT} characters, in a step")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--workers", type=int, default=max(1, min(14, (os.cpu_count() or 1) - 2)),
                        help="processes that write texts")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--commit", default=None, help="recorded in the file; otherwise git is asked")
    options = parser.parse_args(arguments)
    if not (options.out or options.eval or options.tiny):
        parser.error("nothing to do: --out, --eval or --tiny")
    if options.tiny:
        options.rows, options.workers, options.steps = 4, 1, 10
    return options


def main(arguments: list[str]) -> int:
    options = options_of(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(options.seed)
    if options.eval:
        evaluate(options.eval, options, device)
        return 0
    shape = Shape(layers=2, width=64, heads=2, kv_heads=1, head_dim=32, hidden=128) if options.tiny else Shape()
    model = Transformer(shape).to(device)
    steps = train(model, options, device)
    with tempfile.TemporaryDirectory() as folder:
        out = options.out or os.path.join(folder, "tiny.weights")
        command = "python3 model/train.py " + " ".join(arguments) + f" ({steps} steps)"
        save(model, out, command, options.commit or commit_of_tree(), options.seed)
        before, after = (loss_on_new_texts(some.eval().to(device), device, not options.tiny)
                         for some in (model, load(out)[0]))
        print(f"{steps} steps; loss on new texts {before:.4f}, rounded to int8 {after:.4f}")
        evaluate(out, options, device)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
